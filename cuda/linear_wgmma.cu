/* linear_wgmma.cu - LINEAR for 16 tokens and more on Hopper: wgmma m64nNk32 u8 x s8, weights as A
 * in registers, tokens as B in shared memory. Twin of linear_mma.cu with equal results.
 *
 * A CTA owns a tile of 128 rows a warpgroup x TOKENS tokens and walks along its part of k in stages
 * of 128 columns. Codes and images of q come as they stand in memory, by 1-D bulk copies into a
 * ring; an mbarrier of each slot says that it is full, another that all warps have read it. Two
 * groups of wgmma are under way, half a stage each: A of the one is unpacked while the other runs.
 * The warps issue the copies besides: a warp for them alone would leave 168 registers a thread,
 * where two halves of 64 rows x 128 tokens need 240. CTAs that split a tile along k are a cluster
 * and add up their sums through shared memory. Sums are stored from the registers they are in.
 *
 * With two warpgroups a CTA stays on its SM, from tile to tile. The first warpgroup runs some
 * stages ahead, so that one multiplies, at the full rate, while the other stores: of y only the
 * last tile's is not hidden. The second one is the last to read a slot, and so it fetches.
 *
 * What binds, predicted for sm_90a: a stage of a warpgroup is 8 wgmma, 4*TOKENS clocks, and beside
 * them 108 instructions of SASS a warp, 56 of them unpacking, and 70 to 90 to fetch. From 64 tokens
 * on a warpgroup alone keeps the tensor cores busy; with fewer its instructions bind. 256 rows ask
 * L2 for the 24 bytes a clock that it has, 128 rows for 48 at 64 tokens. A tile of 256 x 128 leaves
 * in 512 stores a warpgroup, of 4 lines each: 2048 clocks or more, where the other one has eight
 * slots, 4096 clocks, to go on with. Times for the shapes of 2b4t: CONTRIBUTING.md. */
#include "cuda/linear.cuh"

