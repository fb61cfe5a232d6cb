/* kerncheck_device_rows.c - EMBED, NORM, ADD, ACT_MUL, POOL, copies, NORM_QUANT and LINEAR on a
 * device. The layout of quantised activations is private, so NORM_QUANT is seen through a LINEAR
 * with the unit matrix, which shows every q, the scale and the row sum. */
#include <math.h>

#include "kerncheck_device.h"

static tern_batch_limits limits_of(int n_tok, int n_rows)
{
    return (tern_batch_limits){n_tok, 4, n_rows > 0 ? n_rows : 1, 1024};
}

static void check_embed(kd_run *run, int d, tern_head_type type, int bad)
{
    const int n_tok = case_int(&run->random, 1, 9), n_vocab = case_int(&run->random, 1, 70);
    kd_case(run, "EMBED d %d, %d tokens of %d, %s", d, n_tok, n_vocab, bad ? "a bad id" : "");
    int32_t ids[9];
    for (int t = 0; t < n_tok; t++) ids[t] = case_int(&run->random, 0, n_vocab - 1);
    if (bad) ids[n_tok / 2] = bad > 0 ? n_vocab : -1;
    const kd_weight table = kd_table(run, n_vocab, d, type);
    const kd_pair id = kd_values(run, n_tok, 1, 1, TERN_S32, ids);
    const kd_pair x = kd_floats(run, n_tok, d, d + 3, 0);
    tern_op ops[2];
    for (int i = 0; i < 2; i++)
        ops[i] = (tern_op){.kind = TERN_OP_EMBED, .layer = -1,
                           .u.embed = {id.s[i], table.w[i], x.s[i], 1.25f}};
    const tern_batch_limits limits = limits_of(n_tok, 0);
    kd_batch b;
    kd_batch_make(run, &b, n_tok, 2, 0, 1024);
    kd_go(run, &ops[0], &ops[1], 1, &limits, &b.batch);
    kd_same(run, "x", &x, (size_t)n_tok * (size_t)(d + 3) * sizeof(float));
    kd_gaps(run);
}

/* NORM, ADD and the three activations on one pair of operands. */
static void check_float_rows(kd_run *run, int n, int flavour)
{
    const int n_tok = case_int(&run->random, 1, 6), ld = n + case_int(&run->random, 0, 5);
    kd_case(run, "NORM, ADD, ACT_MUL of %d x %d, flavour %d", n_tok, n, flavour);
    const kd_pair a = kd_floats(run, n_tok, n, ld, flavour), b = kd_floats(run, n_tok, n, ld, 0);
    const kd_pair gain = kd_floats(run, 1, n, n, 0);
    kd_pair y[5];
    for (int j = 0; j < 5; j++) y[j] = kd_floats(run, n_tok, n, ld, 0);
    tern_op ops[2][5];
    for (int i = 0; i < 2; i++) {
        ops[i][0] = (tern_op){.kind = TERN_OP_NORM, .layer = 0,
                              .u.norm = {a.s[i], gain.s[i], y[0].s[i], 1e-6f}};
        ops[i][1] = (tern_op){.kind = TERN_OP_ADD, .layer = 0,
                              .u.add = {a.s[i], b.s[i], y[1].s[i]}};
        for (int act = 0; act < 3; act++)
            ops[i][2 + act] = (tern_op){
                .kind = TERN_OP_ACT_MUL, .layer = 0,
                .u.act_mul = {a.s[i], b.s[i], y[2 + act].s[i], (tern_act)act}};
    }
    const tern_batch_limits limits = limits_of(n_tok, 0);
    kd_batch batch;
    kd_batch_make(run, &batch, n_tok, 1, 0, 1024);
    kd_go(run, ops[0], ops[1], 5, &limits, &batch.batch);
    static const char *const names[] = {"NORM", "ADD", "relu2", "silu", "gelu_tanh"};
    for (int j = 0; j < 5; j++)
        kd_same(run, names[j], &y[j], (size_t)n_tok * (size_t)ld * sizeof(float));
    kd_gaps(run);
}

