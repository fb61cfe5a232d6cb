/* canary.c - see canary.h. Every step lays out, loads, runs and destroys a part with a single
 * layer, or with a table alone; the residual stream waits in host memory in between. */
#include "model/canary.h"

#include <stdlib.h>

#include "base/fail.h"
#include "base/memory.h"
#include "model/part.h"

/* The computation between two steps. */
typedef struct canary {
    const tern_model *model;
    const tern_model_config *config;
    tern_device *device;
    tern_stream *stream;
    const int32_t *ids;
    int n;
    float *x;                     /* [n, d] */
    int32_t *pos, *seq, *targets; /* [n]; pos names the rows of the head, too */
    tern_error *err;
} canary;

static tern_batch batch_of(const canary *c)
{
    static const int32_t page = 0;
    return (tern_batch){.n_tok = c->n,
                        .n_seq = 1,
                        .pos = c->pos,
                        .seq = c->seq,
                        .pages = &page,
                        .pages_ld = 1,
                        .rows = c->pos,
                        .targets = c->targets};
}

/* What a layer or the embedding does to the stream. */
static int run_segment(canary *c, tern_part *part)
{
    const tern_batch batch = batch_of(c);
    const size_t x_bytes = (size_t)c->n * (size_t)c->config->d * sizeof(float);
    const int embed = part->segments[0].embed;
    const tern_span *in = embed ? &part->ids : &part->x;
    int status =
        tern_upload(c->stream, in->buffer, in->offset_bytes, embed ? (const void *)c->ids : c->x,
                    embed ? (size_t)c->n * sizeof *c->ids : x_bytes, c->err);
    if (status == TERN_OK)
        status = tern_program_run(part->segments[0].program, c->stream, &batch, c->err);
    if (status == TERN_OK)
        status =
            tern_download(c->stream, c->x, part->x.buffer, part->x.offset_bytes, x_bytes, c->err);
    return status == TERN_OK ? tern_stream_sync(c->stream, c->err) : status;
}

static int run_head(canary *c, tern_part *part, float *logprobs)
{
    tern_batch batch = batch_of(c);
    batch.n_rows = c->n - 1;
    tern_score scores[TERN_CANARY_MAX];
    int status = tern_upload(c->stream, part->x.buffer, part->x.offset_bytes, c->x,
                             (size_t)c->n * (size_t)c->config->d * sizeof(float), c->err);
    if (status == TERN_OK) status = tern_program_run(part->all_scores, c->stream, &batch, c->err);
    if (status == TERN_OK)
        status = tern_download(c->stream, scores, part->score.buffer, part->score.offset_bytes,
                               (size_t)batch.n_rows * sizeof scores[0], c->err);
    if (status == TERN_OK) status = tern_stream_sync(c->stream, c->err);
    for (int i = 0; i < batch.n_rows && status == TERN_OK; i++)
        logprobs[i] = (float)tern_score_logprob(&scores[i], scores[i].target_logit);
    return status;
}

/* One part's life. `layer` -1: the embedding; n_layers: the head. */
static int run_step(canary *c, int layer, float *logprobs)
{
    const int is_head = layer == c->config->n_layers;
    tern_part_desc desc = {.embed = layer < 0,
                           .head = is_head,
                           .n_ctx = TERN_CANARY_MAX,
                           .n_seq = 1,
                           .n_tok = c->n,
                           .n_pages = 1,
                           .kv_type = TERN_KV_F16,
                           .head_type = TERN_HEAD_I16};
    if (layer >= 0 && !is_head) desc.attn[layer] = desc.ffn[layer] = 1;
    tern_part part = {0};
    const tern_progress quiet = {0};
    uint64_t done = 0;
    int status = tern_part_layout(&part, &desc, c->config, c->device->backend, c->err);
    if (status == TERN_OK) status = tern_part_allocate(&part, c->device, c->err);
    if (status == TERN_OK) status = tern_part_load(&part, c->model, &done, 1, &quiet, c->err);
    if (status == TERN_OK) status = is_head ? run_head(c, &part, logprobs) : run_segment(c, &part);
    tern_part_destroy(&part);
    return status;
}

static int alloc_canary(canary *c)
{
    const size_t n = (size_t)c->n;
    int status = tern_alloc(&c->x, n * (size_t)c->config->d, sizeof *c->x, "the answer", c->err);
    if (status == TERN_OK) status = tern_alloc(&c->pos, n, 4, "the answer", c->err);
    if (status == TERN_OK) status = tern_alloc(&c->seq, n, 4, "the answer", c->err);
    if (status == TERN_OK) status = tern_alloc(&c->targets, n, 4, "the answer", c->err);
    for (int i = 0; i < c->n && status == TERN_OK; i++) {
        c->pos[i] = i;
        c->targets[i] = i + 1 < c->n ? c->ids[i + 1] : 0;
    }
    return status;
}

int tern_canary_compute(float *logprobs, const tern_model *model, const int32_t *ids, int n,
                        const tern_progress *progress, tern_error *err)
{
    canary c = {
        .model = model, .config = tern_model_config_of(model), .ids = ids, .n = n, .err = err};
    const int n_layers = c.config->n_layers;
    int status = alloc_canary(&c);
    if (status == TERN_OK) status = tern_device_open(&c.device, "cpu", NULL, err);
    if (status == TERN_OK) status = tern_stream_create(&c.stream, c.device, err);
    for (int layer = -1; layer <= n_layers && status == TERN_OK; layer++) {
        status = run_step(&c, layer, logprobs);
        if (status == TERN_OK)
            status = tern_progress_report(progress, "computing the known answer",
                                          (uint64_t)(layer + 2), (uint64_t)(n_layers + 2), err);
    }
    tern_stream_destroy(c.stream);
    tern_device_close(c.device);
    free(c.targets);
    free(c.seq);
    free(c.pos);
    free(c.x);
    return status;
}
