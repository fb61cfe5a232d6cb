/* explain.c - the argument for a plan: what binds it, what was rejected and at which price, where
 * the cliff is, and what streaming weights would bring. Alternatives are plans like any other: the
 * same forecast and the same bytes judge them. */
#include "plan/explain.h"

#include <string.h>

#include "base/fail.h"
#include "plan/search.h"

#define MIB 1048576.0

/* ---- where the time goes -------------------------------------------------------------------- */

static void print_costs(FILE *to, const tern_report *r, const tern_cost *costs, const char *title)
{
    double total = 0;
    for (int d = 0; d < r->plan.n_devices; d++) total += tern_cost_ns(&costs[d]);
    fprintf(to, "\n%-22s%12s%8s%12s   bound by\n", title, "us", "share", "MB");
    for (int d = 0; d < r->plan.n_devices; d++)
        for (int c = 0; c < TERN_N_COST_CLASSES; c++) {
            const tern_work *w = &costs[d].of[c];
            if (w->ns <= 0) continue;
            double reach = 0;
            const char *binds = tern_work_binds(&reach, w, &tern_report_device(r, d)->profile);
            fprintf(to, "  %-8s %-11s%12.1f%7.1f %%%12.2f   ", r->plan.devices[d],
                    tern_cost_class_name((tern_cost_class)c), w->ns * 1e-3, 100 * w->ns / total,
                    w->bytes * 1e-6);
            if (c == TERN_COST_LATENCY || c == TERN_COST_COPY)
                fprintf(to, "%s\n", c == TERN_COST_COPY ? "link" : "latency");
            else
                fprintf(to, "%s (%.0f %% of its rate)\n", binds, 100 * reach);
        }
}

void tern_explain_time(FILE *to, const tern_report *r)
{
    print_costs(to, r, r->forecast.step, "a decode step");
    print_costs(to, r, r->forecast.prefill, "the prompt");
}

/* ---- alternatives --------------------------------------------------------------------------- */

/* Forecast and memory of a plan over all devices of the site, without those it leaves empty; 1 when
 * it fits. */
static int judge(tern_report *out, const tern_report *r, const tern_plan *plan)
{
    int used[TERN_PLAN_MAX_DEVICES] = {0}, number[TERN_PLAN_MAX_DEVICES] = {0};
    *out = *r;
    out->plan = *plan;
    out->plan.n_devices = 0;
    for (int l = 0; l < plan->n_layers; l++) used[plan->attn_device[l]] = 1;
    for (int l = 0; l < plan->n_layers; l++) used[plan->ffn_device[l]] = 1;
    used[plan->embed_device] = used[plan->head_device] = 1;
    for (int d = 0; d < r->site->n; d++) {
        if (!used[d]) continue;
        number[d] = out->plan.n_devices;
        memcpy(out->plan.devices[out->plan.n_devices++], r->site->devices[d].name,
               sizeof out->plan.devices[0]);
    }
    for (int l = 0; l < plan->n_layers; l++) {
        out->plan.attn_device[l] = (uint8_t)number[plan->attn_device[l]];
        out->plan.ffn_device[l] = (uint8_t)number[plan->ffn_device[l]];
    }
    out->plan.embed_device = (uint8_t)number[plan->embed_device];
    out->plan.head_device = (uint8_t)number[plan->head_device];
    if (tern_report_fill(out, NULL) != TERN_OK) return 0;
    int fits = 1;
    for (int d = 0; d < out->plan.n_devices; d++)
        fits &= out->memory[d].total <= tern_report_device(out, d)->budget_bytes;
    return fits;
}

/* The report's plan with device numbers of the site, everything on `device`. */
static tern_plan all_on(const tern_report *r, int device)
{
    tern_plan plan = r->plan;
    memset(plan.attn_device, device, sizeof plan.attn_device);
    memset(plan.ffn_device, device, sizeof plan.ffn_device);
    plan.embed_device = plan.head_device = (uint8_t)device;
    return plan;
}

int tern_alternative_single(tern_report *out, const tern_report *r, int device)
{
    const tern_plan plan = all_on(r, device);
    return judge(out, r, &plan);
}

static int is_same(const tern_plan *a, const tern_plan *b)
{
    return a->n_devices == b->n_devices && a->embed_device == b->embed_device &&
           a->head_device == b->head_device &&
           memcmp(a->devices, b->devices, sizeof a->devices[0] * (size_t)a->n_devices) == 0 &&
           memcmp(a->attn_device, b->attn_device, (size_t)a->n_layers) == 0 &&
           memcmp(a->ffn_device, b->ffn_device, (size_t)a->n_layers) == 0;
}

