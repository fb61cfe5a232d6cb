/* test_bpe.c - the heap against the sentence it implements: "take the adjacent pair with the lowest
 * rank, the leftmost on ties, until there is none", over random vocabularies. */
#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "base/rng.h"
#include "format/bpe.h"

#define LETTERS 3 /* few, so that pairs repeat */
#define N_MERGES 24
#define MAX_SYMBOL 64

typedef struct rule {
    char left[MAX_SYMBOL], right[MAX_SYMBOL];
} rule;

static void apply(char symbols[][MAX_SYMBOL], size_t *n, size_t at)
{
    strcat(symbols[at], symbols[at + 1]);
    memmove(symbols[at + 1], symbols[at + 2], (*n - at - 2) * MAX_SYMBOL);
    --*n;
}

/* The oracle, quadratic and in strings. */
static void merge_slowly(char symbols[][MAX_SYMBOL], size_t *n, const rule *rules)
{
    for (int rank = 0; rank < N_MERGES; rank++)
        for (size_t i = 0; i + 1 < *n; i++)
            if (strcmp(symbols[i], rules[rank].left) == 0 &&
                strcmp(symbols[i + 1], rules[rank].right) == 0) {
                apply(symbols, n, i);
                rank = -1; /* a new symbol may bring a lower rank */
                break;
            }
}

/* Random rules over what letters and earlier rules make; every third result is no token. */
static void make(tern_bpe *bpe, rule *rules, uint32_t seed)
{
    char made[LETTERS + N_MERGES][MAX_SYMBOL] = {"a", "b", "c"};
    int n_made = LETTERS;
    for (int i = 0; i < LETTERS; i++)
        assert_int_equal(tern_symbols_add(&bpe->symbols, made[i], 1, true, NULL), 0);
    for (int rank = 0; rank < N_MERGES; rank++) {
        const uint64_t r = tern_random_u64(seed, 1, (uint32_t)rank);
        const char *left = made[r % (uint64_t)n_made], *right = made[(r >> 32) % (uint64_t)n_made];
        if (strlen(left) + strlen(right) > 8) left = right = made[r % LETTERS];
        strcpy(rules[rank].left, left);
        strcpy(rules[rank].right, right);
        snprintf(made[n_made], MAX_SYMBOL, "%.30s%.30s", left, right);
        if (rank % 3)
            tern_symbols_add(&bpe->symbols, made[n_made], strlen(made[n_made]), true, NULL);
        n_made++;
    }
    assert_int_equal(tern_bpe_begin_merges(bpe, N_MERGES, NULL), 0);
    for (int rank = 0; rank < N_MERGES; rank++) {
        const size_t left = strlen(rules[rank].left), right = strlen(rules[rank].right);
        char text[2 * MAX_SYMBOL];
        memcpy(text, rules[rank].left, left);
        memcpy(text + left, rules[rank].right, right);
        assert_int_equal(tern_bpe_add_merge(bpe, text, left, right, NULL), 0);
    }
}

static void check(const tern_bpe *bpe, const rule *rules, const char *text)
{
    char symbols[128][MAX_SYMBOL] = {{0}};
    size_t n = strlen(text), n_expected = 0;
    for (size_t i = 0; i < n; i++) symbols[i][0] = text[i];
    merge_slowly(symbols, &n, rules);
    int32_t expected[128], ids[128];
    for (size_t i = 0; i < n; i++) {
        const int32_t id = tern_symbols_find(&bpe->symbols, symbols[i], strlen(symbols[i]));
        if (id >= 0 && id < bpe->n_tokens)
            expected[n_expected++] = id;
        else
            for (const char *c = symbols[i]; *c; c++) expected[n_expected++] = *c - 'a';
    }
    tern_bpe_scratch scratch = {0};
    tern_bpe_sink sink = {.ids = ids, .cap = 128};
    assert_int_equal(tern_bpe_encode(bpe, &scratch, &sink, text, strlen(text), NULL), 0);
    assert_int_equal(sink.n, n_expected);
    assert_memory_equal(ids, expected, n_expected * sizeof *ids);
    tern_bpe_scratch_free(&scratch);
}

static void equals_the_definition(void **state)
{
    (void)state;
    for (uint32_t seed = 0; seed < 300; seed++) {
        tern_bpe bpe = {0};
        rule rules[N_MERGES];
        make(&bpe, rules, seed);
        for (uint32_t i = 0; i < 40; i++) {
            char text[80];
            const size_t n = 1 + tern_random_u64(seed, 2, i) % (sizeof text - 1);
            for (uint32_t j = 0; j < n; j++)
                text[j] = (char)('a' + tern_random_u64(seed, 3 + i, j) % LETTERS);
            text[n] = 0;
            check(&bpe, rules, text);
        }
        tern_bpe_free(&bpe);
    }
}

static void finds_what_was_added(void **state)
{
    (void)state;
    tern_symbols symbols = {0};
    assert_int_equal(tern_symbols_find(&symbols, "x", 1), -1);
    char text[32];
    for (int i = 0; i < 50000; i++) {
        const int n = snprintf(text, sizeof text, "symbol %d", i);
        assert_int_equal(tern_symbols_add(&symbols, text, (size_t)n, i % 5 != 0, NULL), 0);
    }
    assert_int_equal(tern_symbols_add(&symbols, "symbol 1", 8, true, NULL),
                     0); /* the first one stays */
    for (int i = 0; i < 50000; i++) {
        const int n = snprintf(text, sizeof text, "symbol %d", i);
        assert_int_equal(tern_symbols_find(&symbols, text, (size_t)n), i % 5 ? i : -1);
    }
    assert_int_equal(tern_symbols_find(&symbols, "symbol", 6), -1);
    assert_int_equal(tern_symbols_find(&symbols, "", 0), -1);
    tern_symbols_free(&symbols);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(equals_the_definition),
        cmocka_unit_test(finds_what_was_added),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
