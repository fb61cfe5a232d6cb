/* linear_mma.cu - LINEAR for 2 tokens and more on int8 tensor cores: mma m16n8k32, weights as A
 * straight from the fragment order, tokens in the n slot.
 *
 * A CTA owns a tile of 16*GROUPS*WARPS_M rows x TOKENS tokens and walks along its part of k in
 * stages of WARPS_K blocks of 128 columns, each taken by one of WARPS_K warps. A stage, codes and
 * q, comes by async copies, STAGES - 1 of them ahead. A warp unpacks a 32-bit word into the four
 * registers of A (7 instructions for 16 codes) and shows them to TOKENS/8 mma; q comes by ldmatrix
 * from rows padded to 144 bytes, which no two lanes of a phase meet in a bank.
 * Rows, tokens and blocks beyond the end are read again from the last one and not stored.
 * Counted for sm_90a, a block of a warp: GROUPS = 2, 64 tokens, 235 instructions for 64 mma, 56 of
 * them unpacking, 16 ldmatrix: at 1.6 clocks a mma the tensor cores bind. GROUPS = 4, 8 tokens, 226
 * for 8192 weights, 0.9 a weight of a lane: bytes bind, as in linear_gemv.cu. */
#include "cuda/linear.cuh"

namespace TERN_GPU {

#define MMA_PITCH (TERN_CUDA_COLS + 16) /* of a token in a stage */

/* Sizes that follow from a tile. */
template <int TOKENS, int GROUPS, int WARPS_M, int WARPS_K, int STAGES> struct mma_tile {
    static constexpr int TOK = TOKENS, GRP = GROUPS, W_M = WARPS_M, W_K = WARPS_K, DEPTH = STAGES;
    static constexpr int THREADS = 32 * WARPS_M * WARPS_K;
    static constexpr int CTA_GROUPS = GROUPS * WARPS_M;
    static constexpr int A_BYTES = WARPS_K * CTA_GROUPS * TERN_CUDA_BLOCK_BYTES;
    static constexpr int STAGE_BYTES = A_BYTES + WARPS_K * TOKENS * MMA_PITCH;
    static constexpr int A_COPIES = A_BYTES / 16 / THREADS; /* of a thread for a stage */
    static constexpr int B_COPIES = WARPS_K * TOKENS * 8 / THREADS;
    static constexpr int REGS = GROUPS * TOKENS / 2; /* sums of a thread */
    static constexpr int MIN_CTAS = TOKENS < 64 ? 4 : 1; /* of an SM; what registers allow */
    static constexpr bool CLUSTERS = TOKENS <= 16; /* above, wgmma takes over where there are any */
    static constexpr int TICKET = STAGES * STAGE_BYTES;
    static constexpr int SMEM_BYTES = TICKET + 16;
    static_assert((WARPS_K - 1) * WARPS_M * 32 * REGS * 4 <= STAGES * STAGE_BYTES, "exchange");
    static_assert(WARPS_K > 1 || !CLUSTERS, "mma_share_cluster comes after mma_share_k");
    static_assert(A_COPIES * THREADS * 16 == A_BYTES, "whole copies");
    static_assert(B_COPIES * THREADS == WARPS_K * TOKENS * 8, "whole copies");
    static_assert(SMEM_BYTES <= 64 * 1024, "sm_75");
};

/* Where a CTA works. */
struct mma_place {
    int group0, tok0; /* of the tile */
    int begin, end;   /* its blocks of k */
};

static __device__ inline int clamp_to(int i, int last)
{
    return i < last ? i : last;
}

/* Issues the copies of stage `stage` into its slot. */
template <class T>
static __device__ inline void mma_fetch(uint8_t *slot, const linear_job &job, const mma_place &at,
                                        int stage)
{
    const int block0 = at.begin + stage * T::W_K;
    UNROLL for (int j = 0; j < T::A_COPIES; j++) {
        const int i = j * T::THREADS + (int)threadIdx.x;
        const int group = clamp_to(at.group0 + i / 32 % T::CTA_GROUPS, job.n_groups - 1);
        const int block = clamp_to(block0 + i / 32 / T::CTA_GROUPS, at.end - 1);
        const size_t from = (size_t)group * (size_t)job.n_blocks + (size_t)block;
        copy16_async(slot + i * 16, (const uint8_t *)job.a.w.codes + from * TERN_CUDA_BLOCK_BYTES +
                                        i % 32 * 16);
    }
    UNROLL for (int j = 0; j < T::B_COPIES; j++) {
        const int i = j * T::THREADS + (int)threadIdx.x;
        const int row = i / 8; /* of the slot: slice of k, token */
        const int tok = clamp_to(at.tok0 + row % T::TOK, job.a.n_tok - 1);
        const int block = clamp_to(block0 + row / T::TOK, at.end - 1);
        const size_t from = quant_at(job.a.n_tok, job.a.q.k_pad, tok, 8 * block + i % 8);
        copy16_async(slot + T::A_BYTES + row * MMA_PITCH + i % 8 * 16, job.a.q.q + from);
    }
}

/* sums += the product of one block of 128 columns, for this warp's groups and all tokens. */
template <class T>
static __device__ inline void mma_block(int sums[T::GRP][T::TOK / 8][4], const uint8_t *slot,
                                        int warp_m, int warp_k)
{
    const int lane = (int)threadIdx.x % 32;
    const uint8_t *codes =
        slot + (warp_k * T::CTA_GROUPS + warp_m * T::GRP) * TERN_CUDA_BLOCK_BYTES;
    const uint8_t *q = slot + T::A_BYTES + (warp_k * T::TOK + lane % 8) * MMA_PITCH + lane / 8 * 16;
    UNROLL for (int half = 0; half < 2; half++) {
        uint32_t a[T::GRP][2][4];
        UNROLL for (int g = 0; g < T::GRP; g++) {
            const uint2 two = *(const uint2 *)(codes + g * TERN_CUDA_BLOCK_BYTES + lane * 16 +
                                               half * 8);
            UNROLL for (int p = 0; p < 4; p++) {
                a[g][0][p] = two.x >> 2 * p & 0x03030303u;
                a[g][1][p] = two.y >> 2 * p & 0x03030303u;
            }
        }
        UNROLL for (int n = 0; n < T::TOK / 8; n++) {
            uint32_t b[4];
            ldmatrix_x4(b, q + n * 8 * MMA_PITCH + half * 64);
            UNROLL for (int g = 0; g < T::GRP; g++) {
                mma_us(sums[g][n], a[g][0], b);
                mma_us(sums[g][n], a[g][1], b + 2);
            }
        }
    }
}

/* Adds the sums of the warps that share k into those of the first; smem is free. */
template <class T>
static __device__ inline void mma_share_k(int sums[T::REGS], unsigned *smem, int warp_k)
{
    const int thread = (int)threadIdx.x % (32 * T::W_M);
    const int stride = 32 * T::W_M;
    __syncthreads();
    if (warp_k > 0) {
        UNROLL for (int i = 0; i < T::REGS; i++)
            smem[((warp_k - 1) * T::REGS + i) * stride + thread] = (unsigned)sums[i];
    }
    __syncthreads();
    if (warp_k > 0) return;
    UNROLL for (int w = 0; w < T::W_K - 1; w++) {
        UNROLL for (int i = 0; i < T::REGS; i++)
            sums[i] = (int)((unsigned)sums[i] + smem[(w * T::REGS + i) * stride + thread]);
    }
}

/* Adds the sums of the CTAs that split k, a cluster, in the first of them. False in the others. A
 * thread writes where none but it has read since mma_share_k. */
template <class T>
static __device__ inline bool mma_share_cluster(int sums[T::REGS], const linear_job &job,
                                                unsigned *smem, int warp_k)
{
    const int stride = 32 * T::W_M;
    unsigned *own = smem + (int)threadIdx.x % stride;
    if (warp_k == 0) {
        UNROLL for (int i = 0; i < T::REGS; i++) own[i * stride] = (unsigned)sums[i];
    }
    cluster_sync();
    for (int part = 1; part < job.split && blockIdx.z == 0 && warp_k == 0; part++) {
        const unsigned *peer = cluster_peer(own, (unsigned)part);
        UNROLL for (int i = 0; i < T::REGS; i++)
            sums[i] = (int)((unsigned)sums[i] + peer[i * stride]);
    }
    cluster_sync(); /* nobody reads this CTA's sums any more */
    return blockIdx.z == 0;
}

/* Exchanges the sums of a split through scratch, register by register. False where another CTA
 * finishes the tile. */
template <class T>
static __device__ inline bool mma_share_split(int sums[T::REGS], const linear_job &job, int warp_k)
{
    const int thread = (int)threadIdx.x, stride = 32 * T::W_M;
    const int tile = (int)(blockIdx.y * gridDim.x + blockIdx.x);
    unsigned *partial = (unsigned *)job.a.partial +
                        (size_t)tile * (size_t)(job.split * T::REGS * stride) + thread;
    if (warp_k == 0) {
        unsigned *own = partial + (size_t)blockIdx.z * (size_t)(T::REGS * stride);
        UNROLL for (int i = 0; i < T::REGS; i++) own[i * stride] = (unsigned)sums[i];
    }
    if (!last_of_split(job, tile, (unsigned *)(SMEM() + T::TICKET))) return false;
    if (warp_k > 0) return true;
    UNROLL for (int i = 0; i < T::REGS; i++) sums[i] = 0;
    for (int s = 0; s < job.split; s++, partial += T::REGS * stride) {
        UNROLL for (int i = 0; i < T::REGS; i++)
            sums[i] = (int)((unsigned)sums[i] + partial[i * stride]);
    }
    return true;
}

/* Stores the sums of a warp: eight lanes write 32 neighbouring bytes. */
template <class T>
static __device__ inline void mma_store(const int sums[T::GRP][T::TOK / 8][4],
                                        const linear_job &job, const mma_place &at, int warp_m)
{
    const int lane = (int)threadIdx.x % 32;
    UNROLL for (int g = 0; g < T::GRP; g++) {
        const int row0 = (at.group0 + warp_m * T::GRP + g) * TERN_CUDA_ROWS + lane / 4;
        UNROLL for (int n = 0; n < T::TOK / 8; n++) {
            UNROLL for (int i = 0; i < 4; i++) {
                const int row = row0 + 8 * (i / 2), tok = at.tok0 + n * 8 + lane % 4 * 2 + i % 2;
                if (row < job.a.w.n_out && tok < job.a.n_tok)
                    linear_store(job.a, tok, row, (unsigned)sums[g][n][i]);
            }
        }
    }
}

template <class T>
static __global__ void __launch_bounds__(T::THREADS, T::MIN_CTAS) linear_mma_kernel(linear_job job)
{
    after_predecessor();
    const int warp = (int)threadIdx.x / 32, warp_m = warp % T::W_M, warp_k = warp / T::W_M;
    const mma_place at = {(int)blockIdx.x * T::CTA_GROUPS, (int)blockIdx.y * T::TOK,
                          split_begin(job, (int)blockIdx.z), split_begin(job, (int)blockIdx.z + 1)};
    const int n_stages = (at.end - at.begin + T::W_K - 1) / T::W_K;
    uint8_t *smem = SMEM();

    UNROLL for (int i = 0; i < T::DEPTH - 1; i++) {
        if (i < n_stages) mma_fetch<T>(smem + i * T::STAGE_BYTES, job, at, i);
        copy_commit();
    }
    int sums[T::GRP][T::TOK / 8][4] = {};
    for (int i = 0; i < n_stages; i++) {
        copy_wait<T::DEPTH - 2>();
        __syncthreads(); /* stage i is there for all, stage i - 1 is read by all */
        const int next = i + T::DEPTH - 1;
        if (next < n_stages)
            mma_fetch<T>(smem + next % T::DEPTH * T::STAGE_BYTES, job, at, next);
        copy_commit();
        if (at.begin + i * T::W_K + warp_k < at.end)
            mma_block<T>(sums, smem + i % T::DEPTH * T::STAGE_BYTES, warp_m, warp_k);
    }
    if (T::W_K > 1) mma_share_k<T>(&sums[0][0][0], (unsigned *)smem, warp_k);
    if (T::CLUSTERS && job.cluster) {
        if (!mma_share_cluster<T>(&sums[0][0][0], job, (unsigned *)smem, warp_k)) return;
    } else if (job.split > 1 && !mma_share_split<T>(&sums[0][0][0], job, warp_k)) {
        return;
    }
    if (warp_k == 0) mma_store<T>(sums, job, at, warp_m);
}

template <class T>
static cudaError_t launch_tile(const linear_job &job, const tern_linear_plan &plan,
                               const target &to)
{
    return launch(linear_mma_kernel<T>, job,
                  dim3((unsigned)plan.n_row_tiles, (unsigned)plan.n_tok_tiles,
                       (unsigned)plan.split),
                  dim3(T::THREADS), T::SMEM_BYTES, to,
                  dim3(1, 1, job.cluster ? (unsigned)plan.split : 1));
}

cudaError_t launch_linear_mma(const linear_job &job, const tern_linear_plan &plan,
                              const target &to)
{
    switch (plan.kernel) {
    case TERN_LINEAR_MMA_8: return launch_tile<mma_tile<8, 4, 1, 4, 4>>(job, plan, to);
    case TERN_LINEAR_MMA_16: return launch_tile<mma_tile<16, 4, 2, 2, 4>>(job, plan, to);
    case TERN_LINEAR_MMA_32: return launch_tile<mma_tile<32, 2, 4, 1, 4>>(job, plan, to);
    case TERN_LINEAR_MMA_64: return launch_tile<mma_tile<64, 2, 4, 1, 4>>(job, plan, to);
    default: return launch_tile<mma_tile<64, 2, 8, 1, 3>>(job, plan, to);
    }
}

} /* namespace TERN_GPU */
