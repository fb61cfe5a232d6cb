/* engine.c - an engine's life: devices opened, parts allocated and loaded, everything sized
 * once. */
#include <stdlib.h>
#include <string.h>

#include "base/fail.h"
#include "base/memory.h"
#include "engine/engine_state.h"
#include "plan/plan_part.h"

#define DEFAULT_QUEUE 64

const char *tern_finish_name(tern_finish finish)
{
    static const char *const names[] = {"none", "stop", "length", "context", "cancelled"};
    return names[finish];
}

/* Segments of all parts in the order of the half-layers; the embedding comes first. */
static int order_stages(tern_engine *e, tern_error *err)
{
    int n = 0;
    for (int i = 0; i < e->plan.n_devices; i++) n += e->parts[i].n_segments;
    const int status = tern_alloc(&e->stages, (size_t)n, sizeof *e->stages, "the segments", err);
    if (status != TERN_OK) return status;
    for (int i = 0; i < e->plan.n_devices; i++)
        for (int s = 0; s < e->parts[i].n_segments; s++)
            if (e->parts[i].segments[s].end == 0)
                e->stages[e->n_stages++] = (stage){i, e->parts[i].segments[s].program, 1};
    for (int half = 0; half < 2 * e->config->n_layers; half++)
        for (int i = 0; i < e->plan.n_devices; i++)
            for (int s = 0; s < e->parts[i].n_segments; s++) {
                const tern_segment *segment = &e->parts[i].segments[s];
                if (segment->end > 0 && segment->first == half)
                    e->stages[e->n_stages++] = (stage){i, segment->program, segment->embed};
            }
    return TERN_OK;
}

/* Opens device i of the plan and gives its part memory. */
static int place_part(tern_engine *e, int i, const tern_engine_options *options, tern_error *err)
{
    int status = tern_device_open(&e->devices[i], e->plan.devices[i], &options->device, err);
    if (status == TERN_OK) status = tern_stream_create(&e->streams[i], e->devices[i], err);
    if (status != TERN_OK) return status;
    tern_part_desc desc;
    tern_plan_part(&desc, &e->plan, i);
    status = tern_part_layout(&e->parts[i], &desc, e->config, e->devices[i]->backend, err);
    return status == TERN_OK ? tern_part_allocate(&e->parts[i], e->devices[i], err) : status;
}

static int load_parts(tern_engine *e, const tern_progress *progress, tern_error *err)
{
    uint64_t total = 0, done = 0;
    for (int i = 0; i < e->plan.n_devices; i++)
        total += tern_part_file_bytes(&e->parts[i], e->model);
    int status = TERN_OK;
    for (int i = 0; i < e->plan.n_devices && status == TERN_OK; i++)
        status = tern_part_load(&e->parts[i], e->model, &done, total, progress, err);
    return status;
}

static void mark_end_tokens(tern_engine *e)
{
    const tern_tokenizer *tokenizer = tern_model_tokenizer(e->model);
    for (int id = 0; id < e->config->n_vocab; id++)
        if (!tokenizer || !tern_tokenizer_is_end(tokenizer, id))
            e->not_end[id / 32] |= 1u << (id % 32);
}

/* Pages of the devices and of the host. */
static int alloc_pages(tern_engine *e, int n_spill, tern_error *err)
{
    const tern_model_config *c = e->config;
    e->page_bytes =
        tern_kv_page_bytes(e->plan.workload.kv_type, c->kv, c->hd) * (size_t)c->n_layers;
    int status = tern_pages_create(&e->pool, e->plan.n_pages, err);
    if (status == TERN_OK && n_spill)
        status = tern_alloc(&e->spill, (size_t)n_spill, e->page_bytes, "the spilled pages", err);
    if (status == TERN_OK)
        status = tern_alloc(&e->free_slots, (size_t)n_spill, sizeof *e->free_slots,
                            "the spilled pages", err);
    if (status != TERN_OK) return status;
    for (int i = 0; i < n_spill; i++) e->free_slots[i] = n_spill - 1 - i;
    e->n_free_slots = n_spill;
    return TERN_OK;
}

static int alloc_batch(tern_engine *e, tern_error *err)
{
    const tern_workload *w = &e->plan.workload;
    const size_t n_tok = (size_t)w->n_tok, n_seq = (size_t)w->n_seq;
    const size_t n_top = (size_t)tern_engine_head(e)->n_score_top;
    e->pages_per_seq = (w->n_ctx + TERN_PAGE_TOK - 1) / TERN_PAGE_TOK;
    e->mask_words = (e->config->n_vocab + 31) / 32;
    const struct {
        void *slot;
        size_t count, size;
    } arrays[] = {
        {&e->ids, n_tok, 4},
        {&e->pos, n_tok, 4},
        {&e->seq, n_tok, 4},
        {&e->rows, n_tok, 4},
        {&e->targets, n_tok, 4},
        {&e->scores, n_tok, sizeof *e->scores},
        {&e->table, n_seq * (size_t)e->pages_per_seq, 4},
        {&e->row_owner, n_seq, 4},
        {&e->picked, n_seq, 4},
        {&e->take, n_seq, sizeof *e->take},
        {&e->picks, n_seq, sizeof *e->picks},
        {&e->running, n_seq, sizeof(request_state *)},
        {&e->queue, (size_t)e->n_queue + n_seq, sizeof(request_state *)},
        {&e->score_top, n_tok * n_top, sizeof *e->score_top},
        {&e->tops, n_tok * n_top, sizeof *e->tops},
        {&e->score_of, n_tok, sizeof *e->score_of},
        {&e->masks, n_seq * (size_t)e->mask_words, 4},
        {&e->not_end, (size_t)e->mask_words, 4},
    };
    int status = TERN_OK;
    for (size_t i = 0; i < sizeof arrays / sizeof arrays[0] && status == TERN_OK; i++)
        status = tern_alloc(arrays[i].slot, arrays[i].count, arrays[i].size, "the batch", err);
    if (status == TERN_OK && e->plan.n_devices > 1)
        status = tern_alloc(&e->x_staging, n_tok * (size_t)e->config->d, sizeof(float), "the batch",
                            err);
    if (status != TERN_OK) return status;
    mark_end_tokens(e);
    e->batch = (tern_batch){.pos = e->pos, .seq = e->seq, .pages = e->table,
                            .pages_ld = e->pages_per_seq, .rows = e->rows, .picks = e->picks,
                            .targets = e->targets};
    return TERN_OK;
}

