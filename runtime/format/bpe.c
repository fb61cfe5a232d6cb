/* bpe.c - merging with a linked list and a heap. The heap is ordered by (rank, position), so equal
 * ranks are taken from the left. Entries are never removed when a merge makes them stale: every
 * position remembers the rank of its present pair, and an entry that disagrees with it is dropped.
 */
#include "format/bpe.h"

#include <stdlib.h>
#include <string.h>

#include "base/fail.h"
#include "base/memory.h"

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

void tern_bpe_free(tern_bpe *bpe)
{
    tern_symbols_free(&bpe->symbols);
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

/* Looks up the merge of the symbol at `position` with its successor. */
static void consider(const tern_bpe *bpe, node *nodes, heap *h, uint32_t position)
{
    node *here = &nodes[position];
    here->rank = NO_RANK;
    if (here->next == NO_POSITION) return;
    const uint64_t pair = (uint64_t)(uint32_t)here->id << 32 | (uint32_t)nodes[here->next].id;
    const tern_bpe_merge *merge = &bpe->merges[slot_of(bpe, pair)];
    if (merge->next_rank == 0) return;
    here->rank = merge->next_rank - 1;
    here->merged = merge->merged;
    heap_push(h, (uint64_t)here->rank << 32 | position);
}

static void merge_all(const tern_bpe *bpe, node *nodes, heap *h)
{
    while (h->n > 0) {
        const uint64_t top = heap_pop(h);
        const uint32_t position = (uint32_t)top;
        node *left = &nodes[position];
        if (left->rank != (uint32_t)(top >> 32)) continue; /* stale */
        node *right = &nodes[left->next];
        left->id = left->merged;
        left->next = right->next;
        right->rank = NO_RANK;
        if (left->next != NO_POSITION) nodes[left->next].previous = position;
        consider(bpe, nodes, h, position);
        if (left->previous != NO_POSITION) consider(bpe, nodes, h, left->previous);
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

int tern_bpe_encode(const tern_bpe *bpe, tern_bpe_scratch *scratch, tern_bpe_sink *sink,
                    const char *piece, size_t bytes, tern_error *err)
{
    if (bytes == 1) return put_symbol(bpe, sink, bpe->byte_symbol[(uint8_t)piece[0]], err);
    if (bpe->ignore_merges) {
        const int32_t id = tern_symbols_find(&bpe->symbols, piece, bytes);
        if (id >= 0 && id < bpe->n_tokens) return tern_bpe_put(sink, id, err);
    }
    node *nodes = NULL;
    heap h = {0};
    int status = scratch_reserve(&nodes, &h, scratch, bytes, err);
    if (status != TERN_OK) return status;
    const uint32_t n = (uint32_t)bytes;
    for (uint32_t i = 0; i < n; i++)
        nodes[i] = (node){.id = bpe->byte_symbol[(uint8_t)piece[i]],
                          .previous = i ? i - 1 : NO_POSITION,
                          .next = i + 1 < n ? i + 1 : NO_POSITION};
    for (uint32_t i = 0; i < n; i++) consider(bpe, nodes, &h, i);
    merge_all(bpe, nodes, &h);
    for (uint32_t i = 0; i != NO_POSITION && status == TERN_OK; i = nodes[i].next)
        status = put_symbol(bpe, sink, nodes[i].id, err);
    return status;
}
