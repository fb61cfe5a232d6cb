/* test_embed_ref.c - rows of the table come back from fixed point. */
#include <math.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>

#include <cmocka.h>

#include "cases.h"
#include "cpu/ref/ref.h"

enum { V = 7, D = 70, K_PAD = 128, T = 5, LDX = 75 };

static int8_t high[V * K_PAD], low[V * K_PAD];
static float scale[V], col[D];
static const int32_t ids[T] = {6, 0, 3, 3, 1};

static void fill(void)
{
    uint64_t seed = 11;
    for (int i = 0; i < V * K_PAD; i++) {
        high[i] = (int8_t)case_int(&seed, -127, 127);
        low[i] = (int8_t)case_int(&seed, -128, 127);
    }
    for (int v = 0; v < V; v++) scale[v] = 1e-5f * (float)(v + 1);
    for (int i = 0; i < D; i++) col[i] = (float)(1 << i % 5) * 0.25f;
}

static void check(const int8_t *low_plane)
{
    float x[T * LDX], cut[T * LDX];
    for (int i = 0; i < T * LDX; i++) x[i] = cut[i] = -9.0f;
    tern_embed_args a = {.x = x, .ldx = LDX, .ids = ids, .high = high, .low = low_plane,
                         .scale = scale, .col = col, .d = D, .k_pad = K_PAD, .multiplier = 3.0f};
    tern_embed_ref(&a, (tern_range){0, T});
    for (int t = 0; t < T; t++) {
        for (int i = 0; i < D; i++) {
            const int at = ids[t] * K_PAD + i;
            const int value = high[at] * 256 + (low_plane ? low_plane[at] : 0);
            const double exact = 3.0 * value * (double)scale[ids[t]] * (double)col[i];
            assert_true(fabs(x[t * LDX + i] - exact) <= 2e-7 * fabs(exact));
        }
        for (int i = D; i < LDX; i++) assert_true(x[t * LDX + i] == -9.0f);
    }
    a.x = cut;
    tern_embed_ref(&a, (tern_range){2, T});
    tern_embed_ref(&a, (tern_range){0, 2});
    assert_memory_equal(x, cut, sizeof x);
}

static void test_two_planes(void **state)
{
    (void)state;
    check(low);
}

static void test_high_plane_alone(void **state)
{
    (void)state;
    check(NULL);
}

static void test_known_answer(void **state)
{
    (void)state;
    const int8_t h[64] = {1, -2, 127, -127}, l[64] = {-128, 127, 127, -128};
    const float s = 0.5f, c[4] = {1.0f, 2.0f, 4.0f, 0.25f};
    const int32_t id = 0;
    float x[4];
    const tern_embed_args a = {.x = x, .ldx = 4, .ids = &id, .high = h, .low = l, .scale = &s,
                               .col = c, .d = 4, .k_pad = 64, .multiplier = 2.0f};
    tern_embed_ref(&a, (tern_range){0, 1});
    assert_true(x[0] == 128.0f && x[1] == -770.0f && x[2] == 130556.0f && x[3] == -8160.0f);
}

static int setup(void **state)
{
    (void)state;
    fill();
    return 0;
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_two_planes),
        cmocka_unit_test(test_high_plane_alone),
        cmocka_unit_test(test_known_answer),
    };
    return cmocka_run_group_tests(tests, setup, NULL);
}
