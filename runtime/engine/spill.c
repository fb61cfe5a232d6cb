/* spill.c - pages of a preempted request to host memory and back, byte for byte. Called by
 * schedule.c between steps, when no device works. */
#include "engine/engine_state.h"

/* One page of every layer between its devices and a slot. */
static int copy_page(tern_engine *e, int32_t page, int32_t slot, int save, tern_error *err)
{
    uint8_t *host = e->spill + (size_t)slot * e->page_bytes;
    int status = TERN_OK;
    for (int l = 0; l < e->config->n_layers && status == TERN_OK; l++) {
        const int device = e->plan.attn_device[l];
        const tern_kv_pool *pool = &e->parts[device].layers[l].pool;
        const size_t bytes = tern_kv_page_bytes(pool->type, pool->kv, pool->hd);
        const size_t offset = pool->offset_bytes + (size_t)page * bytes;
        status = save ? tern_download(e->streams[device], host, pool->buffer, offset, bytes, err)
                      : tern_upload(e->streams[device], pool->buffer, offset, host, bytes, err);
        host += bytes;
    }
    return status;
}

int tern_spill_save(tern_engine *e, request_state *r, tern_error *err)
{
    if (r->n_pages > e->n_free_slots) return TERN_OK;
    int status = TERN_OK;
    for (int i = 0; i < r->n_pages && status == TERN_OK; i++) {
        r->slots[i] = e->free_slots[--e->n_free_slots];
        status = copy_page(e, r->pages[i], r->slots[i], 1, err);
    }
    r->n_spilled = r->n_pages;
    e->stats.n_spilled_pages += (uint64_t)r->n_pages;
    return status == TERN_OK ? tern_engine_sync(e, err) : status;
}

int tern_spill_load(tern_engine *e, request_state *r, int index, tern_error *err)
{
    return copy_page(e, r->pages[index], r->slots[index], 0, err);
}

void tern_spill_drop(tern_engine *e, request_state *r)
{
    for (int i = r->n_spilled - 1; i >= 0; i--) e->free_slots[e->n_free_slots++] = r->slots[i];
    r->n_spilled = 0;
}
