/* test_planner.c - what people say to the planner and get from it: pins, budgets, forecasts, plan
 * files, sentences when nothing fits; and that the engine allocates what a searched plan says. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "plan/planner.h"
#include "tern/engine.h"

#define MIB ((uint64_t)1 << 20)

/* The tiny preset on two CPU devices, cpu:0 the host, and a profiled GPU in between. */
typedef struct scene {
    tern_model *model;
    const tern_model_config *config;
    tern_site_device devices[3];
    tern_site site;
    tern_pins free_pins;
} scene;

static scene the_scene;

static int set_up(void **state)
{
    scene *s = &the_scene;
    static const char *const names[] = {"cpu:0", "cuda:0", "cpu:1"};
    static const char *const profiles[] = {"generic", "rtx4060-laptop", "generic"};
    if (tern_model_preset(&s->model, "tiny", 1, NULL) != TERN_OK) return 1;
    s->config = tern_model_config_of(s->model);
    for (int d = 0; d < 3; d++) {
        if (tern_profile_library(&s->devices[d].profile, profiles[d], NULL) != TERN_OK) return 1;
        snprintf(s->devices[d].name, sizeof s->devices[d].name, "%s", names[d]);
        s->devices[d].budget_bytes = 64 * MIB;
    }
    s->site = (tern_site){3, 0, s->devices};
    memset(&s->free_pins, -1, sizeof s->free_pins);
    *state = s;
    return 0;
}

static int tear_down(void **state)
{
    tern_model_close(((scene *)*state)->model);
    return 0;
}

static void assert_refused(int status, const tern_error *err, const char *what, const char *word)
{
    if (status != TERN_E_USAGE || !strstr(err->text, word))
        fail_msg("%s: status %d: %s", what, status, err->text);
}

static void test_pins(void **state)
{
    const scene *s = *state;
    tern_pins p;
    assert_int_equal(tern_pins_parse(&p, NULL, s->config, &s->site, NULL), TERN_OK);
    assert_memory_equal(&p, &s->free_pins, sizeof p);
    assert_int_equal(
        tern_pins_parse(&p, "blk.0-1=cuda:0,kv=host,head=cpu:1", s->config, &s->site, NULL),
        TERN_OK);
    assert_int_equal(p.attn[0], 0); /* kv is narrower than blk */
    assert_int_equal(p.attn[1], 0);
    assert_int_equal(p.ffn[0], 1);
    assert_int_equal(p.ffn[1], 1);
    assert_int_equal(p.head, 2);
    assert_int_equal(p.embed, -1);
    assert_int_equal(tern_pins_parse(&p, "ffn.1=cpu,attn.0=cuda", s->config, &s->site, NULL),
                     TERN_OK);
    assert_int_equal(p.ffn[0], -1);
    assert_int_equal(p.ffn[1], 0);
    assert_int_equal(p.attn[0], 1);
    assert_int_equal(p.attn[1], -1);
}

static void test_wrong_pins(void **state)
{
    const scene *s = *state;
    static const struct {
        const char *text, *word;
    } wrong[] = {
        {"blk.0=cuda:0,blk.0-1=cpu:0", "contradicts"},
        {"kv=host,attn.1=cuda:0", "contradicts"},
        {"head=cpu:0,head=cpu:1", "contradicts"},
        {"head=cpu:0,embed=cpu:1", "one table"},
        {"blk.2=cpu:0", "0 to 1"},
        {"blk.1-0=cpu:0", "names no layers"},
        {"blk.-1=cpu:0", "names no layers"},
        {"blk.0-99999999999999999999=cpu:0", "names no layers"},
        {"blk.=cpu:0", "names no layers"},
        {"block=cpu:0", "none of blk"},
        {"head.1=cpu:0", "none of blk"},
        {"head=cuda:7", "cuda:7"},
        {"head=", "NAME=VALUE"},
        {"=cpu:0", "NAME=VALUE"},
        {"head", "NAME=VALUE"},
        {"head=cpu:0,", "comma"},
        {",head=cpu:0", "NAME=VALUE"},
    };
    for (size_t i = 0; i < sizeof wrong / sizeof wrong[0]; i++) {
        tern_pins p = {.head = 5};
        tern_error err = {0};
        assert_refused(tern_pins_parse(&p, wrong[i].text, s->config, &s->site, &err), &err,
                       wrong[i].text, wrong[i].word);
        assert_int_equal(p.head, 5);
    }
}

