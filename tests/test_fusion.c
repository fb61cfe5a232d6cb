/* test_fusion.c - which neighbours of a program are one kernel (cuda/fusion.h), and every reason
 * why they are not: another q, overlapping operands, a gain that a step writes, a
 * qkv that somebody reads. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "cuda/fusion.h"
#include "device/backend.h"

enum { D = 64, F = 32, N_TOK = 4, N_OPS = 6 };

/* The second half of a layer and an operation behind it, on operands that lie apart. */
typedef struct half {
    tern_buffer buffer;
    tern_weight gate_up, down;
    tern_op ops[N_OPS];
} half;

static tern_span floats(half *h, int place, int rows, int cols)
{
    return tern_span_make(&h->buffer, (size_t)place << 16, rows, cols, TERN_F32);
}

static tern_span opaque(half *h, int place)
{
    return tern_span_make(&h->buffer, (size_t)place << 16, 1, 4096, TERN_OPAQUE);
}

enum { X, GAIN, Q, GATE_UP, ACT, ACT_GAIN, ACT_Q, COPY, N_PLACES };

static void half_make(half *h)
{
    *h = (half){.gate_up = {.desc = {.k = D, .n_out = 2 * F}},
                .down = {.desc = {.k = F, .n_out = D}}};
    const tern_span x = floats(h, X, N_TOK, D), gate_up = floats(h, GATE_UP, N_TOK, 2 * F);
    const tern_span act = floats(h, ACT, N_TOK, F);
    h->ops[0] = (tern_op){.kind = TERN_OP_NORM_QUANT,
                          .u.norm_quant = {x, floats(h, GAIN, 1, D), opaque(h, Q), 1e-5f, 0}};
    h->ops[1] = (tern_op){.kind = TERN_OP_LINEAR,
                          .u.linear = {opaque(h, Q), &h->gate_up, gate_up, 0}};
    h->ops[2] = (tern_op){.kind = TERN_OP_ACT_MUL,
                          .u.act_mul = {tern_span_cols(gate_up, 0, F),
                                        tern_span_cols(gate_up, F, F), act, TERN_ACT_SILU}};
    h->ops[3] = (tern_op){.kind = TERN_OP_NORM_QUANT,
                          .u.norm_quant = {act, floats(h, ACT_GAIN, 1, F), opaque(h, ACT_Q), 1e-5f,
                                           0}};
    h->ops[4] = (tern_op){.kind = TERN_OP_LINEAR,
                          .u.linear = {opaque(h, ACT_Q), &h->down, x, 1}};
    h->ops[5] = (tern_op){.kind = TERN_OP_COPY_2D, .u.copy = {x, floats(h, COPY, N_TOK, D)}};
}

static void test_half(void **state)
{
    (void)state;
    static const int expected[N_OPS] = {3, 1, 1, 2, 1, 1};
    half h;
    half_make(&h);
    for (int i = 0; i < N_OPS; i++)
        assert_int_equal(tern_cuda_fused(h.ops, N_OPS, i), expected[i]);
    assert_int_equal(tern_cuda_fused(h.ops, 2, 0), 2); /* where the program ends */
    assert_int_equal(tern_cuda_fused(h.ops, 1, 0), 1);
    h.ops[0].u.norm_quant.gain = (tern_span){0};
    assert_int_equal(tern_cuda_fused(h.ops, N_OPS, 0), 3);
}

/* One change each, and what remains of the three operations. */
static void other_q(half *h)
{
    h->ops[1].u.linear.q = opaque(h, ACT_Q);
}

static void other_k(half *h)
{
    h->gate_up.desc.k = D + 1;
}

static void something_between(half *h)
{
    h->ops[1].kind = TERN_OP_COPY_2D;
    h->ops[1].u.copy = h->ops[5].u.copy;
}

static void y_is_x(half *h)
{
    h->ops[1].u.linear.y = floats(h, X, N_TOK, 2 * F);
}

static void y_ends_in_x(half *h)
{
    h->ops[0].u.norm_quant.x.offset_bytes = ((size_t)GATE_UP << 16) + 2 * F * 4;
}

static void q_in_x(half *h)
{
    h->ops[0].u.norm_quant.q.offset_bytes = 8;
    h->ops[1].u.linear.q.offset_bytes = 8;
}

static void q_in_y(half *h)
{
    h->ops[0].u.norm_quant.q.offset_bytes = (size_t)GATE_UP << 16;
    h->ops[1].u.linear.q.offset_bytes = (size_t)GATE_UP << 16;
}

