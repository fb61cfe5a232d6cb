/* symbols.c - see symbols.h. Strings live in one block and the hash is kept beside the number, so a
 * failed look-up touches one cache line and growing never reads a string again. */
#include "format/symbols.h"

#include <stdlib.h>
#include <string.h>

#include "base/fail.h"

/* Eight bytes at a time; the multiplier is the one of FNV-1a in 64 bits. Quality is enough for a
 * table at half load, and a hostile file can only slow down its own loading. */
static uint32_t hash_of(const char *s, size_t bytes)
{
    uint64_t h = 0xcbf29ce484222325u ^ bytes;
    for (; bytes >= 8; s += 8, bytes -= 8) {
        uint64_t word;
        memcpy(&word, s, 8);
        h = (h ^ word) * 0x100000001b3u;
        h ^= h >> 29;
    }
    for (; bytes > 0; s++, bytes--) h = (h ^ (uint8_t)*s) * 0x100000001b3u;
    h *= 0x9e3779b97f4a7c15u;
    return (uint32_t)(h >> 32);
}

void tern_symbols_free(tern_symbols *symbols)
{
    free(symbols->bytes);
    free(symbols->begin);
    free(symbols->slots);
    *symbols = (tern_symbols){0};
}

static int no_memory(size_t bytes, tern_error *err)
{
    return tern_fail(err, TERN_E_FIT, "no memory for the vocabulary (%zu bytes): free some", bytes);
}

static int reserve(tern_symbols *symbols, size_t more_bytes, tern_error *err)
{
    const size_t used = symbols->n ? symbols->begin[symbols->n] : 0;
    if (more_bytes > UINT32_MAX - used || symbols->n >= INT32_MAX - 1)
        return tern_fail(err, TERN_E_FIT,
                         "the vocabulary has more than 4 GiB of text: use another model");
    if (used + more_bytes > symbols->cap_bytes) {
        const size_t cap = (used + more_bytes) * 2 + 4096;
        char *grown = realloc(symbols->bytes, cap);
        if (!grown) return no_memory(cap, err);
        symbols->bytes = grown;
        symbols->cap_bytes = cap;
    }
    if (symbols->n == symbols->cap) {
        const uint32_t cap = symbols->cap < INT32_MAX / 2 ? symbols->cap * 2 + 1024 : INT32_MAX;
        uint32_t *grown = realloc(symbols->begin, ((size_t)cap + 1) * sizeof *grown);
        if (!grown) return no_memory(((size_t)cap + 1) * sizeof *grown, err);
        grown[0] = 0;
        symbols->begin = grown;
        symbols->cap = cap;
    }
    return TERN_OK;
}

static void put(tern_symbol_slot *slots, uint32_t n_slots, tern_symbol_slot entry)
{
    uint32_t i = entry.hash & (n_slots - 1);
    while (slots[i].next_id) i = (i + 1) & (n_slots - 1);
    slots[i] = entry;
}

static int grow_slots(tern_symbols *symbols, tern_error *err)
{
    const uint32_t n_slots = symbols->n_slots ? symbols->n_slots * 2 : 1024;
    tern_symbol_slot *slots = n_slots ? calloc(n_slots, sizeof *slots) : NULL;
    if (!slots) return no_memory((size_t)n_slots * sizeof *slots, err);
    for (uint32_t i = 0; i < symbols->n_slots; i++)
        if (symbols->slots[i].next_id) put(slots, n_slots, symbols->slots[i]);
    free(symbols->slots);
    symbols->slots = slots;
    symbols->n_slots = n_slots;
    return TERN_OK;
}

int tern_symbols_add(tern_symbols *symbols, const char *s, size_t bytes, bool findable,
                     tern_error *err)
{
    int status = reserve(symbols, bytes, err);
    if (status == TERN_OK && symbols->n_findable >= symbols->n_slots / 2)
        status = grow_slots(symbols, err);
    if (status != TERN_OK) return status;
    if (findable && tern_symbols_find(symbols, s, bytes) < 0) {
        put(symbols->slots, symbols->n_slots,
            (tern_symbol_slot){.hash = hash_of(s, bytes), .next_id = symbols->n + 1});
        symbols->n_findable++;
    }
    const uint32_t begin = symbols->begin[symbols->n];
    if (bytes) memcpy(symbols->bytes + begin, s, bytes);
    symbols->begin[++symbols->n] = begin + (uint32_t)bytes;
    return TERN_OK;
}

int32_t tern_symbols_find(const tern_symbols *symbols, const char *s, size_t bytes)
{
    if (symbols->n_slots == 0) return -1;
    const uint32_t hash = hash_of(s, bytes), mask = symbols->n_slots - 1;
    for (uint32_t i = hash & mask; symbols->slots[i].next_id; i = (i + 1) & mask) {
        if (symbols->slots[i].hash != hash) continue;
        const uint32_t id = symbols->slots[i].next_id - 1;
        const uint32_t begin = symbols->begin[id];
        if (symbols->begin[id + 1] - begin == bytes &&
            memcmp(symbols->bytes + begin, s, bytes) == 0)
            return (int32_t)id;
    }
    return -1;
}
