// The fast matrix products with weights of one format.
#include "stream_kernels.cuh"

KVI_STREAM_KERNELS(q4_0, Packed<Format::q4_0>)
