/* bpe.c - merging with a linked list and a heap, for both kinds of BPE. The heap is ordered by
 * (rank, position), so equal ranks are taken from the left. Entries are never removed when a merge
 * makes them stale: every position remembers the rank of its present pair, and an entry that
 * disagrees with it is dropped. */
#include "format/bpe.h"

#include <stdlib.h>
#include <string.h>

#include "base/fail.h"
#include "base/f16.h"
#include "base/memory.h"
#include "base/text.h"

#define NO_RANK UINT32_MAX
#define NO_POSITION UINT32_MAX

/* A symbol of the piece, at the position of its first byte. */
typedef struct node {
    int32_t id;
    uint32_t rank; /* of the merge with the next symbol, or NO_RANK */
    int32_t merged;
    uint32_t previous, next; /* NO_POSITION at the ends */
} node;

typedef struct heap {
    uint64_t *entry; /* rank << 32 | position, smallest first */
    size_t n;
} heap;

/* ---- the merge table ------------------------------------------------------------------------- */

static uint64_t slot_of(const tern_bpe *bpe, uint64_t pair)
{
    uint64_t i = (pair * 0x9e3779b97f4a7c15u) >> bpe->slot_shift;
    while (bpe->merges[i].next_rank && bpe->merges[i].pair != pair)
        i = (i + 1) & (bpe->n_slots - 1);
    return i;
}

int tern_bpe_begin_merges(tern_bpe *bpe, uint64_t n_merges, tern_error *err)
{
    if (n_merges >= INT32_MAX)
        return tern_fail(err, TERN_E_MODEL,
                         "the vocabulary has %llu merges, more than 2^31: use another model",
                         (unsigned long long)n_merges);
    bpe->n_tokens = (int32_t)bpe->symbols.n;
    for (int byte = 0; byte < 256; byte++) {
        const char text = (char)byte;
        bpe->byte_symbol[byte] = tern_symbols_find(&bpe->symbols, &text, 1);
        if (bpe->byte_symbol[byte] >= 0) continue;
        bpe->byte_symbol[byte] = (int32_t)bpe->symbols.n;
        const int status = tern_symbols_add(&bpe->symbols, &text, 1, true, err);
        if (status != TERN_OK) return status;
    }
    bpe->n_slots = 64;
    bpe->slot_shift = 64 - 6;
    while (bpe->n_slots < n_merges + n_merges / 2) {
        bpe->n_slots *= 2;
        bpe->slot_shift--;
    }
    return tern_alloc(&bpe->merges, (size_t)bpe->n_slots, sizeof *bpe->merges, "the merges", err);
}

int tern_bpe_add_merge(tern_bpe *bpe, const char *text, size_t left_bytes, size_t right_bytes,
                       tern_error *err)
{
    const uint32_t rank = bpe->n_merges;
    const int32_t left = tern_symbols_find(&bpe->symbols, text, left_bytes);
    const int32_t right = tern_symbols_find(&bpe->symbols, text + left_bytes, right_bytes);
    if (left < 0 || right < 0)
        return tern_fail(err, TERN_E_MODEL,
                         "merge %u names a part that is neither a token nor the result of"
                         " an earlier merge",
                         rank);
    int32_t merged = tern_symbols_find(&bpe->symbols, text, left_bytes + right_bytes);
    if (merged < 0) {
        merged = (int32_t)bpe->symbols.n;
        const int status =
            tern_symbols_add(&bpe->symbols, text, left_bytes + right_bytes, true, err);
        if (status != TERN_OK) return status;
    }
    const uint64_t pair = (uint64_t)(uint32_t)left << 32 | (uint32_t)right;
    tern_bpe_merge *slot = &bpe->merges[slot_of(bpe, pair)];
    if (slot->next_rank == 0)
        *slot = (tern_bpe_merge){.pair = pair, .next_rank = rank + 1, .merged = merged};
    bpe->n_merges++;
    return TERN_OK;
}

/* A number that falls when the score rises: the bits of floats, made to count in their order. */
static uint32_t rank_of(float score)
{
    const uint32_t bits = tern_f32_bits(score + 0.0f); /* -0 becomes +0 */
    return bits >> 31 ? bits : 0x7fffffffu - bits;
}

