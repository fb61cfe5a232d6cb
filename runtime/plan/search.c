/* search.c - the exact search (planner.h names the family).
 *
 * A candidate is a short list of runs of layers, each run of one kind: whole on a device, attention
 * there and FFN on the host, the reverse, or on the host. Sums over prefixes of the layers make a
 * run O(1), pins included. Runs are placed device by device, longest first; a branch ends when it
 * no longer fits, or when even a relaxed rest (no crossings, halves in fractions, host memory
 * without end) cannot beat the best. While branches grow, bytes are counted without the scratch of
 * programs, which depends on the segments and is counted when a candidate is complete. The winner
 * is laid out by the allocator's own function; should it be too large after all, the search runs
 * again and lays out every candidate that would win. */
#include "plan/search.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "base/fail.h"
#include "base/memory.h"
#include "plan/plan_part.h"

#define D TERN_PLAN_MAX_DEVICES
#define MAX_RUNS (D + 2)

/* What one device costs: objective-weighted ns, and bytes. */
typedef struct device_costs {
    double attn, ffn, embed, head, launch, enter, leave;
    double fixed_bytes, attn_bytes, ffn_bytes, rope_bytes;
    double role_bytes[2][2];    /* [embed here][head here] */
    double segment_bytes[2][2]; /* scratch of a run of half-layers [with attention][with FFN] */
    double embed_bytes;         /* scratch of an embedding that no run of its device begins with */
    double budget;
} device_costs;

/* Sums over the first l layers when all are of one kind. */
typedef struct kind_sums {
    double ns[TERN_MAX_LAYERS + 1]; /* with the crossings between these layers */
    uint16_t attn[D][TERN_MAX_LAYERS + 1], ffn[D][TERN_MAX_LAYERS + 1];
    uint8_t attn_at[TERN_MAX_LAYERS], ffn_at[TERN_MAX_LAYERS];
} kind_sums;

/* Kinds by number: whole on device d; its attention (D + d), its FFN (2 D + d) with the host. */
enum { WHOLE = 0, ATTENTION = D, FFN = 2 * D, N_KINDS = 3 * D };

/* The layers placed so far. */
typedef struct state {
    int at, last; /* layers placed; device of the last half */
    double ns;
    int attn[D], ffn[D];
    int n_runs;
    struct {
        int kind, n;
    } runs[MAX_RUNS];
} state;

typedef struct search {
    const tern_question *question;
    const tern_site *site;
    const tern_pins *pins;
    int n_layers, n_devices, host;
    device_costs costs[D];
    kind_sums *kinds; /* [N_KINDS] */
    /* Of the layers from l on: pinned halves' time, and halves that are free. */
    double pinned_ns[TERN_MAX_LAYERS + 1];
    int free_attn[TERN_MAX_LAYERS + 1], free_ffn[TERN_MAX_LAYERS + 1];
    int embed, head;       /* of the roles being tried */
    int order[D], n_order; /* accelerators, the one that may split last */
    tern_plan best;
    double best_ns;
    int lays_out; /* candidates, before they win */
    int status;   /* of laying out */
    tern_error *err;
} search;

/* ---- costs ---------------------------------------------------------------------------------- */

static double weigh(const tern_cost *prefill, const tern_cost *decode, double prompts, double watts)
{
    return watts * (prompts * tern_cost_ns(prefill) + tern_cost_ns(decode));
}

static void fill_times(device_costs *c, const tern_question *q, const tern_profile *p)
{
    const tern_goal goal = tern_goal_fill(q->goal, &q->workload);
    const double prompts = goal.objective == TERN_OBJECTIVE_LATENCY ? 1 : q->workload.n_seq;
    const int energy = goal.objective == TERN_OBJECTIVE_ENERGY && p->watts > 0;
    const double watts = energy ? p->watts : 1;
    tern_units pre = {0}, dec = {0};
    tern_units_prefill(&pre, p, q->config, &q->workload, 0, goal.n_prompt);
    tern_units_decode(&dec, p, q->config, &q->workload, &goal);
    c->attn = weigh(&pre.attn, &dec.attn, prompts, watts);
    c->ffn = weigh(&pre.ffn, &dec.ffn, prompts, watts);
    c->embed = weigh(&pre.embed, &dec.embed, prompts, watts);
    c->head = weigh(&pre.head, &dec.head, prompts, watts);
    c->launch = weigh(&pre.launch, &dec.launch, prompts, watts);
    c->enter = weigh(&pre.enter, &dec.enter, prompts, watts);
    c->leave = weigh(&pre.leave, &dec.leave, prompts, watts);
}

