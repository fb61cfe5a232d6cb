/* limits.c - the limits of the machine: the plain loops, the choice among the instruction sets, and
 * the passes that are timed. The threads meet at a barrier before and after each pass, so that
 * thread 0's clock sees all of them. */
#include "cpu/limits.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "base/clock.h"
#include "base/memory.h"
#include "base/threads.h"
#include "cpu/levels.h"

#if defined(__x86_64__)
#include "cpu/x86/x86.h"
#endif

#define READ_PASSES 3
#define PASSES 12        /* in registers: short ones, of which one is undisturbed */
#define PASS_NS 1000000u /* of a pass in registers */

struct tern_cpu_meter {
    tern_pool *pool;
    tern_cpu_probes probes;
    uint8_t *data;
    size_t share_bytes; /* of one thread */
    uint64_t *sinks;    /* [n_threads], each in its own cache line */
    uint64_t int8_rounds, fma_rounds;
    uint64_t read_ns, int8_ns, fma_ns; /* best passes */
    uint64_t int8_macs, fmas;          /* of one thread in a pass */
};

#define SINK_STRIDE 8

static uint64_t read_plain(const uint8_t *data, size_t bytes)
{
    uint64_t sum[8] = {0};
    for (size_t i = 0; i < bytes; i += sizeof sum) {
        uint64_t words[8];
        memcpy(words, data + i, sizeof words);
        for (int j = 0; j < 8; j++) sum[j] += words[j];
    }
    uint64_t total = 0;
    for (int j = 0; j < 8; j++) total += sum[j];
    return total;
}

enum { LANES = 16 }; /* multiply-adds of a step in the plain loops */

/* What the compiler makes of it; b changes, so that no product is computed ahead. */
static uint64_t int8_plain(uint64_t *sink, uint64_t rounds)
{
    uint32_t sum[LANES] = {0};
    volatile int8_t seed = 3;
    int8_t a[LANES], b[LANES];
    for (int i = 0; i < LANES; i++) {
        a[i] = (int8_t)(seed + i);
        b[i] = (int8_t)(seed - i);
    }
    for (uint64_t r = 0; r < rounds; r++)
        for (int step = 0; step < TERN_PROBE_UNROLL; step++)
            for (int i = 0; i < LANES; i++) {
                sum[i] += (uint32_t)(a[i] * b[i]);
                b[i] = (int8_t)(b[i] ^ 1);
            }
    for (int i = 0; i < LANES; i++) *sink += sum[i];
    return rounds * TERN_PROBE_UNROLL * LANES;
}

#ifdef FP_FAST_FMAF
#define MULTIPLY_ADD(x, y, z) fmaf(x, y, z)
#else /* a function call where the machine has no instruction */
#define MULTIPLY_ADD(x, y, z) ((x) * (y) + (z))
#endif

static uint64_t fma_plain(uint64_t *sink, uint64_t rounds)
{
    float sum[LANES];
    volatile float seed = 0.5f;
    const float a = seed, b = 1.0f + seed;
    for (int i = 0; i < LANES; i++) sum[i] = seed * (float)i;
    for (uint64_t r = 0; r < rounds; r++)
        for (int step = 0; step < TERN_PROBE_UNROLL; step++)
            for (int i = 0; i < LANES; i++) sum[i] = MULTIPLY_ADD(sum[i], a, b);
    for (int i = 0; i < LANES; i++) *sink += (uint64_t)sum[i];
    return rounds * TERN_PROBE_UNROLL * LANES;
}

void tern_cpu_probes_select(tern_cpu_probes *out, uint32_t features)
{
    *out = (tern_cpu_probes){"plain loops", read_plain, int8_plain, fma_plain};
#if defined(__x86_64__)
    if ((TERN_NEEDS_AVX2 & ~features) == 0) tern_cpu_probes_avx2(out);
    if ((TERN_NEEDS_AVX512VNNI & ~features) == 0) tern_cpu_probes_avx512vnni(out);
#else
    (void)features;
#endif
}

static void fill_thread(void *arg, int thread)
{
    tern_cpu_meter *m = arg;
    memset(m->data + (size_t)thread * m->share_bytes, thread + 1, m->share_bytes);
}