int tern_bpe_begin_texts(tern_bpe *bpe, const float *scores, const int32_t bytes[256],
                         int32_t unknown, tern_error *err)
{
    const size_t n = bpe->symbols.n;
    const int status =
        tern_alloc(&bpe->text_rank, n, sizeof *bpe->text_rank, "the ranks of tokens", err);
    if (status != TERN_OK) return status;
    bpe->n_tokens = (int32_t)n;
    bpe->unknown = unknown;
    memcpy(bpe->byte_symbol, bytes, sizeof bpe->byte_symbol);
    for (size_t i = 0; i < n; i++) bpe->text_rank[i] = rank_of(scores[i]);
    return TERN_OK;
}

void tern_bpe_free(tern_bpe *bpe)
{
    tern_symbols_free(&bpe->symbols);
    free(bpe->text_rank);
    free(bpe->merges);
    *bpe = (tern_bpe){0};
}

/* ---- the heap -------------------------------------------------------------------------------- */

static void heap_push(heap *h, uint64_t entry)
{
    size_t i = h->n++;
    for (; i > 0 && h->entry[(i - 1) / 2] > entry; i = (i - 1) / 2)
        h->entry[i] = h->entry[(i - 1) / 2];
    h->entry[i] = entry;
}

static uint64_t heap_pop(heap *h)
{
    const uint64_t top = h->entry[0], last = h->entry[--h->n];
    size_t i = 0;
    for (size_t child = 1; child < h->n; child = 2 * i + 1) {
        if (child + 1 < h->n && h->entry[child + 1] < h->entry[child]) child++;
        if (h->entry[child] >= last) break;
        h->entry[i] = h->entry[child];
        i = child;
    }
    h->entry[i] = last;
    return top;
}

/* ---- encoding -------------------------------------------------------------------------------- */

/* Every symbol but the last enters the heap once, and every merge adds two pairs: 3n entries. */
static int scratch_reserve(node **nodes, heap *h, tern_bpe_scratch *scratch, size_t bytes,
                           tern_error *err)
{
    if (bytes > scratch->cap) {
        const size_t cap = bytes + bytes / 2 + 64;
        void *memory;
        const int status =
            tern_alloc(&memory, cap, 3 * sizeof *h->entry + sizeof **nodes, "a piece of text", err);
        if (status != TERN_OK) return status;
        free(scratch->memory);
        scratch->memory = memory;
        scratch->cap = cap;
    }
    h->entry = scratch->memory;
    h->n = 0;
    *nodes = (node *)(void *)(h->entry + 3 * scratch->cap);
    return TERN_OK;
}

void tern_bpe_scratch_free(tern_bpe_scratch *scratch)
{
    free(scratch->memory);
    *scratch = (tern_bpe_scratch){0};
}

/* One piece under way. */
typedef struct work {
    const tern_bpe *bpe;
    const char *piece;
    node *nodes; /* at the position of a symbol's first byte */
    heap heap;
    uint32_t n; /* bytes */
} work;

static uint32_t end_of(const work *w, uint32_t position)
{
    const uint32_t next = w->nodes[position].next;
    return next == NO_POSITION ? w->n : next;
}

/* Looks up the merge of the symbol at `position` with its successor. */
static void consider(work *w, uint32_t position)
{
    node *here = &w->nodes[position];
    here->rank = NO_RANK;
    if (here->next == NO_POSITION) return;
    if (w->bpe->text_rank) {
        const uint32_t bytes = end_of(w, here->next) - position;
        here->merged = tern_symbols_find(&w->bpe->symbols, w->piece + position, bytes);
        if (here->merged < 0) return;
        here->rank = w->bpe->text_rank[here->merged];
    } else {
        const uint64_t pair =
            (uint64_t)(uint32_t)here->id << 32 | (uint32_t)w->nodes[here->next].id;
        const tern_bpe_merge *merge = &w->bpe->merges[slot_of(w->bpe, pair)];
        if (merge->next_rank == 0) return;
        here->rank = merge->next_rank - 1;
        here->merged = merge->merged;
    }
    heap_push(&w->heap, (uint64_t)here->rank << 32 | position);
}

static void merge_all(work *w)
{
    while (w->heap.n > 0) {
        const uint64_t top = heap_pop(&w->heap);
        const uint32_t position = (uint32_t)top;
        node *left = &w->nodes[position];
        if (left->rank != (uint32_t)(top >> 32)) continue; /* stale */
        node *right = &w->nodes[left->next];
        left->id = left->merged;
        left->next = right->next;
        right->rank = NO_RANK;
        if (left->next != NO_POSITION) w->nodes[left->next].previous = position;
        consider(w, position);
        if (left->previous != NO_POSITION) consider(w, left->previous);
    }
}