namespace TERN_GPU {

#define WG_THREADS 128 /* of a warpgroup */
#define WG_ROWS 128    /* of its part of the tile: two halves of 64 */
#define WG_HALVES 2
#define WG_GROUPS (WG_ROWS / TERN_CUDA_ROWS)
#define WG_COLUMNS 4   /* of eight tokens, whose y is read before the first is written */

/* Sizes that follow from a tile. */
template <int TOKENS, int WARPGROUPS, int STAGES> struct wgmma_tile {
    static constexpr int TOK = TOKENS, DEPTH = STAGES;
    static constexpr int ROWS = WARPGROUPS * WG_ROWS, GROUPS = WARPGROUPS * WG_GROUPS;
    static constexpr int THREADS = WARPGROUPS * WG_THREADS;
    static constexpr int REGS = TOKENS / 2; /* sums of a thread for a half */
    static constexpr int Q_BYTES = TOKENS / TERN_CUDA_IMAGE_ROWS * TERN_CUDA_IMAGE_BYTES;
    static constexpr int CODE_BYTES = GROUPS * TERN_CUDA_BLOCK_BYTES;
    static constexpr int STAGE_BYTES = Q_BYTES + CODE_BYTES;
    static constexpr int BARRIERS = STAGES * STAGE_BYTES;
    static constexpr int AHEAD = BARRIERS + 2 * STAGES * 8;
    static constexpr int SMEM_BYTES = AHEAD + 16;
    static constexpr int LEAD = WARPGROUPS == 1 ? 0 : STAGES - 2; /* stages, of the first */
    static constexpr int MIN_CTAS = WARPGROUPS == 1 ? 2 : 1;      /* of an SM */
    static_assert(ROWS * TOKENS * 4 <= BARRIERS, "sums on their way to other CTAs");
    static_assert(STAGE_BYTES % 1024 == 0, "images are aligned to 1024 bytes");
};

/* Where a CTA works: a whole tile, or its part of one that the CTAs of a cluster share. */
struct wgmma_place {
    int group0, tok0; /* of the tile */
    int begin, end;   /* its blocks of k */
    int part, parts;  /* of k; 1: the tile is whole */
    unsigned columns; /* of eight tokens that this CTA stores: bits */
};

static __device__ inline wgmma_place place_of(const linear_job &job, int item, int groups,
                                              int tokens)
{
    const int beyond = item - job.n_whole;
    wgmma_place at = {0, 0, 0, job.n_blocks, 0, 1, 0};
    int tile = item;
    if (beyond >= 0) {
        at.part = beyond % job.split;
        at.parts = job.split;
        at.begin = split_begin(job, at.part);
        at.end = split_begin(job, at.part + 1);
        tile = job.n_whole + beyond / job.split;
    }
    at.group0 = tile % job.n_row_tiles * groups;
    at.tok0 = tile / job.n_row_tiles * tokens;
    for (int c = at.part; c < tokens / 8; c += at.parts) at.columns |= 1u << c;
    return at;
}

/* ---- the ring -------------------------------------------------------------------------------- */

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

/* What a warp fetches next. */
struct wgmma_source {
    const uint8_t *codes; /* of its first group of rows */
    const int8_t *q;
    int n_groups;         /* of the tile. Groups beyond the end are not brought, nor are tokens: */
    unsigned q_bytes;     /* their sums are of whatever stands there, and not stored */
    int n_left;           /* stages of the item */
    int item;
    int warp;             /* of the warpgroup: the same in all lanes, also for the compiler */
    wgmma_turn turn;
};

/* Turns to an item, if there is one. */
template <class T>
static __device__ inline void fetch_item(wgmma_source &from, const linear_job &job, int item)
{
    from.item = item;
    if (item >= job.n_items) return;
    const wgmma_place at = place_of(job, item, T::GROUPS, T::TOK);
    const int group = at.group0 + from.warp;
    const size_t block = (size_t)group * (size_t)job.n_blocks + (size_t)at.begin;
    from.codes = (const uint8_t *)job.a.w.codes + block * TERN_CUDA_BLOCK_BYTES;
    from.q = job.a.q.q + quant_at(job.a.n_tok, job.a.q.k_pad, at.tok0, 8 * at.begin);
    from.n_groups = min(job.n_groups - at.group0, T::GROUPS);
    from.q_bytes = (unsigned)(quant_images(min(job.a.n_tok - at.tok0, T::TOK)) *
                              TERN_CUDA_IMAGE_BYTES);
    from.n_left = at.end - at.begin;
}

/* Issues the copies of a stage, by one thread of every warp of the warpgroup that fetches: codes of
 * every fourth group of 16 rows ... */
template <class T>
static __device__ inline void fetch_codes(uint8_t *smem, const wgmma_source &from,
                                          const linear_job &job)
{
    uint8_t *codes = smem + from.turn.slot * T::STAGE_BYTES + T::Q_BYTES +
                     from.warp * TERN_CUDA_BLOCK_BYTES;
    uint64_t *full = filled(smem + T::BARRIERS, from.turn.slot);
    UNROLL for (int i = 0; i < T::GROUPS / 4; i++)
        if (4 * i + from.warp < from.n_groups)
            bulk_copy(codes + i * 4 * TERN_CUDA_BLOCK_BYTES,
                      from.codes + i * job.n_blocks * 4 * TERN_CUDA_BLOCK_BYTES,
                      TERN_CUDA_BLOCK_BYTES, full);
}

/* ... and, in its first warp, the tokens. */
template <class T>
static __device__ inline void fetch_tokens(uint8_t *smem, const wgmma_source &from)
{
    uint64_t *full = filled(smem + T::BARRIERS, from.turn.slot);
    if (from.warp != 0) return;
    mbarrier_expect(full, from.q_bytes + (unsigned)(from.n_groups * TERN_CUDA_BLOCK_BYTES));
    bulk_copy(smem + from.turn.slot * T::STAGE_BYTES, from.q, from.q_bytes, full);
}

/* Turns to the next stage, by all lanes. */
template <class T>
static __device__ inline void next_stage(wgmma_source &from, const linear_job &job)
{
    from.codes += TERN_CUDA_BLOCK_BYTES;
    from.q += quant_images(job.a.n_tok) * TERN_CUDA_IMAGE_BYTES;
    next_turn<T>(from.turn);
    if (--from.n_left == 0) fetch_item<T>(from, job, from.item + (int)gridDim.x);
}

/* Fills the ring, if this warp fetches. Weights never change: their copies begin before the
 * predecessor has ended. */
template <class T>
static __device__ inline void fetch_first(uint8_t *smem, wgmma_source &from, const linear_job &job,
                                          bool leads)
{
    wgmma_source early = from;
    for (int i = 0; i < T::DEPTH && early.item < job.n_items; i++) {
        if (leads) fetch_codes<T>(smem, early, job);
        next_stage<T>(early, job);
    }
    wait_predecessor();
    for (int i = 0; i < T::DEPTH && from.item < job.n_items; i++) {
        if (leads) fetch_tokens<T>(smem, from);
        next_stage<T>(from, job);
    }
    __syncwarp();
}

/* ---- the product ----------------------------------------------------------------------------- */

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

/* How far this warp is. */
struct wgmma_walk {
    wgmma_turn turn;     /* of the stage that is read next */
    wgmma_source from;
    bool leads;          /* one thread of the warp */
};

/* Frees the slot of the stage that has just been read, and fetches into it. The fetching warpgroup
 * is the last that reads, so it hardly ever waits. */
template <class T>
static __device__ __forceinline__ void release(uint8_t *smem, const linear_job &job,
                                               wgmma_walk &walk, int slot)
{
    uint64_t *empty = emptied(smem + T::BARRIERS, slot);
    if (walk.leads) mbarrier_arrive(empty);
    if (walk.from.item >= job.n_items) return;
    mbarrier_wait(empty, walk.from.turn.phase ^ 1);
    if (walk.leads) {
        fetch_tokens<T>(smem, walk.from);
        fetch_codes<T>(smem, walk.from, job);
    }
    next_stage<T>(walk.from, job);
}

/* The sums of this warpgroup over n_stages stages. While a group of wgmma, half a stage, runs, the
 * A of the next one is unpacked, and the slot of the stage before is filled again. In stage `lead`
 * the other warpgroup may begin. */
template <class T>
static __device__ __forceinline__ void consume(int sums[WG_HALVES][T::REGS], uint8_t *smem,
                                               const linear_job &job, wgmma_walk &walk,
                                               int n_stages, int lead)
{
    const int thread = (int)threadIdx.x;
    uint8_t *barriers = smem + T::BARRIERS;
    const uint8_t *codes = smem + T::Q_BYTES +
                           thread / WG_THREADS * WG_GROUPS * TERN_CUDA_BLOCK_BYTES +
                           thread % WG_THREADS * 16;
    wgmma_half first, second;
    uint4 words[WG_HALVES];
    mbarrier_wait(filled(barriers, walk.turn.slot), walk.turn.phase);
    const uint4 *four = (const uint4 *)(const void *)(codes + walk.turn.slot * T::STAGE_BYTES);
    UNROLL for (int h = 0; h < WG_HALVES; h++) words[h] = four[h * WG_THREADS];
    UNROLL for (int h = 0; h < WG_HALVES; h++) unpack(first.a[h], words[h].x, words[h].y);
    int slot = walk.turn.slot;
    for (int i = 0; i < n_stages; i++) {
        const uint64_t tokens = wgmma_operand(smem + walk.turn.slot * T::STAGE_BYTES);
        const int before = slot;
        slot = walk.turn.slot;
        __syncwarp(); /* the lanes are together again */
        multiply<T>(sums, first, tokens);
        wgmma_wait<1>(); /* the stage before is read */
        UNROLL for (int h = 0; h < WG_HALVES; h++) unpack(second.a[h], words[h].z, words[h].w);
        multiply<T>(sums, second, tokens + 4);
        if (i > 0) release<T>(smem, job, walk, before);
        if (i + 1 < n_stages) next_turn<T>(walk.turn); /* else once more, for nothing */
        mbarrier_wait(filled(barriers, walk.turn.slot), walk.turn.phase);
        four = (const uint4 *)(const void *)(codes + walk.turn.slot * T::STAGE_BYTES);
        UNROLL for (int h = 0; h < WG_HALVES; h++) words[h] = four[h * WG_THREADS];
        if (i == lead) mbarrier_arrive((uint64_t *)(void *)(smem + T::AHEAD));
        __syncwarp();
        wgmma_wait<1>(); /* the first half of this stage is read */
        UNROLL for (int h = 0; h < WG_HALVES; h++) unpack(first.a[h], words[h].x, words[h].y);
    }
    wgmma_wait<0>();
    UNROLL for (int h = 0; h < WG_HALVES; h++) wgmma_done<T::TOK>(sums[h]);
    next_turn<T>(walk.turn);
    release<T>(smem, job, walk, slot);
    __syncwarp();
}

/* ---- the sums -------------------------------------------------------------------------------- */

/* Adds up the sums of the CTAs that share a tile, each for the columns of tokens that it stores:
 * through their shared memory, register by register. The ring is free. */
template <class T>
static __device__ inline void share_sums(int sums[WG_HALVES][T::REGS], uint8_t *smem,
                                         const wgmma_place &at)
{
    uint4 *own = (uint4 *)(void *)smem + threadIdx.x;
    __syncthreads();
    UNROLL for (int h = 0; h < WG_HALVES; h++) {
        UNROLL for (int i = 0; i < T::REGS; i += 4)
            own[(h * T::REGS + i) / 4 * T::THREADS] =
                make_uint4((unsigned)sums[h][i], (unsigned)sums[h][i + 1], (unsigned)sums[h][i + 2],
                           (unsigned)sums[h][i + 3]);
    }
    cluster_sync();
    for (int p = 1; p < at.parts; p++) {
        const uint4 *peer = cluster_peer(own, (unsigned)((at.part + p) % at.parts));
        UNROLL for (int h = 0; h < WG_HALVES; h++) {
            UNROLL for (int i = 0; i < T::REGS; i += 4) {
                if (!(at.columns >> i / 4 & 1)) continue;
                const uint4 other = peer[(h * T::REGS + i) / 4 * T::THREADS];
                sums[h][i] = (int)((unsigned)sums[h][i] + other.x);
                sums[h][i + 1] = (int)((unsigned)sums[h][i + 1] + other.y);
                sums[h][i + 2] = (int)((unsigned)sums[h][i + 2] + other.z);
                sums[h][i + 3] = (int)((unsigned)sums[h][i + 3] + other.w);
            }
        }
    }
    cluster_sync(); /* nobody reads this CTA's any more */
}

/* The rows of a thread: rows 0, 8, 64 and 72 from `first` on. */
struct wgmma_rows {
    int first, n; /* and how many there are from there to the end of the matrix */
    float scale[WG_HALVES][2];
};

static __device__ inline wgmma_rows rows_of(const linear_job &job, const wgmma_place &at)
{
    const int thread = (int)threadIdx.x;
    wgmma_rows rows;
    rows.first = at.group0 * TERN_CUDA_ROWS + thread / WG_THREADS * WG_ROWS +
                 thread % WG_THREADS / 32 * 16 + thread % 32 / 4;
    rows.n = job.a.w.n_out - rows.first;
    UNROLL for (int i = 0; i < 2 * WG_HALVES; i++) {
        const int row = i / 2 * 64 + i % 2 * 8;
        rows.scale[i / 2][i % 2] = row < rows.n ? job.a.w.scale[rows.first + row] : 0;
    }
    return rows;
}

/* Stores N columns of eight tokens from `column` on, as far as they are this CTA's; eight lanes
 * write 32 neighbouring bytes. */
template <class T, int N>
static __device__ __forceinline__ void store_columns(const int sums[WG_HALVES][T::REGS], int column,
                                                     const linear_args &a, const wgmma_place &at,
                                                     const wgmma_rows &rows)
{
    const int tok0 = at.tok0 + (int)threadIdx.x % 4 * 2;
    float was[N][WG_HALVES][4] = {};
    UNROLL for (int c = 0; c < N && a.accumulate; c++) {
        UNROLL for (int i = 0; i < 4 * WG_HALVES; i++) {
            const int row = i / 4 * 64 + i % 4 / 2 * 8, tok = tok0 + (column + c) * 8 + i % 2;
            if (at.columns >> (column + c) & 1 && row < rows.n && tok < a.n_tok)
                was[c][i / 4][i % 4] = a.y[tok * a.ldy + rows.first + row];
        }
    }
    UNROLL for (int c = 0; c < N; c++) {
        if (!(at.columns >> (column + c) & 1)) continue;
        UNROLL for (int t = 0; t < 2; t++) {
            const int tok = tok0 + (column + c) * 8 + t;
            if (tok >= a.n_tok) continue;
            const int q_sum = a.q.sum[tok];
            const float q_scale = a.q.scale[tok];
            float *y = a.y + tok * a.ldy + rows.first;
            UNROLL for (int i = t; i < 4 * WG_HALVES; i += 2) {
                const int h = i / 4, row = h * 64 + i % 4 / 2 * 8;
                const float v = linear_product((unsigned)sums[h][(column + c) * 4 + i % 4], q_sum,
                                               q_scale, rows.scale[h][i % 4 / 2]);
                if (row < rows.n) y[row] = a.accumulate ? was[c][h][i % 4] + v : v;
            }
        }
    }
}

template <class T>
static __device__ inline void store_sums(const int sums[WG_HALVES][T::REGS], const linear_job &job,
                                         const wgmma_place &at)
{
    constexpr int N = T::TOK / 8 < WG_COLUMNS ? T::TOK / 8 : WG_COLUMNS;
    const wgmma_rows rows = rows_of(job, at);
    UNROLL for (int column = 0; column < T::TOK / 8; column += N)
        store_columns<T, N>(sums, column, job.a, at, rows);
}

/* ---- the kernel ------------------------------------------------------------------------------ */

template <class T>
static __global__ void __launch_bounds__(T::THREADS, T::MIN_CTAS)
linear_wgmma_kernel(linear_job job)
{
    if (!has_wgmma()) return; /* machine code for another device, which is never asked for */
    uint8_t *smem = SMEM();
    uint64_t *ahead = (uint64_t *)(void *)(smem + T::AHEAD);
    const int thread = (int)threadIdx.x;
    begin_dependent();
    if (thread == 0) {
        UNROLL for (int i = 0; i < T::DEPTH; i++) {
            mbarrier_init(filled(smem + T::BARRIERS, i), 1);
            mbarrier_init(emptied(smem + T::BARRIERS, i), T::THREADS / 32);
        }
        mbarrier_init(ahead, WG_THREADS / 32);
        mbarrier_init_fence();
    }
    __syncthreads();
    wgmma_walk walk = {};
    walk.leads = thread % 32 == 0;
    const int warp = __shfl_sync(0xffffffffu, thread / 32, 0);
    walk.from.warp = warp % 4;
    const bool fetches = warp >= (T::THREADS - WG_THREADS) / 32;
    fetch_item<T>(walk.from, job, fetches ? (int)blockIdx.x : job.n_items);
    fetch_first<T>(smem, walk.from, job, walk.leads);
    if (T::LEAD > 0 && job.n_items > (int)gridDim.x && thread >= WG_THREADS)
        mbarrier_wait(ahead, 0);
    for (int item = (int)blockIdx.x; item < job.n_items; item += (int)gridDim.x) {
        const wgmma_place at = place_of(job, item, T::GROUPS, T::TOK);
        int sums[WG_HALVES][T::REGS] = {};
        UNROLL for (int h = 0; h < WG_HALVES; h++) wgmma_done<T::TOK>(sums[h]);
        const int n_stages = at.end - at.begin;
        const bool first = T::LEAD > 0 && item == (int)blockIdx.x && thread < WG_THREADS;
        consume<T>(sums, smem, job, walk, n_stages,
                   first && walk.leads ? min(T::LEAD, n_stages - 1) : -1);
        if (at.parts > 1) share_sums<T>(sums, smem, at);
        store_sums<T>(sums, job, at);
    }
}

template <class T>
static cudaError_t launch_tile(const linear_job &job, const tern_linear_plan &plan,
                               const target &to)
{
    return launch(linear_wgmma_kernel<T>, job, dim3((unsigned)plan.n_ctas), dim3(T::THREADS),
                  T::SMEM_BYTES, to, dim3((unsigned)plan.split));
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