static void gain_is_copied(half *h)
{
    h->ops[5].u.copy.to = floats(h, GAIN, 1, D);
}

static void gain_is_a_result(half *h)
{
    h->ops[4].u.linear.y = floats(h, GAIN, 1, D);
}

static void gain_in_pages(half *h)
{
    h->ops[5] = (tern_op){.kind = TERN_OP_ROPE_KV};
    h->ops[5].u.rope_kv.qkv = floats(h, COPY, N_TOK, D);
    h->ops[5].u.rope_kv.pool =
        (tern_kv_pool){&h->buffer, (size_t)GAIN << 16, 1, 1, 16, TERN_KV_F16};
}

static void odd_rows(half *h)
{
    h->gate_up.desc.n_out = 2 * (F - 1);
    h->ops[2].u.act_mul.gate.cols = h->ops[2].u.act_mul.up.cols = F - 1;
    h->ops[2].u.act_mul.up.offset_bytes -= 4;
}

static void halves_exchanged(half *h)
{
    const tern_op_act_mul was = h->ops[2].u.act_mul;
    h->ops[2].u.act_mul.gate = was.up;
    h->ops[2].u.act_mul.up = was.gate;
}

static void part_of_the_rows(half *h)
{
    h->gate_up.desc.n_out = 4 * F;
}

static void act_in_gate(half *h)
{
    h->ops[2].u.act_mul.y = h->ops[2].u.act_mul.gate;
}

static void act_in_x(half *h)
{
    h->ops[2].u.act_mul.y = floats(h, X, N_TOK, F);
}

static void act_in_q(half *h)
{
    h->ops[2].u.act_mul.y = floats(h, Q, N_TOK, F);
}

static void test_reasons(void **state)
{
    (void)state;
    static const struct {
        void (*change)(half *h);
        int remains;
    } cases[] = {
        {other_q, 1},        {other_k, 1},          {something_between, 1}, {y_is_x, 1},
        {y_ends_in_x, 1},    {q_in_x, 1},           {q_in_y, 1},            {gain_is_copied, 1},
        {gain_in_pages, 1},  {gain_is_a_result, 1}, {odd_rows, 2},          {halves_exchanged, 2},
        {part_of_the_rows, 2}, {act_in_gate, 2},    {act_in_x, 2},          {act_in_q, 2},
    };
    for (size_t i = 0; i < sizeof cases / sizeof cases[0]; i++) {
        half h;
        half_make(&h);
        cases[i].change(&h);
        const int fused = tern_cuda_fused(h.ops, N_OPS, 0);
        if (fused != cases[i].remains) fail_msg("case %zu: %d operations", i, fused);
    }
}

/* ---- RoPE and attention --------------------------------------------------------------------- */

enum { H = 2, KV = 1, HD = 16, QKV_COLS = (H + 2 * KV) * HD, N_ATTENTION = 5 };

/* ROPE_KV, ATTN, the product of its output, and the next layer's qkv. */
typedef struct attention {
    tern_buffer buffer;
    tern_weight out, qkv;
    tern_op ops[N_ATTENTION];
} attention;

enum { AT_X, AT_QKV, AT_O, AT_ROPE, AT_Q, AT_PAGES, AT_OTHER };

static tern_span at_floats(attention *a, int place, int rows, int cols)
{
    return tern_span_make(&a->buffer, (size_t)place << 16, rows, cols, TERN_F32);
}

static tern_span at_opaque(attention *a, int place)
{
    return tern_span_make(&a->buffer, (size_t)place << 16, 1, 4096, TERN_OPAQUE);
}

static void attention_make(attention *a)
{
    *a = (attention){.out = {.desc = {.k = H * HD, .n_out = D}},
                     .qkv = {.desc = {.k = D, .n_out = QKV_COLS}}};
    const tern_span x = at_floats(a, AT_X, N_TOK, D), o = at_floats(a, AT_O, N_TOK, H * HD);
    const tern_span qkv = at_floats(a, AT_QKV, N_TOK, QKV_COLS), q = at_opaque(a, AT_Q);
    const tern_kv_pool pool = {&a->buffer, (size_t)AT_PAGES << 16, 4, KV, HD, TERN_KV_F16};
    a->ops[0] = (tern_op){.kind = TERN_OP_ROPE_KV,
                          .u.rope_kv = {.qkv = qkv, .rope = at_floats(a, AT_ROPE, 256, HD),
                                        .pool = pool, .h = H, .eps = 1e-5f}};
    a->ops[1] = (tern_op){.kind = TERN_OP_ATTN,
                          .u.attn = {tern_span_cols(qkv, 0, H * HD), pool, o, H}};
    a->ops[2] = (tern_op){.kind = TERN_OP_NORM_QUANT, .u.norm_quant = {o, {0}, q, 1e-5f, 0}};
    a->ops[3] = (tern_op){.kind = TERN_OP_LINEAR, .u.linear = {q, &a->out, x, 1}};
    a->ops[4] = (tern_op){.kind = TERN_OP_LINEAR, .u.linear = {q, &a->qkv, qkv, 0}};
}

