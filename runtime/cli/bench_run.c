/* bench_run.c - one timed run of a test: requests are submitted and brought to their depth, the
 * limits measured, the clock runs around whole steps of the engine, the limits are measured again.
 * Nothing else happens between the two clock readings. Every prompt begins with a token of its own,
 * so that none finds pages of another in the prefix cache: what is timed is computed, and the
 * sequences of a batch share no KV. */
#include "base/clock.h"
#include "base/fail.h"
#include "cli/bench.h"
#include "cli/console.h"

/* The first request of a batch decodes while the prompts of the others are still read. */
static int steps_ahead(const bench_test *t, int n_tok)
{
    if (t->batch == 1 || t->depth == 0) return 0;
    const int per_step = n_tok > t->batch ? n_tok - t->batch : 1;
    return (int)(((int64_t)t->batch * t->depth + per_step - 1) / per_step) + 1;
}

int cli_bench_context(const bench_test *t, int n_tok)
{
    if (!t->n_decode) return t->n_prompt + 1;
    const int known = t->n_prompt ? t->n_prompt : t->depth;
    const int before = known ? known + 1 : 1; /* reading a prompt samples one token */
    return before + steps_ahead(t, n_tok) + t->n_decode + 1;
}

/* One step; sampled tokens are added to what their sequences hold. */
static int step(bench_rig *rig, int *n_ended, tern_error *err)
{
    if (cli_interrupted()) return tern_fail(err, TERN_E_IO, "the benchmark was interrupted");
    int n;
    const int status = tern_engine_step(rig->engine, rig->events, &n, err);
    for (int i = 0; i < n && status == TERN_OK; i++) {
        *(int *)rig->events[i].user += rig->events[i].token >= 0;
        *n_ended += rig->events[i].finish != TERN_FINISH_NONE;
    }
    return status;
}

/* The next prompt, which shares no page with those before it. */
static void own_prompt(bench_rig *rig)
{
    const uint32_t n_vocab = (uint32_t)rig->config->n_vocab, n = rig->n_prompts++;
    rig->prompt[0] = (int32_t)(n % n_vocab);
    rig->prompt[1] = (int32_t)(n / n_vocab % n_vocab);
}

/* They run until they are cancelled or reach the end of the context. */
static int submit(bench_rig *rig, int n_prompt, int count, tern_error *err)
{
    int status = TERN_OK;
    for (int i = 0; i < count && status == TERN_OK; i++) {
        rig->held[i] = n_prompt;
        own_prompt(rig);
        const tern_request request = {.prompt = rig->prompt, .n_prompt = n_prompt,
                                      .ignore_end = 1, .user = &rig->held[i]};
        status = tern_engine_submit(rig->engine, &rig->ids[i], &request, err);
    }
    return status;
}

/* Steps, counted, until each of the first n sequences holds more than its prompt. */
static int read_prompts(uint64_t *n_steps, bench_rig *rig, int n_prompt, int n, tern_error *err)
{
    int status = TERN_OK, ended = 0;
    for (int i = 0; i < n; i++)
        while (status == TERN_OK && rig->held[i] == n_prompt) {
            status = step(rig, &ended, err);
            ++*n_steps;
        }
    return status;
}

static int run_prefill(bench_work *work, bench_rig *rig, const bench_test *t, tern_error *err)
{
    const uint64_t n = (uint64_t)t->n_prompt, begin = tern_now_ns();
    const int status = read_prompts(&work->n_steps, rig, t->n_prompt, 1, err);
    *work = (bench_work){tern_now_ns() - begin, n, work->n_steps, n * (n + 1) / 2};
    return status;
}

/* A sequence that holds n tokens has the last of them computed next, which attends to all n. */
static int run_decode(bench_work *work, bench_rig *rig, const bench_test *t, tern_error *err)
{
    int status = TERN_OK, ended = 0;
    const uint64_t begin = tern_now_ns();
    for (int i = 0; i < t->n_decode && status == TERN_OK; i++) {
        for (int s = 0; s < t->batch; s++) work->n_context += (uint64_t)rig->held[s];
        status = step(rig, &ended, err);
        work->n_steps++;
    }
    work->ns = tern_now_ns() - begin;
    work->n_tok = (uint64_t)t->n_decode * (uint64_t)t->batch;
    if (status == TERN_OK && ended)
        return tern_fail(err, TERN_E_DEVICE, "a sequence of %s ended early", t->name);
    return status;
}

static int clear(bench_rig *rig, int n, tern_error *err)
{
    int ended = 0;
    for (int i = 0; i < n; i++) tern_engine_cancel(rig->engine, rig->ids[i]);
    return step(rig, &ended, err);
}