/* A line about a rejected plan; the chosen one is not shown again. */
static void print_alternative(FILE *to, const tern_report *r, const tern_report *a, int fits,
                              const char *what)
{
    if (fits && is_same(&a->plan, &r->plan)) return;
    fprintf(to, "  %-46s", what);
    if (!fits) {
        for (int d = 0; d < a->plan.n_devices; d++) {
            const tern_site_device *device = tern_report_device(a, d);
            if (a->memory[d].total <= device->budget_bytes) continue;
            fprintf(to, "does not fit: %.1f MiB on %s, which has %.1f\n",
                    (double)a->memory[d].total / MIB, device->name,
                    (double)device->budget_bytes / MIB);
            return;
        }
    }
    fprintf(to, "first token %.3f s, %.1f tok/s, the whole %.2f s (%+.0f %%)\n",
            a->forecast.first_token_s, a->forecast.decode_tok_s, a->forecast.total_s,
            100 * (a->forecast.total_s / r->forecast.total_s - 1));
}

/* The best plan of whole layers with the first n on the accelerator and the tables at `tables`. */
static int best_whole(tern_report *best, const tern_report *r, int device, int tables)
{
    int found = 0;
    for (int n = 1; n < r->config->n_layers; n++) {
        tern_plan plan = all_on(r, r->site->host);
        memset(plan.attn_device, device, (size_t)n);
        memset(plan.ffn_device, device, (size_t)n);
        plan.embed_device = plan.head_device = (uint8_t)tables;
        tern_report one;
        if (!judge(&one, r, &plan)) return found;
        if (!found || one.forecast.total_s < best->forecast.total_s) *best = one;
        found = 1;
    }
    return found;
}

/* Plans that people try first with one accelerator. */
static void explain_device(FILE *to, const tern_report *r, int device)
{
    const char *name = r->site->devices[device].name;
    const char *host = r->site->devices[r->site->host].name;
    tern_report a;
    char what[80];
    snprintf(what, sizeof what, "everything on %s", name);
    print_alternative(to, r, &a, tern_alternative_single(&a, r, device), what);
    if (device == r->site->host) return;
    tern_plan plan = all_on(r, r->site->host);
    memset(plan.attn_device, device, sizeof plan.attn_device);
    snprintf(what, sizeof what, "attention and KV on %s, the rest on %s", name, host);
    const int fits = judge(&a, r, &plan);
    print_alternative(to, r, &a, fits, what);
    plan = all_on(r, r->site->host);
    plan.embed_device = plan.head_device = (uint8_t)device;
    snprintf(what, sizeof what, "head alone on %s", name);
    const int head_fits = judge(&a, r, &plan);
    print_alternative(to, r, &a, head_fits, what);
    snprintf(what, sizeof what, "whole layers on %s, head there", name);
    if (best_whole(&a, r, device, device)) print_alternative(to, r, &a, 1, what);
    snprintf(what, sizeof what, "whole layers on %s, head on %s", name, host);
    if (best_whole(&a, r, device, r->site->host)) print_alternative(to, r, &a, 1, what);
}

/* The same question with another KV or head type. */
static void explain_types(FILE *to, const tern_report *r)
{
    for (int i = 0; i < 2; i++) {
        tern_report other = *r;
        tern_workload w = r->plan.workload;
        if (i == 0)
            w.kv_type = w.kv_type == TERN_KV_F16 ? TERN_KV_I8 : TERN_KV_F16;
        else
            w.head_type = w.head_type == TERN_HEAD_I16 ? TERN_HEAD_I8 : TERN_HEAD_I16;
        const char *what =
            i ? (w.head_type == TERN_HEAD_I8 ? "--head i8 (other logits)"
                                             : "--head i16 (other logits)")
              : (w.kv_type == TERN_KV_I8 ? "--kv i8 (other logits)" : "--kv f16 (other logits)");
        const int found = tern_plan_search_exact(&other.plan, r->config, &w, r->site, r->pins,
                                                 &r->goal, NULL) == TERN_OK &&
                          tern_report_fill(&other, NULL) == TERN_OK;
        if (!found)
            fprintf(to, "  %-46sdoes not fit\n", what);
        else
            fprintf(to, "  %-46sfirst token %.3f s, %.1f tok/s, the whole %.2f s (%+.0f %%)\n",
                    what, other.forecast.first_token_s, other.forecast.decode_tok_s,
                    other.forecast.total_s,
                    100 * (other.forecast.total_s / r->forecast.total_s - 1));
    }
}

/* ---- the cliff ------------------------------------------------------------------------------ */

/* Whether the plan for a context of n pages puts everything where the report's plan does. */
static int keeps_places(const tern_report *r, int n_pages, tern_plan *plan)
{
    tern_workload w = r->plan.workload;
    w.n_ctx = n_pages * TERN_PAGE_TOK;
    return tern_plan_search_exact(plan, r->config, &w, r->site, r->pins, &r->goal, NULL) ==
               TERN_OK &&
           is_same(plan, &r->plan);
}

