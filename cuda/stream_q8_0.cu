// The fast matrix products with weights of one format.
#include "stream_kernels.cuh"

KVI_STREAM_KERNELS(q8_0, Packed<Format::q8_0>)
