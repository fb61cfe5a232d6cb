/* linear_wgmma.cu - LINEAR for 16 tokens and more on Hopper: wgmma m64nNk32 u8 x s8, weights as A
 * in registers, tokens as B in shared memory. Twin of linear_mma.cu with equal results.
 *
 * A CTA owns a tile of 128 rows a warpgroup x TOKENS tokens and walks along its part of k in stages
 * of 128 columns. Codes and images of q come as they stand in memory, by 1-D bulk copies into a
 * ring; an mbarrier of each slot says that it is full, another that all warps have read it. Two
 * groups of wgmma are under way, half a stage each: A of the one is unpacked while the other runs.
 * The warps issue the copies besides: a warp for them alone would leave 168 registers a thread,
 * where two halves of 64 rows x 128 tokens need 193. Sums leave through shared memory, in rows of
 * 512 bytes. Whole waves of tiles come first; the last, partial one is split along k.
 *
 * What binds, predicted for sm_90a: a stage of a warpgroup is 8 wgmma, 4*TOKENS clocks, and beside
 * them 137 instructions of SASS a warp, 56 of them unpacking, and 60 to 90 to fetch. Alone, from 64
 * tokens on, a warpgroup keeps the tensor cores busy; with fewer its instructions and waits bind,
 * some 250 clocks. 256 rows ask L2 for the 24 bytes a clock it has at 128 tokens, 128 rows for 48
 * at 64. Times for the shapes of 2b4t: CONTRIBUTING.md. */
#include "cuda/linear.cuh"