/* A plan with one device that holds nothing but what the caller puts there. */
static tern_plan empty_plan(const tern_question *q, const char *device)
{
    tern_plan plan = {.workload = q->workload,
                      .n_devices = 1,
                      .n_layers = q->config->n_layers,
                      .embed_device = 1,
                      .head_device = 1};
    memcpy(plan.devices[0], device, sizeof plan.devices[0]);
    memset(plan.attn_device, 1, sizeof plan.attn_device);
    memset(plan.ffn_device, 1, sizeof plan.ffn_device);
    plan.n_pages = tern_plan_pages(&q->workload);
    return plan;
}

/* Bytes with and without the scratch of programs. */
typedef struct split_bytes {
    double lasting, scratch;
} split_bytes;

static int bytes_of(split_bytes *out, const tern_plan *plan, const tern_question *q,
                    tern_error *err)
{
    tern_memory memory;
    const int status = tern_plan_memory(&memory, plan, q->config, 0, err);
    if (status != TERN_OK) return status;
    out->scratch = (double)memory.bytes[TERN_MEMORY_SCRATCH];
    out->lasting = (double)memory.total - out->scratch;
    return TERN_OK;
}

/* What embedding and head take beside the fixed bytes; the scratch of the head is part of it. */
static int fill_roles(device_costs *c, const tern_question *q, const char *device, tern_error *err)
{
    int status = TERN_OK;
    for (int role = 1; role < 4 && status == TERN_OK; role++) {
        tern_plan plan = empty_plan(q, device);
        split_bytes with = {0};
        plan.embed_device = role & 1 ? 0 : 1;
        plan.head_device = role & 2 ? 0 : 1;
        status = bytes_of(&with, &plan, q, err);
        if (role == 1) c->embed_bytes = with.scratch;
        c->role_bytes[role & 1][role >> 1] = with.lasting + with.scratch - c->fixed_bytes -
                                             (role & 1 ? c->embed_bytes : 0);
    }
    return status;
}

/* By difference of layouts, so that the allocator's function is the only source. */
static int fill_bytes(device_costs *c, const tern_question *q, const char *device, tern_error *err)
{
    const int two = q->config->n_layers > 1;
    tern_plan plan = empty_plan(q, device);
    split_bytes none = {0}, with[2][2] = {{{0}}}, second = {0};
    int status = bytes_of(&none, &plan, q, err);
    for (int halves = 1; halves < 4 && status == TERN_OK; halves++) {
        plan.attn_device[0] = halves & 1 ? 0 : 1;
        plan.ffn_device[0] = halves & 2 ? 0 : 1;
        status = bytes_of(&with[halves & 1][halves >> 1], &plan, q, err);
    }
    plan = empty_plan(q, device);
    plan.attn_device[0] = plan.attn_device[two] = 0;
    if (status == TERN_OK) status = bytes_of(&second, &plan, q, err);
    if (status != TERN_OK) return status;
    c->fixed_bytes = none.lasting;
    c->ffn_bytes = with[0][1].lasting - none.lasting;
    c->attn_bytes =
        (two ? second.lasting : with[1][0].lasting) - (two ? with[1][0].lasting : none.lasting);
    c->rope_bytes = with[1][0].lasting - none.lasting - c->attn_bytes;
    for (int halves = 1; halves < 4; halves++)
        c->segment_bytes[halves & 1][halves >> 1] = with[halves & 1][halves >> 1].scratch;
    return fill_roles(c, q, device, err);
}

static double crossing(const search *s, int from, int to)
{
    if (from == to) return 0;
    return s->costs[from].leave + s->costs[to].enter + s->costs[to].launch;
}

