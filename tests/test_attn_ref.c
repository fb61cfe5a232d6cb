/* test_attn_ref.c - attention: a literal transcription of N6 (bits), softmax in double (tolerance),
 * causal masking and the fold of groups. */
#include <math.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>

#include <cmocka.h>

#include "cases.h"
#include "cpu/ref/ref.h"

enum { H = 6, KV = 2, HD = 32, N_PAGES = 19, N_POS = 64 * 18, LDQ = H * HD + 1 };
enum { STATE = HD + 2 };

static const int positions[] = {0, 1, 63, 64, 511, 512, 1100};
#define N_POSITIONS 7

typedef struct problem {
    tern_kv_type type;
    size_t page_bytes;
    uint8_t *pages;
    int32_t pos[N_POSITIONS], seq[N_POSITIONS], table[2][18];
    float q[N_POSITIONS * LDQ];
    tern_attn_args a;
} problem;

/* Where component d of position j of a KV head lies, and the scales of that position (i8). */
typedef struct cell {
    uint8_t *k, *v;
    float sk, sv;
} cell;

static cell cell_of(const problem *p, int t, int head, int j, int d)
{
    const int page = p->table[p->seq[t]][j / 64], s = j % 64;
    uint8_t *at = p->pages + (size_t)page * p->page_bytes + (size_t)head * (p->page_bytes / KV);
    cell c = {0};
    if (p->type == TERN_KV_F16) {
        c.k = at + 2 * (d * 64 + s);
        c.v = at + 2 * (64 * HD + s * HD + d);
    } else {
        c.k = at + d / 4 * 256 + s * 4 + d % 4;
        c.v = at + 64 * HD + (s / 4 * HD + d) * 4 + s % 4;
        memcpy(&c.sk, at + 128 * HD + 4 * s, 4);
        memcpy(&c.sv, at + 128 * HD + 256 + 4 * s, 4);
    }
    return c;
}

static float f16_at(const void *at)
{
    uint16_t h;
    memcpy(&h, at, 2);
    return tern_f32_from_f16(h);
}

static int s8_at(const void *at)
{
    return *(const int8_t *)at;
}

/* Stores random keys and values at every position from `begin` on, of every page. */
static void fill_cells(problem *p, int begin, uint64_t seed)
{
    for (int j = begin; j < N_POS; j++)
        for (int head = 0; head < KV; head++) {
            const float sk = 0.02f + case_float(&seed, 0.01f);
            const float sv = 0.02f + case_float(&seed, 0.01f);
            for (int d = 0; d < HD; d++) {
                const cell c = cell_of(p, 0, head, j, d);
                const float k = case_float(&seed, 3.0f), v = case_float(&seed, 3.0f);
                if (p->type == TERN_KV_F16) {
                    const uint16_t hk = tern_f16_from_f32(k), hv = tern_f16_from_f32(v);
                    memcpy(c.k, &hk, 2);
                    memcpy(c.v, &hv, 2);
                } else {
                    *c.k = (uint8_t)case_int(&seed, -127, 127);
                    *c.v = (uint8_t)case_int(&seed, -127, 127);
                }
            }
            if (p->type == TERN_KV_F16) continue;
            uint8_t *at = p->pages + (size_t)p->table[0][j / 64] * p->page_bytes +
                          (size_t)head * (p->page_bytes / KV) + 128 * HD;
            memcpy(at + 4 * (j % 64), &sk, 4);
            memcpy(at + 256 + 4 * (j % 64), &sv, 4);
        }
}

/* One position of every KV head, from page to page. */
static void copy_position(problem *to, const problem *from, int j)
{
    const size_t bytes = from->type == TERN_KV_F16 ? 2 : 1;
    for (int head = 0; head < KV; head++) {
        for (int d = 0; d < HD; d++) {
            const cell c = cell_of(from, 0, head, j, d), z = cell_of(to, 0, head, j, d);
            memcpy(z.k, c.k, bytes);
            memcpy(z.v, c.v, bytes);
        }
        if (from->type == TERN_KV_F16) continue;
        const size_t sk = (size_t)from->table[0][j / 64] * from->page_bytes +
                          (size_t)head * (from->page_bytes / KV) + (size_t)(128 * HD + j % 64 * 4);
        memcpy(to->pages + sk, from->pages + sk, 4);
        memcpy(to->pages + sk + 256, from->pages + sk + 256, 4);
    }
}

