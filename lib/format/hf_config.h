// The hyperparameters of a Hugging Face folder, under the keys that GGUF uses.
//
// Reads config.json (of transformers 4 and 5), and where they are there generation_config.json,
// tokenizer_config.json and chat_template.jinja. Where Hugging Face arranges weights otherwise than GGUF does, a key
// of our own says so; files that lack these keys follow GGUF:
//   kvinfer.rope_pairs          "half_split": dims i and i + n/2 turn together, in q and k as stored
//   kvinfer.norm_weight_offset  float added to RMSNorm weights (Gemma stores them minus one)
//   kvinfer.tie_word_embeddings bool: the output matrix is the embedding
//   kvinfer.biased_projections  strings: under Hugging Face's names, what must have a bias in each layer
//   kvinfer.eos_token_ids       ints: every token that ends a generation, the chief one first
//   kvinfer.bos_token, kvinfer.eos_token  as text, from tokenizer_config.json
// RoPE scaling "llama3" has its parameters in {arch}.rope.scaling.low_freq_factor and
// .high_freq_factor, where GGUF has a tensor of factors; "dynamic" exists here only.
// {arch}.attention.sliding_window_pattern is an array of bools, true for layers with a window.
//
// Thread-safe: pure functions of the files.
#pragma once

#include <string>

#include "format/model_file.h"

namespace kvi {

// Throws NOT_FOUND without config.json, CORRUPT naming file and key, UNSUPPORTED naming what is.
Metadata read_hf_config(const std::string& folder);

}  // namespace kvi
