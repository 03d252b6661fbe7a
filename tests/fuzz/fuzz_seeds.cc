// Writes the first inputs of gguf_fuzz and safetensors_fuzz: small valid files, made as tests make theirs.
//   fuzz_seeds FOLDER      into FOLDER/gguf_fuzz and FOLDER/safetensors_fuzz, which are there
#include <fstream>
#include <stdexcept>
#include <string>

#include "support/gguf_writer.h"
#include "support/safetensors_writer.h"

namespace {

void write(const std::string& path, const std::string& bytes) {
  std::ofstream out(path, std::ios::binary);
  if (!out.write(bytes.data(), static_cast<std::streamsize>(bytes.size())).flush()) {
    throw std::runtime_error("cannot write " + path);
  }
}

}  // namespace

int main(int num_arguments, char** arguments) {
  if (num_arguments != 2) return 2;
  const std::string folder = arguments[1];
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
}