static tern_rates mean_of(const tern_rates *a, const tern_rates *b)
{
    return (tern_rates){(a->read_bytes + b->read_bytes) / 2, (a->int8_mac + b->int8_mac) / 2,
                        (a->f32_fma + b->f32_fma) / 2};
}

/* P2: no speed of work that was not done. */
static int check_computed(const bench_rig *rig, const bench_test *t, tern_error *err)
{
    tern_engine_stats stats;
    tern_engine_stats_get(rig->engine, &stats);
    if (stats.prefix_hit_tok == 0) return TERN_OK;
    return tern_fail(err, TERN_E_DEVICE,
                     "%llu tokens of a prompt of %s were found in the prefix cache instead of "
                     "computed: its speed would be wrong, please report this",
                     (unsigned long long)stats.prefix_hit_tok, t->name);
}

/* The prompts that a test's clock does not see, or the one that it does. */
static int prepare(bench_rig *rig, const bench_test *t, int sequences, tern_error *err)
{
    uint64_t n_steps = 0;
    const int prompt = t->n_prompt ? t->n_prompt : t->depth ? t->depth : 1;
    int status = submit(rig, prompt, sequences, err);
    if (status == TERN_OK && t->depth)
        status = read_prompts(&n_steps, rig, prompt, sequences, err);
    return status;
}

/* Nanoseconds that the engine has worked without waiting for a device. */
static uint64_t own_ns(const bench_rig *rig)
{
    tern_engine_stats s;
    tern_engine_stats_get(rig->engine, &s);
    return s.prefill_ns + s.decode_ns - s.device_ns;
}

int cli_bench_sample(bench_sample *out, bench_rig *rig, const bench_test *t, tern_error *err)
{
    bench_work work[2] = {{0}, {0}}; /* of the prompt, of the decode steps */
    tern_rates before, after;
    int status = prepare(rig, t, t->batch, err);
    if (status == TERN_OK) status = cli_bench_rates(&before, rig, err);
    if (status != TERN_OK) return status;
    const uint64_t energy = cli_bench_energy(rig), own = own_ns(rig);
    if (t->n_prompt) status = run_prefill(&work[0], rig, t, err);
    if (status == TERN_OK && t->n_decode) status = run_decode(&work[1], rig, t, err);
    if (status != TERN_OK) return status;
    out->energy_mj = energy ? cli_bench_energy(rig) - energy : 0;
    const double steps = (double)(work[0].n_steps + work[1].n_steps);
    out->engine_us = (double)(own_ns(rig) - own) / 1e3 / steps;
    status = cli_bench_rates(&after, rig, err);
    if (status == TERN_OK) status = clear(rig, t->batch, err);
    if (status == TERN_OK) status = check_computed(rig, t, err);
    if (status != TERN_OK) return status;
    out->limits = mean_of(&before, &after);
    out->ns = work[0].ns + work[1].ns;
    out->n_tok = work[0].n_tok + work[1].n_tok;
    out->tok_s = (double)out->n_tok * 1e9 / (double)(out->ns ? out->ns : 1);
    return cli_bench_limit(out, rig, work, err);
}

/* Decode attends to depth + 1 positions first and to n_decode more in the end. */
double cli_bench_predict(const bench_rig *rig, const bench_test *t)
{
    const cli_plan *p = &rig->plan;
    if (!p->predicted) return 0;
    const int before = t->n_prompt ? t->n_prompt : t->depth ? t->depth : 1;
    double seconds = 0;
    if (t->n_prompt)
        seconds += tern_forecast_prefill_s(&p->plan, rig->config, &p->site.site, 0, t->n_prompt);
    if (t->n_decode)
        seconds += t->n_decode * tern_forecast_step_s(&p->plan, rig->config, &p->site.site,
                                                      t->batch, before + t->n_decode / 2);
    return (t->n_prompt + t->n_decode * t->batch) / seconds;
}

int cli_bench_warm_up(bench_rig *rig, tern_error *err)
{
    const int n_ctx = tern_engine_plan(rig->engine)->workload.n_ctx;
    const bench_test t = {.name = "warm-up", .n_prompt = n_ctx > 20 ? 16 : 1, .n_decode = 2,
                          .batch = 1};
    bench_work work[2] = {{0}, {0}};
    int status = prepare(rig, &t, 1, err);
    if (status == TERN_OK) status = run_prefill(&work[0], rig, &t, err);
    if (status == TERN_OK && n_ctx > 20) status = run_decode(&work[1], rig, &t, err);
    return status == TERN_OK ? clear(rig, 1, err) : status;
}
