/* token_list.h - the vocabulary in the order of its bytes, so that tokens that begin alike are
 * looked at once: which of them a machine may take next. */
#ifndef TERN_SERVE_TOKEN_LIST_H
#define TERN_SERVE_TOKEN_LIST_H

#include "serve/schema.h"
#include "tern/tokenizer.h"

typedef struct token_list token_list;

/* NULL without memory. */
token_list *tern_tokens_create(const tern_tokenizer *tokenizer);
void tern_tokens_free(token_list *list);

/* Sets the bits of all tokens whose bytes the machine takes. One thread at a time. */
void tern_tokens_allow(token_list *list, const json_machine *machine, const schema *s,
                       uint32_t *mask);

#endif
