/* linear_gemv.cu - LINEAR for one token: 16 rows a CTA, its eight warps share k.
 *
 * A warp takes blocks of 16 rows x 128 columns: 512 bytes of codes and 128 of q come by async copy
 * into a ring of its own. A lane holds rows r and r + 8, and word & (0x03030303 << 2p) is an
 * operand of dp4a with the codes 4^p times too large: four sums, shifted once at the end, no
 * unpacking. The largest sum gains 4 steps x 4 bytes x 2*64*127 = 260096 a block, so they are
 * folded every 4096 blocks, below 2^30.
 * The codes of the first three blocks are asked for before the wait for the predecessor: one
 * latency of memory, some 0.6 us, hidden in each of the four LINEAR of a layer; q comes after it.
 * Bound: bytes. A block is 64 weights a lane in 16 LOP + 16 IDP + 8 LDS.32 + 1 LDS.128 + 25 of the
 * loop and its copies, 68 (sm_90a): 1.06 a weight, where 4.3 TB/s on 132 SMs deliver 74 weights a
 * clock and an SM issues 128. In flight: 3 x 640 bytes a warp, 15 KB a CTA. */
#include "cuda/linear.cuh"

namespace TERN_GPU {

#define GEMV_WARPS 8
#define GEMV_STAGES 4
#define GEMV_SLOT (TERN_CUDA_BLOCK_BYTES + TERN_CUDA_COLS)
#define GEMV_RING (GEMV_STAGES * GEMV_SLOT)
#define GEMV_FOLD 4096 /* blocks */

/* Shared memory: rings, the warps' sums of 16 rows, the ticket. */
#define GEMV_SUMS (GEMV_WARPS * GEMV_RING)
#define GEMV_TICKET (GEMV_SUMS + GEMV_WARPS * TERN_CUDA_ROWS * 4)
#define GEMV_SMEM_BYTES (GEMV_TICKET + 4)

/* What a lane copies from: its 16 bytes of every block of codes, and in lanes 0..7 those of q. */
struct gemv_source {
    const uint8_t *codes;
    const int8_t *q;
};

static __device__ inline void gemv_fetch_codes(uint8_t *slot, const gemv_source &from, int block,
                                               int lane)
{
    copy16_async(slot + lane * 16, from.codes + (size_t)block * TERN_CUDA_BLOCK_BYTES);
}

static __device__ inline void gemv_fetch_q(uint8_t *slot, const gemv_source &from, int block,
                                           int lane)
{
    if (lane < TERN_CUDA_COLS / 16)
        copy16_async(slot + TERN_CUDA_BLOCK_BYTES + lane * 16,
                     from.q + (size_t)block * TERN_CUDA_COLS);
}

/* acc[p] += 4^p times the dot product of register p of a block. */
static __device__ inline void gemv_block(int acc[4], const uint8_t *slot, int lane)
{
    const uint4 codes = *(const uint4 *)(slot + lane * 16);
    const uint32_t *q = (const uint32_t *)(slot + TERN_CUDA_BLOCK_BYTES) + lane % 4;
    const uint32_t words[4] = {codes.x, codes.y, codes.z, codes.w};
    UNROLL for (int step = 0; step < 4; step++) {
        UNROLL for (int p = 0; p < 4; p++)
            acc[p] = dp4a_us(words[step] & 0x03030303u << 2 * p, q[8 * step + 4 * (p / 2)], acc[p]);
    }
}

/* The sums of rows r and r + 8; acc begins anew. */
static __device__ inline void gemv_fold(unsigned sum[2], int acc[4])
{
    sum[0] += (unsigned)(acc[0] + (acc[2] >> 4));
    sum[1] += (unsigned)((acc[1] >> 2) + (acc[3] >> 6));
    for (int p = 0; p < 4; p++) acc[p] = 0;
}

/* This warp's part of the blocks begin .. end: rows r and r + 8 over the columns of this lane. */
static __device__ inline void gemv_stream(unsigned sum[2], uint8_t *ring, const gemv_source &from,
                                          int begin, int end)
{
    const int lane = (int)threadIdx.x % 32, warp = (int)threadIdx.x / 32;
    const int first = begin + warp;
    const int n = first < end ? (end - first + GEMV_WARPS - 1) / GEMV_WARPS : 0;
    begin_dependent();
    UNROLL for (int i = 0; i < GEMV_STAGES - 1; i++)
        if (i < n) gemv_fetch_codes(ring + i * GEMV_SLOT, from, first + i * GEMV_WARPS, lane);
    wait_predecessor();
    UNROLL for (int i = 0; i < GEMV_STAGES - 1; i++) {
        if (i < n) gemv_fetch_q(ring + i * GEMV_SLOT, from, first + i * GEMV_WARPS, lane);
        copy_commit();
    }
    int acc[4] = {0, 0, 0, 0};
    for (int i = 0; i < n; i += GEMV_STAGES) {
        UNROLL for (int slot = 0; slot < GEMV_STAGES; slot++) {
            if (i + slot >= n) break;
            copy_wait<GEMV_STAGES - 2>();
            __syncwarp(); /* q of this slot is there for all lanes, the slot before is read */
            const int next = i + slot + GEMV_STAGES - 1;
            if (next < n) {
                uint8_t *free_slot = ring + (slot + GEMV_STAGES - 1) % GEMV_STAGES * GEMV_SLOT;
                gemv_fetch_codes(free_slot, from, first + next * GEMV_WARPS, lane);
                gemv_fetch_q(free_slot, from, first + next * GEMV_WARPS, lane);
            }
            copy_commit();
            gemv_block(acc, ring + slot * GEMV_SLOT, lane);
        }
        if (i % GEMV_FOLD == GEMV_FOLD - GEMV_STAGES) gemv_fold(sum, acc);
    }
    gemv_fold(sum, acc);
}

/* The sum over the CTA of row `threadIdx.x`, in threads 0..15. */
static __device__ inline unsigned gemv_reduce(unsigned sum[2], unsigned *sums)
{
    const int lane = (int)threadIdx.x % 32, warp = (int)threadIdx.x / 32;
    for (int i = 0; i < 2; i++) {
        sum[i] += __shfl_xor_sync(0xffffffffu, sum[i], 1);
        sum[i] += __shfl_xor_sync(0xffffffffu, sum[i], 2);
        if (lane % 4 == 0) sums[warp * TERN_CUDA_ROWS + lane / 4 + 8 * i] = sum[i];
    }
    __syncthreads();
    unsigned total = 0;
    if (threadIdx.x < TERN_CUDA_ROWS)
        for (int w = 0; w < GEMV_WARPS; w++) total += sums[w * TERN_CUDA_ROWS + (int)threadIdx.x];
    return total;
}

static __global__ void linear_gemv_kernel(linear_job job)
{
    const int lane = (int)threadIdx.x % 32, warp = (int)threadIdx.x / 32;
    const int group = (int)blockIdx.x, part = (int)blockIdx.y;
    const size_t row_bytes = (size_t)job.n_blocks * TERN_CUDA_BLOCK_BYTES;
    const gemv_source from = {
        (const uint8_t *)job.a.w.codes + (size_t)group * row_bytes + lane * 16,
        job.a.q.q + lane * 16};
    unsigned sum[2] = {0, 0};
    gemv_stream(sum, SMEM() + warp * GEMV_RING, from, split_begin(job, part),
                split_begin(job, part + 1));
    unsigned total = gemv_reduce(sum, (unsigned *)(SMEM() + GEMV_SUMS));

    const int row = (int)threadIdx.x;
    if (job.split > 1) {
        unsigned *partial = (unsigned *)job.a.partial + group * job.split * TERN_CUDA_ROWS;
        if (row < TERN_CUDA_ROWS) partial[part * TERN_CUDA_ROWS + row] = total;
        if (!last_of_split(job, group, (unsigned *)(SMEM() + GEMV_TICKET))) return;
        total = 0;
        if (row < TERN_CUDA_ROWS)
            for (int s = 0; s < job.split; s++) total += partial[s * TERN_CUDA_ROWS + row];
    }
    const int n = group * TERN_CUDA_ROWS + row;
    if (row < TERN_CUDA_ROWS && n < job.a.w.n_out) linear_store(job.a, 0, n, total);
}

cudaError_t launch_linear_gemv(const linear_job &job, const tern_linear_plan &plan,
                               const target &to)
{
    return launch(linear_gemv_kernel, job, dim3((unsigned)plan.n_row_tiles, (unsigned)plan.split),
                  dim3(GEMV_WARPS * 32), GEMV_SMEM_BYTES, to);
}

} /* namespace TERN_GPU */
