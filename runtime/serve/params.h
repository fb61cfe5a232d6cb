/* params.h - the fields of a completion request that both APIs share, checked. */
#ifndef TERN_SERVE_PARAMS_H
#define TERN_SERVE_PARAMS_H

#include <jansson.h>

#include "serve/api_error.h"
#include "serve/schema.h"
#include "serve/text_out.h"
#include "tern/engine.h"

#define MAX_CHOICES 64 /* of one request, over all its prompts */
#define MAX_STOPS 16
#define MAX_STOP_BYTES 256

typedef struct api_params {
    tern_request request; /* sampling, limits; prompts and choices are filled in by the job */
    int32_t *bias_ids;
    float *bias;
    int n;         /* answers to each prompt */
    int no_answer; /* max_tokens 0: one token is drawn and dropped */
    int stream, include_usage, echo;
    text_stops stops;
    int32_t stop_ids[MAX_STOPS];
    int n_stop_ids;
    schema *schema; /* NULL: any text */
} api_params;

/* What a field is, for messages: "a string", "a number", ... */
const char *tern_field_kind(const json_t *value);

/* Fields of an object: absent and null leave *out as it is. Return 0, or -1 with the error naming
 * the field. */
int tern_field_int(int *out, const json_t *object, const char *name, int min, int max,
                  api_error *error);
int tern_field_flag(int *out, const json_t *object, const char *name, api_error *error);

/* Reads the fields that /v1/completions (chat 0) or /v1/chat/completions (1) know; others are
 * ignored, except those that ask for what there is not. On failure the params may be freed. */
int tern_params_read(api_params *out, const json_t *body, int chat, int n_vocab, api_error *error);
void tern_params_free(api_params *params);

#endif
