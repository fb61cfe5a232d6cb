/* token_list.c - a walk over the sorted vocabulary. The machines after every byte of the token
 * before are kept: a token goes on from where it first differs, and one that begins with bytes that
 * were refused is refused unseen. */
#include "serve/token_list.h"

#include <stdlib.h>
#include <string.h>

#define MAX_BYTES 64 /* longer tokens are not used */

typedef struct listed {
    const char *bytes;
    uint8_t n, common; /* bytes, and how many of them the token before begins with */
    int32_t id;
} listed;

struct token_list {
    listed *tokens;
    int n;
    json_machine after[MAX_BYTES + 1]; /* the first bytes of the token at hand */
};

static int compare(const void *a, const void *b)
{
    const listed *x = a, *y = b;
    const int order = memcmp(x->bytes, y->bytes, x->n < y->n ? x->n : y->n);
    if (order) return order;
    return x->n != y->n ? x->n - y->n : x->id < y->id ? -1 : 1;
}

token_list *tern_tokens_create(const tern_tokenizer *tokenizer)
{
    const int n_vocab = tern_tokenizer_n_vocab(tokenizer);
    token_list *list = calloc(1, sizeof *list);
    if (list) list->tokens = calloc((size_t)n_vocab, sizeof *list->tokens);
    if (!list || !list->tokens) {
        tern_tokens_free(list);
        return NULL;
    }
    for (int32_t id = 0; id < n_vocab; id++) {
        size_t n;
        const char *bytes = tern_tokenizer_bytes(tokenizer, id, &n);
        if (n == 0 || n > MAX_BYTES || tern_tokenizer_is_control(tokenizer, id)) continue;
        list->tokens[list->n++] = (listed){bytes, (uint8_t)n, 0, id};
    }
    qsort(list->tokens, (size_t)list->n, sizeof *list->tokens, compare);
    for (int i = 1; i < list->n; i++) {
        listed *t = &list->tokens[i];
        const listed *before = t - 1;
        while (t->common < t->n && t->common < before->n &&
               t->bytes[t->common] == before->bytes[t->common])
            t->common++;
    }
    return list;
}

void tern_tokens_free(token_list *list)
{
    if (!list) return;
    free(list->tokens);
    free(list);
}

static void copy_machine(json_machine *to, const json_machine *from)
{
    const size_t n = from->depth > 0 ? (size_t)from->depth : 0;
    to->depth = from->depth;
    memcpy(to->frames, from->frames, n * sizeof *from->frames);
}

void tern_tokens_allow(token_list *list, const json_machine *machine, const schema *s,
                       uint32_t *mask)
{
    int taken = 0;   /* bytes of the token before that were taken: after[0 .. taken] hold */
    int refused = 0; /* the byte behind them was refused */
    copy_machine(&list->after[0], machine);
    for (int i = 0; i < list->n; i++) {
        const listed *t = &list->tokens[i];
        if (refused && t->common > taken) continue;
        if (t->common < taken) taken = t->common;
        refused = 0;
        while (taken < t->n && !refused) {
            copy_machine(&list->after[taken + 1], &list->after[taken]);
            if (tern_machine_step(&list->after[taken + 1], s, (unsigned char)t->bytes[taken]))
                taken++;
            else
                refused = 1;
        }
        if (!refused) mask[t->id / 32] |= 1u << (t->id % 32);
    }
}
