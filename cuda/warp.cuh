/* warp.cuh - what the lanes of a warp find out together. Called by all 32 lanes; every lane gets
 * the answer. */
#ifndef TERN_CUDA_WARP_CUH
#define TERN_CUDA_WARP_CUH

#include "cuda/row.cuh"

namespace TERN_GPU {

#define WARP_LANES 32
#define WARP_ALL 0xffffffffu

static __device__ inline int warp_lane(void)
{
    return (int)threadIdx.x % WARP_LANES;
}

static __device__ inline int warp_index(void)
{
    return (int)threadIdx.x / WARP_LANES;
}

static __device__ inline float warp_max(float value)
{
    for (int h = WARP_LANES / 2; h >= 1; h /= 2)
        value = max_of(value, __shfl_xor_sync(WARP_ALL, value, h));
    return value;
}

/* The last five steps of a tree of N2: lane j holds partial j of 32. Sums commute, so that all
 * lanes end with the bits of lane 0. */
static __device__ inline float warp_tree_sum(float partial)
{
    for (int h = WARP_LANES / 2; h >= 1; h /= 2)
        partial += __shfl_xor_sync(WARP_ALL, partial, h);
    return partial;
}

static __device__ inline int warp_sum(int value)
{
    for (int h = WARP_LANES / 2; h >= 1; h /= 2) value += __shfl_xor_sync(WARP_ALL, value, h);
    return value;
}

/* The 256 values of a row's threads (N2), folded by every warp for itself: one barrier, that
 * before the call, where the CTA's own tree has nine. */
#define WARP_ROW_PARTS (ROW_THREADS / WARP_LANES)

static __device__ inline float warp_row_sum(const float *partials)
{
    float part[WARP_ROW_PARTS];
    UNROLL for (int i = 0; i < WARP_ROW_PARTS; i++)
        part[i] = partials[warp_lane() + WARP_LANES * i];
    UNROLL for (int h = WARP_ROW_PARTS / 2; h >= 1; h /= 2) {
        UNROLL for (int i = 0; i < h; i++) part[i] += part[i + h];
    }
    return warp_tree_sum(part[0]);
}

/* The largest of them, 0 or above. */
static __device__ inline float warp_row_max(const float *values)
{
    float largest = 0.0f;
    UNROLL for (int i = 0; i < WARP_ROW_PARTS; i++)
        largest = max_of(largest, values[warp_lane() + WARP_LANES * i]);
    return warp_max(largest);
}

} /* namespace TERN_GPU */
#endif
