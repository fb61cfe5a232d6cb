/* kerncheck_head.c - HEAD: 15-bit activations, and logits at the bounds of every accumulator. */
#include "kerncheck.h"

#include <math.h>
#include <stdio.h>

/* What planes and activations hold. */
enum { RANDOM, HIGHEST, LOWEST, N_MODES };

static int pad_k(int k)
{
    return (k + 63) / 64 * 64;
}

static void check_quant(kc_run *run, int d, int flavour, int broken)
{
    kc_case(run, "d %d, flavour %d, broken %d", d, flavour, broken);
    enum { ROWS = 3 };
    const size_t ldx = (size_t)d + 1, n = (ROWS - 1) * ldx + (size_t)d;
    const size_t xq_bytes = ROWS * (size_t)pad_k(d) * sizeof(int16_t);
    float *x = kc_alloc(run, n * 4), *gain = kc_alloc(run, (size_t)d * 4);
    int32_t *rows = kc_alloc(run, ROWS * sizeof *rows);
    kc_floats(run, x, n, flavour);
    kc_floats(run, gain, (size_t)d, flavour == 3 ? 3 : 0);
    if (broken) x[case_int(&run->random, 0, d - 1)] = broken == 1 ? INFINITY : NAN;
    for (int i = 0; i < ROWS; i++) rows[i] = ROWS - 1 - i;
    int16_t *xq = kc_alloc(run, xq_bytes);
    memset(xq, 77, xq_bytes);
    tern_head_args a = {.x = x, .ldx = (int64_t)ldx, .rows = rows, .gain = gain, .xq = xq,
                        .xs = kc_alloc(run, ROWS * 4), .d = d, .k_pad = pad_k(d), .eps = 1e-5f};
    tern_head_args b = a;
    b.xq = kc_twin(run, xq, xq_bytes);
    b.xs = kc_twin(run, a.xs, ROWS * 4);
    const int failed = run->ref->head_quant(&a, (tern_range){0, ROWS}) != 0;
    const int also = run->got->head_quant(&b, (tern_range){0, ROWS}) != 0;
    kc_same(run, "the verdict", &failed, &also, sizeof failed);
    kc_same(run, "xq", a.xq, b.xq, xq_bytes);
    kc_same_floats(run, "xs", a.xs, b.xs, ROWS);
}

void kc_check_head_quant(kc_run *run)
{
    for (int d = 1; d <= 320; d++)
        check_quant(run, d, d % KC_FLAVOURS, d % 10 == 9 ? 1 + d % 2 : 0);
    check_quant(run, 2560, 0, 0);
    check_quant(run, 2564, 4, 0);
    kc_end(run);
}

typedef struct head_case {
    int k_pad, n_vocab, n_rows, planes, mode;
} head_case;

static int8_t plane_value(kc_run *run, int mode, int lowest)
{
    if (mode == RANDOM) return (int8_t)case_int(&run->random, lowest, 127);
    return (int8_t)(mode == HIGHEST ? 127 : lowest);
}

static tern_head_args make(kc_run *run, const head_case *c)
{
    const size_t k_pad = (size_t)c->k_pad, n = (size_t)c->n_vocab * k_pad;
    const size_t n_rows = (size_t)c->n_rows;
    int8_t *high = kc_alloc(run, n), *low = kc_alloc(run, n);
    int16_t *xq = kc_alloc(run, n_rows * k_pad * sizeof *xq);
    float *xs = kc_alloc(run, n_rows * 4), *scale = kc_alloc(run, (size_t)c->n_vocab * 4);
    for (size_t i = 0; i < n; i++) {
        high[i] = plane_value(run, c->mode, -127);
        low[i] = plane_value(run, c->mode, -128);
    }
    for (size_t i = 0; i < n_rows * k_pad; i++)
        xq[i] = (int16_t)(c->mode ? 16319 : case_int(&run->random, -16319, 16319));
    kc_floats(run, xs, n_rows, 0);
    kc_floats(run, scale, (size_t)c->n_vocab, case_int(&run->random, 0, KC_FLAVOURS - 1));
    return (tern_head_args){
        .xq = xq, .xs = xs, .high = high, .low = c->planes == 2 ? low : NULL, .scale = scale,
        .logits = kc_alloc(run, n_rows * (size_t)c->n_vocab * 4), .ld_logits = c->n_vocab,
        .k_pad = c->k_pad, .n_vocab = c->n_vocab,
    };
}

