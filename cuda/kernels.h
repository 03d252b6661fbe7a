// The kernels of each image (a .cu file), by name. Plain C++: the host looks them up by this list.
#pragma once

#include "formats.h"

// X(image, kernel)
#define KVI_CUDA_KERNELS(X)                        \
  X(linear, linear_f32)                            \
  X(linear, linear_f16)                            \
  X(linear, linear_bf16)                           \
  X(linear, linear_q4_0)                           \
  X(linear, linear_q4_1)                           \
  X(linear, linear_q5_0)                           \
  X(linear, linear_q5_1)                           \
  X(linear, linear_q8_0)                           \
  X(linear, linear_q2_k)                           \
  X(linear, linear_q3_k)                           \
  X(linear, linear_q4_k)                           \
  X(linear, linear_q5_k)                           \
  X(linear, linear_q6_k)                           \
  X(rows, embed)                                   \
  X(rows, norm_rows)                               \
  X(rows, activate)                                \
  X(rows, softcap)                                 \
  X(rows, rotary_angles)                           \
  X(rows, finish_heads)                            \
  X(half_rows, half_norm)                          \
  X(half_rows, half_activate)                      \
  X(half_rows, widen)                              \
  X(stream_f16, stream_f16_1)                      \
  X(stream_f16, stream_f16_2)                      \
  X(stream_f16, stream_f16_4)                      \
  X(stream_f16, stream_f16_8)                      \
  X(stream_bf16, stream_bf16_1)                    \
  X(stream_bf16, stream_bf16_2)                    \
  X(stream_bf16, stream_bf16_4)                    \
  X(stream_bf16, stream_bf16_8)                    \
  X(stream_q4_0, stream_q4_0_1)                    \
  X(stream_q4_0, stream_q4_0_2)                    \
  X(stream_q4_0, stream_q4_0_4)                    \
  X(stream_q4_0, stream_q4_0_8)                    \
  X(stream_q4_1, stream_q4_1_1)                    \
  X(stream_q4_1, stream_q4_1_2)                    \
  X(stream_q4_1, stream_q4_1_4)                    \
  X(stream_q4_1, stream_q4_1_8)                    \
  X(stream_q5_0, stream_q5_0_1)                    \
  X(stream_q5_0, stream_q5_0_2)                    \
  X(stream_q5_0, stream_q5_0_4)                    \
  X(stream_q5_0, stream_q5_0_8)                    \
  X(stream_q5_1, stream_q5_1_1)                    \
  X(stream_q5_1, stream_q5_1_2)                    \
  X(stream_q5_1, stream_q5_1_4)                    \
  X(stream_q5_1, stream_q5_1_8)                    \
  X(stream_q8_0, stream_q8_0_1)                    \
  X(stream_q8_0, stream_q8_0_2)                    \
  X(stream_q8_0, stream_q8_0_4)                    \
  X(stream_q8_0, stream_q8_0_8)                    \
  X(stream_q4_k, stream_q4_k_1)                    \
  X(stream_q4_k, stream_q4_k_2)                    \
  X(stream_q4_k, stream_q4_k_4)                    \
  X(stream_q4_k, stream_q4_k_8)                    \
  X(stream_q5_k, stream_q5_k_1)                    \
  X(stream_q5_k, stream_q5_k_2)                    \
  X(stream_q5_k, stream_q5_k_4)                    \
  X(stream_q5_k, stream_q5_k_8)                    \
  X(stream_q6_k, stream_q6_k_1)                    \
  X(stream_q6_k, stream_q6_k_2)                    \
  X(stream_q6_k, stream_q6_k_4)                    \
  X(stream_q6_k, stream_q6_k_8)                    \
  X(sampling, sample)                              \
  X(unpack, unpack_q4_0)                           \
  X(unpack, unpack_q4_1)                           \
  X(unpack, unpack_q5_0)                           \
  X(unpack, unpack_q5_1)                           \
  X(unpack, unpack_q8_0)                           \
  X(unpack, unpack_q4_k)                           \
  X(unpack, unpack_q5_k)                           \
  X(unpack, unpack_q6_k)                           \
  X(unpack, gate_halves)                           \
  X(unpack, add_bias)                              \
  X(attention, attention_f32)                      \
  X(attention, attention_f16)                      \
  X(attention, attention_bf16)                     \
  X(attention_decode, attention_decode_f16_64)     \
  X(attention_decode, attention_decode_f16_96)     \
  X(attention_decode, attention_decode_f16_128)    \
  X(attention_decode, attention_decode_f16_256)    \
  X(attention_decode, attention_decode_bf16_64)    \
  X(attention_decode, attention_decode_bf16_96)    \
  X(attention_decode, attention_decode_bf16_128)   \
  X(attention_decode, attention_decode_bf16_256)   \
  X(attention_prefill, attention_prefill_f16_64)   \
  X(attention_prefill, attention_prefill_f16_96)   \
  X(attention_prefill, attention_prefill_f16_128)  \
  X(attention_prefill, attention_prefill_f16_256)  \
  X(attention_prefill, attention_prefill_bf16_64)  \
  X(attention_prefill, attention_prefill_bf16_96)  \
  X(attention_prefill, attention_prefill_bf16_128) \
  X(attention_prefill, attention_prefill_bf16_256) \
  X(attention_wgmma, attention_wgmma_f16_64)       \
  X(attention_wgmma, attention_wgmma_f16_128)      \
  X(attention_wgmma, attention_wgmma_bf16_64)      \
  X(attention_wgmma, attention_wgmma_bf16_128)     \
  X(heads, store_heads_128) X(heads, store_heads_256)

// X(image)
#define KVI_CUDA_IMAGES(X) \
  X(linear)                \
  X(rows)                  \
  X(half_rows)             \
  X(stream_f16)            \
  X(stream_bf16)           \
  X(stream_q4_0)           \
  X(stream_q4_1)           \
  X(stream_q5_0)           \
  X(stream_q5_1)           \
  X(stream_q8_0)           \
  X(stream_q4_k)           \
  X(stream_q5_k)           \
  X(stream_q6_k)           \
  X(sampling)              \
  X(unpack)                \
  X(attention) X(attention_decode) X(attention_prefill) X(attention_wgmma) X(heads)
