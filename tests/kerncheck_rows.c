/* kerncheck_rows.c - the operations over rows of floats: EMBED, NORM_QUANT and ACT_MUL, for widths
 * on and off every register and past the 256 partials of a sum. */
#include "kerncheck.h"

#include <math.h>
#include <stdio.h>

#define T 3 /* tokens of a case */

static int pad_k(int k)
{
    return (k + 63) / 64 * 64;
}

static int random_width(kc_run *run)
{
    static const int widths[] = {1, 7, 8, 9, 31, 32, 33, 63, 64, 65, 255, 256, 257, 600, 2560};
    return case_int(&run->random, 0, 2) ? widths[case_int(&run->random, 0, 14)]
                                        : case_int(&run->random, 1, 700);
}

/* ---- NORM_QUANT ------------------------------------------------------------------------------ */

static void check_norm_quant(kc_run *run, int k, int flavour, int variant)
{
    kc_case(run, "k %d, flavour %d, variant %d", k, flavour, variant);
    const size_t ldx = (size_t)k + 5, n = (T - 1) * ldx + (size_t)k, n_q = T * (size_t)pad_k(k);
    float *x = kc_alloc(run, n * sizeof *x), *gain = kc_alloc(run, (size_t)k * sizeof *gain);
    kc_floats(run, x, n, flavour);
    kc_floats(run, gain, (size_t)k, flavour == 3 ? 3 : 0);
    if (variant & 4) x[case_int(&run->random, 0, k - 1)] = variant & 8 ? NAN : -INFINITY;
    int8_t *q = kc_alloc(run, n_q);
    float *scale = kc_alloc(run, T * sizeof *scale);
    int32_t *sum = kc_alloc(run, T * sizeof *sum);
    memset(q, 77, n_q);
    tern_norm_quant_args a = {.q = q, .scale = scale, .sum = sum, .x = x, .ldx = (int64_t)ldx,
                              .gain = variant & 1 ? gain : NULL, .k = k, .k_pad = pad_k(k),
                              .eps = 1e-5f, .subtract_mean = variant >> 1 & 1};
    tern_norm_quant_args b = a;
    b.q = kc_twin(run, q, n_q);
    b.scale = kc_twin(run, scale, T * sizeof *scale);
    b.sum = kc_twin(run, sum, T * sizeof *sum);
    const tern_range tokens = {case_int(&run->random, 0, 1), T};
    const int failed = run->ref->norm_quant(&a, tokens) != 0;
    const int also = run->got->norm_quant(&b, tokens) != 0;
    kc_same(run, "the verdict", &failed, &also, sizeof failed);
    kc_same(run, "q", a.q, b.q, n_q);
    kc_same_floats(run, "scale", a.scale, b.scale, T);
    kc_same(run, "sum", a.sum, b.sum, T * sizeof *sum);
}

void kc_check_norm_quant(kc_run *run)
{
    for (int i = 0; i < 400; i++) {
        const int broken = i % 10 == 9 ? 4 + (i & 8) : 0;
        check_norm_quant(run, random_width(run), i % KC_FLAVOURS, i / KC_FLAVOURS % 4 + broken);
    }
    for (int k = 1; k <= 300; k++) check_norm_quant(run, k, k % KC_FLAVOURS, k % 4);
    kc_end(run);
}

static void call_norm_quant(const tern_cpu_kernels *kernels, void *context)
{
    kernels->norm_quant(context, (tern_range){0, T});
}

void kc_bench_norm_quant(kc_run *run)
{
    static const int widths[] = {2560, 6912};
    for (int i = 0; i < 2; i++) {
        const int k = widths[i];
        const size_t n = T * (size_t)k;
        char shape[64];
        snprintf(shape, sizeof shape, "%d x %d", T, k);
        kc_case(run, "%s", shape);
        float *x = kc_alloc(run, n * sizeof *x), *gain = kc_alloc(run, (size_t)k * sizeof *gain);
        kc_floats(run, x, n, 0);
        kc_floats(run, gain, (size_t)k, 0);
        tern_norm_quant_args a = {.q = kc_alloc(run, n), .scale = kc_alloc(run, T * 4),
                                  .sum = kc_alloc(run, T * 4), .x = x, .ldx = k, .gain = gain,
                                  .k = k, .k_pad = k, .eps = 1e-5f};
        const kc_work work = {call_norm_quant, &a, 0, 0, (double)n};
        kc_bench(run, shape, &work);
    }
    kc_end(run);
}

/* ---- ACT_MUL --------------------------------------------------------------------------------- */