static void test_budgets(void **state)
{
    const scene *s = *state;
    tern_site_device devices[3];
    tern_site site = {3, 0, devices};
    memcpy(devices, s->devices, sizeof devices);
    assert_int_equal(tern_site_memory(&site, "cuda:0=6GiB,host=1.5MiB,cpu:1=4096", 0, NULL),
                     TERN_OK);
    assert_true(devices[1].budget_bytes == (uint64_t)6 << 30);
    assert_true(devices[0].budget_bytes == 3 * MIB / 2 && devices[2].budget_bytes == 4096);
    assert_int_equal(tern_site_memory(&site, "host=1MiB", 1, NULL), TERN_OK);
    assert_true(devices[0].budget_bytes == MIB / 2);
    static const struct {
        const char *text;
        int reserve;
        const char *word;
    } wrong[] = {{"cuda:0=6Gib", 0, "6Gib"},      {"cuda:0=-1", 0, "-1"},
                 {"cuda:9=1GiB", 0, "cuda:9"},    {"host=1,cpu:0=2", 0, "twice"},
                 {"host=nan", 0, "nan"},          {"host=1e99", 0, "1e99"},
                 {"host=1GiB", 1, "reserve less"}};
    for (size_t i = 0; i < sizeof wrong / sizeof wrong[0]; i++) {
        tern_error err = {0};
        assert_refused(tern_site_memory(&site, wrong[i].text, wrong[i].reserve, &err), &err,
                       wrong[i].text, wrong[i].word);
    }
}

/* Searched plans of every shape over both CPU devices: the engine takes what they say. */
static void test_planned_is_allocated(void **state)
{
    const scene *s = *state;
    tern_site_device devices[2] = {s->devices[0], s->devices[2]};
    const tern_site site = {2, 0, devices};
    static const char *const pins[] = {NULL,        "blk.0=cpu:1", "kv=cpu:1",
                                       "ffn=cpu:1", "head=cpu:1",  "attn.1=cpu:1,ffn.0=cpu:1"};
    for (size_t i = 0; i < sizeof pins / sizeof pins[0]; i++) {
        tern_pins p;
        tern_report r = {.config = s->config, .site = &site, .pins = &p, .goal = {10, 10, 0}};
        const tern_workload w = {.n_ctx = 128, .n_seq = 2, .kv_type = (tern_kv_type)(i % 2)};
        const tern_engine_options options = {.device = {.n_threads = 1}};
        tern_engine *engine;
        assert_int_equal(tern_pins_parse(&p, pins[i], s->config, &site, NULL), TERN_OK);
        assert_int_equal(tern_plan_search(&r.plan, s->config, &w, &site, &p, &r.goal, NULL),
                         TERN_OK);
        assert_int_equal(tern_report_fill(&r, NULL), TERN_OK);
        assert_int_equal(tern_engine_create(&engine, s->model, &r.plan, &options, NULL), TERN_OK);
        for (int d = 0; d < r.plan.n_devices; d++)
            assert_true(r.memory[d].total == tern_engine_used_bytes(engine, d));
        for (int d = 0; d < r.plan.n_devices; d++) {
            const tern_memory used = tern_engine_memory(engine, d);
            assert_memory_equal(&used, &r.memory[d], sizeof used);
        }
        tern_engine_destroy(engine);
    }
}

static int search(tern_report *r, const scene *s, const tern_site *site, const tern_workload *w,
                  tern_error *err)
{
    *r = (tern_report){
        .config = s->config, .site = site, .pins = &s->free_pins, .goal = {10, 10, 0}};
    const int status = tern_plan_search(&r->plan, s->config, w, site, &s->free_pins, &r->goal, err);
    return status == TERN_OK ? tern_report_fill(r, err) : status;
}