static void fill_kind(search *s, int kind)
{
    kind_sums *k = &s->kinds[kind];
    const int device = kind % D;
    for (int l = 0; l < s->n_layers; l++) {
        const int pin_attn = s->pins->attn[l], pin_ffn = s->pins->ffn[l];
        const int attn = pin_attn >= 0 ? pin_attn : kind >= FFN ? s->host : device;
        const int ffn = pin_ffn >= 0 ? pin_ffn : kind / D == 1 ? s->host : device;
        k->attn_at[l] = (uint8_t)attn;
        k->ffn_at[l] = (uint8_t)ffn;
        k->ns[l + 1] = k->ns[l] + s->costs[attn].attn + crossing(s, attn, ffn) + s->costs[ffn].ffn;
        if (l) k->ns[l + 1] += crossing(s, k->ffn_at[l - 1], attn);
        for (int d = 0; d < s->n_devices; d++) {
            k->attn[d][l + 1] = (uint16_t)(k->attn[d][l] + (d == attn));
            k->ffn[d][l + 1] = (uint16_t)(k->ffn[d][l] + (d == ffn));
        }
    }
}

static void fill_suffixes(search *s)
{
    for (int l = s->n_layers - 1; l >= 0; l--) {
        const int attn = s->pins->attn[l], ffn = s->pins->ffn[l];
        s->free_attn[l] = s->free_attn[l + 1] + (attn < 0);
        s->free_ffn[l] = s->free_ffn[l + 1] + (ffn < 0);
        s->pinned_ns[l] = s->pinned_ns[l + 1] + (attn < 0 ? 0 : s->costs[attn].attn) +
                          (ffn < 0 ? 0 : s->costs[ffn].ffn);
    }
}

/* ---- branches ------------------------------------------------------------------------------- */

static double device_bytes(const search *s, const state *st, int d)
{
    const device_costs *c = &s->costs[d];
    const int embed = s->embed == d, head = s->head == d;
    if (!st->attn[d] && !st->ffn[d] && !embed && !head) return 0;
    return c->fixed_bytes + c->role_bytes[embed][head] + (st->attn[d] ? c->rope_bytes : 0) +
           st->attn[d] * c->attn_bytes + st->ffn[d] * c->ffn_bytes;
}

static int fits(const search *s, const state *st)
{
    for (int d = 0; d < s->n_devices; d++)
        if (device_bytes(s, st, d) > s->costs[d].budget) return 0;
    return 1;
}

/* The state with a run of n more layers. */
static state append(const search *s, const state *from, int kind, int n)
{
    state st = *from;
    if (n == 0) return st;
    const kind_sums *k = &s->kinds[kind];
    const int at = st.at, end = at + n;
    st.ns += k->ns[end] - k->ns[at] + crossing(s, st.last, k->attn_at[at]);
    if (at) st.ns -= crossing(s, k->ffn_at[at - 1], k->attn_at[at]);
    for (int d = 0; d < s->n_devices; d++) {
        st.attn[d] += k->attn[d][end] - k->attn[d][at];
        st.ffn[d] += k->ffn[d][end] - k->ffn[d][at];
    }
    st.at = end;
    st.last = k->ffn_at[end - 1];
    st.runs[st.n_runs].kind = kind;
    st.runs[st.n_runs++].n = n;
    return st;
}

/* The most that device d can save on n_attn and n_ffn halves which else the host computes. */
static double most_saved(const search *s, const state *st, int d, int n_attn, int n_ffn)
{
    const device_costs *c = &s->costs[d], *host = &s->costs[s->host];
    const double saved[2] = {host->attn - c->attn, host->ffn - c->ffn};
    const double bytes[2] = {c->attn_bytes, c->ffn_bytes};
    const int n[2] = {n_attn, n_ffn};
    const int first = saved[0] * bytes[1] < saved[1] * bytes[0];
    double room = c->budget - device_bytes(s, st, d), sum = 0;
    for (int i = 0; i < 2 && room > 0; i++) {
        const int half = i ? !first : first;
        if (saved[half] <= 0) continue;
        const double count = fmin(n[half], room / bytes[half]);
        sum += count * saved[half];
        room -= count * bytes[half];
    }
    return sum;
}

/* No way to place the rest on the host and on order[from ..] takes less. */
static double least_ns(const search *s, const state *st, int from)
{
    const device_costs *host = &s->costs[s->host];
    const int n_attn = s->free_attn[st->at], n_ffn = s->free_ffn[st->at];
    double ns = st->ns + s->pinned_ns[st->at] + n_attn * host->attn + n_ffn * host->ffn;
    for (int i = from; i < s->n_order; i++) ns -= most_saved(s, st, s->order[i], n_attn, n_ffn);
    return ns;
}

