/* kerncheck_device_fused.c - neighbours in a program that a device may do as one kernel: the second
 * half of a layer, as runtime/model/graph.c words it, for one token and a few. */
#include <math.h>

#include "kerncheck_device.h"

/* The operands of x += down . norm(act(gate) * up), (gate, up) = W . norm(x). */
typedef struct ffn {
    kd_pair x, gain, q, gate_up, act, act_gain, act_q;
    kd_weight gate_up_weight, down_weight;
} ffn;

typedef struct ffn_shape {
    int d, f, limit; /* tokens of the program */
    tern_act act;
    int flavour, with_gain;
} ffn_shape;

static ffn ffn_make(kd_run *run, const ffn_shape *s)
{
    ffn o;
    o.x = kd_floats(run, s->limit, s->d, s->d + 1, s->flavour);
    o.gain = kd_floats(run, 1, s->d, s->d, 0);
    o.q = kd_quant(run, s->limit, s->d);
    o.gate_up = kd_floats(run, s->limit, 2 * s->f, 2 * s->f + 3, 0);
    o.act = kd_floats(run, s->limit, s->f, s->f + 2, 0);
    o.act_gain = kd_floats(run, 1, s->f, s->f, 0);
    o.act_q = kd_quant(run, s->limit, s->f);
    o.gate_up_weight = kd_ternary(run, 2 * s->f, s->d, 0);
    o.down_weight = kd_ternary(run, s->d, s->f, 0);
    return o;
}

enum { N_OPS = 5 };

static void ffn_ops(tern_op ops[N_OPS], const ffn *o, const ffn_shape *s, int i)
{
    const tern_span none = {0};
    const tern_span gate = tern_span_cols(o->gate_up.s[i], 0, s->f);
    const tern_span up = tern_span_cols(o->gate_up.s[i], s->f, s->f);
    ops[0] = (tern_op){.kind = TERN_OP_NORM_QUANT, .layer = 3,
                       .u.norm_quant = {o->x.s[i], s->with_gain ? o->gain.s[i] : none, o->q.s[i],
                                        1e-5f, !s->with_gain}};
    ops[1] = (tern_op){.kind = TERN_OP_LINEAR, .layer = 3,
                       .u.linear = {o->q.s[i], o->gate_up_weight.w[i], o->gate_up.s[i], 0}};
    ops[2] = (tern_op){.kind = TERN_OP_ACT_MUL, .layer = 3,
                       .u.act_mul = {gate, up, o->act.s[i], s->act}};
    ops[3] = (tern_op){.kind = TERN_OP_NORM_QUANT, .layer = 3,
                       .u.norm_quant = {o->act.s[i], o->act_gain.s[i], o->act_q.s[i], 1e-5f, 0}};
    ops[4] = (tern_op){.kind = TERN_OP_LINEAR, .layer = 3,
                       .u.linear = {o->act_q.s[i], o->down_weight.w[i], o->x.s[i], 1}};
}

/* bad: x is not finite in the first token. */
static void check_ffn(kd_run *run, const ffn_shape *s, int n_tok, int bad)
{
    kd_case(run, "FFN half %d, %d, %d tokens, act %d, flavour %d%s%s", s->d, s->f, n_tok, s->act,
            s->flavour, s->with_gain ? "" : ", no gain", bad ? ", not finite" : "");
    const ffn o = ffn_make(run, s);
    tern_op ops[2][N_OPS];
    for (int i = 0; i < 2; i++) {
        const float not_finite = INFINITY;
        const tern_span *x = &o.x.s[i];
        ffn_ops(ops[i], &o, s, i);
        if (!bad) continue;
        tern_upload(run->side[i].stream, x->buffer, x->offset_bytes, &not_finite,
                    sizeof not_finite, NULL);
    }
    const tern_batch_limits limits = {s->limit, 4, 1, 1024};
    kd_batch b;
    kd_batch_make(run, &b, n_tok, 1, 0, 1024);
    kd_go(run, ops[0], ops[1], N_OPS, &limits, &b.batch);
    const size_t rows = (size_t)s->limit, d = (size_t)s->d, f = (size_t)s->f;
    kd_same(run, "gate and up", &o.gate_up, rows * (2 * f + 3) * sizeof(float));
    kd_same(run, "act", &o.act, rows * (f + 2) * sizeof(float));
    kd_same(run, "x", &o.x, rows * (d + 1) * sizeof(float));
    kd_gaps(run);
}

void kd_check_fused(kd_run *run)
{
    static const int widths[] = {16, 60, 127, 128, 130, 255, 257, 400, 1029};
    static const int fs[] = {16, 48, 50, 128, 144, 256, 300, 16};
    for (int i = 0; i < 27; i++) {
        const ffn_shape s = {.d = widths[i % 9], .f = fs[i * 5 % 8], .limit = 1 + i % 4,
                             .act = (tern_act)(i % 3), .flavour = i % KD_FLAVOURS,
                             .with_gain = i % 4 != 3};
        check_ffn(run, &s, i % 9 < 7 ? 1 : s.limit, i == 11);
    }
    const ffn_shape wide = {.d = 5000, .f = 48, .limit = 1, .with_gain = 1};
    const ffn_shape tall = {.d = 64, .f = 2000, .limit = 1, .with_gain = 1};
    const ffn_shape beyond = {.d = 16, .f = 50000, .limit = 1, .with_gain = 1};
    check_ffn(run, &wide, 1, 0);
    check_ffn(run, &tall, 1, 0);
    check_ffn(run, &beyond, 1, 0); /* more columns than any shared memory holds */
}