/* Rounds that fill a pass of this probe, on the calling thread alone. */
static uint64_t rounds_of(uint64_t (*probe)(uint64_t *, uint64_t), uint64_t *sink)
{
    for (uint64_t rounds = 1024;; rounds *= 2) {
        const uint64_t begin = tern_now_ns();
        probe(sink, rounds);
        if (tern_now_ns() - begin >= PASS_NS / 2) return 2 * rounds;
    }
}

int tern_cpu_meter_create(tern_cpu_meter **out, int n_threads, size_t bytes, tern_error *err)
{
    tern_cpu_meter *m;
    int status = tern_alloc(&m, 1, sizeof *m, "the measurement of limits", err);
    if (status != TERN_OK) return status;
    tern_cpu_probes_select(&m->probes, tern_cpu_features());
    status = tern_pool_create(&m->pool, n_threads, err);
    if (status == TERN_OK) {
        const size_t n = (size_t)n_threads;
        m->share_bytes = tern_round_up(bytes / n, TERN_PROBE_BLOCK);
        status = tern_alloc_aligned(&m->data, n * m->share_bytes, "the measurement of limits", err);
        if (status == TERN_OK)
            status = tern_alloc_aligned(&m->sinks, n * SINK_STRIDE * sizeof *m->sinks,
                                        "the measurement of limits", err);
    }
    if (status != TERN_OK) {
        tern_cpu_meter_destroy(m);
        return status;
    }
    tern_pool_run(m->pool, fill_thread, m);
    m->int8_rounds = rounds_of(m->probes.int8, m->sinks);
    m->fma_rounds = rounds_of(m->probes.fma, m->sinks);
    *out = m;
    return TERN_OK;
}

void tern_cpu_meter_destroy(tern_cpu_meter *m)
{
    if (!m) return;
    tern_pool_destroy(m->pool);
    free(m->data);
    free(m->sinks);
    free(m);
}

const char *tern_cpu_meter_name(const tern_cpu_meter *m)
{
    return m->probes.name;
}

/* All threads do one pass; thread 0 keeps the shortest time. */
static void end_pass(tern_cpu_meter *m, int thread, uint64_t *best, uint64_t begin)
{
    tern_pool_barrier(m->pool);
    if (thread != 0) return;
    const uint64_t ns = tern_now_ns() - begin;
    if (*best == 0 || ns < *best) *best = ns;
}

static void run_passes(void *arg, int thread)
{
    tern_cpu_meter *m = arg;
    uint64_t *sink = m->sinks + (size_t)thread * SINK_STRIDE, macs = 0, fmas = 0;
    const uint8_t *data = m->data + (size_t)thread * m->share_bytes;
    for (int pass = 0; pass < PASSES; pass++) {
        tern_pool_barrier(m->pool);
        uint64_t begin = tern_now_ns();
        if (pass < READ_PASSES) {
            *sink += m->probes.read(data, m->share_bytes);
            end_pass(m, thread, &m->read_ns, begin);
            begin = tern_now_ns();
        }
        macs = m->probes.int8(sink, m->int8_rounds);
        end_pass(m, thread, &m->int8_ns, begin);
        begin = tern_now_ns();
        fmas = m->probes.fma(sink, m->fma_rounds);
        end_pass(m, thread, &m->fma_ns, begin);
    }
    if (thread != 0) return;
    m->int8_macs = macs;
    m->fmas = fmas;
}

/* Work of n threads in ns, per second; a clock that stood still counts as 1 ns. */
static double rate(double work_of_one, int n_threads, uint64_t ns)
{
    return work_of_one * n_threads * 1e9 / (double)(ns ? ns : 1);
}

tern_cpu_limits tern_cpu_meter_run(tern_cpu_meter *m)
{
    m->read_ns = m->int8_ns = m->fma_ns = 0;
    tern_pool_run(m->pool, run_passes, m);
    const int n = tern_pool_threads(m->pool);
    return (tern_cpu_limits){
        .read_bytes = rate((double)m->share_bytes, n, m->read_ns),
        .int8_mac = rate((double)m->int8_macs, n, m->int8_ns),
        .f32_fma = rate((double)m->fmas, n, m->fma_ns),
    };
}