static int is_hopeless(const search *s, const state *st, int from)
{
    return !fits(s, st) || least_ns(s, st, from) >= s->best_ns * (1 - 1e-12);
}

/* The plan of a state that has placed every layer: the devices in use, renumbered. */
static void make_plan(tern_plan *out, const search *s, const state *st)
{
    int number[D] = {0};
    *out = (tern_plan){.workload = s->question->workload,
                       .n_layers = s->n_layers,
                       .n_pages = tern_plan_pages(&s->question->workload)};
    for (int d = 0; d < s->n_devices; d++) {
        if (!st->attn[d] && !st->ffn[d] && d != s->embed && d != s->head) continue;
        number[d] = out->n_devices;
        memcpy(out->devices[out->n_devices++], s->site->devices[d].name, sizeof out->devices[0]);
    }
    for (int r = 0, l = 0; r < st->n_runs; r++)
        for (int i = 0; i < st->runs[r].n; i++, l++) {
            const kind_sums *k = &s->kinds[st->runs[r].kind];
            out->attn_device[l] = (uint8_t)number[k->attn_at[l]];
            out->ffn_device[l] = (uint8_t)number[k->ffn_at[l]];
        }
    out->embed_device = (uint8_t)number[s->embed];
    out->head_device = (uint8_t)number[s->head];
}

/* By the allocator's function; a failure of it ends the search. */
static int really_fits(search *s, const tern_plan *plan)
{
    for (int i = 0; i < plan->n_devices && s->status == TERN_OK; i++) {
        tern_memory memory;
        s->status = tern_plan_memory(&memory, plan, s->question->config, i, s->err);
        const int d = tern_site_find(s->site, plan->devices[i]);
        if (s->status == TERN_OK && memory.total > s->site->devices[d].budget_bytes) return 0;
    }
    return s->status == TERN_OK;
}

/* With the scratch of its segments. */
static int segments_fit(const search *s, const state *st)
{
    double room[D];
    int device = -1, attn = 0, ffn = 0;
    for (int d = 0; d < s->n_devices; d++) room[d] = s->costs[d].budget - device_bytes(s, st, d);
    for (int r = 0, half = 0; r < st->n_runs; r++)
        for (int i = 0; i < 2 * st->runs[r].n; i++, half++) {
            const kind_sums *k = &s->kinds[st->runs[r].kind];
            const int here = half % 2 ? k->ffn_at[half / 2] : k->attn_at[half / 2];
            if (here != device) {
                if (device >= 0) room[device] -= s->costs[device].segment_bytes[attn][ffn];
                attn = ffn = 0;
                device = here;
            }
            *(half % 2 ? &ffn : &attn) = 1;
        }
    room[device] -= s->costs[device].segment_bytes[attn][ffn];
    if (s->kinds[st->runs[0].kind].attn_at[0] != s->embed)
        room[s->embed] -= s->costs[s->embed].embed_bytes;
    for (int d = 0; d < s->n_devices; d++)
        if (room[d] < 0) return 0;
    return 1;
}

static void finish(search *s, const state *from)
{
    state st = append(s, from, WHOLE + s->host, s->n_layers - from->at);
    if (st.last != s->head) st.ns += s->costs[st.last].leave + s->costs[s->head].enter;
    if (st.ns >= s->best_ns * (1 - 1e-12) || !segments_fit(s, &st)) return;
    tern_plan plan;
    make_plan(&plan, s, &st);
    if (s->lays_out && !really_fits(s, &plan)) return;
    s->best = plan;
    s->best_ns = st.ns;
}

/* The last accelerator: whole layers, then halves of one sort. */
static void place_last(search *s, const state *from, int device)
{
    for (int n = s->n_layers - from->at; n >= 0; n--) {
        const state whole = append(s, from, WHOLE + device, n);
        if (is_hopeless(s, &whole, s->n_order - 1)) continue;
        finish(s, &whole);
        for (int sort = ATTENTION; sort <= FFN; sort += FFN - ATTENTION)
            for (int halves = s->n_layers - whole.at; halves > 0; halves--) {
                const state st = append(s, &whole, sort + device, halves);
                if (!is_hopeless(s, &st, s->n_order)) finish(s, &st);
            }
    }
}

