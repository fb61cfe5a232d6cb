/* test_step_part.c - operations of a model, and under which part a profiler shows them. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

#include <cmocka.h>

#include "cuda/step_part.h"

/* An operation of a layer (-1: of none) and what it must count as. */
typedef struct expected {
    tern_op_kind kind;
    int layer;
    tern_step_part part;
} expected;

static void check(const expected *list, int n)
{
    tern_op ops[32] = {0};
    for (int i = 0; i < n; i++) {
        ops[i].kind = list[i].kind;
        ops[i].layer = list[i].layer;
    }
    for (int i = 0; i < n; i++)
        if (tern_step_part_of(ops, n, i) != list[i].part)
            fail_msg("operation %d (%s) is '%s', should be '%s'", i, tern_op_name(list[i].kind),
                     tern_step_part_name(tern_step_part_of(ops, n, i)),
                     tern_step_part_name(list[i].part));
}

#define ATTENTION_HALF(layer)                                                                      \
    {TERN_OP_NORM_QUANT, layer, TERN_PART_ATTENTION},                                              \
    {TERN_OP_LINEAR, layer, TERN_PART_ATTENTION},                                                  \
    {TERN_OP_ROPE_KV, layer, TERN_PART_ATTENTION}, {TERN_OP_ATTN, layer, TERN_PART_ATTENTION},     \
    {TERN_OP_NORM_QUANT, layer, TERN_PART_ATTENTION}, {TERN_OP_LINEAR, layer, TERN_PART_ATTENTION}
#define FFN_HALF(layer)                                                                            \
    {TERN_OP_NORM_QUANT, layer, TERN_PART_FFN}, {TERN_OP_LINEAR, layer, TERN_PART_FFN},            \
    {TERN_OP_ACT_MUL, layer, TERN_PART_FFN}, {TERN_OP_NORM_QUANT, layer, TERN_PART_FFN},           \
    {TERN_OP_LINEAR, layer, TERN_PART_FFN}
#define COUNT(list) ((int)(sizeof(list) / sizeof(list)[0]))

static void test_layers(void **state)
{
    (void)state;
    static const expected whole[] = {{TERN_OP_EMBED, -1, TERN_PART_EMBED}, ATTENTION_HALF(0),
                                     FFN_HALF(0), ATTENTION_HALF(1)};
    check(whole, COUNT(whole));
    static const expected from_ffn[] = {{TERN_OP_COPY_2D, -1, TERN_PART_COPY}, FFN_HALF(3),
                                        ATTENTION_HALF(4), FFN_HALF(4)};
    check(from_ffn, COUNT(from_ffn));
    static const expected merged[] = {{TERN_OP_ATTN_PART, 7, TERN_PART_ATTENTION},
                                      {TERN_OP_COPY_2D, 7, TERN_PART_COPY},
                                      {TERN_OP_ATTN_MERGE, 7, TERN_PART_ATTENTION},
                                      {TERN_OP_NORM_QUANT, 7, TERN_PART_ATTENTION},
                                      {TERN_OP_LINEAR, 7, TERN_PART_ATTENTION},
                                      {TERN_OP_NORM, 7, TERN_PART_ATTENTION},
                                      {TERN_OP_ADD, 7, TERN_PART_ATTENTION},
                                      FFN_HALF(7)};
    check(merged, COUNT(merged));
}

static void test_rest(void **state)
{
    (void)state;
    static const expected head[] = {{TERN_OP_NORM, -1, TERN_PART_OTHER},
                                    {TERN_OP_HEAD, -1, TERN_PART_HEAD},
                                    {TERN_OP_PICK, -1, TERN_PART_SAMPLING},
                                    {TERN_OP_COPY_ROWS, -1, TERN_PART_COPY}};
    check(head, COUNT(head));
}

static void test_batch(void **state)
{
    (void)state;
    const tern_batch prefill = {.n_tok = 40, .n_seq = 1}, mixed = {.n_tok = 4, .n_seq = 3};
    const tern_batch decode = {.n_tok = 3, .n_seq = 3};
    assert_int_equal(tern_step_part_of_batch(&prefill), TERN_PART_PREFILL);
    assert_int_equal(tern_step_part_of_batch(&mixed), TERN_PART_PREFILL);
    assert_int_equal(tern_step_part_of_batch(&decode), TERN_PART_DECODE);
}

static void test_names(void **state)
{
    (void)state;
    for (int i = 0; i < TERN_N_PARTS; i++)
        for (int j = 0; j < i; j++)
            assert_string_not_equal(tern_step_part_name((tern_step_part)i),
                                    tern_step_part_name((tern_step_part)j));
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_layers),
        cmocka_unit_test(test_rest),
        cmocka_unit_test(test_batch),
        cmocka_unit_test(test_names),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