namespace TERN_GPU {

#define WG_THREADS 128 /* of a warpgroup */
#define WG_ROWS 128    /* of its part of the tile: two halves of 64 */
#define WG_HALVES 2
#define WG_GROUPS (WG_ROWS / TERN_CUDA_ROWS)

/* Sizes that follow from a tile. */
template <int TOKENS, int WARPGROUPS, int STAGES> struct wgmma_tile {
    static constexpr int TOK = TOKENS, DEPTH = STAGES;
    static constexpr int ROWS = WARPGROUPS * WG_ROWS, GROUPS = WARPGROUPS * WG_GROUPS;
    static constexpr int THREADS = WARPGROUPS * WG_THREADS;
    static constexpr int REGS = TOKENS / 2; /* sums of a thread for a half */
    static constexpr int Q_BYTES = TOKENS / TERN_CUDA_IMAGE_ROWS * TERN_CUDA_IMAGE_BYTES;
    static constexpr int CODE_BYTES = GROUPS * TERN_CUDA_BLOCK_BYTES;
    static constexpr int STAGE_BYTES = Q_BYTES + CODE_BYTES;
    static constexpr int PITCH = WG_ROWS + 4; /* sums of a token on their way out */
    static constexpr int BARRIERS = STAGES * STAGE_BYTES;
    static constexpr int TICKET = BARRIERS + 2 * STAGES * 8;
    static constexpr int PLACE = TICKET + 16;
    static constexpr int SMEM_BYTES = PLACE + 32;
    static constexpr int MIN_CTAS = WARPGROUPS == 1 ? 2 : 1; /* of an SM */
    static_assert(WARPGROUPS * TOKENS * PITCH * 4 <= BARRIERS, "sums on their way out");
    static_assert(STAGE_BYTES % 1024 == 0, "images are aligned to 1024 bytes");
};

/* Where a CTA works: kept in shared memory, for want of registers. */
struct wgmma_place {
    int group0, tok0; /* of the tile */
    int begin, end;   /* its blocks of k */
    int tail;         /* of the tile among those that are split; -1: it is whole */
    int part;
};

static __device__ inline wgmma_place place_of(const linear_job &job, int groups, int tokens)
{
    const int cta = (int)blockIdx.x, beyond = cta - job.n_whole;
    wgmma_place at = {0, 0, 0, job.n_blocks, -1, 0};
    int tile = cta;
    if (beyond >= 0) {
        at.tail = beyond / job.split;
        at.part = beyond % job.split;
        at.begin = split_begin(job, at.part);
        at.end = split_begin(job, at.part + 1);
        tile = job.n_whole + at.tail;
    }
    at.group0 = tile % job.n_row_tiles * groups;
    at.tok0 = tile / job.n_row_tiles * tokens;
    return at;
}

/* The barriers of the ring. */
static __device__ inline uint64_t *filled(uint8_t *barriers, int slot)
{
    return (uint64_t *)(void *)barriers + 2 * slot;
}

static __device__ inline uint64_t *emptied(uint8_t *barriers, int slot)
{
    return filled(barriers, slot) + 1;
}

/* A stage's slot, and the parity of its phase there. */
struct wgmma_turn {
    int slot;
    unsigned phase;
};

template <class T> static __device__ __forceinline__ void next_turn(wgmma_turn &turn)
{
    if (++turn.slot < T::DEPTH) return;
    turn.slot = 0;
    turn.phase ^= 1;
}

/* Where the copies of a warp come from: the stage to be fetched next. */
struct wgmma_source {
    const uint8_t *codes; /* of its first group of rows; the others are group_step further */
    const int8_t *q;
    int group_step, q_step;
    int n_groups;         /* of the tile: groups beyond the end are not brought, nor are tokens: */
    unsigned q_bytes;     /* their sums are of whatever stands there, and not stored */
    int n_left;           /* stages */
    wgmma_turn turn;
};

template <class T>
static __device__ inline wgmma_source source_of(const linear_job &job, const wgmma_place &at)
{
    const int group = at.group0 + (int)threadIdx.x / 32 % 4;
    const size_t block = (size_t)group * (size_t)job.n_blocks + (size_t)at.begin;
    return {(const uint8_t *)job.a.w.codes + block * TERN_CUDA_BLOCK_BYTES,
            job.a.q.q + quant_at(job.a.n_tok, job.a.q.k_pad, at.tok0, 8 * at.begin),
            job.n_blocks * 4 * TERN_CUDA_BLOCK_BYTES,
            quant_images(job.a.n_tok) * TERN_CUDA_IMAGE_BYTES,
            min(job.n_groups - at.group0, T::GROUPS),
            (unsigned)(quant_images(min(job.a.n_tok - at.tok0, T::TOK)) * TERN_CUDA_IMAGE_BYTES),
            at.end - at.begin,
            {0, 0}};
}

/* Issues the copies of a stage, by one thread of every warp of the warpgroup that fetches: the
 * codes of every fourth group of 16 rows and, in its first warp, the tokens. */
template <class T>
static __device__ inline void fetch_stage(uint8_t *smem, wgmma_source &from)
{
    const int warp = (int)threadIdx.x / 32 % 4;
    uint8_t *stage = smem + from.turn.slot * T::STAGE_BYTES;
    uint8_t *codes = stage + T::Q_BYTES + warp * TERN_CUDA_BLOCK_BYTES;
    uint64_t *full = filled(smem + T::BARRIERS, from.turn.slot);
    if (warp == 0) {
        mbarrier_expect(full, from.q_bytes + (unsigned)(from.n_groups * TERN_CUDA_BLOCK_BYTES));
        bulk_copy(stage, from.q, from.q_bytes, full);
    }
    UNROLL for (int i = 0; i < T::GROUPS / 4; i++)
        if (4 * i + warp < from.n_groups)
            bulk_copy(codes + i * 4 * TERN_CUDA_BLOCK_BYTES, from.codes + i * from.group_step,
                      TERN_CUDA_BLOCK_BYTES, full);
    from.codes += TERN_CUDA_BLOCK_BYTES;
    from.q += from.q_step;
    from.n_left--;
    next_turn<T>(from.turn);
}

/* A of half a stage, two steps of 32 columns: the words of a lane, unpacked. */
struct wgmma_half {
    uint32_t a[WG_HALVES][2][4];
};

static __device__ __forceinline__ void unpack(uint32_t a[2][4], uint32_t word0, uint32_t word1)
{
    UNROLL for (int p = 0; p < 4; p++) {
        a[0][p] = word0 >> 2 * p & 0x03030303u;
        a[1][p] = word1 >> 2 * p & 0x03030303u;
    }
    wgmma_ready(a[0]);
    wgmma_ready(a[1]);
}

/* Issues the wgmma of half a stage, a group of its own. */
template <class T>
static __device__ __forceinline__ void multiply(int sums[WG_HALVES][T::REGS],
                                                const wgmma_half &half, uint64_t tokens)
{
    wgmma_fence();
    UNROLL for (int step = 0; step < 2; step++) {
        UNROLL for (int h = 0; h < WG_HALVES; h++)
            wgmma_us<T::TOK>(sums[h], half.a[h][step], tokens + (uint64_t)(2 * step));
    }
    wgmma_commit();
}

/* The sums of this warpgroup over the blocks of the CTA. Two groups of wgmma are under way, half a
 * stage each: while one runs, the A of the next is unpacked, and the copies for the slot of the
 * stage before are issued. */
template <class T>
static __device__ __forceinline__ void consume(int sums[WG_HALVES][T::REGS], uint8_t *smem,
                                               const linear_job &job, const wgmma_place &at)
{
    const int thread = (int)threadIdx.x, n_stages = at.end - at.begin;
    const bool leads = thread % 32 == 0, fetches = leads && thread >= T::THREADS - WG_THREADS;
    uint8_t *barriers = smem + T::BARRIERS;
    const uint8_t *codes = smem + T::Q_BYTES +
                           thread / WG_THREADS * WG_GROUPS * TERN_CUDA_BLOCK_BYTES +
                           thread % WG_THREADS * 16;
    wgmma_source from = source_of<T>(job, at);
    wgmma_turn turn = {0, 0};
    wgmma_half first, second;
    uint4 words[WG_HALVES];
    if (fetches)
        for (int i = 0; i < T::DEPTH && from.n_left > 0; i++) fetch_stage<T>(smem, from);
    mbarrier_wait(filled(barriers, 0), 0);
    UNROLL for (int h = 0; h < WG_HALVES; h++) {
        words[h] = ((const uint4 *)(const void *)codes)[h * WG_THREADS];
        unpack(first.a[h], words[h].x, words[h].y);
    }
    __syncwarp();
    for (int i = 0; i < n_stages; i++) {
        const uint64_t tokens = wgmma_operand(smem + turn.slot * T::STAGE_BYTES);
        multiply<T>(sums, first, tokens);
        wgmma_wait<1>(); /* the stage before is read */
        const int before = turn.slot > 0 ? turn.slot - 1 : T::DEPTH - 1;
        if (leads && i > 0) mbarrier_arrive(emptied(barriers, before));
        UNROLL for (int h = 0; h < WG_HALVES; h++) unpack(second.a[h], words[h].z, words[h].w);
        __syncwarp(); /* all lanes have read their codes, and are together again */
        multiply<T>(sums, second, tokens + 4);
        if (fetches && i > 0 && from.n_left > 0) {
            mbarrier_wait(emptied(barriers, before), from.turn.phase ^ 1);
            fetch_stage<T>(smem, from);
        }
        if (i + 1 < n_stages) next_turn<T>(turn); /* the last one is read again, for nothing */
        mbarrier_wait(filled(barriers, turn.slot), turn.phase);
        UNROLL for (int h = 0; h < WG_HALVES; h++)
            words[h] = ((const uint4 *)(const void *)(codes +
                                                      turn.slot * T::STAGE_BYTES))[h * WG_THREADS];
        __syncwarp();
        wgmma_wait<1>(); /* the first half of this stage is read */
        UNROLL for (int h = 0; h < WG_HALVES; h++) unpack(first.a[h], words[h].x, words[h].y);
    }
    wgmma_wait<0>();
    UNROLL for (int h = 0; h < WG_HALVES; h++) wgmma_done<T::TOK>(sums[h]);
}

/* Puts the sums of a warpgroup into shared memory, token by token; 8 lanes of a warp meet 4 tokens,
 * whose pitch keeps them in banks of their own. */
template <class T>
static __device__ inline void spread_sums(unsigned *out, const int sums[WG_HALVES][T::REGS])
{
    const int lane = (int)threadIdx.x % 32, warp = (int)threadIdx.x / 32 % 4;
    UNROLL for (int h = 0; h < WG_HALVES; h++) {
        UNROLL for (int i = 0; i < T::REGS; i++) {
            const int row = h * 64 + warp * 16 + lane / 4 + i % 4 / 2 * 8;
            const int tok = i / 4 * 8 + lane % 4 * 2 + i % 2;
            out[tok * T::PITCH + row] = (unsigned)sums[h][i];
        }
    }
}

/* Four rows of a token, at a lane's place: in the sums of this CTA, of part `part` of the tile. */
template <class T> static __device__ inline uint4 *own_sums(uint8_t *smem, int t)
{
    const int thread = (int)threadIdx.x, warpgroup = thread / WG_THREADS, lane = thread % 32;
    return (uint4 *)(void *)((unsigned *)(void *)smem + (warpgroup * T::TOK + t) * T::PITCH) + lane;
}

template <class T>
static __device__ inline uint4 *part_sums(const linear_job &job, const wgmma_place &at, int part,
                                          int t)
{
    const int thread = (int)threadIdx.x, warpgroup = thread / WG_THREADS, lane = thread % 32;
    return (uint4 *)(void *)job.a.partial + (size_t)(at.tail * job.split + part) *
                                                (size_t)(T::ROWS * T::TOK / 4) +
           (warpgroup * T::TOK + t) * (WG_ROWS / 4) + lane;
}

/* Hands the sums of a split tile over through scratch. False where another CTA finishes it. */
template <class T>
static __device__ inline bool share_split(uint8_t *smem, const linear_job &job,
                                          const wgmma_place &at)
{
    for (int t = (int)threadIdx.x / 32 % 4; t < T::TOK; t += 4)
        *part_sums<T>(job, at, at.part, t) = *own_sums<T>(smem, t);
    return last_of_split(job, at.tail, (unsigned *)(void *)(smem + T::TICKET));
}

/* Stores the tile: a warp takes every fourth token of its warpgroup, a lane four rows. */
template <class T>
static __device__ inline void store_tile(uint8_t *smem, const linear_job &job,
                                         const wgmma_place &at)
{
    const int lane = (int)threadIdx.x % 32, warpgroup = (int)threadIdx.x / WG_THREADS;
    const int row = at.group0 * TERN_CUDA_ROWS + warpgroup * WG_ROWS + 4 * lane;
    const int n_tok = min(job.a.n_tok - at.tok0, T::TOK);
    if (row >= job.a.w.n_out) return;
    for (int t = (int)threadIdx.x / 32 % 4; t < n_tok; t += 4) {
        uint4 sum = *own_sums<T>(smem, t);
        for (int part = 0; at.tail >= 0 && part < job.split; part++) {
            if (part == at.part) continue;
            const uint4 other = *part_sums<T>(job, at, part, t);
            sum = make_uint4(sum.x + other.x, sum.y + other.y, sum.z + other.z, sum.w + other.w);
        }
        linear_store4(job.a, at.tok0 + t, row, sum);
    }
}

template <class T>
static __global__ void __launch_bounds__(T::THREADS, T::MIN_CTAS)
linear_wgmma_kernel(linear_job job)
{
    if (!has_wgmma()) return; /* machine code for another device, which is never asked for */
    uint8_t *smem = SMEM();
    wgmma_place &at = *(wgmma_place *)(void *)(smem + T::PLACE);
    const int thread = (int)threadIdx.x;
    if (thread == 0) {
        at = place_of(job, T::GROUPS, T::TOK);
        UNROLL for (int i = 0; i < T::DEPTH; i++) {
            mbarrier_init(filled(smem + T::BARRIERS, i), 1);
            mbarrier_init(emptied(smem + T::BARRIERS, i), T::THREADS / 32);
        }
        mbarrier_init_fence();
    }
    after_predecessor();
    __syncthreads();
    int sums[WG_HALVES][T::REGS] = {};
    consume<T>(sums, smem, job, at);
    __syncthreads(); /* the ring is read by all */
    spread_sums<T>((unsigned *)(void *)smem + thread / WG_THREADS * T::TOK * T::PITCH, sums);
    __syncthreads();
    if (at.tail >= 0 && !share_split<T>(smem, job, at)) return;
    store_tile<T>(smem, job, at);
}

template <class T>
static cudaError_t launch_tile(const linear_job &job, const tern_linear_plan &plan,
                               const target &to)
{
    const int n_tiles = plan.n_row_tiles * plan.n_tok_tiles;
    const int n_ctas = plan.n_whole + (n_tiles - plan.n_whole) * plan.split;
    return launch(linear_wgmma_kernel<T>, job, dim3((unsigned)n_ctas), dim3(T::THREADS),
                  T::SMEM_BYTES, to);
}

cudaError_t launch_linear_wgmma(const linear_job &job, const tern_linear_plan &plan,
                                const target &to)
{
    switch (plan.kernel) {
    case TERN_LINEAR_WGMMA_16: return launch_tile<wgmma_tile<16, 1, 8>>(job, plan, to);
    case TERN_LINEAR_WGMMA_32: return launch_tile<wgmma_tile<32, 1, 8>>(job, plan, to);
    case TERN_LINEAR_WGMMA_64: return launch_tile<wgmma_tile<64, 1, 6>>(job, plan, to);
    case TERN_LINEAR_WGMMA_128: return launch_tile<wgmma_tile<128, 1, 5>>(job, plan, to);
    default: return launch_tile<wgmma_tile<128, 2, 8>>(job, plan, to);
    }
}

/* ---- which machine code runs ----------------------------------------------------------------- */

struct probe_args {
    int *out;
};

static __global__ void probe_kernel(probe_args a)
{
    after_predecessor();
    *a.out = has_wgmma();
}

cudaError_t probe_wgmma(int *has, const target &to)
{
    probe_args a = {};
    *has = 0;
    cudaError_t error = cudaMalloc((void **)&a.out, sizeof *a.out);
    if (error == cudaSuccess) error = launch(probe_kernel, a, dim3(1), dim3(1), 0, to);
    if (error == cudaSuccess)
        error = cudaMemcpyAsync(has, a.out, sizeof *has, cudaMemcpyDeviceToHost, to.stream);
    if (error == cudaSuccess) error = cudaStreamSynchronize(to.stream);
    if (a.out) cudaFree(a.out);
    return error;
}

} /* namespace TERN_GPU */
