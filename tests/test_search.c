/* test_search.c - the planner's search against brute force: on small models every plan is judged by
 * the public forecast and the allocator's bytes, and none of the family beats the answer; with two
 * devices none at all does. And the time that a large search takes. */
#include <math.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdio.h>
#include <string.h>
#include <time.h>

#include <cmocka.h>

#include "cases.h"
#include "plan/search.h"

#if defined(__SANITIZE_ADDRESS__) || defined(__SANITIZE_THREAD__)
#define SANITIZED 1
#elif defined(__has_feature)
#define SANITIZED (__has_feature(address_sanitizer) || __has_feature(thread_sanitizer))
#else
#define SANITIZED 0
#endif

#define MAX_SITE 4

/* A case: devices of random speed and memory. */
typedef struct arena {
    tern_model_config config;
    tern_site_device devices[MAX_SITE];
    tern_site site;
    tern_workload workload;
    tern_goal goal;
    tern_pins pins;
} arena;

static double between(uint64_t *seed, double low, double high)
{
    return low * exp(log(high / low) * (double)case_int(seed, 0, 1000) / 1000.0);
}

static void random_device(tern_site_device *d, const char *name, uint64_t *seed, double model_bytes)
{
    *d = (tern_site_device){.budget_bytes = (uint64_t)(model_bytes * between(seed, 0.1, 2.0))};
    snprintf(d->name, sizeof d->name, "%s", name);
    d->profile = (tern_profile){
        .n_threads = name[1] == 'p' ? case_int(seed, 1, 4) : 0,
        .watts = between(seed, 5, 500),
        .read_bytes = between(seed, 1e9, 1e12),
        .int8_mac = between(seed, 1e10, 1e13),
        .f32_fma = between(seed, 1e9, 1e12),
        .reach_read = 0.5,
        .reach_compute = 0.5,
        .op_ns = between(seed, 10, 5000),
        .run_ns = between(seed, 10, 20000),
        .to_bytes = between(seed, 1e8, 1e11),
        .from_bytes = between(seed, 1e8, 1e11),
        .copy_ns = between(seed, 10, 20000),
        .while_copies = 1,
        .sustained = 1,
    };
}

/* d 128, f 320, 3 or 4 layers; budgets around the size of the model. */
static void random_arena(arena *a, uint64_t *seed, int n_devices, int n_layers)
{
    static const char *const names[MAX_SITE] = {"cuda:0", "cuda:1", "cuda:2", "cpu:0"};
    memset(a, 0, sizeof *a);
    a->config = (tern_model_config){.d = 128,
                                    .f = 320,
                                    .n_layers = n_layers,
                                    .h = 4,
                                    .kv = 2,
                                    .hd = 32,
                                    .n_vocab = 384,
                                    .n_ctx = 512,
                                    .eps = 1e-5f,
                                    .rope_base = 1e4f,
                                    .embed_multiplier = 1,
                                    .sub_norms = case_int(seed, 0, 1),
                                    .tied = case_int(seed, 0, 1)};
    a->workload = (tern_workload){.n_ctx = 64 * case_int(seed, 2, 8),
                                  .n_seq = case_int(seed, 1, 3),
                                  .n_tok = 16,
                                  .kv_type = (tern_kv_type)case_int(seed, 0, 1)};
    a->goal = (tern_goal){case_int(seed, 1, 60), case_int(seed, 1, 60),
                          (tern_objective)case_int(seed, 0, 2)};
    for (int d = 0; d < n_devices; d++)
        random_device(&a->devices[d], names[MAX_SITE - n_devices + d], seed, 1.5e6);
    a->site = (tern_site){n_devices, n_devices - 1, a->devices};
    memset(&a->pins, -1, sizeof a->pins);
}

/* What the objective counts; INFINITY for a plan that does not fit. `numbers` are the site's. */
static double judge(const arena *a, const tern_plan *numbers)
{
    tern_plan plan = *numbers;
    int used[MAX_SITE] = {0}, number[MAX_SITE] = {0};
    for (int l = 0; l < plan.n_layers; l++)
        used[numbers->attn_device[l]] = used[numbers->ffn_device[l]] = 1;
    used[plan.embed_device] = used[plan.head_device] = 1;
    plan.n_devices = 0;
    for (int d = 0; d < a->site.n; d++)
        if (used[d]) {
            number[d] = plan.n_devices;
            memcpy(plan.devices[plan.n_devices++], a->devices[d].name, sizeof plan.devices[0]);
        }
    for (int l = 0; l < plan.n_layers; l++) {
        plan.attn_device[l] = (uint8_t)number[numbers->attn_device[l]];
        plan.ffn_device[l] = (uint8_t)number[numbers->ffn_device[l]];
    }
    plan.embed_device = (uint8_t)number[numbers->embed_device];
    plan.head_device = (uint8_t)number[numbers->head_device];
    for (int d = 0; d < plan.n_devices; d++) {
        tern_memory memory;
        assert_int_equal(tern_plan_memory(&memory, &plan, &a->config, d, NULL), TERN_OK);
        const int at = tern_site_find(&a->site, plan.devices[d]);
        if (memory.total > a->devices[at].budget_bytes) return INFINITY;
    }
    tern_forecast f;
    assert_int_equal(tern_plan_forecast(&f, &plan, &a->config, &a->site, &a->goal, NULL), TERN_OK);
    return a->goal.objective == TERN_OBJECTIVE_ENERGY ? f.joules : f.total_s;
}

