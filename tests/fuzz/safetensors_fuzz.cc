// libFuzzer target: any bytes as the files of a Hugging Face folder open as a sound model or throw
// kvi::Error. The first byte says which file they are; the others are valid.

#include "base/error.h"
#include "support/exercise_model.h"
#include "support/safetensors_writer.h"
#include "support/temp_folder.h"

namespace {

void open_with(const kvi::TempFolder& folder, const char* name, std::string_view bytes) {
  folder.write("model.safetensors", kvi::tiny_hf_tensors().bytes());
  folder.write("config.json", kvi::tiny_hf_config("llama").dump());
  const std::string path = folder.write(name, bytes);
  try {
    kvi::exercise_model(*kvi::ModelFile::open(folder.path()));
  } catch (const kvi::Error&) {
  }
  std::filesystem::remove(path);
}

}  // namespace

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* bytes, size_t size) {
  static const kvi::TempFolder folder;
  static const char* const kNames[] = {"model.safetensors",     "config.json",
                                       "tokenizer_config.json", "generation_config.json",
                                       "chat_template.json",    "model.safetensors.index.json"};
  if (size == 0) return 0;
  const std::string_view rest(reinterpret_cast<const char*>(bytes) + 1, size - 1);
  open_with(folder, kNames[bytes[0] % std::size(kNames)], rest);
  return 0;
}
