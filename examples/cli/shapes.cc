#include "shapes.h"

#include "output.h"

namespace cli {
namespace {

struct Row {
  const char* name;
  uint32_t layers, heads, kv_heads, head_dim, embedding, ffn, vocab, experts, tied, context;
  uint32_t window, window_layers;
};

// From the config.json that each model was published with.
constexpr Row kRows[] = {
    {"llama-2-7b", 32, 32, 32, 128, 4096, 11008, 32000, 1, 0, 4096, 0, 0},
    {"llama-2-13b", 40, 40, 40, 128, 5120, 13824, 32000, 1, 0, 4096, 0, 0},
    {"llama-2-70b", 80, 64, 8, 128, 8192, 28672, 32000, 1, 0, 4096, 0, 0},
    {"llama-3-8b", 32, 32, 8, 128, 4096, 14336, 128256, 1, 0, 131072, 0, 0},  // as of 3.1
    {"llama-3-70b", 80, 64, 8, 128, 8192, 28672, 128256, 1, 0, 131072, 0, 0},
    {"mixtral-8x7b", 32, 32, 8, 128, 4096, 14336, 32000, 8, 0, 32768, 0, 0},
    {"gemma-3-270m", 18, 4, 1, 256, 640, 2048, 262144, 1, 1, 32768, 512, 15},
    {"gemma-3-1b", 26, 4, 1, 256, 1152, 6912, 262144, 1, 1, 32768, 512, 22},
    {"gemma-3-4b", 34, 8, 4, 256, 2560, 10240, 262208, 1, 1, 131072, 1024, 29},
    {"gemma-3-12b", 48, 16, 8, 256, 3840, 15360, 262208, 1, 1, 131072, 1024, 40},
    {"gemma-3-27b", 62, 32, 16, 128, 5376, 21504, 262208, 1, 1, 131072, 1024, 52},
};

kvi_model_shape shape_of(const Row& row) {
  kvi_model_shape shape = kvinfer::model_shape();
  shape.num_layers = row.layers;
  shape.num_heads = row.heads;
  shape.num_kv_heads = row.kv_heads;
  shape.head_dim = row.head_dim;
  shape.embedding_len = row.embedding;
  shape.ffn_len = row.ffn;
  shape.vocab_size = row.vocab;
  shape.num_experts = row.experts;
  shape.tied_embeddings = row.tied;
  shape.context_len = row.context;
  shape.window = row.window;
  shape.num_window_layers = row.window_layers;
  return shape;
}

}  // namespace

std::vector<NamedShape> named_shapes() {
  std::vector<NamedShape> shapes;
  for (const Row& row : kRows) shapes.push_back({row.name, shape_of(row)});
  return shapes;
}

kvi_model_shape find_shape(const std::string& name) {
  std::string names;
  for (const Row& row : kRows) {
    if (name == row.name) return shape_of(row);
    names += (names.empty() ? "" : ", ") + std::string(row.name);
  }
  throw Failure(ExitCode::usage, "--shape: there is no shape " + name + "; there are " + names);
}

}  // namespace cli
