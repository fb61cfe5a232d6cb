/* part.c - places and memory of a part. The layout pass and the allocation run the same code: the
 * first with buffers NULL, the second only filling them in. */
#include "model/part.h"

#include <stdlib.h>
#include <string.h>

#include "base/fail.h"
#include "base/memory.h"
#include "model/graph.h"

const char *tern_memory_class_name(tern_memory_class memory_class)
{
    static const char *const names[TERN_N_MEMORY_CLASSES] = {"weights",   "tables",      "kv",
                                                             "constants", "activations", "scratch"};
    return names[memory_class];
}

/* Takes bytes from a class, 64-byte aligned; sizes that overflow end up as SIZE_MAX and fail
 * later. */
static size_t take(tern_part *part, tern_memory_class memory_class, size_t bytes)
{
    uint64_t *used = &part->memory.bytes[memory_class];
    const size_t offset = (size_t)*used;
    if (bytes > SIZE_MAX / 4 || *used > SIZE_MAX / 4)
        *used = SIZE_MAX / 2;
    else
        *used += tern_round_up(bytes, 64);
    return offset;
}

static size_t product(size_t a, size_t b)
{
    size_t out;
    return tern_size_mul(&out, a, b) ? out : SIZE_MAX;
}

static tern_span take_span(tern_part *part, tern_memory_class memory_class, int64_t rows,
                           int64_t cols, tern_dtype type)
{
    const size_t bytes = product(product((size_t)rows, (size_t)cols), tern_dtype_bytes(type));
    return tern_span_make(NULL, take(part, memory_class, bytes), rows, cols, type);
}

static tern_span take_opaque(tern_part *part, size_t bytes)
{
    return tern_span_make(NULL, take(part, TERN_MEMORY_ACTIVATIONS, bytes), 1, (int64_t)bytes,
                          TERN_OPAQUE);
}

/* Stands for a weight until tern_part_allocate replaces it: description and place. */
static int take_weight(const tern_weight **out, tern_part *part, tern_weight *stand_in,
                       tern_matrix matrix, tern_error *err)
{
    const tern_weight_desc desc = tern_model_matrix(part->config, matrix, part->desc.head_type);
    tern_weight_layout layout;
    const int status = tern_weight_layout_of(&layout, part->backend, &desc, err);
    if (status != TERN_OK) return status;
    const tern_memory_class memory_class =
        desc.use == TERN_USE_TABLE ? TERN_MEMORY_TABLES : TERN_MEMORY_WEIGHTS;
    *stand_in = (tern_weight){NULL, take(part, memory_class, layout.bytes), desc};
    *out = stand_in;
    return TERN_OK;
}

static int layout_layer(tern_part *part, int l, tern_error *err)
{
    const tern_model_config *c = part->config;
    tern_layer_part *layer = &part->layers[l];
    tern_weight *stand_ins = part->unplaced + (size_t)l * TERN_N_LAYER_MATRICES;
    for (int m = 0; m < TERN_N_LAYER_MATRICES; m++) {
        const int attention = m == TERN_MATRIX_QKV || m == TERN_MATRIX_ATTN_OUT;
        if (!(attention ? part->desc.attn[l] : part->desc.ffn[l])) continue;
        const int status =
            take_weight(&layer->matrix[m], part, &stand_ins[m], (tern_matrix)m, err);
        if (status != TERN_OK) return status;
    }
    if (part->desc.attn[l]) {
        layer->attn_norm = take_span(part, TERN_MEMORY_CONSTANTS, 1, c->d, TERN_F32);
        if (c->sub_norms)
            layer->attn_sub_norm =
                take_span(part, TERN_MEMORY_CONSTANTS, 1, c->h * c->hd, TERN_F32);
        const size_t page = tern_kv_page_bytes(part->desc.kv_type, c->kv, c->hd);
        layer->pool = (tern_kv_pool){
            NULL, take(part, TERN_MEMORY_KV, product(page, (size_t)part->desc.n_pages)),
            part->desc.n_pages, c->kv, c->hd, part->desc.kv_type};
    }
    if (part->desc.ffn[l]) {
        layer->ffn_norm = take_span(part, TERN_MEMORY_CONSTANTS, 1, c->d, TERN_F32);
        if (c->sub_norms)
            layer->ffn_sub_norm = take_span(part, TERN_MEMORY_CONSTANTS, 1, c->f, TERN_F32);
    }
    return TERN_OK;
}

