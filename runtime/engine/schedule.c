/* schedule.c - who runs. Waiting and running requests stand in one order: priority, then arrival.
 * The first in the queue is admitted when there is a place and the pages for its known tokens; when
 * pages run out, or the first in the queue is more urgent, the last of the running ones makes
 * room. The request that stands first always gets on: under equal priorities nobody starves.
 *
 * Sharing: before a prompt computes a page it looks whether somebody has it already, and waits
 * where an earlier request is just computing it. So n answers to one prompt cost one prompt. */
#include <string.h>

#include "base/clock.h"
#include "engine/engine_state.h"

static int pages_of(int n_tok)
{
    return (n_tok + TERN_PAGE_TOK - 1) / TERN_PAGE_TOK;
}

/* Last page first: what falls idle first is given up first, and beginnings are shared most. */
static void release_pages(tern_engine *e, request_state *r, int keep)
{
    while (r->n_pages > keep) tern_pages_release(&e->pool, r->pages[--r->n_pages]);
    if (r->n_published > keep) r->n_published = keep;
}

void tern_schedule_release(tern_engine *e, request_state *r)
{
    release_pages(e, r, 0);
    tern_spill_drop(e, r);
    tern_request_free(r);
}

void tern_schedule_publish(tern_engine *e, request_state *r)
{
    const int full = r->n_done / TERN_PAGE_TOK;
    for (int i = r->n_published; i < full && i < r->n_pages; i++) {
        r->pages[i] = tern_pages_publish(&e->pool, r->pages[i], i ? r->pages[i - 1] : -1,
                                         r->hashes[i], r->tokens + i * TERN_PAGE_TOK);
        r->n_published = i + 1;
    }
}

/* The next page of the request, when it is published already: held from now on. */
static int hold_published(tern_engine *e, request_state *r)
{
    const int i = r->n_pages;
    if (i >= r->n_hashes || r->n_published < i) return 0;
    const int32_t page = tern_pages_find(&e->pool, i ? r->pages[i - 1] : -1, r->hashes[i],
                                         r->tokens + i * TERN_PAGE_TOK);
    if (page < 0) return 0;
    r->pages[r->n_pages++] = page;
    r->n_published = r->n_pages;
    return 1;
}

/* Skips pages that are there already; the last known token is always computed, for its logits. */
static void skip_published(tern_engine *e, request_state *r)
{
    if (r->asked.prompt_logprobs || r->n_done % TERN_PAGE_TOK != 0) return;
    while (r->n_done + TERN_PAGE_TOK < r->n_tokens && hold_published(e, r))
        r->n_done += TERN_PAGE_TOK;
}

static void count_cached(tern_engine *e, request_state *r, int n_tok)
{
    if (r->preempted) return;
    r->n_cached += n_tok;
    e->stats.prefix_hit_tok += (uint64_t)n_tok;
}

/* ---- admission and preemption --------------------------------------------------------------- */

/* Takes the last running request off the devices; it waits with all it knows. */
static int preempt_last(tern_engine *e, tern_error *err)
{
    request_state *r = e->running[--e->n_running];
    release_pages(e, r, pages_of(r->n_done)); /* those of a step that did not come */
    const int status = tern_spill_save(e, r, err);
    if (!r->n_spilled) r->n_done = 0;
    release_pages(e, r, 0);
    r->preempted = 1;
    e->stats.n_preempted++;
    tern_request_enqueue(e, r);
    return status;
}

/* Spilled pages come back, where somebody has the same by sharing. There are enough. */
static int resume(tern_engine *e, request_state *r, tern_error *err)
{
    int status = TERN_OK;
    while (r->n_pages < r->n_spilled && status == TERN_OK) {
        if (hold_published(e, r)) continue;
        const int i = r->n_pages++;
        r->pages[i] = tern_pages_take(&e->pool);
        status = tern_spill_load(e, r, i, err);
        tern_schedule_publish(e, r);
    }
    if (status == TERN_OK) status = tern_engine_sync(e, err);
    tern_spill_drop(e, r);
    return status;
}

/* Running requests that will need another page. */
static int n_growing(const tern_engine *e)
{
    int n = 0;
    for (int i = 0; i < e->n_running; i++)
        n += e->running[i]->n_pages < pages_of(e->running[i]->n_limit);
    return n;
}

/* Whether the pages for the known tokens are there, beside one for every running request that will
 * grow; holds the shared ones if so. */
static int fits(tern_engine *e, request_state *r)
{
    if (!r->n_spilled) skip_published(e, r);
    const int needed = pages_of(r->n_tokens) - r->n_pages;
    const int left = tern_pages_available(&e->pool) - n_growing(e);
    if (needed <= left) return 1; /* always so when it is alone: the plan has enough for one */
    if (!r->n_spilled) {
        release_pages(e, r, 0);
        r->n_done = 0;
    }
    return 0;
}

