/* test_act_mul_ref.c - ACT_MUL: exact relu2, silu and gelu_tanh near libm in double, any cut. */
#include <math.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>

#include <cmocka.h>

#include "cases.h"
#include "cpu/ref/ref.h"

enum { T = 3, F = 50, LD_GATE = 110, LDY = 60 };

/* gate and up are columns of one wide span. */
static float wide[T * LD_GATE];

static double act(tern_act kind, double g)
{
    if (kind == TERN_ACT_RELU2) return g > 0.0 ? g * g : 0.0;
    if (kind == TERN_ACT_SILU) return g / (1.0 + exp(-g));
    return 0.5 * g * (1.0 + tanh(sqrt(2.0 / 3.14159265358979323846) * (g + 0.044715 * g * g * g)));
}

static void check(tern_act kind)
{
    uint64_t seed = 41;
    case_floats(wide, T * LD_GATE, 12.0f, &seed);
    float y[T * LDY] = {0}, cut[T * LDY] = {0};
    tern_act_mul_args a = {.y = y, .gate = wide, .up = wide + F, .ldy = LDY, .ld_gate = LD_GATE,
                           .ld_up = LD_GATE, .act = kind};
    tern_act_mul_ref(&a, (tern_range){0, T}, (tern_range){0, F});
    for (int t = 0; t < T; t++)
        for (int i = 0; i < LDY; i++) {
            const double up = (double)wide[t * LD_GATE + F + i];
            const double exact = i < F ? act(kind, (double)wide[t * LD_GATE + i]) * up : 0.0;
            assert_true(fabs(y[t * LDY + i] - exact) <= 2e-6 * fabs(exact) + 1e-9);
        }
    a.y = cut;
    for (int i = F; i > 0; i -= 7)
        tern_act_mul_ref(&a, (tern_range){0, T}, (tern_range){i > 7 ? i - 7 : 0, i});
    assert_memory_equal(y, cut, sizeof y);
}

static void test_near_double(void **state)
{
    (void)state;
    check(TERN_ACT_RELU2);
    check(TERN_ACT_SILU);
    check(TERN_ACT_GELU_TANH);
}

static void test_known_answers(void **state)
{
    (void)state;
    const float gate[6] = {-3.0f, -0.0f, 0.0f, 3.0f, 0.1f, 200.0f};
    const float up[6] = {5.0f, -1.0f, 2.0f, -2.0f, 7.0f, 1.0f};
    float y[6];
    tern_act_mul_args a = {.y = y, .gate = gate, .up = up, .ldy = 6, .ld_gate = 6, .ld_up = 6,
                           .act = TERN_ACT_RELU2};
    tern_act_mul_ref(&a, (tern_range){0, 1}, (tern_range){0, 6});
    assert_true(y[0] == 0.0f && y[1] == 0.0f && y[2] == 0.0f && y[3] == -18.0f);
    const float square = 0.1f * 0.1f;
    assert_true(y[4] == square * 7.0f && y[5] == 40000.0f);
    a.act = TERN_ACT_SILU;
    tern_act_mul_ref(&a, (tern_range){0, 1}, (tern_range){0, 6});
    assert_true(y[1] == 0.0f && y[2] == 0.0f && y[5] == 200.0f);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_near_double),
        cmocka_unit_test(test_known_answers),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