static int layout_tables(tern_part *part, tern_error *err)
{
    const tern_model_config *c = part->config;
    tern_weight *stand_in = part->unplaced + (size_t)c->n_layers * TERN_N_LAYER_MATRICES;
    int status = TERN_OK;
    if (part->desc.embed || (part->desc.head && c->tied))
        status = take_weight(&part->embed, part, stand_in, TERN_MATRIX_EMBED, err);
    if (status != TERN_OK || !part->desc.head) return status;
    if (c->tied)
        part->head = part->embed;
    else
        status = take_weight(&part->head, part, stand_in + 1, TERN_MATRIX_HEAD, err);
    part->head_gain = take_span(part, TERN_MEMORY_CONSTANTS, 1, c->d, TERN_F32);
    return status;
}

static void layout_activations(tern_part *part)
{
    const tern_model_config *c = part->config;
    const int n_tok = part->desc.n_tok, q = c->h * c->hd, qkv = q + 2 * c->kv * c->hd;
    const tern_memory_class here = TERN_MEMORY_ACTIVATIONS;
    int widest = c->d > q ? c->d : q;
    widest = widest > c->f ? widest : c->f;
    if (memchr(part->desc.attn, 1, (size_t)c->n_layers))
        part->rope = take_span(part, TERN_MEMORY_CONSTANTS, part->desc.n_ctx, c->hd, TERN_F32);
    part->ids = take_span(part, here, n_tok, 1, TERN_S32);
    part->x = take_span(part, here, n_tok, c->d, TERN_F32);
    part->quant = take_opaque(part, part->backend->quant_bytes(n_tok, widest));
    part->qkv = take_span(part, here, n_tok, qkv, TERN_F32);
    part->attn = take_span(part, here, n_tok, q, TERN_F32);
    part->gate_up = take_span(part, here, n_tok, 2 * (int64_t)c->f, TERN_F32);
    part->act = take_span(part, here, n_tok, c->f, TERN_F32);
    if (!part->desc.head) return;
    part->n_full =
        part->desc.n_seq < TERN_HEAD_MAX_ROWS ? part->desc.n_seq : TERN_HEAD_MAX_ROWS;
    part->logits = take_span(part, here, part->n_full, c->n_vocab, TERN_F32);
    part->picked = take_span(part, here, part->desc.n_seq, 1, TERN_S32);
    part->score = take_opaque(part, (size_t)n_tok * sizeof(tern_score));
    part->n_top = c->n_vocab < TERN_PART_TOP ? c->n_vocab : TERN_PART_TOP;
    part->top = take_opaque(part, (size_t)part->desc.n_seq * (size_t)part->n_top *
                                      sizeof(tern_candidate));
    part->n_score_top = c->n_vocab < TERN_PART_SCORE_TOP ? c->n_vocab : TERN_PART_SCORE_TOP;
    part->score_top = take_opaque(part, (size_t)n_tok * (size_t)part->n_score_top *
                                            sizeof(tern_candidate));
}

/* Maximal runs of half-layers that are here; the embedding joins the run that begins at the
 * first. */
static void find_segments(tern_part *part)
{
    const int n_halves = 2 * part->config->n_layers;
    part->n_segments = 0;
    if (part->desc.embed && !part->desc.attn[0])
        part->segments[part->n_segments++] = (tern_segment){.embed = 1};
    for (int half = 0, run = 0; half < n_halves; half++) {
        const int here = half % 2 == 0 ? part->desc.attn[half / 2] : part->desc.ffn[half / 2];
        if (here && !run)
            part->segments[part->n_segments++] =
                (tern_segment){.first = half, .embed = half == 0 && part->desc.embed};
        if (here) part->segments[part->n_segments - 1].end = half + 1;
        run = here;
    }
}

/* One program of a part: the list of operations and its limits. */
typedef struct recipe {
    tern_op *ops;
    int n;
    tern_batch_limits limits;
    tern_program **program;
} recipe;

/* What the head of a part runs, beyond the segments. */
enum { HEAD_PICK, HEAD_PICK_TOP, HEAD_LOGITS, HEAD_SCORES, N_HEAD_PROGRAMS };

static void make_head_recipe(recipe *r, tern_part *part, int head)
{
    tern_program **const programs[N_HEAD_PROGRAMS] = {&part->pick, &part->pick_top,
                                                      &part->all_logits, &part->all_scores};
    static const tern_head_mode modes[N_HEAD_PROGRAMS] = {TERN_HEAD_FULL, TERN_HEAD_TOP,
                                                          TERN_HEAD_FULL, TERN_HEAD_SCORE};
    r->program = programs[head];
    if (modes[head] == TERN_HEAD_FULL) r->limits.n_rows = part->n_full;
    if (modes[head] == TERN_HEAD_TOP) r->limits.n_rows = part->desc.n_seq;
    r->n = tern_graph_head(r->ops, part, modes[head], head == HEAD_PICK || head == HEAD_PICK_TOP);
}

