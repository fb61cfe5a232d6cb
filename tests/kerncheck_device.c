/* kerncheck_device.c - the frame of `kerncheck --device NAME`: two devices with equal operands,
 * comparison of every byte, gaps that must stay as they were. */
#include "kerncheck_device.h"

#include <stdarg.h>
#include <stdio.h>

#include "device/backend.h"

#define GAP_BYTES 256
#define GAP_BYTE 0xa7

static const struct {
    const char *name;
    void (*check)(kd_run *run);
} families[] = {
    {"rows", kd_check_rows},       {"norm_quant", kd_check_norm_quant},
    {"linear", kd_check_linear},   {"rope_kv", kd_check_rope_kv},
    {"fused", kd_check_fused},
    {"attn", kd_check_attn},       {"head", kd_check_head},
    {"pick", kd_check_pick},
};

static void must(int status, const tern_error *err)
{
    if (status == TERN_OK) return;
    printf("kerncheck: %s\n", err->text);
    exit(1);
}

static void fail(kd_run *run, const char *format, ...) __attribute__((format(printf, 2, 3)));
static void fail(kd_run *run, const char *format, ...)
{
    va_list args;
    va_start(args, format);
    if (run->n_failed++ < 5) {
        printf("%s %s, %s: ", run->op, run->device, run->what);
        vprintf(format, args);
        printf("; replay: --device %s --op %s --seed %llu\n", run->device, run->op,
               (unsigned long long)run->seed);
    }
    va_end(args);
}

void kd_case(kd_run *run, const char *format, ...)
{
    va_list args;
    va_start(args, format);
    vsnprintf(run->what, sizeof run->what, format, args);
    va_end(args);
    run->n_cases++;
    for (int i = 0; i < 2; i++) {
        kd_side *s = &run->side[i];
        for (int w = 0; w < s->n_weights; w++) tern_weight_destroy(s->weights[w]);
        s->n_weights = s->n_gaps = 0;
        s->used = 0;
    }
}

/* Room for `bytes` on one side, followed by a gap. */
static size_t take(kd_run *run, int side, size_t bytes)
{
    kd_side *s = &run->side[side];
    tern_error err = {0};
    const size_t at = s->used, gap = at + (bytes + 255) / 256 * 256;
    s->used = gap + GAP_BYTES;
    if (s->used > KD_MEMORY_BYTES || s->n_gaps >= KD_MAX_OPERANDS) abort();
    s->gaps[s->n_gaps++] = gap;
    must(tern_fill(s->stream, s->memory, at, 0, gap - at, &err), &err);
    must(tern_fill(s->stream, s->memory, gap, GAP_BYTE, GAP_BYTES, &err), &err);
    must(tern_stream_sync(s->stream, &err), &err); /* imports know nothing of this stream */
    return at;
}

static void put(kd_run *run, int side, size_t at, const void *values, size_t bytes)
{
    kd_side *s = &run->side[side];
    tern_error err = {0};
    must(tern_upload(s->stream, s->memory, at, values, bytes, &err), &err);
    must(tern_stream_sync(s->stream, &err), &err);
}

kd_pair kd_values(kd_run *run, int rows, int cols, int ld, tern_dtype type, const void *values)
{
    kd_pair pair;
    const size_t bytes = (size_t)rows * (size_t)ld * tern_dtype_bytes(type);
    for (int i = 0; i < 2; i++) {
        const size_t at = take(run, i, bytes);
        pair.s[i] = tern_span_make(run->side[i].memory, at, rows, cols, type);
        pair.s[i].ld = ld;
        if (values && bytes > 0) put(run, i, at, values, bytes);
    }
    return pair;
}

static float draw(kd_run *run, int flavour)
{
    const float x = case_float(&run->random, 4.0f);
    switch (flavour) {
    case 1: return case_int(&run->random, 0, 7) ? (x < 0 ? -0.0f : 0.0f) : x;
    case 2: return x * 0x1p-128f;
    case 3: return x * 0x1p55f;
    case 4: {
        float y = x;
        for (int n = case_int(&run->random, 0, 40); n > 0; n--) y *= x < 0 ? 2.0f : 0.5f;
        return y;
    }
    default: return x;
    }
}

kd_pair kd_floats(kd_run *run, int rows, int cols, int ld, int flavour)
{
    const int n = rows * ld;
    float *values = case_alloc((size_t)n * sizeof *values);
    for (int i = 0; i < n; i++) values[i] = draw(run, flavour);
    const kd_pair pair = kd_values(run, rows, cols, ld, TERN_F32, values);
    free(values);
    return pair;
}

kd_pair kd_opaque(kd_run *run, size_t bytes0, size_t bytes1)
{
    kd_pair pair;
    const size_t bytes[2] = {bytes0, bytes1};
    for (int i = 0; i < 2; i++)
        pair.s[i] = tern_span_make(run->side[i].memory, take(run, i, bytes[i]), 1,
                                   (int64_t)bytes[i], TERN_OPAQUE);
    return pair;
}

