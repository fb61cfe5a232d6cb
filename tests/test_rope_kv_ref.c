/* test_rope_kv_ref.c - ROPE_KV: rotation, per-head norms, and where every byte of K and V goes. */
#include <math.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>

#include <cmocka.h>

#include "cases.h"
#include "cpu/ref/ref.h"

enum { H = 6, KV = 2, HD = 20, ROW = (H + 2 * KV) * HD, LD = ROW + 5 };
enum { T = 4, N_CTX = 200, PAGES = 6 };

static const int32_t pos[T] = {0, 63, 64, 130}, seq[T] = {0, 0, 0, 1};
static const int32_t table[2][3] = {{4, 1, 0}, {0, 5, 2}};

typedef struct problem {
    float qkv[T * LD], before[T * LD], rope[N_CTX * HD], q_gain[HD], k_gain[HD];
    size_t page_bytes;
    uint8_t *pages;
    tern_rope_kv_args a;
} problem;

static void make(problem *p, tern_kv_type type, int gains) /* gains: 1 for q, 2 for k */
{
    uint64_t seed = 21;
    case_floats(p->qkv, T * LD, 4.0f, &seed);
    memcpy(p->before, p->qkv, sizeof p->qkv);
    for (int i = 0; i < N_CTX; i++)
        for (int j = 0; j < HD / 2; j++) {
            const double angle = i * pow(10000.0, -2.0 * j / HD);
            p->rope[i * HD + j] = (float)cos(angle);
            p->rope[i * HD + HD / 2 + j] = (float)sin(angle);
        }
    case_floats(p->q_gain, HD, 2.0f, &seed);
    case_floats(p->k_gain, HD, 2.0f, &seed);
    p->page_bytes = KV * (type == TERN_KV_F16 ? 64 * HD * 2 * 2 : 64 * HD * 2 + 64 * 4 * 2);
    p->pages = case_alloc(PAGES * p->page_bytes);
    p->a = (tern_rope_kv_args){
        .qkv = p->qkv, .ld = LD, .rope = p->rope, .h = H, .eps = 1e-6f,
        .q_gain = gains & 1 ? p->q_gain : NULL, .k_gain = gains & 2 ? p->k_gain : NULL,
        .view = {.pages = p->pages, .page_bytes = p->page_bytes, .kv = KV, .hd = HD, .type = type,
                 .pos = pos, .seq = seq, .table = table[0], .table_ld = 3}};
}

/* Head `head` of q, k, v of token t after norm and rotation, in double. */
static void oracle(double *out, const problem *p, int t, int head)
{
    const float *x = p->before + t * LD + head * HD;
    const float *gain = head < H ? p->a.q_gain : p->a.k_gain;
    double u[HD], ss = 0.0;
    for (int i = 0; i < HD; i++) ss += (double)x[i] * (double)x[i];
    for (int i = 0; i < HD; i++) {
        u[i] = (double)x[i];
        if (gain && head < H + KV) u[i] *= (double)gain[i] / sqrt(ss / HD + 1e-6);
    }
    for (int j = 0; j < HD / 2; j++) {
        const float *row = p->rope + pos[t] * HD;
        const double c = (double)row[j], s = (double)row[HD / 2 + j];
        const int rotated = head < H + KV;
        out[j] = rotated ? u[j] * c - u[j + HD / 2] * s : u[j];
        out[j + HD / 2] = rotated ? u[j] * s + u[j + HD / 2] * c : u[j + HD / 2];
    }
}

/* The same in float, in the order of the contract. */
static void literal(float *out, const problem *p, int t, int head)
{
    const float *x = p->before + t * LD + head * HD, *row = p->rope + pos[t] * HD;
    const float *gain = head < H ? p->a.q_gain : p->a.k_gain;
    float u[HD], part[256] = {0};
    for (int i = 0; i < HD; i++) part[i] = x[i] * x[i];
    for (int h = 128; h > 0; h /= 2)
        for (int j = 0; j < h; j++) part[j] += part[j + h];
    const float r = 1.0f / sqrtf(part[0] / (float)HD + 1e-6f);
    for (int i = 0; i < HD; i++) {
        const float normed = x[i] * r;
        u[i] = gain && head < H + KV ? normed * gain[i] : x[i];
    }
    memcpy(out, u, sizeof u);
    for (int j = 0; j < HD / 2 && head < H + KV; j++) {
        const float a = u[j] * row[j], b = u[j + HD / 2] * row[j + HD / 2];
        const float c = u[j] * row[j + HD / 2], d = u[j + HD / 2] * row[j];
        out[j] = a - b;
        out[j + HD / 2] = c + d;
    }
}

