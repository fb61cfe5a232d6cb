/* evaluate.c - logits and log-probabilities of a given sequence, through the same programs as
 * requests. */
#include <string.h>

#include "base/fail.h"
#include "engine/engine_state.h"

static int check_idle(const tern_engine *e, const int32_t *ids, int n, tern_error *err)
{
    if (e->failed.status != TERN_OK) {
        if (err) *err = e->failed;
        return e->failed.status;
    }
    if (e->n_running || e->n_waiting)
        return tern_fail(err, TERN_E_USAGE, "the engine has %d requests: evaluate when it is idle",
                         e->n_running + e->n_waiting);
    if (n < 1 || n > e->plan.workload.n_ctx)
        return tern_fail(err, TERN_E_USAGE,
                         "a sequence of %d tokens does not fit into the context of %d", n,
                         e->plan.workload.n_ctx);
    for (int i = 0; i < n; i++)
        if (ids[i] < 0 || ids[i] >= e->config->n_vocab)
            return tern_fail(err, TERN_E_USAGE,
                             "token %d of the sequence is %d, outside the vocabulary of "
                             "%d",
                             i, ids[i], e->config->n_vocab);
    return TERN_OK;
}

/* Tokens first .. first+n of the sequence through all layers, on pages 0, 1, ..., which then hold
 * nothing that requests may share. */
static int run_chunk(tern_engine *e, const int32_t *ids, int first, int n, tern_error *err)
{
    tern_pages_forget(&e->pool);
    for (int i = 0; i < n; i++) {
        const int pos = first + i;
        if (pos % TERN_PAGE_TOK == 0) {
            const int page = pos / TERN_PAGE_TOK, status = tern_engine_clear_page(e, page, err);
            if (status != TERN_OK) return status;
            e->table[page] = page;
        }
        e->ids[i] = ids[pos];
        e->pos[i] = pos;
        e->seq[i] = 0;
    }
    e->batch.n_tok = n;
    e->batch.n_seq = 1;
    e->batch.n_rows = 0;
    return tern_engine_forward(e, err);
}

/* Logits of the chunk's n tokens, as many rows at a time as the program takes. */
static int chunk_logits(tern_engine *e, float *logits, int n, tern_error *err)
{
    const size_t row_bytes = (size_t)e->config->n_vocab * sizeof(float);
    tern_part *head = tern_engine_head(e);
    tern_stream *stream = tern_engine_head_stream(e);
    int status = TERN_OK;
    for (int row = 0; row < n && status == TERN_OK;) {
        const int here = n - row < head->n_full ? n - row : head->n_full;
        for (int i = 0; i < here; i++) e->rows[i] = row + i;
        e->batch.n_rows = here;
        status = tern_program_run(head->all_logits, stream, &e->batch, err);
        if (status == TERN_OK)
            status = tern_download(stream, (uint8_t *)logits + (size_t)row * row_bytes,
                                   head->logits.buffer, head->logits.offset_bytes,
                                   (size_t)here * row_bytes, err);
        if (status == TERN_OK) status = tern_engine_sync(e, err);
        row += here;
    }
    return status;
}

int tern_engine_logits(tern_engine *e, float *logits, const int32_t *ids, int n, int chunk,
                       tern_error *err)
{
    int status = check_idle(e, ids, n, err);
    if (status != TERN_OK) return status;
    const int most = e->plan.workload.n_tok;
    if (chunk < 0 || chunk > most)
        return tern_fail(err, TERN_E_USAGE, "a chunk of %d tokens: use 1 to %d", chunk, most);
    if (chunk == 0) chunk = most;
    for (int first = 0; first < n && status == TERN_OK; first += chunk) {
        const int here = n - first < chunk ? n - first : chunk;
        status = run_chunk(e, ids, first, here, err);
        if (status == TERN_OK)
            status =
                chunk_logits(e, logits + (size_t)first * (size_t)e->config->n_vocab, here, err);
    }
    return status;
}

/* Log-probabilities of the tokens that follow each of the chunk's n tokens. */
static int chunk_scores(tern_engine *e, double *logprobs, const int32_t *following, int n,
                        tern_error *err)
{
    tern_part *head = tern_engine_head(e);
    tern_stream *stream = tern_engine_head_stream(e);
    for (int i = 0; i < n; i++) {
        e->rows[i] = i;
        e->targets[i] = following[i];
    }
    e->batch.n_rows = n;
    int status = tern_program_run(head->all_scores, stream, &e->batch, err);
    if (status == TERN_OK)
        status = tern_download(stream, e->scores, head->score.buffer, head->score.offset_bytes,
                               (size_t)n * sizeof *e->scores, err);
    if (status == TERN_OK) status = tern_engine_sync(e, err);
    for (int i = 0; i < n && status == TERN_OK; i++)
        logprobs[i] = tern_score_logprob(&e->scores[i], e->scores[i].target_logit);
    return status;
}

int tern_engine_score(tern_engine *e, double *logprobs, const int32_t *ids, int n, tern_error *err)
{
    int status = check_idle(e, ids, n, err);
    const int most = e->plan.workload.n_tok;
    for (int first = 0; first < n - 1 && status == TERN_OK; first += most) {
        const int left = n - 1 - first, here = left < most ? left : most;
        status = run_chunk(e, ids, first, here, err);
        if (status == TERN_OK)
            status = chunk_scores(e, logprobs + first, ids + first + 1, here, err);
    }
    return status;
}
