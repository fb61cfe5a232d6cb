/* linear_fused.cu - NORM_QUANT and the LINEAR behind it, and behind gate and up ACT_MUL too, as one
 * kernel for one token: the bits and the memory that the two or three leave, in one launch.
 *
 * The product is that of gemv.cuh: a CTA an SM, whose weights are under way before the predecessor
 * has ended. Every CTA then norms and quantises the row for itself; CTA 0 also writes q, scale and
 * sum, for whoever else reads them. A CTA is 256 threads, thread i is partial i of N2; the gain,
 * which never changes, is in shared memory before the wait. Two barriers: behind the sums of
 * squares and the largest value, whose trees every warp folds for itself, and behind q.
 *
 * Why here, counted for 2B4T on 132 SMs (24 bytes a clock and SM from L2):
 *   - NORM_QUANT as a kernel: a gap between kernels of 1.3 us and 1.5 us of its own.
 *   - As a prologue: 10 KB (27 KB for down) of floats from L2, 430 (1150) clocks; latency 300,
 *     trees and divisions 250, 12 instructions a value, 300 (810) clocks: 0.7 us, 1.4 for down.
 *     132 CTAs read 1.4 (3.6) MB; a CTA for every 16 rows would read 8.6, in waves.
 *   - ACT_MUL as a prologue of down: 55 KB of gate and up an SM, 1.3 us more; as the epilogue of
 *     gate and up: nothing, a CTA has both rows. So it is an epilogue, down reads one row of f.
 * Bound: bytes of weights, then GEMV's instructions, then the prologue's chain. */
#include "cuda/act.cuh"
#include "cuda/gemv.cuh"

