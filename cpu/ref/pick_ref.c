/* pick_ref.c - PICK (N8): one id from the logits or the candidates of a row.
 *
 * The adjusted candidates live in the scratch and every rule keeps a contiguous run of them: top-k
 * and top-p pop a heap as far as they need, min-p compacts, the draw walks the run sorted by id.
 * Weights are pure functions of logits, so they are computed anew wherever they are needed. The
 * first token in order is always kept. */
#include "base/rng.h"
#include "cpu/ref/ref.h"

/* The tokens still in the game. */
typedef struct kept_tokens {
    tern_candidate *c;
    int n;
    float largest; /* l_max */
    float factor;  /* log2 e / temperature */
} kept_tokens;

/* Where `id` stands in ascending ids [n], or -1. */
static int find_id(const int32_t *ids, int n, int32_t id)
{
    int begin = 0, end = n;
    while (begin < end) {
        const int middle = begin + (end - begin) / 2;
        if (ids[middle] < id)
            begin = middle + 1;
        else
            end = middle;
    }
    return begin < n && ids[begin] == id ? begin : -1;
}

static float adjust(const tern_pick *pick, float l, int32_t id)
{
    const int seen = find_id(pick->count_ids, pick->n_counts, id);
    if (seen >= 0) {
        const float repetition = pick->repetition == 0.0f ? 1.0f : pick->repetition;
        if (repetition != 1.0f) l = l > 0.0f ? l / repetition : l * repetition;
        const int32_t count = pick->counts[seen];
        if (count > 0 && (pick->frequency != 0.0f || pick->presence != 0.0f))
            l = (l - pick->frequency * (float)count) - pick->presence;
    }
    const int biased = find_id(pick->bias_ids, pick->n_bias, id);
    return biased >= 0 ? l + pick->bias[biased] : l;
}

/* Adjusted candidates of the allowed tokens, into c; returns their number. */
static int gather(tern_candidate *c, const tern_pick_args *a)
{
    const uint32_t *mask = a->pick->mask;
    const int n = a->logits ? a->n_vocab : a->n;
    int kept = 0;
    for (int i = 0; i < n; i++) {
        const int32_t id = a->logits ? i : a->top[i].id;
        const float l = a->logits ? a->logits[i] : a->top[i].logit;
        if (mask && !(mask[id / 32] >> (id % 32) & 1u)) continue;
        c[kept++] = (tern_candidate){adjust(a->pick, l, id), id};
    }
    return kept;
}

static uint64_t weight(const kept_tokens *k, int i)
{
    return tern_weight_u64((k->c[i].logit - k->largest) * k->factor);
}

static uint64_t weight_sum(const kept_tokens *k)
{
    uint64_t sum = 0;
    for (int i = 0; i < k->n; i++) sum += weight(k, i);
    return sum;
}

static void keep_top_k(kept_tokens *k, int top_k)
{
    tern_heap_make(k->c, k->n, tern_candidate_better);
    for (int i = 0; i < top_k; i++) tern_heap_pop(k->c, k->n - i, tern_candidate_better);
    k->c += k->n - top_k;
    k->n = top_k;
}

static void keep_top_p(kept_tokens *k, float top_p)
{
    const uint64_t enough = (uint64_t)((double)top_p * (double)weight_sum(k));
    uint64_t sum = 0;
    int left = k->n;
    tern_heap_make(k->c, k->n, tern_candidate_better);
    do {
        tern_heap_pop(k->c, left, tern_candidate_better);
        left--;
        sum += weight(k, left);
    } while (sum < enough && left > 0);
    k->c += left;
    k->n -= left;
}

static void keep_min_p(kept_tokens *k, float min_p)
{
    const uint64_t enough = (uint64_t)((min_p < 1.0f ? min_p : 1.0f) * 0x1p40f);
    int kept = 0;
    for (int i = 0; i < k->n; i++)
        if (weight(k, i) >= enough) k->c[kept++] = k->c[i];
    k->n = kept;
}

static bool higher_id(tern_candidate a, tern_candidate b)
{
    return a.id > b.id;
}

static void sort_by_id(kept_tokens *k)
{
    int ascending = 1;
    while (ascending < k->n && k->c[ascending - 1].id < k->c[ascending].id) ascending++;
    if (ascending >= k->n) return; /* nothing was reordered: the usual case of a full row */
    tern_heap_make(k->c, k->n, higher_id);
    for (int left = k->n; left > 1; left--) tern_heap_pop(k->c, left, higher_id);
}

static int32_t draw(kept_tokens *k, const tern_pick *pick)
{
    __extension__ typedef unsigned __int128 u128;
    const uint64_t random = tern_random_u64(pick->seed, pick->choice, pick->position);
    const uint64_t at = (uint64_t)(((u128)random * weight_sum(k)) >> 64);
    uint64_t sum = 0;
    sort_by_id(k);
    for (int i = 0; i < k->n; i++) {
        sum += weight(k, i);
        if (sum > at) return k->c[i].id;
    }
    return -1; /* not reached: at < the sum */
}

int32_t tern_pick_ref(const tern_pick_args *a)
{
    const tern_pick *pick = a->pick;
    kept_tokens k = {.c = a->scratch};
    k.n = gather(k.c, a);
    if (k.n == 0) return -1;

    int best = 0;
    for (int i = 1; i < k.n; i++)
        if (tern_candidate_better(k.c[i], k.c[best])) best = i;
    if (pick->temperature == 0.0f) return k.c[best].id;

    k.largest = k.c[best].logit;
    k.factor = TERN_LOG2E_F / pick->temperature;
    if (pick->top_k > 0 && pick->top_k < k.n) keep_top_k(&k, pick->top_k);
    if (pick->top_p > 0.0f && pick->top_p < 1.0f) keep_top_p(&k, pick->top_p);
    if (pick->min_p > 0.0f) keep_min_p(&k, pick->min_p);
    return draw(&k, pick);
}