static void make(problem *p, tern_kv_type type)
{
    uint64_t seed = 31;
    memset(p, 0, sizeof *p);
    p->type = type;
    p->page_bytes = KV * (type == TERN_KV_F16 ? 64 * HD * 4 : 64 * HD * 2 + 512);
    p->pages = case_alloc(N_PAGES * p->page_bytes);
    for (int i = 0; i < 18; i++) p->table[0][i] = p->table[1][i] = (i * 7 + 3) % N_PAGES;
    for (int t = 0; t < N_POSITIONS; t++) {
        p->pos[t] = positions[t];
        p->seq[t] = t >= 4;
    }
    case_floats(p->q, N_POSITIONS * LDQ, 2.0f, &seed);
    p->a = (tern_attn_args){
        .q = p->q, .ldq = LDQ, .h = H, .c = (float)(1.4426950408889634 / sqrt((double)HD)),
        .view = {.pages = p->pages, .page_bytes = p->page_bytes, .kv = KV, .hd = HD, .type = type,
                 .pos = p->pos, .seq = p->seq, .table = p->table[0], .table_ld = 18}};
    fill_cells(p, 0, 32);
}

static void group_states(float *states, const problem *p, int t, int head, int group)
{
    if (p->type == TERN_KV_F16)
        tern_attn_group_f16_ref(states, &p->a, t, head, group);
    else
        tern_attn_group_i8_ref(states, &p->a, t, head, group);
}

/* The result of the slots for the query heads of one KV head: groups, merges, o * (1/l). */
static void attend(float o[H / KV][HD], const problem *p, int t, int head)
{
    float all[H / KV * STATE], next[H / KV * STATE];
    group_states(all, p, t, head, 0);
    for (int g = 1; g <= p->pos[t] / 512; g++) {
        group_states(next, p, t, head, g);
        for (int i = 0; i < H / KV; i++)
            tern_attn_merge_ref(all + i * STATE, next + i * STATE, HD);
    }
    for (int i = 0; i < H / KV; i++)
        for (int d = 0; d < HD; d++) o[i][d] = all[i * STATE + 2 + d] * (1.0f / all[i * STATE + 1]);
}

/* ---- N6 once more, literally: all 64 positions, absent ones included ------------------------- */

static float w_of(float x)
{
    return x < -64.0f ? 0.0f : tern_exp2(x);
}

static void literal_p(float *p, float *state, const float *s, int present)
{
    float part[64];
    state[0] = -INFINITY;
    for (int j = 0; j < present; j++) state[0] = fmaxf(state[0], s[j]);
    for (int j = 0; j < 64; j++) part[j] = p[j] = j < present ? w_of(s[j] - state[0]) : 0.0f;
    for (int h = 32; h > 0; h /= 2)
        for (int j = 0; j < h; j++) part[j] = part[j] + part[j + h];
    state[1] = part[0];
}

static void literal_f16(float *state, const problem *x, int t, int i, int block, int present)
{
    const float *q = x->q + t * LDQ + i * HD;
    const int head = i / (H / KV);
    float s[64], p[64];
    for (int j = 0; j < 64; j++) {
        s[j] = 0.0f;
        for (int d = 0; d < HD; d++)
            s[j] = fmaf(q[d] * x->a.c, f16_at(cell_of(x, t, head, block * 64 + j, d).k), s[j]);
    }
    literal_p(p, state, s, present);
    for (int d = 0; d < HD; d++) {
        state[2 + d] = 0.0f;
        for (int j = 0; j < 64; j++)
            state[2 + d] =
                fmaf(p[j], f16_at(cell_of(x, t, head, block * 64 + j, d).v), state[2 + d]);
    }
}