static void check_logits(kc_run *run, const head_case *c)
{
    kc_case(run, "k_pad %d, n_vocab %d, rows %d, planes %d, mode %d", c->k_pad, c->n_vocab,
            c->n_rows, c->planes, c->mode);
    const tern_head_args a = make(run, c);
    const size_t n = (size_t)c->n_rows * (size_t)c->n_vocab;
    tern_head_args b = a;
    b.logits = kc_twin(run, a.logits, n * 4);
    tern_range rows = {0, c->n_rows}, vocab = {0, c->n_vocab};
    if (case_int(&run->random, 0, 1)) {
        rows.begin = case_int(&run->random, 0, c->n_rows - 1);
        vocab.begin = case_int(&run->random, 0, (c->n_vocab - 1) / 16) * 16;
    }
    run->ref->head_logits(&a, rows, vocab);
    run->got->head_logits(&b, rows, vocab);
    kc_same_floats(run, "logits", a.logits, b.logits, n);
}

void kc_check_head_logits(kc_run *run)
{
    for (int i = 0; i < 120; i++) {
        const head_case c = {.k_pad = 64 * case_int(&run->random, 1, 12), .n_vocab = 1 + i % 40,
                             .n_rows = 1 + i % 11, .planes = 1 + i % 2,
                             .mode = i % 4 ? RANDOM : i / 4 % N_MODES};
        check_logits(run, &c);
    }
    for (int mode = 0; mode < N_MODES; mode++) /* past every bound on a chain of accumulations */
        for (int planes = 1; planes <= 2; planes++) {
            const head_case c = {.k_pad = 2 * 16384 + 64, .n_vocab = 7, .n_rows = 5,
                                 .planes = planes, .mode = mode};
            check_logits(run, &c);
        }
    kc_end(run);
}

/* ---- what is taken from logits --------------------------------------------------------------- */

/* Logits with many ties, of both zeros among them. */
static float *make_logits(kc_run *run, int n, int coarse)
{
    float *logits = kc_alloc(run, (size_t)n * 4);
    for (int i = 0; i < n; i++)
        logits[i] = coarse ? (float)case_int(&run->random, -3, 3) * (i % 2 ? 1.0f : -1.0f)
                           : case_float(&run->random, 40.0f);
    return logits;
}

void kc_check_head_top(kc_run *run)
{
    for (int i = 0; i < 300; i++) {
        const int n_vocab = case_int(&run->random, 1, 400);
        const int n = case_int(&run->random, 0, i % 3 ? (n_vocab < 9 ? n_vocab : 9) : n_vocab);
        kc_case(run, "n_vocab %d, n %d, ties %d", n_vocab, n, i % 2);
        const float *logits = make_logits(run, n_vocab, i % 2);
        tern_candidate *ref = kc_alloc(run, (size_t)n * sizeof *ref);
        tern_candidate *got = kc_alloc(run, (size_t)n * sizeof *got);
        run->ref->head_top(ref, logits, n_vocab, n);
        run->got->head_top(got, logits, n_vocab, n);
        kc_same(run, "top", ref, got, (size_t)n * sizeof *ref);
    }
    kc_end(run);
}

void kc_check_head_score(kc_run *run)
{
    for (int i = 0; i < 300; i++) {
        const int n_vocab = case_int(&run->random, 1, 400);
        kc_case(run, "n_vocab %d, ties %d", n_vocab, i % 2);
        const float *logits = make_logits(run, n_vocab, i % 2);
        const int target = case_int(&run->random, 0, n_vocab - 1);
        tern_score *ref = kc_alloc(run, sizeof *ref), *got = kc_alloc(run, sizeof *got);
        run->ref->head_score(ref, logits, n_vocab, target);
        run->got->head_score(got, logits, n_vocab, target);
        ref->max_logit += 0.0f; /* which zero a maximum keeps is open (device.h) */
        got->max_logit += 0.0f;
        kc_same(run, "score", ref, got, sizeof *ref);
    }
    kc_end(run);
}

/* Settings with and without each rule; half of the cases are plain draws. */
static tern_pick random_pick(kc_run *run, int n_vocab, const int32_t *ids, const float *bias)
{
    tern_pick pick = {.seed = case_next(&run->random), .choice = 3, .position = 11};
    const float temperatures[] = {0.0f, 1e-6f, 0.3f, 1.0f, 8.0f};
    pick.temperature = temperatures[case_int(&run->random, 0, 4)];
    if (case_int(&run->random, 0, 1)) return pick;
    if (case_int(&run->random, 0, 2) == 0) pick.top_k = case_int(&run->random, 1, n_vocab + 3);
    if (case_int(&run->random, 0, 2) == 0) pick.top_p = 0.9f;
    if (case_int(&run->random, 0, 2) == 0) pick.min_p = 0.01f;
    if (case_int(&run->random, 0, 2) == 0) {
        pick.n_bias = 1;
        pick.bias_ids = ids;
        pick.bias = bias;
    }
    return pick;
}

