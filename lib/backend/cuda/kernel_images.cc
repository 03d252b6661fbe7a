// The images that nvcc made (KVINFER_CUDA_IMAGES is their folder), as bytes of the library.
//
// The names begin with those of the list in cuda/kernels.h; a new .cu file has a line here.

#define KVI_EMBED(name)                          \
  asm(".section .rodata.kvi_cuda_" #name         \
      ", \"a\"\n"                                \
      ".balign 64\n"                             \
      ".globl kvi_cuda_" #name                   \
      "\n"                                       \
      ".hidden kvi_cuda_" #name                  \
      "\n"                                       \
      "kvi_cuda_" #name                          \
      ":\n"                                      \
      ".incbin \"" KVINFER_CUDA_IMAGES "/" #name \
      ".fatbin\"\n"                              \
      ".byte 0\n"                                \
      ".previous\n")

KVI_EMBED(linear);
KVI_EMBED(rows);
KVI_EMBED(half_rows);
KVI_EMBED(sampling);
KVI_EMBED(stream_f16);
KVI_EMBED(stream_bf16);
KVI_EMBED(stream_q4_0);
KVI_EMBED(stream_q4_1);
KVI_EMBED(stream_q5_0);
KVI_EMBED(stream_q5_1);
KVI_EMBED(stream_q8_0);
KVI_EMBED(stream_q4_k);
KVI_EMBED(stream_q5_k);
KVI_EMBED(stream_q6_k);
KVI_EMBED(attention);
KVI_EMBED(attention_decode);
KVI_EMBED(attention_prefill);
KVI_EMBED(attention_wgmma);
KVI_EMBED(heads);
KVI_EMBED(unpack);