kd_pair kd_quant(kd_run *run, int t, int k)
{
    return kd_opaque(run, run->side[0].device->backend->quant_bytes(t, k),
                     run->side[1].device->backend->quant_bytes(t, k));
}

static kd_weight make_weight(kd_run *run, const tern_weight_desc *desc,
                             const tern_weight_rows *rows)
{
    kd_weight weight;
    for (int i = 0; i < 2; i++) {
        kd_side *s = &run->side[i];
        tern_weight_layout layout;
        tern_error err = {0};
        must(tern_weight_layout_of(&layout, s->device->backend, desc, &err), &err);
        const size_t at = take(run, i, layout.bytes);
        tern_weight **slot = &s->weights[s->n_weights++];
        must(tern_weight_create(slot, s->memory, at, desc, &err), &err);
        must(tern_weight_import(*slot, rows, &err), &err);
        weight.w[i] = *slot;
    }
    return weight;
}

kd_weight kd_ternary(kd_run *run, int n_out, int k, int mode)
{
    const size_t n = (size_t)n_out * (size_t)k;
    int8_t *values = case_alloc(n);
    float *scale = case_alloc((size_t)n_out * sizeof *scale);
    for (size_t i = 0; i < n; i++) {
        const int diagonal = i % (size_t)k == i / (size_t)k;
        values[i] = (int8_t)(mode == 0 ? case_int(&run->random, -1, 1) : mode == 1 || diagonal);
    }
    for (int i = 0; i < n_out; i++) scale[i] = 0.5f + case_float(&run->random, 0.25f);
    uint8_t *codes = case_pack_ternary(values, n_out, k);
    const tern_weight_desc desc = {.use = TERN_USE_PLAIN, .k = k, .n_out = n_out};
    const tern_weight_rows rows = {.rows = n_out, .codes = codes, .scale = scale};
    const kd_weight weight = make_weight(run, &desc, &rows);
    free(codes);
    free(scale);
    free(values);
    return weight;
}

kd_weight kd_table(kd_run *run, int n_vocab, int d, tern_head_type type)
{
    const size_t n = (size_t)n_vocab * (size_t)d;
    int8_t *high = case_alloc(2 * n), *low = high + n;
    float *scale = case_alloc((size_t)n_vocab * sizeof *scale);
    float *col = case_alloc((size_t)d * sizeof *col);
    const int extreme = case_int(&run->random, 0, 3) == 0;
    for (size_t i = 0; i < n; i++) {
        high[i] = (int8_t)(extreme ? (i % 2 ? -127 : 127) : case_int(&run->random, -127, 127));
        low[i] = (int8_t)(extreme ? -128 : case_int(&run->random, -128, 127));
    }
    for (int i = 0; i < n_vocab; i++)
        scale[i] = i % 5 == 4 ? scale[i - 1] : 1e-4f + case_float(&run->random, 5e-5f);
    for (int i = 0; i < d; i++) col[i] = i % 3 ? 1.0f : 0.25f;
    const tern_weight_desc desc = {.use = TERN_USE_TABLE, .k = d, .n_out = n_vocab,
                                   .head_type = type};
    const tern_weight_rows rows = {.rows = n_vocab, .high = high,
                                   .low = type == TERN_HEAD_I16 ? low : NULL, .scale = scale,
                                   .col = col};
    const kd_weight weight = make_weight(run, &desc, &rows);
    free(col);
    free(scale);
    free(high);
    return weight;
}

void kd_go(kd_run *run, const tern_op *ops0, const tern_op *ops1, int n_ops,
           const tern_batch_limits *limits, const tern_batch *batch)
{
    const tern_op *ops[2] = {ops0, ops1};
    tern_error err[2] = {{0}, {0}};
    for (int i = 0; i < 2; i++) {
        kd_side *s = &run->side[i];
        tern_program *program;
        must(tern_program_create(&program, s->device, ops[i], n_ops, limits, &err[i]), &err[i]);
        must(tern_program_run(program, s->stream, batch, &err[i]), &err[i]);
        const int status = tern_stream_sync(s->stream, &err[i]);
        tern_program_destroy(program);
        if (status == TERN_OK) continue;
        tern_stream_destroy(s->stream); /* its error is sticky: a new one */
        tern_error again = {0};
        must(tern_stream_create(&s->stream, s->device, &again), &again);
    }
    if (err[0].status != err[1].status || strcmp(err[0].text, err[1].text) != 0)
        fail(run, "ended with \"%s\" instead of \"%s\"", err[1].text, err[0].text);
}

