/* launch.cuh - the only place that launches kernels. A kernel takes one struct by value.
 *
 * Where the target says so, a kernel is a programmatic dependent: it may begin before the one
 * before it in the stream has ended. So every kernel calls wait_predecessor(), by all threads,
 * before it reads what changes during a step or writes any memory but its own shared one; as each
 * of them waits, the end of one is the end of all before it. Weights never change: their loads may
 * precede the wait. */
#ifndef TERN_CUDA_LAUNCH_CUH
#define TERN_CUDA_LAUNCH_CUH

#include "cuda/kernels.cuh"
#include "cuda/ptx.cuh"

namespace TERN_GPU {

/* What the driver gives without being asked for more. */
#define SMEM_DEFAULT_BYTES (48 * 1024)

/* The first line of a kernel that has nothing to do before the wait. */
static __device__ inline void after_predecessor(void)
{
    begin_dependent();
    wait_predecessor();
}

/* True in the last of n CTAs that come here, after everything that the others wrote before; the
 * counter is back at 0 then. Every thread calls it; *shared is a word of shared memory. */
static __device__ inline bool last_to_come(unsigned *counter, unsigned n, unsigned *shared)
{
    __syncthreads();
    if (threadIdx.x == 0) {
        const unsigned ticket = take_ticket(counter);
        if (ticket == n - 1) *counter = 0;
        *shared = ticket;
    }
    __syncthreads();
    return *shared == n - 1;
}

/* Launches `kernel` on grid x block threads with smem_bytes of shared memory per CTA, and clusters
 * of CTAs where `cluster` is more than one. */
template <class Args>
static inline cudaError_t launch(void (*kernel)(Args), const Args &args, dim3 grid, dim3 block,
                                 size_t smem_bytes, const target &to, dim3 cluster = dim3(1))
{
    if (smem_bytes > SMEM_DEFAULT_BYTES) {
        const cudaError_t status =
            cudaFuncSetAttribute(kernel, cudaFuncAttributeMaxDynamicSharedMemorySize,
                                 (int)smem_bytes);
        if (status != cudaSuccess) return status;
    }
    cudaLaunchConfig_t config = {};
    config.gridDim = grid;
    config.blockDim = block;
    config.dynamicSmemBytes = smem_bytes;
    config.stream = to.stream;
    cudaLaunchAttribute attributes[2] = {};
    config.attrs = attributes;
    if (to.dependent) {
        cudaLaunchAttribute &dependent = attributes[config.numAttrs++];
        dependent.id = cudaLaunchAttributeProgrammaticStreamSerialization;
        dependent.val.programmaticStreamSerializationAllowed = 1;
    }
    if (cluster.x * cluster.y * cluster.z > 1) {
        cudaLaunchAttribute &together = attributes[config.numAttrs++];
        together.id = cudaLaunchAttributeClusterDimension;
        together.val.clusterDim = {cluster.x, cluster.y, cluster.z};
    }
    return cudaLaunchKernelEx(&config, kernel, args);
}

static inline unsigned blocks_of(int64_t n, int per_block)
{
    return (unsigned)((n + per_block - 1) / per_block);
}

} /* namespace TERN_GPU */
#endif
