/* fit.c - second thoughts about a model that does not fit: the largest context that does, and the
 * smallest changes of one setting that would. Each is found by asking the search again. */
#include <stdio.h>
#include <string.h>

#include "base/fail.h"
#include "plan/plan_part.h"
#include "plan/search.h"

#define MIB 1048576.0

/* Whether the question has an answer. */
static int has_answer(const tern_question *q)
{
    tern_plan plan;
    return tern_plan_search_exact(&plan, q->config, &q->workload, q->site, q->pins, q->goal,
                                  NULL) == TERN_OK;
}

/* Context of n pages, with a step that is not longer. */
static tern_question with_pages(const tern_question *q, int n_pages)
{
    tern_question out = *q;
    const int n_ctx = n_pages * TERN_PAGE_TOK;
    out.workload.n_ctx = n_ctx < q->config->n_ctx ? n_ctx : q->config->n_ctx;
    if (out.workload.n_tok > out.workload.n_ctx && q->workload.n_seq <= out.workload.n_ctx)
        out.workload.n_tok = out.workload.n_ctx;
    return out;
}

int tern_plan_largest_context(tern_workload *out, const tern_question *q)
{
    int fits = 0, fails = (q->workload.n_ctx + TERN_PAGE_TOK - 1) / TERN_PAGE_TOK;
    while (fails - fits > 1) {
        const int middle = fits + (fails - fits) / 2;
        const tern_question shorter = with_pages(q, middle);
        if (has_answer(&shorter))
            fits = middle;
        else
            fails = middle;
    }
    if (fits) *out = with_pages(q, fits).workload;
    return fits * TERN_PAGE_TOK;
}

/* The smallest budget of a device, in MiB, with which the model fits; 0: none does. */
static uint64_t budget_that_fits(const tern_question *q, int device)
{
    tern_site_device devices[TERN_PLAN_MAX_DEVICES];
    memcpy(devices, q->site->devices, (size_t)q->site->n * sizeof *devices);
    const tern_site site = {q->site->n, q->site->host, devices};
    tern_question larger = *q;
    larger.site = &site;
    uint64_t fails = devices[device].budget_bytes >> 20, fits = (uint64_t)1 << 24; /* 16 TiB */
    devices[device].budget_bytes = fits << 20;
    if (!has_answer(&larger)) return 0;
    while (fits - fails > 1) {
        const uint64_t middle = fails + (fits - fails) / 2;
        devices[device].budget_bytes = middle << 20;
        if (has_answer(&larger))
            fits = middle;
        else
            fails = middle;
    }
    return fits;
}

static void list(char *text, size_t cap, const char *change)
{
    const size_t used = strlen(text);
    snprintf(text + used, cap - used, "%s%s", used ? ", or " : "", change);
}

/* Changes of one setting of the workload that make it fit. */
static void list_settings(char *text, size_t cap, const tern_question *q)
{
    char change[64];
    tern_workload shorter;
    const int context = tern_plan_largest_context(&shorter, q);
    if (context) {
        snprintf(change, sizeof change, "-c %d", context);
        list(text, cap, change);
    }
    tern_question other = *q;
    other.workload.kv_type = TERN_KV_I8;
    if (q->workload.kv_type != TERN_KV_I8 && has_answer(&other)) list(text, cap, "--kv i8");
    other = *q;
    other.workload.head_type = TERN_HEAD_I8;
    if (q->workload.head_type != TERN_HEAD_I8 && has_answer(&other)) list(text, cap, "--head i8");
    other = *q;
    other.workload.n_seq = 1;
    if (q->workload.n_seq > 1 && has_answer(&other)) list(text, cap, "--seqs 1");
}

int tern_plan_misfit(const tern_question *q, tern_error *err)
{
    char changes[200] = "", given[160] = "";
    list_settings(changes, sizeof changes, q);
    for (int d = 0; d < q->site->n; d++) {
        const tern_site_device *device = &q->site->devices[d];
        const size_t used = strlen(given);
        snprintf(given + used, sizeof given - used, "%s%s %.1f MiB", d ? ", " : "", device->name,
                 (double)device->budget_bytes / MIB);
        const uint64_t mib = budget_that_fits(q, d);
        char change[64];
        if (!mib || strlen(changes) > 120) continue;
        snprintf(change, sizeof change, "--mem %s=%lluMiB", device->name, (unsigned long long)mib);
        list(changes, sizeof changes, change);
    }
    if (!*changes)
        return tern_fail(err, TERN_E_FIT,
                         "the model with a context of %d and %d requests does not fit into the "
                         "memory given (%s), whatever of it is changed: loosen the pins or name "
                         "more devices",
                         q->workload.n_ctx, q->workload.n_seq, given);
    return tern_fail(err, TERN_E_FIT,
                     "the model with a context of %d and %d requests does not fit into the memory "
                     "given (%s): it would with %s",
                     q->workload.n_ctx, q->workload.n_seq, given, changes);
}
