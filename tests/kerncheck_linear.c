/* kerncheck_linear.c - LINEAR: every regime of tokens, shapes around every tile, worst cases of
 * every accumulator; and its bench on the shapes of BitNet b1.58 2B4T. */
#include "kerncheck.h"

#include <stdio.h>

/* What the operands hold. */
enum { RANDOM, ALL_TWO, ALL_TWO_MINUS, ALL_ZERO, N_MODES };

typedef struct linear_case {
    int k, n_out, n_tok, mode, accumulate;
    tern_range tokens, outputs;
} linear_case;

static void fill_codes(kc_run *run, uint8_t *codes, size_t bytes, int mode)
{
    for (size_t i = 0; i < bytes; i++) {
        const uint64_t r = case_next(&run->random);
        codes[i] = (uint8_t)(r % 3 | (r >> 8) % 3 << 2 | (r >> 16) % 3 << 4 | (r >> 24) % 3 << 6);
        if (mode != RANDOM) codes[i] = mode == ALL_ZERO ? 0x00 : 0xaa;
    }
}

/* q [t, k_pad] with zeros from column k on, and its row sums. */
static void fill_q(kc_run *run, int8_t *q, int32_t *sum, const linear_case *c)
{
    const int k_pad = (c->k + 63) / 64 * 64;
    for (int t = 0; t < c->n_tok; t++)
        for (int i = 0; i < c->k; i++) {
            int value = case_int(&run->random, -127, 127);
            if (c->mode != RANDOM) value = c->mode == ALL_TWO_MINUS ? -127 : 127;
            q[(size_t)t * (size_t)k_pad + (size_t)i] = (int8_t)value;
            sum[t] += value;
        }
}

static void check(kc_run *run, const linear_case *c)
{
    kc_case(run, "k %d, n_out %d, t %d, tokens %d..%d, outputs %d..%d, mode %d, accumulate %d",
            c->k, c->n_out, c->n_tok, c->tokens.begin, c->tokens.end, c->outputs.begin,
            c->outputs.end, c->mode, c->accumulate);
    const int k_pad = (c->k + 63) / 64 * 64, flavour = case_int(&run->random, 0, 2);
    const size_t tok = (size_t)c->n_tok, n_out = (size_t)c->n_out, ldy = n_out + 3;
    const size_t code_bytes = (n_out + 15) / 16 * 4 * (size_t)k_pad;
    uint8_t *codes = kc_alloc(run, code_bytes);
    int8_t *q = kc_alloc(run, tok * (size_t)k_pad);
    int32_t *sum = kc_alloc(run, tok * sizeof *sum);
    float *scale = kc_alloc(run, tok * sizeof *scale);
    float *w_scale = kc_alloc(run, n_out * sizeof *w_scale);
    const size_t n = (tok - 1) * ldy + n_out;
    float *y = kc_alloc(run, n * sizeof *y);
    fill_codes(run, codes, code_bytes, c->mode);
    fill_q(run, q, sum, c);
    kc_floats(run, scale, tok, flavour);
    kc_floats(run, w_scale, n_out, case_int(&run->random, 0, 1) * 4);
    kc_floats(run, y, n, case_int(&run->random, 0, KC_FLAVOURS - 1));
    float *got = kc_twin(run, y, n * sizeof *y);
    tern_linear_args a = {.y = y, .ldy = (int64_t)ldy, .q = q, .q_scale = scale, .q_sum = sum,
                          .codes = codes, .w_scale = w_scale, .k_pad = k_pad, .n_out = c->n_out,
                          .accumulate = c->accumulate};
    run->ref->linear(&a, c->tokens, c->outputs);
    a.y = got;
    run->got->linear(&a, c->tokens, c->outputs);
    kc_same_floats(run, "y", y, got, n);
}

/* Every number of tokens, with random cuts of tokens and outputs. */
static linear_case random_case(kc_run *run, int n_tok)
{
    static const int inner[] = {4, 60, 64, 100, 128, 192, 256, 320, 448, 512, 1000};
    linear_case c = {.n_tok = n_tok};
    c.k = inner[case_int(&run->random, 0, 10)];
    c.n_out = case_int(&run->random, 1, 150);
    c.mode = case_int(&run->random, 0, 2) ? RANDOM : case_int(&run->random, 1, N_MODES - 1);
    c.accumulate = case_int(&run->random, 0, 1);
    c.tokens = (tern_range){0, n_tok};
    c.outputs = (tern_range){0, c.n_out};
    if (case_int(&run->random, 0, 1)) {
        const int groups = (c.n_out + 15) / 16, begin = case_int(&run->random, 0, groups - 1);
        const int end = case_int(&run->random, begin + 1, groups) * 16;
        c.outputs = (tern_range){begin * 16, end < c.n_out ? end : c.n_out};
        c.tokens.begin = case_int(&run->random, 0, n_tok - 1);
        c.tokens.end = case_int(&run->random, c.tokens.begin + 1, n_tok);
    }
    return c;
}