static void norm_of_q(attention *a)
{
    a->ops[0].u.rope_kv.q_gain = at_floats(a, AT_OTHER, 1, HD);
}

static void norm_of_k(attention *a)
{
    a->ops[0].u.rope_kv.k_gain = at_floats(a, AT_OTHER, 1, HD);
}

static void q_from_elsewhere(attention *a)
{
    a->ops[1].u.attn.q = at_floats(a, AT_OTHER, N_TOK, H * HD);
}

static void other_heads(attention *a)
{
    a->ops[1].u.attn.h = 1;
}

static void other_pages(attention *a)
{
    a->ops[1].u.attn.pool.offset_bytes += 4096;
}

static void other_pages_type(attention *a)
{
    a->ops[1].u.attn.pool.type = TERN_KV_I8;
}

static void o_in_qkv(attention *a)
{
    a->ops[1].u.attn.o = at_floats(a, AT_QKV, N_TOK, H * HD);
}

static void o_in_rope(attention *a)
{
    a->ops[1].u.attn.o = at_floats(a, AT_ROPE, N_TOK, H * HD);
}

static void o_in_pages(attention *a)
{
    a->ops[1].u.attn.o = at_floats(a, AT_PAGES, N_TOK, H * HD);
}

static void qkv_in_pages(attention *a)
{
    a->ops[0].u.rope_kv.pool.offset_bytes = a->ops[1].u.attn.pool.offset_bytes =
        (size_t)AT_QKV << 16;
}

static void rope_in_pages(attention *a)
{
    a->ops[0].u.rope_kv.rope = at_floats(a, AT_PAGES, 256, HD);
}

static void qkv_is_added_to(attention *a)
{
    a->ops[4].u.linear.accumulate = 1;
}

static void part_of_qkv_is_written(attention *a)
{
    a->ops[4].u.linear.y.cols--;
}

static void qkv_stays(attention *a)
{
    a->ops[4].u.linear.y = at_floats(a, AT_OTHER, N_TOK, QKV_COLS);
}

static void qkv_is_normed(attention *a)
{
    a->ops[2].u.norm_quant.x = at_floats(a, AT_QKV, N_TOK, H * HD);
}

static void qkv_is_copied(attention *a)
{
    a->ops[3] = (tern_op){.kind = TERN_OP_COPY_2D};
    a->ops[3].u.copy.from = at_floats(a, AT_QKV, N_TOK, QKV_COLS);
    a->ops[3].u.copy.to = at_floats(a, AT_OTHER, N_TOK, QKV_COLS);
}

static void test_attention(void **state)
{
    (void)state;
    static void (*const changes[])(attention *) = {
        norm_of_q,       norm_of_k,       q_from_elsewhere,       other_heads,  other_pages,
        other_pages_type, o_in_qkv,       o_in_rope,              o_in_pages,   qkv_in_pages,
        rope_in_pages,   qkv_is_added_to, part_of_qkv_is_written, qkv_stays,    qkv_is_normed,
        qkv_is_copied};
    attention a;
    attention_make(&a);
    assert_int_equal(tern_cuda_fused(a.ops, N_ATTENTION, 0), 2);
    assert_int_equal(tern_cuda_fused(a.ops, 4, 0), 1); /* nobody writes qkv anew */
    assert_int_equal(tern_cuda_fused(a.ops, 1, 0), 1);
    for (size_t i = 0; i < sizeof changes / sizeof changes[0]; i++) {
        attention_make(&a);
        changes[i](&a);
        if (tern_cuda_fused(a.ops, N_ATTENTION, 0) != 1) fail_msg("change %zu: fused", i);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_half),
        cmocka_unit_test(test_reasons),
        cmocka_unit_test(test_attention),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
