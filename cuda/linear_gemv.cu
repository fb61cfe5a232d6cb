/* linear_gemv.cu - LINEAR for one token whose q is in memory (gemv.cuh): a CTA an SM copies q to
 * shared memory and streams its rows.
 *
 * The weights of the first stages and the scales of the rows are asked for before the wait for the
 * predecessor: of a matrix of 2B4T all, or most, is under way or there when q is known, so that its
 * latency and much of its time are hidden behind the kernel before.
 * Bound: bytes. A block is 64 weights a lane in 16 LOP + 16 IDP + 8 LDS.32 + 1 LDS.128 + 19 of the
 * loop and its copy (machine code of sm_90a), the sums of a row group 35 more: 64, 1.0 a weight,
 * where 4.3 TB/s on 132 SMs deliver 74 weights a clock and an SM issues 128. In flight: 15 x 512
 * bytes a warp, 61 KB an SM. */
#include "cuda/gemv.cuh"

namespace TERN_GPU {

struct gemv_job {
    linear_args a;
    int n_groups;
};

template <int STAGES> static __global__ void linear_gemv_kernel(gemv_job job)
{
    const linear_args &a = job.a;
    const int thread = (int)threadIdx.x, k_pad = a.w.k_pad;
    const gemv_share share = gemv_share_of(job.n_groups, 0, (int)blockIdx.x, (int)gridDim.x);
    const gemv_smem s = gemv_smem_of<STAGES>(k_pad, share);
    const gemv_run run = gemv_run_of<STAGES>(a.w, share, s);
    begin_dependent();
    gemv_begin<STAGES>(run, a.w, share, s);
    wait_predecessor();
    for (int i = 16 * thread; i < k_pad; i += 16 * GEMV_THREADS)
        *(uint4 *)(void *)(s.q + i) = *(const uint4 *)(const void *)(a.q.q + i);
    const float scale = a.q.scale[0];
    const int32_t sum = a.q.sum[0];
    const float before = gemv_before(a, share);
    __syncthreads();
    gemv_stream<STAGES>(run, s, k_pad / TERN_CUDA_COLS);
    __syncthreads();
    gemv_store(a, share, s, scale, sum, before);
}

static size_t smem_bytes(int stages, const gemv_job &job, int n_cta)
{
    return gemv_smem_bytes(stages, job.a.w.k_pad, job.n_groups, 0, n_cta);
}

bool linear_gemv_fits(const linear_args &a, const target &to)
{
    const gemv_job job = {a, linear_groups(a.w)};
    return smem_bytes(GEMV_SHALLOW, job, gemv_ctas(job.n_groups, to)) <= (size_t)to.smem_bytes;
}

cudaError_t launch_linear_gemv(const linear_args &a, const target &to)
{
    const gemv_job job = {a, linear_groups(a.w)};
    const int n_cta = gemv_ctas(job.n_groups, to);
    const bool deep = smem_bytes(GEMV_DEEP, job, n_cta) <= (size_t)to.smem_bytes;
    return launch(deep ? linear_gemv_kernel<GEMV_DEEP> : linear_gemv_kernel<GEMV_SHALLOW>, job,
                  dim3((unsigned)n_cta), dim3(GEMV_THREADS),
                  smem_bytes(deep ? GEMV_DEEP : GEMV_SHALLOW, job, n_cta), to);
}

} /* namespace TERN_GPU */