/* Recipe number i of the part, i < n_recipes; n is 0 for one that is not needed. */
static void make_recipe(recipe *r, tern_part *part, int i)
{
    const tern_part_desc *desc = &part->desc;
    r->limits = (tern_batch_limits){desc->n_tok, desc->n_seq, desc->n_tok, desc->n_ctx};
    r->n = 0;
    if (i < part->n_segments) {
        r->n = tern_graph_segment(r->ops, part, &part->segments[i]);
        r->program = &part->segments[i].program;
        return;
    }
    if (desc->head) make_head_recipe(r, part, i - part->n_segments);
}

static int layout_programs(tern_part *part, tern_error *err)
{
    recipe r;
    const int status = tern_alloc(&r.ops, (size_t)TERN_GRAPH_OPS(part->config->n_layers),
                                  sizeof *r.ops, "a list of operations", err);
    if (status != TERN_OK) return status;
    for (int i = 0; i < part->n_segments + N_HEAD_PROGRAMS; i++) {
        make_recipe(&r, part, i);
        if (r.n) part->memory.bytes[TERN_MEMORY_SCRATCH] +=
                 part->backend->program_bytes(r.ops, r.n, &r.limits);
    }
    free(r.ops);
    return TERN_OK;
}

static int alloc_lists(tern_part *part, tern_error *err)
{
    const size_t n = (size_t)part->config->n_layers;
    int status = tern_alloc(&part->layers, n, sizeof *part->layers, "the layers", err);
    if (status == TERN_OK)
        status = tern_alloc(&part->unplaced, n * TERN_N_LAYER_MATRICES + 2, sizeof *part->unplaced,
                            "the weights", err);
    if (status == TERN_OK)
        status =
            tern_alloc(&part->segments, 2 * n + 1, sizeof *part->segments, "the segments", err);
    return status;
}

int tern_part_layout(tern_part *out, const tern_part_desc *desc, const tern_model_config *config,
                     const tern_backend *backend, tern_error *err)
{
    tern_part part = {.desc = *desc, .config = config, .backend = backend};
    int status = alloc_lists(&part, err);
    for (int l = 0; l < config->n_layers && status == TERN_OK; l++)
        status = layout_layer(&part, l, err);
    if (status == TERN_OK) status = layout_tables(&part, err);
    if (status == TERN_OK) {
        layout_activations(&part);
        find_segments(&part);
        status = layout_programs(&part, err);
    }
    for (int i = 0; i < TERN_N_MEMORY_CLASSES && status == TERN_OK; i++) {
        if (part.memory.bytes[i] >= SIZE_MAX / 4)
            status = tern_fail(err, TERN_E_FIT,
                               "the %s of this model do not fit into any memory: ask "
                               "for a smaller context",
                               tern_memory_class_name((tern_memory_class)i));
        part.memory.total += part.memory.bytes[i];
    }
    if (status == TERN_OK)
        *out = part;
    else
        tern_part_destroy(&part);
    return status;
}

/* ---- allocation ----------------------------------------------------------------------------- */

static int place_weight(const tern_weight **slot, tern_part *part, tern_memory_class memory_class,
                        tern_error *err)
{
    const tern_weight *stand_in = *slot;
    if (!stand_in) return TERN_OK;
    tern_weight *weight;
    const int status = tern_weight_create(&weight, part->buffers[memory_class],
                                          stand_in->offset_bytes, &stand_in->desc, err);
    *slot = status == TERN_OK ? weight : NULL;
    return status;
}

/* On failure the slots that still hold stand-ins are cleared, so that destroying the part is
 * safe. */
static int place_weights(tern_part *part, tern_error *err)
{
    int status = TERN_OK;
    for (int l = 0; l < part->config->n_layers; l++)
        for (int m = 0; m < TERN_N_LAYER_MATRICES; m++) {
            const tern_weight **slot = &part->layers[l].matrix[m];
            if (status == TERN_OK)
                status = place_weight(slot, part, TERN_MEMORY_WEIGHTS, err);
            else
                *slot = NULL;
        }
    const int tied = part->head == part->embed;
    if (status != TERN_OK) part->embed = part->head = NULL;
    if (status == TERN_OK) status = place_weight(&part->embed, part, TERN_MEMORY_TABLES, err);
    if (tied || status != TERN_OK)
        part->head = part->desc.head ? part->embed : NULL;
    else
        status = place_weight(&part->head, part, TERN_MEMORY_TABLES, err);
    free(part->unplaced);
    part->unplaced = NULL;
    return status;
}