static void check_pool(kd_run *run, int n_tok, int d)
{
    kd_case(run, "POOL of %d x %d", n_tok, d);
    const kd_pair x = kd_floats(run, n_tok, d, d + 1, 0);
    const kd_pair mean = kd_floats(run, 3, d, d, 0), last = kd_floats(run, 3, d, d + 2, 0);
    tern_op ops[2][2];
    for (int i = 0; i < 2; i++) {
        ops[i][0] = (tern_op){.kind = TERN_OP_POOL, .layer = -1,
                              .u.pool = {x.s[i], mean.s[i], TERN_POOL_MEAN}};
        ops[i][1] = (tern_op){.kind = TERN_OP_POOL, .layer = -1,
                              .u.pool = {x.s[i], last.s[i], TERN_POOL_LAST}};
    }
    const tern_batch_limits limits = {n_tok, 3, 1, 1024};
    kd_batch b;
    kd_batch_make(run, &b, n_tok, 3, 0, 1024);
    kd_go(run, ops[0], ops[1], 2, &limits, &b.batch);
    kd_same(run, "mean", &mean, 3 * (size_t)d * sizeof(float));
    kd_same(run, "last", &last, 3 * (size_t)(d + 2) * sizeof(float));
    kd_gaps(run);
}

static void check_copies(kd_run *run, tern_dtype type, int cols, int odd)
{
    const int n_tok = case_int(&run->random, 1, 9), n_rows = case_int(&run->random, 1, 5);
    const size_t element = tern_dtype_bytes(type);
    kd_case(run, "copies of %d x %d elements of %zu bytes, %d rows", n_tok, cols, element, n_rows);
    const int ld = cols + odd;
    uint8_t *bytes = case_alloc((size_t)n_tok * (size_t)ld * element);
    for (size_t i = 0; i < (size_t)n_tok * (size_t)ld * element; i++)
        bytes[i] = (uint8_t)case_int(&run->random, 0, 255);
    const kd_pair from = kd_values(run, n_tok, cols, ld, type, bytes);
    const kd_pair whole = kd_values(run, n_tok, cols, cols + 7, type, NULL);
    const kd_pair some = kd_values(run, n_rows, cols, cols + 1, type, NULL);
    free(bytes);
    tern_op ops[2][2];
    for (int i = 0; i < 2; i++) {
        ops[i][0] = (tern_op){.kind = TERN_OP_COPY_2D, .u.copy = {from.s[i], whole.s[i]}};
        ops[i][1] = (tern_op){.kind = TERN_OP_COPY_ROWS, .u.copy = {from.s[i], some.s[i]}};
    }
    const tern_batch_limits limits = {n_tok, 1, n_rows, 1024};
    kd_batch b;
    kd_batch_make(run, &b, n_tok, 1, n_rows, 1024);
    kd_go(run, ops[0], ops[1], 2, &limits, &b.batch);
    kd_same(run, "COPY_2D", &whole, (size_t)n_tok * (size_t)(cols + 7) * element);
    kd_same(run, "COPY_ROWS", &some, (size_t)n_rows * (size_t)(cols + 1) * element);
    kd_gaps(run);
}

void kd_check_rows(kd_run *run)
{
    static const int widths[] = {4, 60, 64, 127, 128, 200, 256, 300, 516};
    for (size_t i = 0; i < sizeof widths / sizeof widths[0]; i++) {
        check_embed(run, widths[i], i % 2 ? TERN_HEAD_I16 : TERN_HEAD_I8, (int)(i % 3) - 1);
        check_float_rows(run, widths[i], (int)i % KD_FLAVOURS);
        check_pool(run, 1 + 40 * (int)i, widths[i]);
        check_copies(run, i % 2 ? TERN_F32 : TERN_U8, widths[i], (int)i % 4);
    }
}

static void check_norm_quant(kd_run *run, int k, int flavour, int mode)
{
    const int n_tok = case_int(&run->random, 1, 5);
    kd_case(run, "NORM_QUANT k %d, %d tokens, flavour %d, mode %d", k, n_tok, flavour, mode);
    const int limit = n_tok + 2;
    const kd_pair x = kd_floats(run, limit, k, k + 2, flavour), gain = kd_floats(run, 1, k, k, 0);
    const kd_pair q = kd_quant(run, limit, k), y = kd_floats(run, limit, k, k, 0);
    const kd_weight unit = kd_ternary(run, k, k, 2);
    if (mode == 3) { /* a sum of squares that is not finite, in the last row */
        const float bad = INFINITY;
        for (int i = 0; i < 2; i++)
            tern_upload(run->side[i].stream, run->side[i].memory,
                        x.s[i].offset_bytes + (size_t)((n_tok - 1) * (k + 2)) * sizeof(float), &bad,
                        sizeof bad, NULL);
    }
    tern_op ops[2][2];
    for (int i = 0; i < 2; i++) {
        ops[i][0] = (tern_op){
            .kind = TERN_OP_NORM_QUANT, .layer = 7,
            .u.norm_quant = {x.s[i], mode == 0 ? (tern_span){0} : gain.s[i], q.s[i], 1e-5f,
                             mode == 2}};
        ops[i][1] = (tern_op){.kind = TERN_OP_LINEAR, .layer = 7,
                              .u.linear = {q.s[i], unit.w[i], y.s[i], 0}};
    }
    const tern_batch_limits limits = limits_of(limit, 0);
    kd_batch b;
    kd_batch_make(run, &b, n_tok, 1, 0, 1024);
    kd_go(run, ops[0], ops[1], 2, &limits, &b.batch);
    kd_same(run, "q", &y, (size_t)limit * (size_t)k * sizeof(float));
    kd_gaps(run);
}