static void literal_i8(float *state, const problem *x, int t, int i, int block, int present)
{
    const float *q = x->q + t * LDQ + i * HD;
    const int head = i / (H / KV);
    float s[64], p[64], w[64], absmax = 1e-5f, W = 0.0f;
    for (int d = 0; d < HD; d++) absmax = fmaxf(absmax, fabsf(q[d]));
    const float sq = absmax / 127.0f;
    for (int j = 0; j < 64; j++) {
        int dot = 0;
        for (int d = 0; d < HD; d++)
            dot += (int)rintf(q[d] * (127.0f / absmax)) *
                   s8_at(cell_of(x, t, head, block * 64 + j, d).k);
        s[j] = (float)dot * ((sq * x->a.c) * cell_of(x, t, head, block * 64 + j, 0).sk);
    }
    literal_p(p, state, s, present);
    for (int j = 0; j < 64; j++) {
        w[j] = p[j] * cell_of(x, t, head, block * 64 + j, 0).sv;
        W = fmaxf(W, w[j]);
    }
    for (int d = 0; d < HD; d++) {
        int64_t sum = 0;
        for (int j = 0; j < 64; j++)
            sum += (W > 0.0f ? (int64_t)rintf(w[j] * (16383.0f / W)) : 0) *
                   s8_at(cell_of(x, t, head, block * 64 + j, d).v);
        state[2 + d] = (float)sum * (W / 16383.0f);
    }
}

static void literal_merge(float *into, const float *from)
{
    const float m = fmaxf(into[0], from[0]), a = w_of(into[0] - m), b = w_of(from[0] - m);
    into[0] = m;
    into[1] = into[1] * a + from[1] * b;
    for (int d = 2; d < STATE; d++) into[d] = fmaf(from[d], b, into[d] * a);
}

static void literal_group(float *state, const problem *x, int t, int i, int group)
{
    float next[STATE];
    for (int block = group * 8; block < group * 8 + 8 && block * 64 <= x->pos[t]; block++) {
        const int left = x->pos[t] + 1 - block * 64, present = left < 64 ? left : 64;
        float *to = block == group * 8 ? state : next;
        if (x->type == TERN_KV_F16)
            literal_f16(to, x, t, i, block, present);
        else
            literal_i8(to, x, t, i, block, present);
        if (to == next) literal_merge(state, next);
    }
}

static void check_literal(tern_kv_type type)
{
    problem p;
    make(&p, type);
    for (int t = 0; t < N_POSITIONS; t++)
        for (int head = 0; head < KV; head++) {
            float all[H / KV][STATE];
            for (int group = 0; group <= p.pos[t] / 512; group++) {
                float states[H / KV * STATE + 1], expected[STATE];
                states[H / KV * STATE] = 5.0f;
                group_states(states, &p, t, head, group);
                assert_true(states[H / KV * STATE] == 5.0f);
                for (int i = 0; i < H / KV; i++) {
                    literal_group(expected, &p, t, head * (H / KV) + i, group);
                    assert_memory_equal(states + i * STATE, expected, sizeof expected);
                    if (group == 0)
                        memcpy(all[i], expected, sizeof expected);
                    else
                        literal_merge(all[i], expected);
                }
            }
            float o[H / KV][HD];
            attend(o, &p, t, head);
            for (int i = 0; i < H / KV; i++)
                for (int d = 0; d < HD; d++)
                    assert_true(o[i][d] == all[i][2 + d] * (1.0f / all[i][1]));
        }
    free(p.pages);
}

static void test_f16_equals_literal(void **state)
{
    (void)state;
    check_literal(TERN_KV_F16);
}

static void test_i8_equals_literal(void **state)
{
    (void)state;
    check_literal(TERN_KV_I8);
}

/* ---- softmax in double ----------------------------------------------------------------------- */