static void place(search *s, const state *from, int i)
{
    if (s->n_order == 0) {
        finish(s, from);
    } else if (i == s->n_order - 1) {
        place_last(s, from, s->order[i]);
    } else {
        for (int n = s->n_layers - from->at; n >= 0; n--) {
            const state st = append(s, from, WHOLE + s->order[i], n);
            if (!is_hopeless(s, &st, i + 1)) place(s, &st, i + 1);
        }
    }
}

/* Every accelerator in the last place, the others in the order of the site. */
static void try_roles(search *s, int embed, int head)
{
    s->embed = embed;
    s->head = head;
    const state start = {
        .last = embed, .ns = s->costs[embed].embed + s->costs[embed].launch + s->costs[head].head};
    for (int last = 0; last < s->n_devices; last++) {
        if (last == s->host && s->n_devices > 1) continue;
        s->n_order = 0;
        for (int d = 0; d < s->n_devices; d++)
            if (d != s->host && d != last) s->order[s->n_order++] = d;
        if (last != s->host) s->order[s->n_order++] = last;
        if (!is_hopeless(s, &start, 0)) place(s, &start, 0);
    }
}

static void try_all(search *s, const tern_model_config *config)
{
    s->best_ns = INFINITY;
    for (int head = 0; head < s->n_devices; head++) {
        if (s->pins->head >= 0 && s->pins->head != head) continue;
        if (config->tied && s->pins->embed >= 0 && s->pins->embed != head) continue;
        const int embed = config->tied || s->pins->embed < 0 ? head : s->pins->embed;
        try_roles(s, embed, head);
        if (!config->tied && s->pins->embed < 0 && s->host != head) try_roles(s, s->host, head);
    }
}

int tern_plan_search_exact(tern_plan *out, const tern_model_config *config,
                           const tern_workload *workload, const tern_site *site,
                           const tern_pins *pins, const tern_goal *goal, tern_error *err)
{
    const tern_question q = {config, *workload, site, pins, goal};
    search *s;
    int status = tern_alloc(&s, 1, sizeof *s, "the search", err);
    if (status != TERN_OK) return status;
    s->question = &q;
    s->err = err;
    s->site = site;
    s->pins = pins;
    s->n_layers = config->n_layers;
    s->n_devices = site->n;
    s->host = site->host;
    for (int d = 0; d < site->n && status == TERN_OK; d++) {
        fill_times(&s->costs[d], &q, &site->devices[d].profile);
        s->costs[d].budget = (double)site->devices[d].budget_bytes;
        status = fill_bytes(&s->costs[d], &q, site->devices[d].name, err);
    }
    if (status == TERN_OK)
        status = tern_alloc(&s->kinds, N_KINDS, sizeof *s->kinds, "the search", err);
    if (status == TERN_OK) {
        for (int kind = 0; kind < N_KINDS; kind++)
            if (kind % D < site->n) fill_kind(s, kind);
        fill_suffixes(s);
        try_all(s, config);
        s->lays_out = s->best_ns < INFINITY && !really_fits(s, &s->best);
        if (s->lays_out && s->status == TERN_OK) try_all(s, config);
        status = s->status;
        if (status == TERN_OK && s->best_ns == INFINITY)
            status = tern_fail(err, TERN_E_FIT, "the model does not fit into the memory given");
        if (status == TERN_OK) *out = s->best;
    }
    free(s->kinds);
    free(s);
    return status;
}

int tern_plan_search(tern_plan *out, const tern_model_config *config, const tern_workload *workload,
                     const tern_site *site, const tern_pins *pins, const tern_goal *goal,
                     tern_error *err)
{
    tern_question q = {config, *workload, site, pins, goal};
    int status = tern_workload_fill(&q.workload, config, err);
    if (status == TERN_OK)
        status = tern_plan_search_exact(out, config, &q.workload, site, pins, goal, err);
    if (status != TERN_E_FIT) return status;
    if (workload->n_ctx || !tern_plan_largest_context(&q.workload, &q))
        return tern_plan_misfit(&q, err);
    return tern_plan_search_exact(out, config, &q.workload, site, pins, goal, err);
}
