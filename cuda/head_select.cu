/* head_select.cu - what is taken from the logits of a HEAD: the groups that screening leaves, the n
 * best, the parts of a log-probability. One CTA a row.
 *
 * Screening by groups: the n-th largest of the groups' best lower bounds is reached by n rows of n
 * groups, so no row below it is among the n best; a group whose best upper bound is below it holds
 * none. The n-th largest is taken among n_vocab / 16 values instead of n_vocab.
 * Prediction for 128256 rows: listing 8016 groups takes 5 passes of 8 values a thread, 5 us; the n
 * best of a list of 50 groups the same; of all logits, 4 to 8 passes of 125 values a thread. */
#include "cuda/head.cuh"
#include "cuda/select.cuh"

namespace TERN_GPU {

#define TOP_THREADS 1024
#define SORT_SMEM 1024 /* candidates that are sorted in shared memory */

/* Shared memory: a select, later the candidates to sort, and a word. */
struct head_smem {
    union {
        select_smem select;
        tern_candidate sort[SORT_SMEM];
        unsigned long long sums[TOP_THREADS];
        float largest[TOP_THREADS];
    };
    unsigned word;
};

/* ---- groups ---------------------------------------------------------------------------------- */

struct bound_row {
    const float *lower;
};

static __device__ inline uint64_t select_key(const bound_row &row, int i)
{
    return order_key(row.lower[i], i);
}

static __device__ inline uint64_t select_weight(const bound_row &, int)
{
    return 1;
}

/* order_key without the id. */
static __device__ inline uint32_t logit_key(float logit)
{
    return (uint32_t)(order_key(logit, 0) >> 32);
}

static __global__ void head_list_kernel(head_chunk c)
{
    after_predecessor();
    head_smem *smem = (head_smem *)SMEM();
    const int row = (int)blockIdx.x, thread = (int)threadIdx.x, threads = (int)blockDim.x;
    const size_t at = (size_t)row * (size_t)c.n_groups;
    const bound_row lower = {c.lower + at};
    const uint64_t bound = select_bound(lower, c.n_groups, (uint64_t)c.a.n, &smem->select);

    /* The bound may have low bits open; the least value that it keeps is exact. */
    if (thread == 0) smem->word = 0xffffffffu;
    __syncthreads();
    for (int i = thread; i < c.n_groups; i += threads)
        if (select_key(lower, i) >= bound) atomicMin(&smem->word, logit_key(lower.lower[i]));
    __syncthreads();
    const uint32_t least = smem->word;
    __syncthreads();
    if (thread == 0) smem->word = 0;
    __syncthreads();
    for (int i = thread; i < c.n_groups; i += threads)
        if (logit_key(c.upper[at + (size_t)i]) >= least)
            c.list[at + atomicAdd(&smem->word, 1u)] = (unsigned)i;
    __syncthreads();
    if (thread == 0) c.count[row] = smem->word;
}

/* ---- the n best ------------------------------------------------------------------------------ */

/* Logits of listed groups, or of all (list NULL). */
struct logit_row {
    const float *logits;
    const unsigned *list;
    int n_vocab;
};

static __device__ inline int id_of(const logit_row &row, int i)
{
    return row.list ? (int)row.list[i / TERN_CUDA_ROWS] * TERN_CUDA_ROWS + i % TERN_CUDA_ROWS : i;
}

static __device__ inline uint64_t select_weight(const logit_row &row, int i)
{
    return id_of(row, i) < row.n_vocab;
}

static __device__ inline uint64_t select_key(const logit_row &row, int i)
{
    const int id = id_of(row, i);
    return id < row.n_vocab ? order_key(row.logits[id], id) : 0;
}

struct head_top_job {
    head_chunk c;
    bool listed;
};

static __global__ void head_top_kernel(head_top_job job)
{
    after_predecessor();
    const head_chunk &c = job.c;
    head_smem *smem = (head_smem *)SMEM();
    const int row = (int)blockIdx.x, thread = (int)threadIdx.x, threads = (int)blockDim.x;
    const logit_row logits = {
        c.logits + row * c.ld_logits,
        job.listed ? c.list + (size_t)row * (size_t)c.n_groups : NULL, c.a.table.n_vocab};
    const int n = job.listed ? (int)c.count[row] * TERN_CUDA_ROWS : c.a.table.n_vocab;
    const uint64_t bound = select_bound(logits, n, (uint64_t)c.a.n, &smem->select);

    tern_candidate *top = c.a.top + (size_t)(c.row0 + row) * (size_t)c.a.n;
    tern_candidate *sorted = c.a.n <= SORT_SMEM ? smem->sort : top;
    if (thread == 0) smem->word = 0;
    __syncthreads();
    for (int i = thread; i < n; i += threads) {
        if (!select_weight(logits, i) || select_key(logits, i) < bound) continue;
        const int id = id_of(logits, i);
        const tern_candidate found = {logits.logits[id], id};
        sorted[atomicAdd(&smem->word, 1u)] = found;
    }
    sort_candidates(sorted, c.a.n);
    if (sorted == top) return;
    for (int i = thread; i < c.a.n; i += threads) top[i] = sorted[i];
}

/* ---- log-probabilities ----------------------------------------------------------------------- */

static __global__ void head_score_kernel(head_chunk c)
{
    after_predecessor();
    head_smem *smem = (head_smem *)SMEM();
    const int row = (int)blockIdx.x, thread = (int)threadIdx.x, n_vocab = c.a.table.n_vocab;
    const float *logits = c.logits + row * c.ld_logits;

    float largest = logits[0];
    for (int v = thread; v < n_vocab; v += TOP_THREADS)
        largest = logits[v] > largest ? logits[v] : largest;
    smem->largest[thread] = largest;
    __syncthreads();
    for (int h = TOP_THREADS / 2; h >= 1; h /= 2) {
        if (thread < h && smem->largest[thread + h] > smem->largest[thread])
            smem->largest[thread] = smem->largest[thread + h];
        __syncthreads();
    }
    largest = smem->largest[0];
    __syncthreads();

    unsigned long long sum = 0;
    for (int v = thread; v < n_vocab; v += TOP_THREADS)
        sum += sample_weight((logits[v] - largest) * TERN_LOG2E_F);
    smem->sums[thread] = sum;
    __syncthreads();
    for (int h = TOP_THREADS / 2; h >= 1; h /= 2) {
        if (thread < h) smem->sums[thread] += smem->sums[thread + h];
        __syncthreads();
    }
    if (thread != 0) return;
    const tern_score score = {largest, logits[c.a.targets[c.row0 + row]], smem->sums[0]};
    c.a.score[c.row0 + row] = score;
}

cudaError_t launch_head_list(const head_chunk &c, const target &to)
{
    return launch(head_list_kernel, c, dim3((unsigned)c.n_rows), dim3(TOP_THREADS),
                  sizeof(head_smem), to);
}

cudaError_t launch_head_top(const head_chunk &c, bool listed, const target &to)
{
    const head_top_job job = {c, listed};
    return launch(head_top_kernel, job, dim3((unsigned)c.n_rows), dim3(TOP_THREADS),
                  sizeof(head_smem), to);
}

cudaError_t launch_head_score(const head_chunk &c, const target &to)
{
    return launch(head_score_kernel, c, dim3((unsigned)c.n_rows), dim3(TOP_THREADS),
                  sizeof(head_smem), to);
}

} /* namespace TERN_GPU */
