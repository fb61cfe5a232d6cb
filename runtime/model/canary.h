/* canary.h - log-probabilities of a short text, one layer at a time: what a converter stores as the
 * known answer of a model that may be larger than the memory. */
#ifndef TERN_MODEL_CANARY_H
#define TERN_MODEL_CANARY_H

#include "tern/model.h"

#define TERN_CANARY_MAX TERN_PAGE_TOK

/* ln p(ids[i+1] | ids[0..i]) for i < n-1, 2 <= n <= TERN_CANARY_MAX, with f16 KV and the 16-bit
 * head, on the first CPU device. In memory are one layer, or one table, and the activations: the
 * same bits as an engine's. */
int tern_canary_compute(float *logprobs, const tern_model *model, const int32_t *ids, int n,
                        const tern_progress *progress, tern_error *err);

#endif