/* Whole memory of both sides into their host copies. */
static void fetch(kd_run *run)
{
    for (int i = 0; i < 2; i++) {
        kd_side *s = &run->side[i];
        tern_error err = {0};
        must(tern_download(s->stream, s->host, s->memory, 0, s->used, &err), &err);
        must(tern_stream_sync(s->stream, &err), &err);
    }
}

void kd_same(kd_run *run, const char *name, const kd_pair *pair, size_t bytes)
{
    fetch(run);
    const uint8_t *ref = run->side[0].host + pair->s[0].offset_bytes;
    const uint8_t *got = run->side[1].host + pair->s[1].offset_bytes;
    for (size_t i = 0; i < bytes; i++) {
        if (ref[i] == got[i]) continue;
        const size_t word = i / 4;
        float a = 0, b = 0;
        if (4 * word + 4 <= bytes) {
            memcpy(&a, ref + 4 * word, 4);
            memcpy(&b, got + 4 * word, 4);
        }
        fail(run, "%s differs at byte %zu of %zu (word %zu: %a instead of %a)", name, i, bytes,
             word, (double)b, (double)a);
        return;
    }
}

void kd_gaps(kd_run *run)
{
    fetch(run);
    const kd_side *s = &run->side[1];
    for (int g = 0; g < s->n_gaps; g++)
        for (size_t i = 0; i < GAP_BYTES; i++)
            if (s->host[s->gaps[g] + i] != GAP_BYTE) {
                fail(run, "wrote %zu bytes past operand %d", i, g);
                return;
            }
}

void kd_batch_make(kd_run *run, kd_batch *b, int n_tok, int n_seq, int n_rows, int n_ctx)
{
    memset(b, 0, sizeof *b);
    const int ld = (n_ctx + TERN_PAGE_TOK - 1) / TERN_PAGE_TOK;
    if (n_tok > 512 || n_rows > 64 || n_seq * ld > 64 * 32) abort();
    int t = 0;
    for (int s = 0; s < n_seq; s++) { /* the rest of the tokens belongs to the last sequence */
        const int left = n_tok - t;
        const int n = s + 1 == n_seq ? left : case_int(&run->random, 0, left);
        const int first = case_int(&run->random, 0, n_ctx - n);
        for (int i = 0; i < n; i++, t++) {
            b->pos[t] = first + i;
            b->seq[t] = s;
        }
    }
    for (int i = 0; i < n_seq * ld; i++) b->pages[i] = n_seq * ld - 1 - i;
    for (int r = 0; r < n_rows; r++) b->rows[r] = case_int(&run->random, 0, n_tok - 1);
    b->batch = (tern_batch){.n_tok = n_tok, .n_seq = n_seq, .n_rows = n_rows, .pos = b->pos,
                            .seq = b->seq, .pages = b->pages, .pages_ld = ld, .rows = b->rows,
                            .picks = b->picks, .targets = b->targets};
}

static int open_side(kd_side *s, const char *name, tern_error *err)
{
    const tern_device_options options = {.n_threads = strncmp(name, "cpu", 3) == 0};
    int status = tern_device_open(&s->device, name, &options, err);
    if (status == TERN_OK) status = tern_stream_create(&s->stream, s->device, err);
    if (status == TERN_OK) status = tern_buffer_create(&s->memory, s->device, KD_MEMORY_BYTES, err);
    s->host = case_alloc(KD_MEMORY_BYTES);
    return status;
}

static void close_side(kd_side *s)
{
    tern_buffer_destroy(s->memory);
    tern_stream_destroy(s->stream);
    tern_device_close(s->device);
    free(s->host);
}

int kd_check_device(const char *device, const char *op, uint64_t seed)
{
    static kd_run run;
    tern_error err = {0};
    int failed = 0, found = 0;
    run = (kd_run){.device = device, .seed = seed};
    int status = open_side(&run.side[1], device, &err); /* a CPU: at the level that is set */
    setenv("TERN_CPU", "ref", 1);
    if (status == TERN_OK) status = open_side(&run.side[0], "cpu", &err);
    if (status != TERN_OK) {
        printf("kerncheck: %s\n", err.text);
        return -1;
    }
    for (size_t i = 0; i < sizeof families / sizeof families[0]; i++) {
        if (op && strcmp(op, families[i].name) != 0) continue;
        found = 1;
        run.op = families[i].name;
        run.random = seed * 64 + i;
        run.n_cases = run.n_failed = 0;
        families[i].check(&run);
        kd_case(&run, "end");
        printf("%-12s %-10s %s, %d of %d cases failed\n", run.op, device,
               run.n_failed ? "FAIL" : "ok", run.n_failed, run.n_cases - 1);
        fflush(stdout);
        failed += run.n_failed;
    }
    for (int i = 0; i < 2; i++) close_side(&run.side[i]);
    if (!found) printf("kerncheck: devices have no operations '%s'\n", op);
    return found ? failed : -1;
}