void kc_check_pick(kc_run *run)
{
    static const int32_t ids[] = {0};
    static const float bias[] = {5.0f};
    for (int i = 0; i < 600; i++) {
        const int n_vocab = case_int(&run->random, 1, 400);
        const tern_pick pick = random_pick(run, n_vocab, ids, bias);
        kc_case(run, "n_vocab %d, temperature %g, ties %d", n_vocab, (double)pick.temperature,
                i % 2);
        const float *logits = make_logits(run, n_vocab, i % 2);
        const tern_pick_args a = {
            .logits = logits, .n_vocab = n_vocab, .pick = &pick,
            .scratch = kc_alloc(run, (size_t)n_vocab * TERN_PICK_SCRATCH_PER_TOKEN),
        };
        const int32_t ref = run->ref->pick(&a), got = run->got->pick(&a);
        kc_same(run, "id", &ref, &got, sizeof ref);
    }
    kc_end(run);
}

typedef struct choice_bench {
    const float *logits;
    int n_vocab;
    tern_candidate top[40];
    tern_score score;
} choice_bench;

static void call_top(const tern_cpu_kernels *kernels, void *context)
{
    choice_bench *b = context;
    kernels->head_top(b->top, b->logits, b->n_vocab, 40);
}

static void call_score(const tern_cpu_kernels *kernels, void *context)
{
    choice_bench *b = context;
    kernels->head_score(&b->score, b->logits, b->n_vocab, 7);
}

static void call_pick(const tern_cpu_kernels *kernels, void *context)
{
    kernels->pick(context);
}

void kc_bench_pick(kc_run *run)
{
    kc_case(run, "128256, temperature 1");
    const tern_pick pick = {.temperature = 1.0f, .seed = 1};
    tern_pick_args a = {.logits = make_logits(run, 128256, 0), .n_vocab = 128256, .pick = &pick,
                        .scratch = kc_alloc(run, 128256 * TERN_PICK_SCRATCH_PER_TOKEN)};
    const kc_work work = {call_pick, &a, 0, 0, 128256};
    kc_bench(run, "128256, temperature 1", &work);
    kc_end(run);
}

void kc_bench_head_top(kc_run *run)
{
    kc_case(run, "40 of 128256");
    choice_bench b = {.logits = make_logits(run, 128256, 0), .n_vocab = 128256};
    const kc_work work = {call_top, &b, 0, 0, 128256};
    kc_bench(run, "40 of 128256", &work);
    kc_end(run);
}

void kc_bench_head_score(kc_run *run)
{
    kc_case(run, "128256");
    choice_bench b = {.logits = make_logits(run, 128256, 0), .n_vocab = 128256};
    const kc_work work = {call_score, &b, 0, 0, 128256};
    kc_bench(run, "128256", &work);
    kc_end(run);
}

/* ---- bench ---------------------------------------------------------------------------------- */

typedef struct head_bench {
    tern_head_args args;
    int n_rows;
} head_bench;

static void call_logits(const tern_cpu_kernels *kernels, void *context)
{
    head_bench *b = context;
    kernels->head_logits(&b->args, (tern_range){0, b->n_rows}, (tern_range){0, b->args.n_vocab});
}

void kc_bench_head_logits(kc_run *run)
{
    static const head_case cases[] = { /* the first and the last are larger than a cache */
        {2560, 16032, 1, 2, RANDOM}, {2560, 512, 1, 2, RANDOM}, {2560, 512, 1, 1, RANDOM},
        {2560, 512, 4, 2, RANDOM}, {2560, 16032, 16, 2, RANDOM},
    };
    for (int i = 0; i < 5; i++) {
        const head_case *c = &cases[i];
        char shape[64];
        snprintf(shape, sizeof shape, "%d x %d x %d, %d planes", c->k_pad, c->n_vocab, c->n_rows,
                 c->planes);
        kc_case(run, "%s", shape);
        head_bench b = {make(run, c), c->n_rows};
        const double values = (double)c->k_pad * c->n_vocab * c->planes;
        const kc_work work = {call_logits, &b, values, values * c->n_rows, 0};
        kc_bench(run, shape, &work);
    }
    kc_end(run);
}

static void call_quant(const tern_cpu_kernels *kernels, void *context)
{
    kernels->head_quant(context, (tern_range){0, 1});
}

void kc_bench_head_quant(kc_run *run)
{
    kc_case(run, "1 x 2560");
    float *x = kc_alloc(run, 2560 * 4), *gain = kc_alloc(run, 2560 * 4);
    kc_floats(run, x, 2560, 0);
    kc_floats(run, gain, 2560, 0);
    tern_head_args a = {.x = x, .ldx = 2560, .rows = kc_alloc(run, 4), .gain = gain,
                        .xq = kc_alloc(run, 2560 * 2), .xs = kc_alloc(run, 4), .d = 2560,
                        .k_pad = 2560, .eps = 1e-5f};
    const kc_work work = {call_quant, &a, 0, 0, 2560};
    kc_bench(run, "1 x 2560", &work);
    kc_end(run);
}