/* The budget named in the sentence fits, one MiB less does not. */
static void test_smallest_change(void **state)
{
    const scene *s = *state;
    tern_site_device device = s->devices[0];
    const tern_site site = {1, 0, &device};
    const tern_workload w = {.n_ctx = 512};
    tern_report r;
    tern_error err = {0};
    device.budget_bytes = MIB / 2;
    assert_int_equal(search(&r, s, &site, &w, &err), TERN_E_FIT);
    const char *at = strstr(err.text, "--mem cpu:0=");
    if (!at) fail_msg("%s", err.text);
    device.budget_bytes = strtoull(at + 12, NULL, 10) * MIB;
    assert_int_equal(search(&r, s, &site, &w, NULL), TERN_OK);
    assert_true(r.memory[0].total <= device.budget_bytes);
    device.budget_bytes -= MIB;
    assert_int_equal(search(&r, s, &site, &w, &err), TERN_E_FIT);
    if (!strstr(err.text, "-c ")) fail_msg("%s", err.text);
}

/* A context that nobody asked for shrinks to what fits, and to no less. */
static void test_shrinks(void **state)
{
    const scene *s = *state;
    tern_site_device device = s->devices[0];
    const tern_site site = {1, 0, &device};
    const tern_workload w = {.n_tok = 16};
    tern_report full, less;
    assert_int_equal(search(&full, s, &site, &w, NULL), TERN_OK);
    assert_int_equal(full.plan.workload.n_ctx, 512);
    device.budget_bytes = full.memory[0].total - 1;
    assert_int_equal(search(&less, s, &site, &w, NULL), TERN_OK);
    assert_int_equal(less.plan.workload.n_ctx, 448);
    const tern_workload asked = {.n_ctx = 512, .n_tok = 16};
    assert_int_equal(search(&less, s, &site, &asked, NULL), TERN_E_FIT);
    const tern_workload page = {.n_ctx = 64}, any = {0};
    device.budget_bytes = 64 * MIB;
    assert_int_equal(search(&full, s, &site, &page, NULL), TERN_OK);
    device.budget_bytes = full.memory[0].total; /* a step of no more than the context */
    assert_int_equal(search(&less, s, &site, &any, NULL), TERN_OK);
    assert_int_equal(less.plan.workload.n_ctx, 64);
    assert_int_equal(less.plan.workload.n_tok, 64);
}

/* More tokens, deeper contexts and more sequences take longer; a faster device less. */
static void test_forecasts(void **state)
{
    const scene *s = *state;
    tern_site_device device = s->devices[0];
    const tern_site site = {1, 0, &device};
    const tern_workload w = {.n_seq = 8};
    tern_report r;
    assert_int_equal(search(&r, s, &site, &w, NULL), TERN_OK);
    const double pp16 = tern_forecast_prefill_s(&r.plan, s->config, &site, 0, 16);
    const double step = tern_forecast_step_s(&r.plan, s->config, &site, 1, 16);
    const double pp300 = tern_forecast_prefill_s(&r.plan, s->config, &site, 0, 300);
    const double rest = tern_forecast_prefill_s(&r.plan, s->config, &site, 284, 300);
    assert_true(pp16 < pp300);
    assert_true(rest > pp16 && rest < pp300); /* a cached beginning costs attention only */
    assert_true(step < tern_forecast_step_s(&r.plan, s->config, &site, 1, 400));
    assert_true(step < tern_forecast_step_s(&r.plan, s->config, &site, 8, 16));
    device.profile.read_bytes *= 2;
    device.profile.int8_mac *= 2;
    device.profile.f32_fma *= 2;
    assert_true(step > tern_forecast_step_s(&r.plan, s->config, &site, 1, 16));
    assert_true(pp16 > tern_forecast_prefill_s(&r.plan, s->config, &site, 0, 16));
    assert_true(r.forecast.total_s > r.forecast.first_token_s);
}

static void test_written_is_read(void **state)
{
    const scene *s = *state;
    const tern_workload w = {.n_ctx = 256, .n_seq = 2, .kv_type = TERN_KV_I8};
    tern_report r;
    char *text;
    tern_plan_file f;
    tern_error err = {0};
    assert_int_equal(search(&r, s, &s->site, &w, NULL), TERN_OK);
    assert_int_equal(tern_plan_write(&text, &r, NULL), TERN_OK);
    if (tern_plan_read(&f, text, strlen(text), "t", s->config, &err) != TERN_OK)
        fail_msg("%s", err.text);
    assert_int_equal(f.plan.n_devices, r.plan.n_devices);
    assert_memory_equal(f.plan.devices, r.plan.devices, sizeof f.plan.devices);
    assert_memory_equal(f.plan.attn_device, r.plan.attn_device, 2);
    assert_memory_equal(f.plan.ffn_device, r.plan.ffn_device, 2);
    assert_int_equal(f.plan.head_device, r.plan.head_device);
    assert_int_equal(f.plan.n_pages, r.plan.n_pages);
    assert_memory_equal(&f.plan.workload, &r.plan.workload, sizeof w);
    assert_true(f.bytes[0] == r.memory[0].total);
    for (size_t cut = 0; cut < strlen(text); cut += 5)
        assert_int_equal(tern_plan_read(&f, text, cut, "t", s->config, NULL), TERN_E_USAGE);
    free(text);
}

