/* api_answer.h - what clients read: the JSON of answers and of the chunks of a stream. Called by
 * the engine's thread. */
#ifndef TERN_SERVE_API_ANSWER_H
#define TERN_SERVE_API_ANSWER_H

#include "serve/job.h"

/* Who answers. */
typedef struct answer_context {
    const tern_tokenizer *tokenizer;
    const char *model;
    uint64_t boot; /* makes ids of this server unlike those of others */
} answer_context;

/* Writes down the log-probabilities of an event's token, for the next chunk or the whole. */
void tern_answer_log(const answer_context *context, serve_choice *choice,
                     const tern_engine_event *event);

/* The prompt at the beginning of an echo: its text, and its first token, which has no
 * log-probability. */
void tern_answer_echo(const answer_context *context, serve_choice *choice);

/* One chunk of a stream with the text that is ready, if there is anything to say. */
void tern_answer_chunk(const answer_context *context, serve_choice *choice, serve_buffer *out);

/* The end of a stream: usage where asked for, and [DONE]. */
void tern_answer_end(const answer_context *context, const serve_job *job, serve_buffer *out);

/* The whole answer of a job that does not stream. */
void tern_answer_whole(const answer_context *context, serve_job *job, serve_buffer *out);

/* The text of a token for people: itself, or "bytes:\xe2\x80" where it is no UTF-8. */
json_t *tern_answer_token(const tern_tokenizer *tokenizer, int32_t id);

#endif