/* The first in the queue becomes a running request. */
static int start(tern_engine *e, tern_error *err)
{
    request_state *r = e->queue[0];
    memmove(e->queue, e->queue + 1, (size_t)--e->n_waiting * sizeof *e->queue);
    int at = e->n_running++;
    for (; at > 0 && tern_request_before(r, e->running[at - 1]); at--)
        e->running[at] = e->running[at - 1];
    e->running[at] = r;
    if (!r->admitted_ns) {
        r->admitted_ns = tern_now_ns();
        if (!r->asked.prompt_logprobs) e->stats.prefix_query_tok += (uint64_t)r->n_prompt;
    }
    if (r->n_spilled) return resume(e, r, err);
    count_cached(e, r, r->n_done);
    return TERN_OK;
}

int tern_schedule_admit(tern_engine *e, tern_error *err)
{
    int status = TERN_OK;
    while (e->n_waiting > 0 && status == TERN_OK) {
        request_state *r = e->queue[0];
        const int place = e->n_running < e->plan.workload.n_seq;
        if (place && fits(e, r)) {
            status = start(e, err);
        } else if (e->n_running > 0 &&
                   r->asked.priority < e->running[e->n_running - 1]->asked.priority) {
            status = preempt_last(e, err);
        } else {
            break;
        }
    }
    return status;
}

/* ---- shares of the token budget ------------------------------------------------------------- */

/* Whether a request before this one is computing the page that it would compute next. */
static int waits_for_page(const tern_engine *e, int i)
{
    const request_state *r = e->running[i];
    const int page = r->n_done / TERN_PAGE_TOK, end = (page + 1) * TERN_PAGE_TOK;
    if (r->asked.prompt_logprobs || r->n_done % TERN_PAGE_TOK != 0 || end >= r->n_tokens) return 0;
    for (int j = 0; j < i; j++) {
        const request_state *other = e->running[j];
        if (other->n_done < end && page < other->n_hashes && other->hashes[page] == r->hashes[page])
            return 1;
    }
    return 0;
}

/* Decodes get their token; prompts get equal shares of the rest, the first ones what others leave.
 * Marks those who wait with -1. */
static void share_tokens(tern_engine *e)
{
    int budget = e->plan.workload.n_tok, n_prompts = 0;
    for (int i = 0; i < e->n_running; i++) {
        request_state *r = e->running[i];
        const int done = r->n_done;
        if (r->n_tokens - r->n_done > 1) skip_published(e, r);
        count_cached(e, r, r->n_done - done);
        e->take[i] = r->n_tokens - r->n_done == 1;
        budget -= e->take[i];
        if (e->take[i]) continue;
        if (waits_for_page(e, i))
            e->take[i] = -1;
        else
            n_prompts++;
    }
    for (int i = 0, left = n_prompts; i < e->n_running && budget > 0; i++) {
        const int pending = e->running[i]->n_tokens - e->running[i]->n_done;
        if (e->take[i] != 0) continue;
        const int share = (budget + left - 1) / left;
        e->take[i] = pending < share ? pending : share;
        budget -= e->take[i];
        left--;
    }
    for (int i = 0; i < e->n_running; i++) {
        const int pending = e->running[i]->n_tokens - e->running[i]->n_done;
        if (e->take[i] < 0)
            e->take[i] = 0;
        else if (e->take[i] > 0 && e->take[i] < pending && budget > 0) {
            const int more = pending - e->take[i] < budget ? pending - e->take[i] : budget;
            e->take[i] += more;
            budget -= more;
        }
    }
}

/* Pages for what the request takes in this step; the last ones make room, it itself at worst. */
static int hold_pages(tern_engine *e, int i, tern_error *err)
{
    request_state *r = e->running[i];
    int status = TERN_OK;
    while (r->n_pages < pages_of(r->n_done + e->take[i]) && status == TERN_OK && i < e->n_running) {
        const int32_t page = tern_pages_take(&e->pool);
        if (page >= 0)
            r->pages[r->n_pages++] = page;
        else
            status = preempt_last(e, err);
    }
    return status;
}

int tern_schedule_share(tern_engine *e, int *n_prompt_tok, tern_error *err)
{
    int status = TERN_OK;
    share_tokens(e);
    *n_prompt_tok = 0;
    for (int i = 0; i < e->n_running && status == TERN_OK; i++) status = hold_pages(e, i, err);
    for (int i = 0; i < e->n_running; i++) {
        const request_state *r = e->running[i];
        if (r->n_done < r->n_prompt || r->n_tokens - r->n_done > 1) *n_prompt_tok += e->take[i];
    }
    return status;
}
