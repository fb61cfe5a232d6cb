/* pages.h - who holds which KV page, and what full pages hold.
 *
 * A page is free, held by requests (counted), or idle: held by nobody, but kept because a prompt
 * may begin like it. A full page is published under the tokens it holds and the page before it, so
 * what is found is what was asked for: the hash only shortens the search. Idle pages are given up
 * in the order in which they fell idle. Used by schedule.c; allocates nothing after creation. */
#ifndef TERN_ENGINE_PAGES_H
#define TERN_ENGINE_PAGES_H

#include "tern/device.h"

/* One page. Links are page numbers, -1 for none. */
typedef struct kv_page {
    uint64_t serial;       /* of its publication, never used twice; 0: not published */
    uint64_t before;       /* serial of the page before it; 0: it is the first */
    uint64_t hash;         /* of all tokens up to its end */
    int32_t tokens[TERN_PAGE_TOK];
    int holders;
    int32_t chain;         /* next page of the same bucket */
    int32_t older, newer;  /* neighbours among the idle ones */
} kv_page;

typedef struct page_pool {
    kv_page *pages;
    int n_pages;
    int32_t *free; /* stack */
    int n_free;
    int32_t *buckets; /* [n_buckets], a power of two */
    uint32_t n_buckets;
    int32_t oldest, newest; /* the idle ones */
    int n_idle;
    uint64_t last_serial;
} page_pool;

int tern_pages_create(page_pool *out, int n_pages, tern_error *err);
void tern_pages_destroy(page_pool *pool);

/* Pages that tern_pages_take can give. */
static inline int tern_pages_available(const page_pool *pool)
{
    return pool->n_free + pool->n_idle;
}

/* A page with one holder and no defined contents, or -1. */
int32_t tern_pages_take(page_pool *pool);

/* One holder less. */
void tern_pages_release(page_pool *pool, int32_t page);

/* Hash of a full page: of its tokens and everything before it (0 at the start). */
uint64_t tern_page_hash(uint64_t before, const int32_t tokens[TERN_PAGE_TOK]);

/* The published page with these tokens behind page `before` (-1: at the start), with one holder
 * more, or -1. */
int32_t tern_pages_find(page_pool *pool, int32_t before, uint64_t hash,
                        const int32_t tokens[TERN_PAGE_TOK]);

/* Publishes a held, full page behind a published one. Where the same is published already, that
 * page gets the holder instead and is returned. */
int32_t tern_pages_publish(page_pool *pool, int32_t page, int32_t before, uint64_t hash,
                           const int32_t tokens[TERN_PAGE_TOK]);

/* Takes back all publications; no page may be held. */
void tern_pages_forget(page_pool *pool);

#endif