static void check_act_mul(kc_run *run, int f, int flavour, tern_act act)
{
    kc_case(run, "f %d, flavour %d, act %d", f, flavour, (int)act);
    const size_t ld = 2 * (size_t)f + 3, n = (T - 1) * ld + 2 * (size_t)f;
    float *wide = kc_alloc(run, n * sizeof *wide), *y = kc_alloc(run, T * (size_t)f * 4);
    kc_floats(run, wide, n, flavour);
    kc_floats(run, y, T * (size_t)f, 0);
    tern_act_mul_args a = {.y = y, .gate = wide, .up = wide + f, .ldy = f, .ld_gate = (int64_t)ld,
                           .ld_up = (int64_t)ld, .act = act};
    tern_act_mul_args b = a;
    b.y = kc_twin(run, y, T * (size_t)f * 4);
    tern_range cols = {0, f};
    if (case_int(&run->random, 0, 1)) {
        cols.begin = case_int(&run->random, 0, f - 1);
        cols.end = case_int(&run->random, cols.begin + 1, f);
    }
    run->ref->act_mul(&a, (tern_range){0, T}, cols);
    run->got->act_mul(&b, (tern_range){0, T}, cols);
    kc_same_floats(run, "y", a.y, b.y, T * (size_t)f);
}

void kc_check_act_mul(kc_run *run)
{
    for (int i = 0; i < 300; i++)
        check_act_mul(run, random_width(run), i / 3 % KC_FLAVOURS, (tern_act)(i % 3));
    kc_end(run);
}

static void call_act_mul(const tern_cpu_kernels *kernels, void *context)
{
    kernels->act_mul(context, (tern_range){0, T}, (tern_range){0, 6912});
}

void kc_bench_act_mul(kc_run *run)
{
    static const char *const names[] = {"3 x 6912 relu2", "3 x 6912 silu", "3 x 6912 gelu"};
    for (int act = 0; act < 3; act++) {
        const size_t n = T * 6912;
        kc_case(run, "%s", names[act]);
        float *gate = kc_alloc(run, n * 4), *up = kc_alloc(run, n * 4);
        kc_floats(run, gate, n, 0);
        kc_floats(run, up, n, 0);
        tern_act_mul_args a = {.y = kc_alloc(run, n * 4), .gate = gate, .up = up, .ldy = 6912,
                               .ld_gate = 6912, .ld_up = 6912, .act = (tern_act)act};
        const kc_work work = {call_act_mul, &a, 0, 0, (double)n};
        kc_bench(run, names[act], &work);
    }
    kc_end(run);
}

/* ---- EMBED ----------------------------------------------------------------------------------- */

static tern_embed_args make_embed(kc_run *run, int d, int n_vocab, int planes)
{
    const size_t n = (size_t)n_vocab * (size_t)pad_k(d), ldx = (size_t)d + 2;
    int8_t *high = kc_alloc(run, n), *low = kc_alloc(run, n);
    float *scale = kc_alloc(run, (size_t)n_vocab * 4), *col = kc_alloc(run, (size_t)d * 4);
    int32_t *ids = kc_alloc(run, T * sizeof *ids);
    for (size_t i = 0; i < n; i++) {
        high[i] = (int8_t)case_int(&run->random, -127, 127);
        low[i] = (int8_t)case_int(&run->random, -128, 127);
    }
    for (int t = 0; t < T; t++) ids[t] = t ? case_int(&run->random, 0, n_vocab - 1) : n_vocab - 1;
    kc_floats(run, scale, (size_t)n_vocab, case_int(&run->random, 0, 3));
    for (int i = 0; i < d; i++) col[i] = 0x1p-3f * (float)(1 << case_int(&run->random, 0, 6));
    return (tern_embed_args){
        .x = kc_alloc(run, ((T - 1) * ldx + (size_t)d) * 4), .ldx = (int64_t)ldx, .ids = ids,
        .high = high, .low = planes == 2 ? low : NULL, .scale = scale, .col = col, .d = d,
        .k_pad = pad_k(d), .multiplier = case_int(&run->random, 0, 1) ? 1.0f : 12.5f,
    };
}

void kc_check_embed(kc_run *run)
{
    for (int i = 0; i < 100; i++) {
        const int d = random_width(run), planes = 1 + i % 2;
        kc_case(run, "d %d, planes %d", d, planes);
        const size_t n = (T - 1) * ((size_t)d + 2) + (size_t)d;
        const tern_embed_args a = make_embed(run, d, 5, planes);
        tern_embed_args b = a;
        b.x = kc_twin(run, a.x, n * 4);
        run->ref->embed(&a, (tern_range){0, T});
        run->got->embed(&b, (tern_range){0, T});
        kc_same_floats(run, "x", a.x, b.x, n);
    }
    kc_end(run);
}

static void call_embed(const tern_cpu_kernels *kernels, void *context)
{
    kernels->embed(context, (tern_range){0, T});
}

void kc_bench_embed(kc_run *run)
{
    kc_case(run, "3 x 2560");
    tern_embed_args a = make_embed(run, 2560, 5, 2);
    const kc_work work = {call_embed, &a, 0, 0, T * 2560.0};
    kc_bench(run, "3 x 2560", &work);
    kc_end(run);
}