static int fill_engine(tern_engine *e, const tern_engine_options *options, tern_error *err)
{
    int status = TERN_OK;
    for (int i = 0; i < e->plan.n_devices && status == TERN_OK; i++)
        status = place_part(e, i, options, err);
    if (status == TERN_OK) status = order_stages(e, err);
    if (status == TERN_OK) status = alloc_batch(e, err);
    if (status == TERN_OK) status = alloc_pages(e, options->n_spill_pages, err);
    if (status == TERN_OK) status = load_parts(e, &options->progress, err);
    return status;
}

int tern_engine_create(tern_engine **out, const tern_model *model, const tern_plan *plan,
                       const tern_engine_options *options, tern_error *err)
{
    static const tern_engine_options none;
    if (!options) options = &none;
    if (options->n_queue < 0 || options->n_queue > 1 << 20)
        return tern_fail(err, TERN_E_USAGE, "a queue of %d requests: use 1 to %d", options->n_queue,
                         1 << 20);
    if (options->n_spill_pages < 0 || options->n_spill_pages > 1 << 24)
        return tern_fail(err, TERN_E_USAGE, "%d pages of spill memory: use 0 to %d",
                         options->n_spill_pages, 1 << 24);
    const int needed = (plan->workload.n_ctx + TERN_PAGE_TOK - 1) / TERN_PAGE_TOK;
    if (plan->n_pages < needed)
        return tern_fail(err, TERN_E_USAGE,
                         "the plan has %d KV pages and a context of %d tokens needs %d: plan more "
                         "pages or a smaller context",
                         plan->n_pages, plan->workload.n_ctx, needed);
    tern_engine *e;
    int status = tern_alloc(&e, 1, sizeof *e, "an engine", err);
    if (status != TERN_OK) return status;
    e->model = model;
    e->config = tern_model_config_of(model);
    e->plan = *plan;
    const int n_seq = plan->workload.n_seq, least = n_seq > DEFAULT_QUEUE ? n_seq : DEFAULT_QUEUE;
    e->n_queue = options->n_queue ? options->n_queue : least;
    e->next_id = 1;
    status = fill_engine(e, options, err);
    if (status != TERN_OK) {
        tern_engine_destroy(e);
        return status;
    }
    *out = e;
    return TERN_OK;
}

void tern_engine_destroy(tern_engine *e)
{
    if (!e) return;
    for (int i = 0; i < e->n_running; i++) tern_request_free(e->running[i]);
    for (int i = 0; i < e->n_waiting; i++) tern_request_free(e->queue[i]);
    for (int i = 0; i < e->plan.n_devices; i++) {
        tern_part_destroy(&e->parts[i]);
        tern_stream_destroy(e->streams[i]);
        tern_device_close(e->devices[i]);
    }
    tern_pages_destroy(&e->pool);
    void *arrays[] = {e->stages, e->x_staging, e->spill,     e->free_slots, e->queue,  e->running,
                      e->ids,    e->pos,       e->seq,       e->rows,       e->targets, e->table,
                      e->row_owner, e->picked, e->take,      e->picks,      e->scores,
                      e->score_top, e->tops,   e->score_of,  e->masks,      e->not_end};
    for (size_t i = 0; i < sizeof arrays / sizeof arrays[0]; i++) free(arrays[i]);
    free(e);
}

void tern_engine_stats_get(const tern_engine *e, tern_engine_stats *out)
{
    *out = e->stats;
    out->n_running = e->n_running;
    out->n_waiting = e->n_waiting;
    out->n_pages = e->plan.n_pages;
    out->n_pages_free = tern_pages_available(&e->pool);
}

const tern_plan *tern_engine_plan(const tern_engine *e)
{
    return &e->plan;
}

const tern_model *tern_engine_model(const tern_engine *e)
{
    return e->model;
}

const tern_device_info *tern_engine_device(const tern_engine *e, int device)
{
    return tern_device_describe(e->devices[device]);
}

tern_memory tern_engine_memory(const tern_engine *e, int device)
{
    return tern_part_used(&e->parts[device]);
}

uint64_t tern_engine_used_bytes(const tern_engine *e, int device)
{
    return tern_device_used_bytes(e->devices[device]);
}