static void test_wrong_plans(void **state)
{
    const scene *s = *state;
    static const struct {
        const char *from, *to, *word;
    } wrong[] = {
        {"\"tern_plan\": 1", "\"tern_plan\": 9", "version 9"},
        {"\"tern_plan\": 1", "\"tern_profiles\": 1", "no plan"},
        {"\"layers\": 2", "\"layers\": 3", "another model"},
        {"\"total_bytes\": ", "\"total_bytes\": 1", "stale"},
        {"\"first\": 0", "\"first\": 1", "gap"},
        {"\"last\": 1", "\"last\": 0", "another model"},
        {"\"last\": 1", "\"last\": 99999", "gap"},
        {"\"attn\": \"", "\"attn\": \"x", "gap"},
        {"\"ctx\": 256", "\"ctx\": 0", "workload"},
        {"\"ctx\": 256", "\"ctx\": 100000", "100000"},
        {"\"seqs\": 1", "\"seqs\": 513", "workload"},
        {"\"kv\": \"f16\"", "\"kv\": \"f8\"", "workload"},
        {"\"embed\": \"", "\"embed\": \"x", "embed"},
        {"\"first_token_s\": ", "\"first_token_s\": -", "forecast"},
        {"\"devices\": [", "\"devices\": [], \"x\": [", "devices"},
    };
    const tern_workload w = {.n_ctx = 256};
    tern_report r;
    char *text;
    assert_int_equal(search(&r, s, &s->site, &w, NULL), TERN_OK);
    assert_int_equal(tern_plan_write(&text, &r, NULL), TERN_OK);
    for (size_t i = 0; i < sizeof wrong / sizeof wrong[0]; i++) {
        char *at = strstr(text, wrong[i].from), *changed = malloc(strlen(text) + 100);
        if (!at || !changed) fail_msg("%s is not in the text", wrong[i].from);
        sprintf(changed, "%.*s%s%s", (int)(at - text), text, wrong[i].to,
                at + strlen(wrong[i].from));
        tern_plan_file f = {.goal = {.n_out = -7}};
        tern_error err = {0};
        assert_refused(tern_plan_read(&f, changed, strlen(changed), "F", s->config, &err), &err,
                       wrong[i].to, wrong[i].word);
        assert_int_equal(f.goal.n_out, -7);
        free(changed);
    }
    free(text);
}

/* The text names what an answer must: places, bytes, speed, the price of the alternatives. */
static void test_text(void **state)
{
    const scene *s = *state;
    const tern_workload w = {.n_ctx = 256};
    tern_report r;
    char *text, line[TERN_PLAN_LINE_BYTES];
    assert_int_equal(search(&r, s, &s->site, &w, NULL), TERN_OK);
    assert_int_equal(tern_plan_text(&text, &r, 1, NULL), TERN_OK);
    static const char *const words[] = {
        "attention and KV on", "embedding on", "memory, MiB",  "first token",
        "a decode step",       "bound by",     "rejected",     "--kv i8",
        "the cliff",           "estimated",    "everything on"};
    for (size_t i = 0; i < sizeof words / sizeof words[0]; i++)
        if (!strstr(text, words[i])) fail_msg("no '%s' in:\n%s", words[i], text);
    free(text);
    assert_non_null(strstr(tern_plan_line(line, &r), "tok/s"));
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_pins),
        cmocka_unit_test(test_wrong_pins),
        cmocka_unit_test(test_budgets),
        cmocka_unit_test(test_planned_is_allocated),
        cmocka_unit_test(test_smallest_change),
        cmocka_unit_test(test_shrinks),
        cmocka_unit_test(test_forecasts),
        cmocka_unit_test(test_written_is_read),
        cmocka_unit_test(test_wrong_plans),
        cmocka_unit_test(test_text),
    };
    return cmocka_run_group_tests(tests, set_up, tear_down);
}