static void place_spans(tern_part *part)
{
    tern_buffer *constants = part->buffers[TERN_MEMORY_CONSTANTS];
    tern_buffer *activations = part->buffers[TERN_MEMORY_ACTIVATIONS];
    for (int l = 0; l < part->config->n_layers; l++) {
        tern_layer_part *layer = &part->layers[l];
        tern_span *gains[] = {&layer->attn_norm, &layer->attn_sub_norm, &layer->ffn_norm,
                              &layer->ffn_sub_norm};
        for (int i = 0; i < 4; i++)
            if (gains[i]->rows) gains[i]->buffer = constants;
        if (layer->pool.n_pages) layer->pool.buffer = part->buffers[TERN_MEMORY_KV];
    }
    if (part->rope.rows) part->rope.buffer = constants;
    tern_span *spans[] = {&part->ids,     &part->x,   &part->quant,  &part->qkv,    &part->attn,
                          &part->gate_up, &part->act, &part->logits, &part->picked, &part->score,
                          &part->top,     &part->score_top};
    for (size_t i = 0; i < sizeof spans / sizeof spans[0]; i++)
        if (spans[i]->rows) spans[i]->buffer = activations;
    if (part->head_gain.rows) part->head_gain.buffer = constants;
}

static int create_programs(tern_part *part, tern_error *err)
{
    recipe r;
    int status = tern_alloc(&r.ops, (size_t)TERN_GRAPH_OPS(part->config->n_layers), sizeof *r.ops,
                            "a list of operations", err);
    if (status != TERN_OK) return status;
    for (int i = 0; i < part->n_segments + N_HEAD_PROGRAMS && status == TERN_OK; i++) {
        make_recipe(&r, part, i);
        if (r.n) status = tern_program_create(r.program, part->device, r.ops, r.n, &r.limits, err);
    }
    free(r.ops);
    return status;
}

int tern_part_allocate(tern_part *part, tern_device *device, tern_error *err)
{
    part->device = device;
    const uint64_t budget = device->budget_bytes ? device->budget_bytes : device->info.free_bytes;
    if (budget && part->memory.total > budget)
        return tern_fail(
            err, TERN_E_FIT,
            "%s: the model takes %.1f MiB (%llu bytes), of which %.1f MiB are KV, but %.1f "
            "MiB (%llu bytes) are there: ask for a smaller context (-c)",
            device->info.name, (double)part->memory.total / 1048576.0,
            (unsigned long long)part->memory.total,
            (double)part->memory.bytes[TERN_MEMORY_KV] / 1048576.0, (double)budget / 1048576.0,
            (unsigned long long)budget);
    int status = TERN_OK;
    for (int i = 0; i < TERN_MEMORY_SCRATCH && status == TERN_OK; i++)
        if (part->memory.bytes[i])
            status =
                tern_buffer_create(&part->buffers[i], device, (size_t)part->memory.bytes[i], err);
    if (status != TERN_OK) return status;
    status = place_weights(part, err);
    if (status != TERN_OK) return status;
    place_spans(part);
    return create_programs(part, err);
}

tern_memory tern_part_used(const tern_part *part)
{
    tern_memory used = {0};
    for (int i = 0; i < TERN_MEMORY_SCRATCH; i++)
        if (part->buffers[i]) used.bytes[i] = tern_buffer_bytes(part->buffers[i]);
    const tern_program *const head[] = {part->pick, part->pick_top, part->all_logits,
                                        part->all_scores};
    for (int i = 0; i < part->n_segments; i++)
        used.bytes[TERN_MEMORY_SCRATCH] += part->segments[i].program->bytes;
    for (size_t i = 0; i < sizeof head / sizeof head[0]; i++)
        if (head[i]) used.bytes[TERN_MEMORY_SCRATCH] += head[i]->bytes;
    for (int i = 0; i < TERN_N_MEMORY_CLASSES; i++) used.total += used.bytes[i];
    return used;
}

void tern_part_destroy(tern_part *part)
{
    if (!part) return;
    for (int i = 0; i < part->n_segments; i++) tern_program_destroy(part->segments[i].program);
    tern_program_destroy(part->pick);
    tern_program_destroy(part->pick_top);
    tern_program_destroy(part->all_logits);
    tern_program_destroy(part->all_scores);
    if (!part->unplaced && part->layers) { /* real weights, not stand-ins */
        for (int l = 0; l < part->config->n_layers; l++)
            for (int m = 0; m < TERN_N_LAYER_MATRICES; m++)
                tern_weight_destroy((tern_weight *)(uintptr_t)part->layers[l].matrix[m]);
        if (part->head != part->embed) tern_weight_destroy((tern_weight *)(uintptr_t)part->head);
        tern_weight_destroy((tern_weight *)(uintptr_t)part->embed);
    }
    for (int i = 0; i < TERN_N_MEMORY_CLASSES; i++) tern_buffer_destroy(part->buffers[i]);
    free(part->unplaced);
    free(part->segments);
    free(part->layers);
    *part = (tern_part){0};
}
