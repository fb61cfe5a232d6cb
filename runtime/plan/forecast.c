/* forecast.c - how often a plan does what, times what it costs. The count follows the engine's own
 * walk (runtime/engine/forward.c): a run of half-layers on one device is one launch, and wherever
 * the device changes x leaves one and enters the next. */
#include <string.h>

#include "base/fail.h"
#include "plan/planner.h"

/* By device of the plan. */
typedef struct tally {
    int attn[TERN_PLAN_MAX_DEVICES], ffn[TERN_PLAN_MAX_DEVICES];
    int launch[TERN_PLAN_MAX_DEVICES], enter[TERN_PLAN_MAX_DEVICES];
    int leave[TERN_PLAN_MAX_DEVICES];
} tally;

static void move(tally *t, int *at, int to, int launches)
{
    if (*at == to) return;
    t->leave[*at]++;
    t->enter[to]++;
    t->launch[to] += launches;
    *at = to;
}

static tally count(const tern_plan *plan)
{
    tally t = {0};
    int at = plan->embed_device;
    t.launch[at]++;
    for (int l = 0; l < plan->n_layers; l++) {
        move(&t, &at, plan->attn_device[l], 1);
        t.attn[at]++;
        move(&t, &at, plan->ffn_device[l], 1);
        t.ffn[at]++;
    }
    move(&t, &at, plan->head_device, 0);
    return t;
}

int tern_site_find(const tern_site *site, const char *name)
{
    for (int i = 0; i < site->n; i++)
        if (strcmp(site->devices[i].name, name) == 0) return i;
    return -1;
}

/* What the plan's device number d does, from its units. */
static void add_device(tern_cost *cost, const tern_plan *plan, const tally *t, int d,
                       const tern_units *u)
{
    tern_cost_add(cost, &u->attn, t->attn[d]);
    tern_cost_add(cost, &u->ffn, t->ffn[d]);
    tern_cost_add(cost, &u->launch, t->launch[d]);
    tern_cost_add(cost, &u->enter, t->enter[d]);
    tern_cost_add(cost, &u->leave, t->leave[d]);
    if (plan->embed_device == d) tern_cost_add(cost, &u->embed, 1);
    if (plan->head_device == d) tern_cost_add(cost, &u->head, 1);
}

tern_goal tern_goal_fill(const tern_goal *goal, const tern_workload *w)
{
    tern_goal g = *goal;
    if (g.n_out == 0) g.n_out = w->n_ctx / 4 < 128 ? w->n_ctx / 4 : 128;
    if (g.n_out < 1) g.n_out = 1;
    const int room = w->n_ctx - g.n_out;
    if (g.n_prompt == 0) g.n_prompt = room < 512 ? room : 512;
    if (g.n_prompt < 1) g.n_prompt = 1;
    return g;
}

static const tern_profile *profile_of(const tern_plan *plan, int d, const tern_site *site)
{
    const int i = tern_site_find(site, plan->devices[d]);
    return i < 0 ? NULL : &site->devices[i].profile;
}

static int check_devices(const tern_plan *plan, const tern_site *site, tern_error *err)
{
    for (int d = 0; d < plan->n_devices; d++)
        if (!profile_of(plan, d, site))
            return tern_fail(err, TERN_E_USAGE,
                             "the plan uses %s, which is not among the devices given: name it with "
                             "-d",
                             plan->devices[d]);
    return TERN_OK;
}

static double sum_ns(const tern_cost *costs, int n)
{
    double ns = 0;
    for (int d = 0; d < n; d++) ns += tern_cost_ns(&costs[d]);
    return ns;
}

static double joules(const tern_plan *plan, const tern_site *site, const tern_cost *costs)
{
    double sum = 0;
    for (int d = 0; d < plan->n_devices; d++)
        sum += tern_cost_ns(&costs[d]) * 1e-9 * profile_of(plan, d, site)->watts;
    return sum;
}

static int knows_watts(const tern_plan *plan, const tern_site *site)
{
    for (int d = 0; d < plan->n_devices; d++)
        if (profile_of(plan, d, site)->watts <= 0) return 0;
    return 1;
}

int tern_plan_forecast(tern_forecast *out, const tern_plan *plan, const tern_model_config *config,
                       const tern_site *site, const tern_goal *wanted, tern_error *err)
{
    const int status = check_devices(plan, site, err);
    if (status != TERN_OK) return status;
    const tern_workload *w = &plan->workload;
    const tern_goal goal = tern_goal_fill(wanted, w);
    const tally t = count(plan);
    tern_cost decode[TERN_PLAN_MAX_DEVICES] = {0};
    tern_forecast f = {0};
    const tern_step step = {w->n_seq, w->n_seq, w->n_seq, goal.n_prompt + goal.n_out / 2};
    for (int d = 0; d < plan->n_devices; d++) {
        const tern_profile *p = profile_of(plan, d, site);
        tern_units prefill = {0}, one = {0}, all = {0};
        tern_units_prefill(&prefill, p, config, w, 0, goal.n_prompt);
        tern_units_add(&one, p, config, w, &step, 1);
        tern_units_decode(&all, p, config, w, &goal);
        add_device(&f.prefill[d], plan, &t, d, &prefill);
        add_device(&f.step[d], plan, &t, d, &one);
        add_device(&decode[d], plan, &t, d, &all);
    }
    const double prompts = goal.objective == TERN_OBJECTIVE_LATENCY ? 1 : w->n_seq;
    f.first_token_s = sum_ns(f.prefill, plan->n_devices) * 1e-9;
    f.step_s = sum_ns(f.step, plan->n_devices) * 1e-9;
    f.total_s = prompts * f.first_token_s + sum_ns(decode, plan->n_devices) * 1e-9;
    f.prefill_tok_s = goal.n_prompt / f.first_token_s;
    f.decode_tok_s = w->n_seq / f.step_s;
    if (knows_watts(plan, site))
        f.joules = w->n_seq * joules(plan, site, f.prefill) + joules(plan, site, decode);
    *out = f;
    return TERN_OK;
}

/* Of a step, or of a prompt where there is none; 0 when the site lacks a device. */
static double seconds(const tern_plan *plan, const tern_model_config *config, const tern_site *site,
                      const tern_step *step, int n_cached, int n_prompt)
{
    const tally t = count(plan);
    double ns = 0;
    for (int d = 0; d < plan->n_devices; d++) {
        const tern_profile *p = profile_of(plan, d, site);
        if (!p) return 0;
        tern_units units = {0};
        tern_cost cost = {0};
        if (step)
            tern_units_add(&units, p, config, &plan->workload, step, 1);
        else
            tern_units_prefill(&units, p, config, &plan->workload, n_cached, n_prompt);
        add_device(&cost, plan, &t, d, &units);
        ns += tern_cost_ns(&cost);
    }
    return ns * 1e-9;
}

double tern_forecast_prefill_s(const tern_plan *plan, const tern_model_config *config,
                               const tern_site *site, int n_cached, int n_prompt)
{
    return seconds(plan, config, site, NULL, n_cached, n_prompt);
}

double tern_forecast_step_s(const tern_plan *plan, const tern_model_config *config,
                            const tern_site *site, int n_seq, int depth)
{
    const tern_step step = {n_seq, n_seq, n_seq, depth};
    return seconds(plan, config, site, &step, 0, 0);
}
