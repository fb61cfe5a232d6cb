/* report.c - a plan in words: the line, the placement, the memory, the speed, the warnings. */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/fail.h"
#include "plan/explain.h"

#define MIB 1048576.0

int tern_report_fill(tern_report *r, tern_error *err)
{
    int status = tern_plan_forecast(&r->forecast, &r->plan, r->config, r->site, &r->goal, err);
    for (int d = 0; d < r->plan.n_devices && status == TERN_OK; d++)
        status = tern_plan_memory(&r->memory[d], &r->plan, r->config, d, err);
    return status;
}

const tern_site_device *tern_report_device(const tern_report *r, int d)
{
    return &r->site->devices[tern_site_find(r->site, r->plan.devices[d])];
}

static int count(const uint8_t *list, int n, int device)
{
    int found = 0;
    for (int i = 0; i < n; i++) found += list[i] == device;
    return found;
}

/* "30 layers, head" or "30 attention, 12 FFN". */
static void describe(char *out, size_t cap, const tern_plan *p, int d)
{
    const int attn = count(p->attn_device, p->n_layers, d);
    const int ffn = count(p->ffn_device, p->n_layers, d);
    const char *head = p->head_device == d ? ", head" : "";
    if (attn == ffn)
        snprintf(out, cap, "%d layers%s", attn, head);
    else
        snprintf(out, cap, "%d attention, %d FFN%s", attn, ffn, head);
}

const char *tern_plan_line(char out[TERN_PLAN_LINE_BYTES], const tern_report *r)
{
    out[0] = 0;
    for (int d = 0; d < r->plan.n_devices; d++) {
        char parts[64];
        describe(parts, sizeof parts, &r->plan, d);
        const size_t used = strlen(out);
        snprintf(out + used, TERN_PLAN_LINE_BYTES - used, "%s%s: %s, %.1f MiB", d ? "; " : "",
                 r->plan.devices[d], parts, (double)r->memory[d].total / MIB);
    }
    const size_t used = strlen(out);
    snprintf(out + used, TERN_PLAN_LINE_BYTES - used,
             "; ctx %d; first token %.2f s after %d, then %.1f tok/s", r->plan.workload.n_ctx,
             r->forecast.first_token_s, r->goal.n_prompt, r->forecast.decode_tok_s);
    return out;
}

static void print_runs(FILE *to, const tern_plan *p)
{
    for (int l = 0, first = 0; l < p->n_layers; l++) {
        if (l + 1 < p->n_layers && p->attn_device[l + 1] == p->attn_device[l] &&
            p->ffn_device[l + 1] == p->ffn_device[l])
            continue;
        fprintf(to, "  layers %3d-%-3d  attention and KV on %-8s FFN on %s\n", first, l,
                p->devices[p->attn_device[l]], p->devices[p->ffn_device[l]]);
        first = l + 1;
    }
    fprintf(to, "  embedding on %s, head on %s\n", p->devices[p->embed_device],
            p->devices[p->head_device]);
}

static void print_memory(FILE *to, const tern_report *r)
{
    fprintf(to, "\nmemory, MiB  ");
    for (int c = 0; c < TERN_N_MEMORY_CLASSES; c++)
        fprintf(to, "%12s", tern_memory_class_name((tern_memory_class)c));
    fprintf(to, "%12s%12s\n", "total", "of");
    for (int d = 0; d < r->plan.n_devices; d++) {
        fprintf(to, "  %-11s", r->plan.devices[d]);
        for (int c = 0; c < TERN_N_MEMORY_CLASSES; c++)
            fprintf(to, "%12.1f", (double)r->memory[d].bytes[c] / MIB);
        fprintf(to, "%12.1f%12.1f\n", (double)r->memory[d].total / MIB,
                (double)tern_report_device(r, d)->budget_bytes / MIB);
    }
}

static void print_speed(FILE *to, const tern_report *r)
{
    const tern_forecast *f = &r->forecast;
    const int n = r->plan.workload.n_seq;
    fprintf(to, "\nspeed for %d tokens in, %d out, %d at once\n", r->goal.n_prompt, r->goal.n_out,
            n);
    fprintf(to, "  first token   %8.3f s   (prefill %.1f tok/s)\n", f->first_token_s,
            f->prefill_tok_s);
    fprintf(to, "  a token       %8.2f ms  (%.1f tok/s%s)\n", f->step_s * 1e3, f->decode_tok_s,
            n > 1 ? " of all together" : "");
    fprintf(to, "  the whole     %8.2f s", f->total_s);
    if (f->joules > 0) fprintf(to, "   (%.0f J)", f->joules);
    fprintf(to, "\n");
}

/* Everything on one accelerator would fit, and yet the host computes. */
static void warn_of_host(FILE *to, const tern_report *r)
{
    const char *host = r->site->devices[r->site->host].name;
    int used = 0;
    for (int d = 0; d < r->plan.n_devices; d++) used |= strcmp(r->plan.devices[d], host) == 0;
    for (int i = 0; i < r->site->n && used; i++) {
        tern_report all;
        if (i == r->site->host || !tern_alternative_single(&all, r, i)) continue;
        if (all.forecast.total_s < r->forecast.total_s)
            fprintf(to,
                    "  warning: everything fits on %s, yet %s computes a part: %.2f s instead "
                    "of %.2f s; drop the pins\n",
                    r->site->devices[i].name, host, r->forecast.total_s, all.forecast.total_s);
        return;
    }
}

static void print_warnings(FILE *to, const tern_report *r)
{
    fprintf(to, "\n");
    for (int i = 0; i < r->site->n; i++) {
        const tern_site_device *d = &r->site->devices[i];
        if (d->absent)
            fprintf(to, "  note: %s is known by its profile only (%s): this plan cannot run here\n",
                    d->name, d->profile.hardware);
        if (d->profile.estimated)
            fprintf(to, "  note: the speeds of %s are estimated: %s\n", d->name,
                    d->profile.source[0] ? d->profile.source : "no source named");
    }
    if (r->plan.workload.n_ctx < r->config->n_ctx)
        fprintf(to, "  note: a context of %d of the model's %d\n", r->plan.workload.n_ctx,
                r->config->n_ctx);
    warn_of_host(to, r);
}

static void print_all(FILE *to, const tern_report *r, int explain)
{
    fprintf(to, "%s, KV %s, head %s\n", r->config->name,
            r->plan.workload.kv_type == TERN_KV_F16 ? "f16" : "i8",
            r->plan.workload.head_type == TERN_HEAD_I16 ? "i16" : "i8");
    print_runs(to, &r->plan);
    print_memory(to, r);
    print_speed(to, r);
    if (explain) tern_explain_time(to, r);
    if (explain) tern_explain_choice(to, r);
    print_warnings(to, r);
}

int tern_plan_text(char **text, const tern_report *r, int explain, tern_error *err)
{
    char *out = NULL;
    size_t bytes;
    FILE *to = open_memstream(&out, &bytes);
    if (!to) return tern_fail(err, TERN_E_FIT, "no memory for the text of a plan");
    print_all(to, r, explain);
    if (fclose(to) != 0) {
        free(out);
        return tern_fail(err, TERN_E_FIT, "no memory for the text of a plan");
    }
    *text = out;
    return TERN_OK;
}
