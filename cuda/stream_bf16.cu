// The fast matrix products with weights of one format.
#include "stream_kernels.cuh"

KVI_STREAM_KERNELS(bf16, RowMajor<__nv_bfloat16>)
