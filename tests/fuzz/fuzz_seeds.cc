// Writes the first inputs of disk_store_fuzz, gguf_fuzz, safetensors_fuzz and snapshot_fuzz: small valid files,
// made as tests make theirs.
//   fuzz_seeds FOLDER      into FOLDER/<target>, which are there
#include <fstream>
#include <stdexcept>
#include <string>

#include "fuzz/disk_store_layout.h"
#include "support/gguf_writer.h"
#include "support/safetensors_writer.h"
#include "support/snapshot_sample.h"

namespace {

void write(const std::string& path, const std::string& bytes) {
  std::ofstream out(path, std::ios::binary);
  if (!out.write(bytes.data(), static_cast<std::streamsize>(bytes.size())).flush()) {
    throw std::runtime_error("cannot write " + path);
  }
}

// Two pages in slots 0 and 1.
std::string disk_slots() {
  const kvi::DiskFormat format = kvi::fuzz_format();
  std::string input;
  for (kvi::SlotId slot : {0, 1}) {
    const kvi::TestPage page(slot + 1);
    const auto bytes = page.bytes(format.page_bytes);
    std::vector<std::byte> header(format.header_bytes);
    const kvi::Checksum sum = kvi::page_checksum(format, slot, 1, bytes);
    kvi::encode_slot_header(format, slot, page.record(), 1, sum, header);
    input.append(reinterpret_cast<const char*>(header.data()), kvi::kHeaderInput);
    input.append(reinterpret_cast<const char*>(bytes.data()), bytes.size());
  }
  return input;
}

}  // namespace

int main(int num_arguments, char** arguments) {
  if (num_arguments != 2) return 2;
  const std::string folder = arguments[1];
  for (char flags : {0, 2, 4, 6}) {
    write(folder + "/disk_store_fuzz/slots" + std::to_string(flags), flags + disk_slots());
  }
  write(folder + "/disk_store_fuzz/raw", "\1no page file");
  write(folder + "/gguf_fuzz/everything", kvi::gguf_with_everything().bytes());

  // The first byte says which file it is: safetensors_fuzz.cc lists them.
  const std::string prefix = folder + "/safetensors_fuzz/";
  write(prefix + "tensors", '\0' + kvi::tiny_hf_tensors().bytes());
  for (const char* family : {"llama", "mistral", "qwen2", "qwen3", "gemma3_text", "gpt2"}) {
    write(prefix + family, '\1' + kvi::tiny_hf_config(family).dump());
  }
  write(
      prefix + "tokenizer_config",
      "\2"
      R"({"chat_template": [{"name": "default", "template": "{{ x }}"}], "bos_token": {"content": "<s>"},)"
      R"( "eos_token": "</s>", "add_bos_token": true})");
  write(prefix + "generation_config",
        "\3"
        R"({"eos_token_id": [1, 2], "temperature": 0.5})");
  write(prefix + "chat_template",
        "\4"
        R"({"chat_template": "{{ x }}"})");
  write(prefix + "index",
        "\5"
        R"({"weight_map": {"model.embed_tokens.weight": "model.safetensors"}})");

  // Two bytes say how to read them: snapshot_fuzz.cc.
  for (const auto& windows : {std::vector<int>{0, 12}, {0}, {8, 0, 3}}) {
    const kvi::SnapshotHeader header = kvi::sample_header(4, 37, 33, windows);
    const std::string name = folder + "/snapshot_fuzz/groups" + std::to_string(windows.size());
    const std::vector<std::byte> encoded = kvi::encode_snapshot_header(header);
    const char fours = static_cast<char>((encoded.size() + 3) / 4);
    write(name, std::string(2, '\0') + kvi::make_snapshot(header, 1).bytes);
    write(name + "_header",
          std::string{'\1', fours} +
              std::string(reinterpret_cast<const char*>(encoded.data()), encoded.size()));
  }
}