/* Whether device `last` may hold halves in this plan: the others whole and in order, then it, then
 * its halves of one sort, then the host. */
static int is_family_with(const arena *a, const tern_plan *p, int last)
{
    const int host = a->site.host;
    int rank = -1, sort = 0;
    for (int l = 0; l < p->n_layers; l++) {
        const int attn = p->attn_device[l], ffn = p->ffn_device[l];
        int here;
        if (attn == ffn) {
            here = attn == host ? 100 : attn == last ? 50 : attn;
        } else {
            if ((attn == host ? ffn : attn) != last || (attn != host && ffn != host)) return 0;
            here = 60;
            if (sort && sort != 1 + (attn == host)) return 0;
            sort = 1 + (attn == host);
        }
        if (here < rank) return 0;
        rank = here;
    }
    return 1;
}

static int is_family(const arena *a, const tern_plan *p)
{
    if (p->embed_device != p->head_device && p->embed_device != a->site.host) return 0;
    for (int last = 0; last < a->site.n; last++)
        if (last != a->site.host && is_family_with(a, p, last)) return 1;
    return 0;
}

static int is_pinned(const arena *a, const tern_plan *p)
{
    for (int l = 0; l < p->n_layers; l++)
        if ((a->pins.attn[l] >= 0 && a->pins.attn[l] != p->attn_device[l]) ||
            (a->pins.ffn[l] >= 0 && a->pins.ffn[l] != p->ffn_device[l]))
            return 0;
    return (a->pins.head < 0 || a->pins.head == p->head_device) &&
           (a->pins.embed < 0 || a->pins.embed == p->embed_device);
}

/* The least over all plans (or the family); every half, head and embedding anywhere. */
static double brute_force(const arena *a, int family)
{
    const int n = a->site.n, halves = 2 * a->config.n_layers;
    double best = INFINITY;
    long count = n * n;
    for (int i = 0; i < halves; i++) count *= n;
    for (long code = 0; code < count; code++) {
        tern_plan p = {.workload = a->workload,
                       .n_layers = a->config.n_layers,
                       .n_pages = a->workload.n_ctx / 64 * a->workload.n_seq};
        long rest = code;
        for (int l = 0; l < p.n_layers; l++, rest /= n * n) {
            p.attn_device[l] = (uint8_t)(rest % n);
            p.ffn_device[l] = (uint8_t)(rest / n % n);
        }
        p.embed_device = (uint8_t)(rest % n);
        p.head_device = (uint8_t)(rest / n % n);
        if ((a->config.tied && p.embed_device != p.head_device) || !is_pinned(a, &p)) continue;
        if (family && !is_family(a, &p)) continue;
        const double value = judge(a, &p);
        if (value < best) best = value;
    }
    return best;
}

/* The answer's own value, by names instead of numbers. */
static double searched(const arena *a)
{
    tern_plan found, p;
    const int status = tern_plan_search_exact(&found, &a->config, &a->workload, &a->site, &a->pins,
                                              &a->goal, NULL);
    if (status != TERN_OK) {
        assert_int_equal(status, TERN_E_FIT);
        return INFINITY;
    }
    p = found;
    int at[MAX_SITE];
    for (int d = 0; d < found.n_devices; d++) at[d] = tern_site_find(&a->site, found.devices[d]);
    for (int l = 0; l < p.n_layers; l++) {
        p.attn_device[l] = (uint8_t)at[found.attn_device[l]];
        p.ffn_device[l] = (uint8_t)at[found.ffn_device[l]];
    }
    p.embed_device = (uint8_t)at[found.embed_device];
    p.head_device = (uint8_t)at[found.head_device];
    assert_true(is_pinned(a, &p));
    return judge(a, &p);
}

