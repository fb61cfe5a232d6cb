/* pages.c - the page pool: a free stack, a hash table of published pages, a list of idle ones. */
#include "engine/pages.h"

#include <stdlib.h>
#include <string.h>

#include "base/memory.h"

int tern_pages_create(page_pool *out, int n_pages, tern_error *err)
{
    page_pool pool = {.n_pages = n_pages, .n_buckets = 1};
    while (pool.n_buckets < (uint32_t)n_pages) pool.n_buckets *= 2;
    int status = tern_alloc(&pool.pages, (size_t)n_pages, sizeof *pool.pages, "the pages", err);
    if (status == TERN_OK)
        status = tern_alloc(&pool.free, (size_t)n_pages, sizeof *pool.free, "the pages", err);
    if (status == TERN_OK)
        status = tern_alloc(&pool.buckets, pool.n_buckets, sizeof *pool.buckets, "the pages", err);
    if (status != TERN_OK) {
        tern_pages_destroy(&pool);
        return status;
    }
    tern_pages_forget(&pool);
    *out = pool;
    return TERN_OK;
}

void tern_pages_destroy(page_pool *pool)
{
    free(pool->pages);
    free(pool->free);
    free(pool->buckets);
    *pool = (page_pool){0};
}

void tern_pages_forget(page_pool *pool)
{
    for (uint32_t i = 0; i < pool->n_buckets; i++) pool->buckets[i] = -1;
    for (int p = 0; p < pool->n_pages; p++) {
        pool->pages[p].serial = 0;
        pool->free[p] = pool->n_pages - 1 - p;
    }
    pool->n_free = pool->n_pages;
    pool->n_idle = 0;
    pool->oldest = pool->newest = -1;
}

static int32_t *bucket_of(page_pool *pool, uint64_t hash)
{
    return &pool->buckets[hash & (pool->n_buckets - 1)];
}

static void idle_remove(page_pool *pool, int32_t page)
{
    const kv_page *p = &pool->pages[page];
    *(p->older < 0 ? &pool->oldest : &pool->pages[p->older].newer) = p->newer;
    *(p->newer < 0 ? &pool->newest : &pool->pages[p->newer].older) = p->older;
    pool->n_idle--;
}

static void idle_append(page_pool *pool, int32_t page)
{
    kv_page *p = &pool->pages[page];
    p->older = pool->newest;
    p->newer = -1;
    *(p->older < 0 ? &pool->oldest : &pool->pages[p->older].newer) = page;
    pool->newest = page;
    pool->n_idle++;
}

static void unpublish(page_pool *pool, int32_t page)
{
    kv_page *p = &pool->pages[page];
    int32_t *link = bucket_of(pool, p->hash);
    while (*link != page) link = &pool->pages[*link].chain;
    *link = p->chain;
    p->serial = 0;
}

int32_t tern_pages_take(page_pool *pool)
{
    int32_t page;
    if (pool->n_free > 0) {
        page = pool->free[--pool->n_free];
    } else if (pool->n_idle > 0) {
        page = pool->oldest;
        idle_remove(pool, page);
        unpublish(pool, page);
    } else {
        return -1;
    }
    pool->pages[page].holders = 1;
    return page;
}

void tern_pages_release(page_pool *pool, int32_t page)
{
    kv_page *p = &pool->pages[page];
    if (--p->holders > 0) return;
    if (p->serial)
        idle_append(pool, page);
    else
        pool->free[pool->n_free++] = page;
}

/* A 64-bit mixer with good avalanche (the finalizer of MurmurHash3, by Austin Appleby). */
static uint64_t mix(uint64_t x)
{
    x = (x ^ x >> 33) * 0xff51afd7ed558ccdu;
    x = (x ^ x >> 33) * 0xc4ceb9fe1a85ec53u;
    return x ^ x >> 33;
}

uint64_t tern_page_hash(uint64_t before, const int32_t tokens[TERN_PAGE_TOK])
{
    uint64_t hash = mix(before + 1);
    for (int i = 0; i < TERN_PAGE_TOK; i++) hash = mix(hash ^ (uint32_t)tokens[i]);
    return hash;
}

int32_t tern_pages_find(page_pool *pool, int32_t before, uint64_t hash,
                        const int32_t tokens[TERN_PAGE_TOK])
{
    const uint64_t serial = before < 0 ? 0 : pool->pages[before].serial;
    for (int32_t at = *bucket_of(pool, hash); at >= 0; at = pool->pages[at].chain) {
        kv_page *p = &pool->pages[at];
        if (p->hash != hash || p->before != serial ||
            memcmp(p->tokens, tokens, sizeof p->tokens) != 0)
            continue;
        if (p->holders++ == 0) idle_remove(pool, at);
        return at;
    }
    return -1;
}

int32_t tern_pages_publish(page_pool *pool, int32_t page, int32_t before, uint64_t hash,
                           const int32_t tokens[TERN_PAGE_TOK])
{
    const int32_t same = tern_pages_find(pool, before, hash, tokens);
    if (same >= 0) {
        tern_pages_release(pool, page);
        return same;
    }
    kv_page *p = &pool->pages[page];
    int32_t *bucket = bucket_of(pool, hash);
    p->serial = ++pool->last_serial;
    p->before = before < 0 ? 0 : pool->pages[before].serial;
    p->hash = hash;
    p->chain = *bucket;
    memcpy(p->tokens, tokens, sizeof p->tokens);
    *bucket = page;
    return page;
}