int tern_bpe_put(tern_bpe_sink *sink, int32_t id, tern_error *err)
{
    if (sink->n == sink->cap)
        return tern_fail(err, TERN_E_FIT, "the text needs more than %zu tokens: give more room",
                         sink->cap);
    sink->ids[sink->n++] = id;
    return TERN_OK;
}

static int put_symbol(const tern_bpe *bpe, tern_bpe_sink *sink, int32_t id, tern_error *err)
{
    if (id < bpe->n_tokens) return tern_bpe_put(sink, id, err);
    int status = TERN_OK;
    for (uint32_t at = bpe->symbols.begin[id]; at < bpe->symbols.begin[id + 1] && status == TERN_OK;
         at++) {
        const uint8_t byte = (uint8_t)bpe->symbols.bytes[at];
        if (bpe->byte_symbol[byte] >= bpe->n_tokens)
            return tern_fail(err, TERN_E_MODEL,
                             "the vocabulary has no token for the byte 0x%02x, which this"
                             " text needs: use another model",
                             byte);
        status = tern_bpe_put(sink, bpe->byte_symbol[byte], err);
    }
    return status;
}

/* A character that is no token: its bytes, or the unknown token where one of them is none. */
static int put_character(const tern_bpe *bpe, tern_bpe_sink *sink, const char *text, size_t bytes,
                         tern_error *err)
{
    bool spelled = true;
    for (size_t i = 0; i < bytes; i++) spelled &= bpe->byte_symbol[(uint8_t)text[i]] >= 0;
    if (!spelled && bpe->unknown >= 0) return tern_bpe_put(sink, bpe->unknown, err);
    if (!spelled)
        return tern_fail(err, TERN_E_MODEL,
                         "the vocabulary has no token for the character '%s', which this text"
                         " needs: use another model",
                         TERN_QUOTED(text, bytes));
    int status = TERN_OK;
    for (size_t i = 0; i < bytes && status == TERN_OK; i++)
        status = tern_bpe_put(sink, bpe->byte_symbol[(uint8_t)text[i]], err);
    return status;
}

/* Bytes of the symbol that a piece begins with: one, or a whole character for SentencePiece. */
static uint32_t first_symbol(int32_t *id, const tern_bpe *bpe, const char *text, size_t bytes)
{
    size_t length = 1;
    if (!bpe->text_rank) {
        *id = bpe->byte_symbol[(uint8_t)*text];
    } else {
        if (tern_utf8_look(text, bytes, &length) != TERN_UTF8_WHOLE) length = 1;
        *id = tern_symbols_find(&bpe->symbols, text, length);
    }
    return (uint32_t)length;
}

static void split(work *w)
{
    uint32_t previous = NO_POSITION;
    for (uint32_t i = 0, length; i < w->n; previous = i, i += length) {
        node *here = &w->nodes[i];
        *here = (node){.previous = previous};
        length = first_symbol(&here->id, w->bpe, w->piece + i, w->n - i);
        here->next = i + length < w->n ? i + length : NO_POSITION;
    }
}

int tern_bpe_encode(const tern_bpe *bpe, tern_bpe_scratch *scratch, tern_bpe_sink *sink,
                    const char *piece, size_t bytes, tern_error *err)
{
    if (bytes == 1 && !bpe->text_rank)
        return put_symbol(bpe, sink, bpe->byte_symbol[(uint8_t)piece[0]], err);
    if (bpe->ignore_merges) {
        const int32_t id = tern_symbols_find(&bpe->symbols, piece, bytes);
        if (id >= 0 && id < bpe->n_tokens) return tern_bpe_put(sink, id, err);
    }
    work w = {.bpe = bpe, .piece = piece, .n = (uint32_t)bytes};
    int status = scratch_reserve(&w.nodes, &w.heap, scratch, bytes, err);
    if (status != TERN_OK) return status;
    split(&w);
    for (uint32_t i = 0; i != NO_POSITION; i = w.nodes[i].next) consider(&w, i);
    merge_all(&w);
    for (uint32_t i = 0; i != NO_POSITION && status == TERN_OK; i = w.nodes[i].next)
        status = w.nodes[i].id >= 0
                     ? put_symbol(bpe, sink, w.nodes[i].id, err)
                     : put_character(bpe, sink, piece + i, end_of(&w, i) - i, err);
    return status;
}