namespace TERN_GPU {

static_assert(GEMV_THREADS == ROW_THREADS, "a thread is a partial of N2");

struct fused_job {
    linear_fused_args a;
    int n_groups; /* of rows; with ACT_MUL pairs of one of gate and one of up */
    int up;       /* the row group where up begins; 0 without ACT_MUL */
};

/* Behind the memory of gemv.cuh. */
struct fused_smem {
    float *y;       /* [k_pad]: the gain, then the values that are quantised, zeros behind k */
    float *squares; /* [ROW_THREADS]: partials */
    float *largest; /* [ROW_THREADS] */
    float *mean;    /* [ROW_THREADS]: partials, where the mean is subtracted */
    int *sums;      /* [GEMV_WARPS]: of q */
};

static __device__ inline fused_smem fused_smem_of(uint8_t *rest, int k_pad)
{
    fused_smem s;
    s.y = (float *)(void *)rest;
    s.squares = s.y + k_pad;
    s.largest = s.squares + ROW_THREADS;
    s.mean = s.largest + ROW_THREADS;
    s.sums = (int *)(void *)(s.mean + ROW_THREADS);
    return s;
}

static size_t smem_bytes(int stages, const fused_job &job, int n_cta)
{
    const int k_pad = job.a.linear.w.k_pad;
    return gemv_smem_bytes(stages, k_pad, job.n_groups, job.up, n_cta) +
           (size_t)k_pad * sizeof(float) + 3 * ROW_SMEM_BYTES + GEMV_WARPS * sizeof(int);
}

/* ---- the prologue --------------------------------------------------------------------------- */

#define FUSED_LOADS 16 /* of x that a thread has under way */

/* The gain to where its thread will want it; ones are never multiplied. */
static __device__ inline void fetch_gain(const norm_quant_args &a, const fused_smem &s)
{
    for (int i = (int)threadIdx.x; i < a.out.k_pad; i += ROW_THREADS)
        s.y[i] = a.gain && i < a.k ? __ldg(a.gain + i) : 0.0f;
}

/* Elements thread + 256 * (0 .. FUSED_LOADS - 1) behind `first`; zeros behind k. */
static __device__ inline void load_row(float x[FUSED_LOADS], const norm_quant_args &a, int first)
{
    UNROLL for (int j = 0; j < FUSED_LOADS; j++) {
        const int i = first + j * ROW_THREADS;
        x[j] = i < a.k ? a.x[i] : 0.0f;
    }
}

static __device__ inline float mean_of(const norm_quant_args &a, const fused_smem &s)
{
    float partial = 0.0f;
    for (int i = (int)threadIdx.x; i < a.k; i += ROW_THREADS) partial += a.x[i];
    s.mean[threadIdx.x] = partial;
    __syncthreads();
    return warp_row_sum(s.mean) / (float)a.k;
}

/* y, and this thread's part of what the row's factors are made of. */
static __device__ inline void scan_row(const norm_quant_args &a, const fused_smem &s)
{
    const float mean = a.subtract_mean ? mean_of(a, s) : 0.0f; /* x - 0 is x to the bit */
    float squares = 0.0f, largest = 0.0f;
    for (int first = (int)threadIdx.x; first < a.k; first += FUSED_LOADS * ROW_THREADS) {
        float x[FUSED_LOADS];
        load_row(x, a, first);
        UNROLL for (int j = 0; j < FUSED_LOADS; j++) {
            const int i = first + j * ROW_THREADS;
            if (i >= a.k) break;
            const float v = x[j] - mean, y = a.gain ? v * s.y[i] : v;
            squares += v * v;
            largest = max_of(largest, fabsf(y));
            s.y[i] = y;
        }
    }
    s.squares[threadIdx.x] = squares;
    s.largest[threadIdx.x] = largest;
}

/* q of the row, of zeros where its sum of squares is not `finite`; the warp's sum of it. */
static __device__ inline int quantise_row(const norm_quant_args &a, const fused_smem &s, int8_t *q,
                                          float factor, bool finite)
{
    int sum = 0;
    for (int w = (int)threadIdx.x; w < a.out.k_pad / 4; w += ROW_THREADS) {
        const float4 four = *(const float4 *)(const void *)(s.y + 4 * w);
        const float y[4] = {four.x, four.y, four.z, four.w};
        uint32_t word = 0;
        UNROLL for (int b = 0; b < 4; b++) {
            const int v = finite ? round_clamp(y[b] * factor, 127.0f) : 0;
            word |= (uint32_t)(uint8_t)v << (8 * b);
        }
        sum = dp4a_ss(word, 0x01010101u, sum);
        ((uint32_t *)(void *)q)[w] = word;
        if (blockIdx.x == 0) ((uint32_t *)(void *)a.out.q)[w] = word;
    }
    return warp_sum(sum);
}

/* Scale and row sum of q, which stands in shared memory; every thread gets them. */
struct fused_row {
    float scale;
    int32_t sum;
};

static __device__ inline fused_row norm_row(const norm_quant_args &a, const fused_smem &s,
                                            int8_t *q)
{
    scan_row(a, s);
    __syncthreads();
    const float squares = warp_row_sum(s.squares);
    const bool finite = is_finite(squares);
    const float r = a.gain ? inverse_rms(squares, a.k, a.eps) : 1.0f;
    const float range = quant_range(warp_row_max(s.largest), r);
    const int part = quantise_row(a, s, q, (127.0f / range) * r, finite);
    if (warp_lane() == 0) s.sums[warp_index()] = part;
    __syncthreads();
    fused_row row = {finite ? range / 127.0f : 0.0f, 0};
    for (int w = 0; w < GEMV_WARPS; w++) row.sum += s.sums[w];
    if (blockIdx.x == 0 && threadIdx.x == 0) {
        a.out.scale[0] = row.scale;
        a.out.sum[0] = row.sum;
        if (!finite) report(a.fault, FAULT_NOT_FINITE);
    }
    return row;
}

/* ---- the epilogue of gate and up ------------------------------------------------------------ */

/* y of the CTA's rows, and of every pair the activation. */
static __device__ inline void store_pairs(const linear_fused_args &a, const gemv_share &share,
                                          const gemv_smem &s, const fused_row &row)
{
    const int half = share.n * TERN_CUDA_ROWS;
    for (int r = (int)threadIdx.x; r < half; r += GEMV_THREADS) {
        const int n = gemv_row(share, r);
        float v[2];
        UNROLL for (int i = 0; i < 2; i++) {
            float *y = a.linear.y + n + i * a.act.f;
            const int at = r + i * half;
            v[i] = linear_product(s.sums[at], row.sum, row.scale, s.scales[at]);
            if (a.linear.accumulate) v[i] = *y + v[i];
            *y = v[i];
        }
        a.act.y[n] = act_of(v[0], a.act.act) * v[1];
    }
}

template <int STAGES> static __global__ void linear_fused_kernel(fused_job job)
{
    const linear_args &a = job.a.linear;
    const int k_pad = a.w.k_pad;
    const gemv_share share = gemv_share_of(job.n_groups, job.up, (int)blockIdx.x, (int)gridDim.x);
    const gemv_smem s = gemv_smem_of<STAGES>(k_pad, share);
    const fused_smem f = fused_smem_of(s.rest, k_pad);
    const gemv_run run = gemv_run_of<STAGES>(a.w, share, s);
    begin_dependent();
    gemv_begin<STAGES>(run, a.w, share, s);
    fetch_gain(job.a.norm, f);
    wait_predecessor();
    const float before = share.up ? 0.0f : gemv_before(a, share);
    const fused_row row = norm_row(job.a.norm, f, s.q);
    gemv_stream<STAGES>(run, s, k_pad / TERN_CUDA_COLS);
    __syncthreads();
    if (share.up)
        store_pairs(job.a, share, s, row);
    else
        gemv_store(a, share, s, row.scale, row.sum, before);
}

/* ---- launch --------------------------------------------------------------------------------- */

static fused_job job_of(const linear_fused_args &a)
{
    if (a.act.f == 0) return fused_job{a, linear_groups(a.linear.w), 0};
    const int groups = a.act.f / TERN_CUDA_ROWS;
    return fused_job{a, groups, groups};
}

bool linear_fused_fits(const linear_fused_args &a, const target &to)
{
    const fused_job job = job_of(a);
    return smem_bytes(GEMV_SHALLOW, job, gemv_ctas(job.n_groups, to)) <= (size_t)to.smem_bytes;
}

cudaError_t launch_linear_fused(const linear_fused_args &a, const target &to)
{
    const fused_job job = job_of(a);
    const int n_cta = gemv_ctas(job.n_groups, to);
    const bool deep = smem_bytes(GEMV_DEEP, job, n_cta) <= (size_t)to.smem_bytes;
    return launch(deep ? linear_fused_kernel<GEMV_DEEP> : linear_fused_kernel<GEMV_SHALLOW>, job,
                  dim3((unsigned)n_cta), dim3(GEMV_THREADS),
                  smem_bytes(deep ? GEMV_DEEP : GEMV_SHALLOW, job, n_cta), to);
}

} /* namespace TERN_GPU */
