// What a transformer layer is to a backend: weights and constants of each block-sized op.
//
// A family of models is one way of filling in these structs (lib/model/architecture); a backend knows
// no families. Pointers are borrowed; the model owns what they point to. nullptr: the part is absent.
#pragma once

#include <cstdint>
#include <vector>

namespace kvi {

class Matrix;
class Vector;

enum class NormKind { none, rms, layer };
struct Norm {
  NormKind kind = NormKind::none;
  const Vector* weight = nullptr;  // [len]
  const Vector* bias = nullptr;    // [len], layer norm only
  float eps = 0;
};

struct Linear {
  const Matrix* weight = nullptr;  // [out, in]
  const Vector* bias = nullptr;    // [out]
};

// Which two values of a head are rotated together.
enum class RopePairs { interleaved /* (2i, 2i+1) */, half_split /* (i, i + rotary_dim/2) */ };

struct Rope {
  RopePairs pairs = RopePairs::interleaved;
  int rotary_dim = 0;                       // of head_dim; the rest passes through
  std::vector<double> inverse_frequencies;  // [rotary_dim / 2]: angle = position * this, in double
  float attention_factor = 1;               // scales cos and sin (YaRN)
};

struct AttentionWeights {
  int num_heads = 0, num_kv_heads = 0, head_dim = 0;
  Norm input_norm;
  Linear q, k, v;
  Norm q_norm, k_norm;         // per head, over head_dim
  const Rope* rope = nullptr;  // nullptr: positions are not rotated
  float softmax_scale = 0;
  float logit_softcap = 0;  // c: logits become c * tanh(logits / c); 0: none
  Linear out;
  Norm post_norm;  // on the block's output, before the residual is added
};

enum class Activation { silu, gelu_tanh };

struct MlpWeights {
  Norm input_norm;
  Linear gate;  // absent: down(activation(up(x))); present: down(activation(gate(x)) * up(x))
  Linear up, down;
  Activation activation = Activation::silu;
  Norm post_norm;
};

struct EmbeddingWeights {
  const Matrix* tokens = nullptr;     // [vocab, embedding_len]
  const Matrix* positions = nullptr;  // [context_len, embedding_len], learned positions
  float scale = 1;                    // on the token's row
};

struct HeadWeights {
  Norm norm;
  Linear out;  // [vocab, embedding_len]; often the embedding itself
  float logit_softcap = 0;
};

}  // namespace kvi