static void explain_cliff(FILE *to, const tern_report *r)
{
    const int most = r->config->n_ctx / TERN_PAGE_TOK;
    int keeps = (r->plan.workload.n_ctx + TERN_PAGE_TOK - 1) / TERN_PAGE_TOK, changes = most + 1;
    tern_report next = *r;
    while (changes - keeps > 1) {
        const int middle = keeps + (changes - keeps) / 2;
        if (keeps_places(r, middle, &next.plan))
            keeps = middle;
        else
            changes = middle;
    }
    if (changes > most) {
        fprintf(to, "  the cliff: none up to the model's context of %d\n", r->config->n_ctx);
        return;
    }
    fprintf(to, "  the cliff: beyond a context of %d ", keeps * TERN_PAGE_TOK);
    tern_workload w = r->plan.workload;
    w.n_ctx = changes * TERN_PAGE_TOK;
    if (tern_plan_search_exact(&next.plan, r->config, &w, r->site, r->pins, &r->goal, NULL) !=
            TERN_OK ||
        tern_report_fill(&next, NULL) != TERN_OK)
        fprintf(to, "it does not fit\n");
    else
        fprintf(to, "parts move: %.1f instead of %.1f tok/s\n", next.forecast.decode_tok_s,
                r->forecast.decode_tok_s);
}

/* ---- streaming ------------------------------------------------------------------------------ */

static double chunk_ns(const tern_report *r, const tern_profile *p, int n_tok)
{
    tern_units units = {0};
    const tern_step step = {n_tok, 1, 0, 0};
    tern_units_add(&units, p, r->config, &r->plan.workload, &step, 1);
    return tern_cost_ns(&units.ffn);
}

/* From how many tokens on it is faster to send an FFN of the host to the accelerator than to
 * compute it where it lies; the engine computes where parts lie, so this is advice about chunks. */
static void explain_streaming(FILE *to, const tern_report *r, int device)
{
    const tern_site_device *host = &r->site->devices[r->site->host];
    const tern_site_device *gpu = &r->site->devices[device];
    const double bytes = 3.0 * r->config->d * r->config->f / 4;
    const double send_ns = bytes / gpu->profile.to_bytes * 1e9;
    for (int t = 1; t <= 4096; t *= 2) {
        const double there = chunk_ns(r, &gpu->profile, t);
        if ((there > send_ns ? there : send_ns) >= chunk_ns(r, &host->profile, t)) continue;
        fprintf(to,
                "  sending an FFN of %s to %s (%.1f ms) would beat computing it from %d tokens "
                "a step on\n",
                host->name, gpu->name, send_ns * 1e-6, t);
        return;
    }
}

static int host_has_ffn(const tern_report *r)
{
    for (int l = 0; l < r->plan.n_layers; l++)
        if (strcmp(r->plan.devices[r->plan.ffn_device[l]], r->site->devices[r->site->host].name) ==
            0)
            return 1;
    return 0;
}

/* ---- advice --------------------------------------------------------------------------------- */

/* The largest item of a decode step. */
static void advise_on_step(FILE *to, const tern_report *r)
{
    double total = 0, most = 0, reach;
    int device = 0, item = 0;
    for (int d = 0; d < r->plan.n_devices; d++)
        for (int c = 0; c < TERN_N_COST_CLASSES; c++) {
            const double ns = r->forecast.step[d].of[c].ns;
            total += ns;
            if (ns <= most) continue;
            most = ns;
            device = d;
            item = c;
        }
    const tern_work *work = &r->forecast.step[device].of[item];
    const int computes = item != TERN_COST_LATENCY && item != TERN_COST_COPY;
    fprintf(to, "  %.0f %% of a decode step is %s on %s%s%s\n", 100 * most / total,
            tern_cost_class_name((tern_cost_class)item), r->plan.devices[device],
            computes ? ", bound by " : "",
            computes ? tern_work_binds(&reach, work, &tern_report_device(r, device)->profile) : "");
}

/* What an accelerator lacks to hold everything, and what that would bring. */
static void advise_on_memory(FILE *to, const tern_report *r, int device)
{
    const tern_site_device *d = &r->site->devices[device];
    tern_report all;
    if (tern_alternative_single(&all, r, device)) return;
    if (all.memory[0].total <= d->budget_bytes || all.forecast.total_s >= r->forecast.total_s)
        return;
    fprintf(to, "  with %.0f MiB more, %s would hold everything: %.1f instead of %.1f tok/s\n",
            (double)(all.memory[0].total - d->budget_bytes) / MIB, d->name,
            all.forecast.decode_tok_s, r->forecast.decode_tok_s);
}

void tern_explain_choice(FILE *to, const tern_report *r)
{
    fprintf(to, "\nrejected\n");
    for (int d = 0; d < r->site->n; d++) explain_device(to, r, d);
    explain_types(to, r);
    fprintf(to, "\nadvice\n");
    advise_on_step(to, r);
    for (int d = 0; d < r->site->n; d++)
        if (d != r->site->host) advise_on_memory(to, r, d);
    explain_cliff(to, r);
    for (int d = 0; d < r->site->n; d++)
        if (d != r->site->host && host_has_ffn(r)) explain_streaming(to, r, d);
}
