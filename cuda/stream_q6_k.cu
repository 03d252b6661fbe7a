// The fast matrix products with weights of one format.
#include "stream_kernels.cuh"

KVI_STREAM_KERNELS(q6_k, Packed<Format::q6_k>)