void kd_check_norm_quant(kd_run *run)
{
    static const int widths[] = {1, 3, 63, 64, 127, 128, 129, 255, 256, 257, 300, 515};
    for (size_t i = 0; i < sizeof widths / sizeof widths[0]; i++)
        for (int mode = 0; mode < 4; mode++)
            check_norm_quant(run, widths[i], (int)(i + (size_t)mode) % KD_FLAVOURS, mode);
}

static void check_linear(kd_run *run, int n_out, int k, int n_tok, int worst)
{
    const int accumulate = case_int(&run->random, 0, 1), ld = n_out + case_int(&run->random, 0, 5);
    kd_case(run, "LINEAR %d x %d, %d tokens%s%s", n_out, k, n_tok, accumulate ? ", adding" : "",
            worst ? ", largest sums" : "");
    const int limit = n_tok + 1;
    kd_pair x;
    if (worst) { /* every q is 127 or -127 */
        float *values = case_alloc((size_t)limit * (size_t)k * sizeof *values);
        for (int i = 0; i < limit * k; i++) values[i] = i / k % 2 ? -2.0f : 2.0f;
        x = kd_values(run, limit, k, k, TERN_F32, values);
        free(values);
    } else {
        x = kd_floats(run, limit, k, k, 0);
    }
    const kd_pair q = kd_quant(run, limit, k), y = kd_floats(run, limit, n_out, ld, 0);
    const kd_weight w = kd_ternary(run, n_out, k, worst);
    tern_op ops[2][2];
    for (int i = 0; i < 2; i++) {
        ops[i][0] = (tern_op){.kind = TERN_OP_NORM_QUANT,
                              .u.norm_quant = {x.s[i], {0}, q.s[i], 1e-5f, 0}};
        ops[i][1] = (tern_op){.kind = TERN_OP_LINEAR,
                              .u.linear = {q.s[i], w.w[i], y.s[i], accumulate}};
    }
    const tern_batch_limits limits = limits_of(limit, 0);
    kd_batch b;
    kd_batch_make(run, &b, n_tok, 1, 0, 1024);
    kd_go(run, ops[0], ops[1], 2, &limits, &b.batch);
    kd_same(run, "y", &y, (size_t)limit * (size_t)ld * sizeof(float));
    kd_gaps(run);
}

void kd_check_linear(kd_run *run)
{
    static const int tokens[] = {1, 2, 3, 4, 5, 7, 8, 9, 15, 16, 17, 31, 33, 64, 65, 130};
    static const int outs[] = {1, 15, 16, 17, 31, 63, 64, 65, 100, 130, 257};
    static const int widths[] = {1, 60, 64, 127, 128, 129, 256, 384, 400, 640, 1029};
    for (int i = 0; i < 48; i++)
        check_linear(run, outs[i % 11], widths[i * 7 % 11], tokens[i % 16], 0);
    for (int i = 0; i < 16; i++) {
        const int n_tok = tokens[i % 16];
        check_linear(run, case_int(&run->random, 1, 200), case_int(&run->random, 1, 900), n_tok, 0);
        check_linear(run, 33, 1300, n_tok, 1);
    }
    check_linear(run, 20, 40000, 1, 1); /* past the bound of one chain of masks in place */
    check_linear(run, 20, 40000, 9, 1);
    check_linear(run, 700, 256, 1, 0); /* many row groups, few columns */
    check_linear(run, 700, 256, 40, 0);
    static const int edges[][3] = {/* of the largest tiles, whole and split */
                                   {128, 128, 16},   {127, 1029, 128}, {129, 640, 129},
                                   {256, 1300, 127}, {255, 513, 256},  {257, 1029, 257},
                                   {384, 1664, 130}, {640, 1100, 64},  {385, 2000, 48},
                                   {300, 2000, 257}};
    for (size_t i = 0; i < sizeof edges / sizeof edges[0]; i++)
        check_linear(run, edges[i][0], edges[i][1], edges[i][2], (int)i % 2);
}