static void check_rotation(const problem *p)
{
    for (int t = 0; t < T; t++) {
        for (int head = 0; head < H + 2 * KV; head++) {
            double expected[HD];
            float bits[HD];
            oracle(expected, p, t, head);
            literal(bits, p, t, head);
            assert_memory_equal(p->qkv + t * LD + head * HD, bits, sizeof bits);
            for (int i = 0; i < HD; i++)
                assert_true(fabs(p->qkv[t * LD + head * HD + i] - expected[i]) < 4e-6);
        }
        for (int i = ROW; i < LD; i++) assert_true(p->qkv[t * LD + i] == p->before[t * LD + i]);
    }
}

/* Pages as they must be, from the rotated rows, written with the index formulas of device.h. */
static void expect_pages(uint8_t *pages, const problem *p)
{
    for (int t = 0; t < T; t++)
        for (int i = 0; i < KV; i++) {
            const float *k = p->qkv + t * LD + (H + i) * HD, *v = k + KV * HD;
            const int j = pos[t] % 64, page = table[seq[t]][pos[t] / 64];
            uint8_t *at = pages + (size_t)page * p->page_bytes + (size_t)i * (p->page_bytes / KV);
            float kmax = 1e-5f, vmax = 1e-5f;
            for (int d = 0; d < HD; d++) {
                kmax = fmaxf(kmax, fabsf(k[d]));
                vmax = fmaxf(vmax, fabsf(v[d]));
            }
            const float sk = kmax / 127.0f, sv = vmax / 127.0f;
            for (int d = 0; d < HD; d++) {
                if (p->a.view.type == TERN_KV_F16) {
                    const uint16_t hk = tern_f16_from_f32(k[d]), hv = tern_f16_from_f32(v[d]);
                    memcpy(at + 2 * (d * 64 + j), &hk, 2);
                    memcpy(at + 2 * (64 * HD + j * HD + d), &hv, 2);
                } else {
                    const int k8 = (int)rintf(k[d] * (127.0f / kmax));
                    const int v8 = (int)rintf(v[d] * (127.0f / vmax));
                    at[d / 4 * 256 + j * 4 + d % 4] = (uint8_t)k8;
                    at[64 * HD + (j / 4 * HD + d) * 4 + j % 4] = (uint8_t)v8;
                }
            }
            if (p->a.view.type == TERN_KV_I8) {
                memcpy(at + 128 * HD + 4 * j, &sk, 4);
                memcpy(at + 128 * HD + 256 + 4 * j, &sv, 4);
            }
        }
}

static void check(tern_kv_type type, int gains)
{
    static problem p;
    make(&p, type, gains);
    tern_rope_kv_ref(&p.a, (tern_range){3, T});
    tern_rope_kv_ref(&p.a, (tern_range){0, 3});
    check_rotation(&p);
    uint8_t *expected = case_alloc(PAGES * p.page_bytes);
    expect_pages(expected, &p);
    assert_memory_equal(p.pages, expected, PAGES * p.page_bytes);
    free(expected);
    free(p.pages);
}

static void test_f16(void **state)
{
    (void)state;
    for (int gains = 0; gains < 4; gains++) check(TERN_KV_F16, gains);
}

static void test_i8(void **state)
{
    (void)state;
    for (int gains = 0; gains < 4; gains++) check(TERN_KV_I8, gains);
}

/* Position 0 does not rotate; a value beyond f16 saturates. */
static void test_known_answers(void **state)
{
    (void)state;
    const int32_t zero = 0;
    const float rope[4] = {1.0f, 0.5f, 0.0f, 2.0f}; /* cos, cos, sin, sin */
    float qkv[12] = {1.0f, 2.0f, 3.0f, 4.0f, 5.0f, 6.0f, 7.0f, 8.0f, 1e6f, -1e6f, 0.0f, 1.0f};
    _Alignas(4) uint8_t page[64 * 4 * 4] = {0};
    const tern_rope_kv_args a = {
        .qkv = qkv, .ld = 12, .rope = rope, .h = 1,
        .view = {.pages = page, .page_bytes = sizeof page, .kv = 1, .hd = 4, .type = TERN_KV_F16,
                 .pos = &zero, .seq = &zero, .table = &zero, .table_ld = 1}};
    tern_rope_kv_ref(&a, (tern_range){0, 1});
    assert_true(qkv[0] == 1.0f && qkv[1] == 1.0f - 8.0f && qkv[2] == 3.0f && qkv[3] == 4.0f + 2.0f);
    uint16_t v[4];
    memcpy(v, page + 64 * 4 * 2, sizeof v);
    assert_int_equal(v[0], 0x7bff);
    assert_int_equal(v[1], 0xfbff);
    assert_int_equal(v[2], 0);
    assert_int_equal(v[3], 0x3c00);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_f16),
        cmocka_unit_test(test_i8),
        cmocka_unit_test(test_known_answers),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