static void assert_same(double found, double best, int i)
{
    if (found == best) return;
    if (!(fabs(found - best) <= 1e-9 * best))
        fail_msg("case %d: %.12g, best %.12g", i, found, best);
}

static void test_two_devices(void **state)
{
    (void)state;
    uint64_t seed = 1;
    int n_fit = 0;
    for (int i = 0; i < 300; i++) {
        arena a;
        random_arena(&a, &seed, 2, 3);
        const double found = searched(&a);
        assert_same(found, brute_force(&a, 1), i);
        n_fit += found < INFINITY;
    }
    assert_true(n_fit > 75 && n_fit < 300); /* both outcomes were tried */
}

/* Where memory does not bind and a run costs nothing to begin, no plan at all is better: else
 * halves of both sorts might fill the last bytes, and the host's layers begin with the embedding.
 */
static void test_family_is_enough(void **state)
{
    (void)state;
    uint64_t seed = 2;
    for (int i = 0; i < 30; i++) {
        arena a;
        random_arena(&a, &seed, 2, 3);
        a.config.tied = 1;
        a.devices[0].budget_bytes = a.devices[1].budget_bytes = (uint64_t)1 << 40;
        a.devices[0].profile.run_ns = a.devices[1].profile.run_ns = 0;
        assert_same(searched(&a), brute_force(&a, 0), i);
    }
}

static void test_three_devices(void **state)
{
    (void)state;
    uint64_t seed = 3;
    for (int i = 0; i < 40; i++) {
        arena a;
        random_arena(&a, &seed, 3, 3);
        a.config.tied = 1;
        assert_same(searched(&a), brute_force(&a, 1), i);
    }
}

static void test_one_device(void **state)
{
    (void)state;
    uint64_t seed = 4;
    for (int i = 0; i < 10; i++) {
        arena a;
        random_arena(&a, &seed, 1, 3);
        assert_same(searched(&a), brute_force(&a, 0), i);
    }
}

/* Pins hold, and with everything pinned there is one plan. */
static void test_pins(void **state)
{
    (void)state;
    uint64_t seed = 5;
    for (int i = 0; i < 30; i++) {
        arena a;
        random_arena(&a, &seed, 2, 3);
        a.config.tied = 1;
        for (int l = 0; l < 3; l++) {
            a.pins.attn[l] = (int8_t)case_int(&seed, 0, 1);
            a.pins.ffn[l] = (int8_t)case_int(&seed, 0, 1);
        }
        a.pins.head = (int8_t)case_int(&seed, -1, 1);
        assert_same(searched(&a), brute_force(&a, 0), i);
        a.pins.ffn[1] = a.pins.attn[2] = -1;
        (void)searched(&a); /* asserts that they hold */
    }
}

/* 80 layers; three devices, equal or not, that hold a tenth to a third of the model; the host. */
static void test_time(void **state)
{
    (void)state;
    uint64_t seed = 6;
    double worst = 0;
    for (int i = 0; i < 12; i++) {
        static arena a;
        random_arena(&a, &seed, 4, 3);
        tern_model *model;
        assert_int_equal(tern_model_preset(&model, "70b", 1, NULL), TERN_OK);
        a.config = *tern_model_config_of(model);
        tern_model_close(model);
        a.workload = (tern_workload){.n_ctx = 8192, .n_seq = 1, .n_tok = 256};
        a.goal = (tern_goal){512, 128, TERN_OBJECTIVE_LATENCY};
        for (int d = 0; d < 3; d++)
            a.devices[d].budget_bytes = (uint64_t)(6e9 * between(&seed, 0.3, 1.0));
        if (i % 2) a.devices[1].profile = a.devices[2].profile = a.devices[0].profile;
        a.devices[3].budget_bytes = (uint64_t)1 << 40;
        double best = INFINITY;
        for (int run = 0; run < 5; run++) {
            tern_plan plan;
            const clock_t begin = clock();
            assert_int_equal(tern_plan_search_exact(&plan, &a.config, &a.workload, &a.site, &a.pins,
                                                    &a.goal, NULL),
                             TERN_OK);
            best = fmin(best, (double)(clock() - begin) / CLOCKS_PER_SEC);
        }
        worst = fmax(worst, best);
    }
    printf("80 layers, 4 devices: %.2f ms\n", worst * 1e3);
#if defined(__x86_64__) && defined(__OPTIMIZE__) && !SANITIZED
    assert_true(worst < 0.010);
#endif
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_two_devices),   cmocka_unit_test(test_family_is_enough),
        cmocka_unit_test(test_three_devices), cmocka_unit_test(test_one_device),
        cmocka_unit_test(test_pins),          cmocka_unit_test(test_time),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