static void softmax_double(double *o, const problem *x, int t, int i)
{
    const float *q = x->q + t * LDQ + i * HD;
    double total = 0.0, weights[N_POS], largest = -1e300;
    for (int j = 0; j <= x->pos[t]; j++) {
        weights[j] = 0.0;
        for (int d = 0; d < HD; d++) {
            const cell c = cell_of(x, t, i / (H / KV), j, d);
            const float k = x->type == TERN_KV_F16 ? f16_at(c.k) : (float)s8_at(c.k) * c.sk;
            weights[j] += (double)q[d] * (double)k / sqrt((double)HD);
        }
        largest = fmax(largest, weights[j]);
    }
    for (int d = 0; d < HD; d++) o[d] = 0.0;
    for (int j = 0; j <= x->pos[t]; j++) {
        weights[j] = exp(weights[j] - largest);
        total += weights[j];
        for (int d = 0; d < HD; d++) {
            const cell c = cell_of(x, t, i / (H / KV), j, d);
            const float v = x->type == TERN_KV_F16 ? f16_at(c.v) : (float)s8_at(c.v) * c.sv;
            o[d] += weights[j] * (double)v;
        }
    }
    for (int d = 0; d < HD; d++) o[d] /= total;
}

static void check_double(tern_kv_type type, double tolerance)
{
    problem p;
    make(&p, type);
    if (type == TERN_KV_I8) /* queries that quantisation leaves alone, up to one rounding */
        for (int t = 0; t < N_POSITIONS; t++)
            for (int i = 0; i < H; i++) {
                float *q = p.q + t * LDQ + i * HD;
                for (int d = 0; d < HD; d++) q[d] = rintf(q[d] * 63.0f) * 0x1p-6f;
                q[0] = 127.0f * 0x1p-6f;
            }
    for (int t = 0; t < N_POSITIONS; t++)
        for (int head = 0; head < KV; head++) {
            float o[H / KV][HD];
            attend(o, &p, t, head);
            for (int i = 0; i < H / KV; i++) {
                double expected[HD];
                softmax_double(expected, &p, t, head * (H / KV) + i);
                for (int d = 0; d < HD; d++) assert_true(fabs(o[i][d] - expected[d]) < tolerance);
            }
        }
    free(p.pages);
}

static void test_near_double(void **state)
{
    (void)state;
    check_double(TERN_KV_F16, 4e-6);
    check_double(TERN_KV_I8, 2e-3); /* weights of 14 bits */
}

/* ---- what may not matter --------------------------------------------------------------------- */

/* What stands behind a token's position changes no bit, whether zero or another token's. */
static void test_causal(void **state)
{
    (void)state;
    for (int type = TERN_KV_F16; type <= TERN_KV_I8; type++) {
        problem p, zeroed;
        make(&p, (tern_kv_type)type);
        for (int t = 0; t < N_POSITIONS; t++) {
            make(&zeroed, (tern_kv_type)type);
            memset(zeroed.pages, 0, N_PAGES * zeroed.page_bytes);
            for (int j = 0; j <= positions[t]; j++) copy_position(&zeroed, &p, j);
            for (int head = 0; head < KV; head++) {
                float before[H / KV][HD], after[H / KV][HD];
                attend(before, &p, t, head);
                attend(after, &zeroed, t, head);
                assert_memory_equal(before, after, sizeof before);
            }
            free(zeroed.pages);
        }
        free(p.pages);
    }
}

static void test_merge_known_answer(void **state)
{
    (void)state;
    float into[6] = {3.0f, 2.0f, 1.0f, -1.0f, 0.5f, 8.0f};
    const float from[6] = {1.0f, 4.0f, 16.0f, 4.0f, 0.0f, -4.0f};
    tern_attn_merge_ref(into, from, 4); /* a = 1, b = 1/4 */
    const float expected[6] = {3.0f, 3.0f, 5.0f, 0.0f, 0.5f, 7.0f};
    assert_memory_equal(into, expected, sizeof expected);
    const float far[6] = {100.0f, 1.0f, 2.0f, 3.0f, 4.0f, 5.0f}; /* a = +0: 97 powers of two away */
    tern_attn_merge_ref(into, far, 4);
    assert_memory_equal(into, far, sizeof far);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_f16_equals_literal), cmocka_unit_test(test_i8_equals_literal),
        cmocka_unit_test(test_near_double),        cmocka_unit_test(test_causal),
        cmocka_unit_test(test_merge_known_answer),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