void kc_check_linear(kc_run *run)
{
    for (int n_tok = 1; n_tok <= 33; n_tok++)
        for (int i = 0; i < 8; i++) {
            const linear_case c = random_case(run, n_tok);
            check(run, &c);
        }
    for (int n_out = 1; n_out <= 145; n_out++) {
        const int n_tok = n_out % 3 == 0 ? 8 : n_out % 3;
        const linear_case c = {.k = 64 + n_out, .n_out = n_out, .n_tok = n_tok,
                               .mode = n_out % N_MODES, .tokens = {0, n_tok},
                               .outputs = {0, n_out}};
        check(run, &c);
    }
    for (int mode = 0; mode < N_MODES; mode++) { /* past every bound on a chain of accumulations */
        const linear_case wide = {.k = (1 << 19) + 128, .n_out = 65, .n_tok = 1, .mode = mode,
                                  .tokens = {0, 1}, .outputs = {0, 65}};
        const linear_case long_run = {.k = 6912, .n_out = 80, .n_tok = 140, .mode = mode,
                                      .tokens = {0, 140}, .outputs = {0, 80}};
        check(run, &wide);
        if (mode == ALL_TWO) check(run, &long_run);
    }
    kc_end(run);
}

/* ---- bench ---------------------------------------------------------------------------------- */

/* A matrix, or as many of them as no cache holds, taken in turn. */
typedef struct linear_bench {
    tern_linear_args args;
    const uint8_t *codes;
    size_t code_bytes;
    int n_tok, n_copies, next;
} linear_bench;

static void call(const tern_cpu_kernels *kernels, void *context)
{
    linear_bench *b = context;
    tern_linear_args a = b->args;
    a.codes = b->codes + (size_t)b->next * b->code_bytes;
    b->next = (b->next + 1) % b->n_copies;
    kernels->linear(&a, (tern_range){0, b->n_tok}, (tern_range){0, a.n_out});
}

static void bench(kc_run *run, int k, int n_out, int n_tok, int n_copies)
{
    char shape[64];
    snprintf(shape, sizeof shape, "%4d x %5d x %3d %s", k, n_out, n_tok,
             n_copies > 1 ? "cold" : "hot");
    kc_case(run, "%s", shape);
    const linear_case c = {.k = k, .n_out = n_out, .n_tok = n_tok};
    const size_t tok = (size_t)n_tok, rows = (size_t)n_out, bytes = rows / 4 * (size_t)k;
    uint8_t *codes = kc_alloc(run, bytes * (size_t)n_copies);
    int8_t *q = kc_alloc(run, tok * (size_t)k);
    int32_t *sum = kc_alloc(run, tok * sizeof *sum);
    float *scale = kc_alloc(run, tok * sizeof *scale), *w_scale = kc_alloc(run, rows * 4);
    fill_codes(run, codes, bytes, RANDOM);
    for (int i = 1; i < n_copies; i++) memcpy(codes + (size_t)i * bytes, codes, bytes);
    fill_q(run, q, sum, &c);
    kc_floats(run, scale, tok, 0);
    kc_floats(run, w_scale, rows, 0);
    linear_bench b = {.args = {.y = kc_alloc(run, tok * rows * 4), .ldy = n_out, .q = q,
                               .q_scale = scale, .q_sum = sum, .w_scale = w_scale, .k_pad = k,
                               .n_out = n_out},
                      .codes = codes, .code_bytes = bytes, .n_tok = n_tok, .n_copies = n_copies};
    const kc_work work = {call, &b, (double)bytes, (double)k * n_out * n_tok, 0};
    kc_bench(run, shape, &work);
}

void kc_bench_linear(kc_run *run)
{
    static const int tokens[] = {2, 4, 8, 16, 64, 256};
    bench(run, 2560, 6912, 1, 1);
    bench(run, 2560, 6912, 1, 60);
    bench(run, 6912, 2560, 1, 60);
    for (int i = 0; i < 6; i++) bench(run, 2560, 6912, tokens[i], 1);
    bench(run, 6912, 2560, 256, 1);
    kc_end(run);
}
