/* gemm_time.cu - the clock of the comparison. A sample of each mode is taken from all sides
 * directly after each other, the first side changing from sample to sample, so that clocks and
 * temperature meet all of them. */
#include "base/clock.h"
#include "bench/gemm_rig.cuh"

namespace TERN_GPU {

#define FLUSH_BYTES ((size_t)256 << 20) /* beyond every L2 */
#define LAUNCHES 20                     /* in a row, where they are short */
#define LONG_TOKENS 512
#define FEW_LAUNCHES 4

struct stopwatch {
    cudaEvent_t begin, end;
    uint8_t *flush;
    int launches;
};

static cudaError_t elapsed(double *ns, const stopwatch *w, int launches)
{
    float ms = 0.0f;
    cudaError_t error = cudaEventSynchronize(w->end);
    if (error == cudaSuccess) error = cudaEventElapsedTime(&ms, w->begin, w->end);
    *ns = (double)ms * 1e6 / launches;
    return error;
}

/* The first `copies` copies of the weights in turn. */
static cudaError_t launch_all(gemm_rig *rig, gemm_side side, int t, int launches, int copies)
{
    cudaError_t error = cudaSuccess;
    for (int i = 0; i < launches && error == cudaSuccess; i++)
        error = gemm_launch(rig, side, t, i % copies);
    return error;
}

static cudaError_t time_cold(double *ns, gemm_rig *rig, const stopwatch *w, gemm_side side, int t)
{
    cudaError_t error = cudaMemsetAsync(w->flush, 0, FLUSH_BYTES, rig->to.stream);
    if (error == cudaSuccess) error = cudaEventRecord(w->begin, rig->to.stream);
    if (error == cudaSuccess) error = gemm_launch(rig, side, t, 0);
    if (error == cudaSuccess) error = cudaEventRecord(w->end, rig->to.stream);
    return error == cudaSuccess ? elapsed(ns, w, 1) : error;
}

/* Host: until all launches are issued. */
static cudaError_t time_hot(double *ns, double *host_ns, gemm_rig *rig, const stopwatch *w,
                            gemm_side side, int t)
{
    cudaError_t error = gemm_launch(rig, side, t, 0);
    if (error == cudaSuccess) error = cudaStreamSynchronize(rig->to.stream);
    if (error == cudaSuccess) error = cudaEventRecord(w->begin, rig->to.stream);
    const uint64_t begin = tern_now_ns();
    if (error == cudaSuccess) error = launch_all(rig, side, t, w->launches, 1);
    *host_ns = (double)(tern_now_ns() - begin) / w->launches;
    if (error == cudaSuccess) error = cudaEventRecord(w->end, rig->to.stream);
    return error == cudaSuccess ? elapsed(ns, w, w->launches) : error;
}

static cudaError_t make_graph(cudaGraphExec_t *out, gemm_rig *rig, gemm_side side, int t,
                              int launches, int copies)
{
    cudaGraph_t graph = NULL;
    cudaError_t error = cudaStreamBeginCapture(rig->to.stream, cudaStreamCaptureModeThreadLocal);
    if (error != cudaSuccess) return error;
    error = launch_all(rig, side, t, launches, copies);
    const cudaError_t ended = cudaStreamEndCapture(rig->to.stream, &graph);
    if (error == cudaSuccess) error = ended;
    if (error == cudaSuccess) error = cudaGraphInstantiate(out, graph, 0);
    if (graph) cudaGraphDestroy(graph);
    return error;
}

/* With several copies of the weights each is read once at least. */
static cudaError_t time_graph(double *ns, gemm_rig *rig, const stopwatch *w, gemm_side side, int t,
                              int copies)
{
    const int launches = copies > w->launches ? copies : w->launches;
    cudaGraphExec_t exec = NULL;
    cudaError_t error = make_graph(&exec, rig, side, t, launches, copies);
    if (error == cudaSuccess) error = cudaGraphLaunch(exec, rig->to.stream);
    if (error == cudaSuccess) error = cudaEventRecord(w->begin, rig->to.stream);
    if (error == cudaSuccess) error = cudaGraphLaunch(exec, rig->to.stream);
    if (error == cudaSuccess) error = cudaEventRecord(w->end, rig->to.stream);
    if (error == cudaSuccess) error = elapsed(ns, w, launches);
    if (exec) cudaGraphExecDestroy(exec);
    return error;
}

static cudaError_t sample(gemm_case *c, gemm_rig *rig, const stopwatch *w, int at)
{
    cudaError_t error = cudaSuccess;
    for (int mode = GEMM_COLD; mode < GEMM_HOST; mode++)
        for (int i = 0; i < GEMM_N_SIDES && error == cudaSuccess; i++) {
            const gemm_side side = (gemm_side)((i + at) % GEMM_N_SIDES);
            if (c->check[side] != GEMM_RIGHT) continue;
            double *ns = &c->ns[side][mode][at];
            if (mode == GEMM_COLD)
                error = time_cold(ns, rig, w, side, c->t);
            else if (mode == GEMM_HOT)
                error = time_hot(ns, &c->ns[side][GEMM_HOST][at], rig, w, side, c->t);
            else
                error = time_graph(ns, rig, w, side, c->t,
                                   mode == GEMM_STREAM ? rig->copies[side] : 1);
        }
    return error;
}

cudaError_t gemm_time(gemm_case *c, gemm_rig *rig, int n_samples)
{
    stopwatch w = {};
    w.launches = c->t < LONG_TOKENS ? LAUNCHES : FEW_LAUNCHES;
    cudaError_t error = cudaEventCreate(&w.begin);
    if (error == cudaSuccess) error = cudaEventCreate(&w.end);
    if (error == cudaSuccess) error = cudaMalloc(&w.flush, FLUSH_BYTES);
    for (int i = 0; i < n_samples && error == cudaSuccess; i++) error = sample(c, rig, &w, i);
    if (error == cudaSuccess) c->n_samples = n_samples;
    if (w.begin) cudaEventDestroy(w.begin);
    if (w.end) cudaEventDestroy(w.end);
    if (w.flush) cudaFree(w.flush);
    return error;
}

} /* namespace TERN_GPU */
