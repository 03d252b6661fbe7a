// The fast matrix products with weights of one format.
#include "stream_kernels.cuh"

KVI_STREAM_KERNELS(f16, RowMajor<__half>)
