/* forward.c - one batch through the segments of the plan. The residual stream crosses a device
 * border through host memory: 4*d bytes a token. */
#include "engine/engine_state.h"

/* x of the batch's tokens from one device to another. */
static int move_x(tern_engine *e, int from, int to, tern_error *err)
{
    const tern_span *source = &e->parts[from].x, *target = &e->parts[to].x;
    const size_t bytes = (size_t)e->batch.n_tok * (size_t)e->config->d * sizeof(float);
    int status = tern_download(e->streams[from], e->x_staging, source->buffer, source->offset_bytes,
                               bytes, err);
    if (status == TERN_OK) status = tern_stream_sync(e->streams[from], err);
    if (status == TERN_OK)
        status = tern_upload(e->streams[to], target->buffer, target->offset_bytes, e->x_staging,
                             bytes, err);
    return status;
}

int tern_engine_forward(tern_engine *e, tern_error *err)
{
    int status = TERN_OK, device = -1;
    for (int i = 0; i < e->n_stages && status == TERN_OK; i++) {
        const stage *s = &e->stages[i];
        if (s->embed) {
            const tern_span *ids = &e->parts[s->device].ids;
            status = tern_upload(e->streams[s->device], ids->buffer, ids->offset_bytes, e->ids,
                                 (size_t)e->batch.n_tok * sizeof(int32_t), err);
        } else if (s->device != device) {
            status = move_x(e, device, s->device, err);
        }
        if (status == TERN_OK)
            status = tern_program_run(s->program, e->streams[s->device], &e->batch, err);
        device = s->device;
    }
    if (status == TERN_OK && device != e->plan.head_device)
        status = move_x(e, device, e->plan.head_device, err);
    return status;
}

int tern_engine_clear_page(tern_engine *e, int page, tern_error *err)
{
    int status = TERN_OK;
    for (int l = 0; l < e->config->n_layers && status == TERN_OK; l++) {
        const int device = e->plan.attn_device[l];
        const tern_kv_pool *pool = &e->parts[device].layers[l].pool;
        const size_t bytes = tern_kv_page_bytes(pool->type, pool->kv, pool->hd);
        status = tern_fill(e->streams[device], pool->buffer,
                           pool->offset_bytes + (size_t)page * bytes, 0, bytes, err);
    }
    return status;
}

int tern_engine_sync(tern_engine *e, tern_error *err)
{
    for (int i = 0; i < e->plan.n_devices; i++) {
        const int status = tern_stream_sync(e->streams[i], err);
        if (status != TERN_OK) return status;
    }
    return TERN_OK;
}
