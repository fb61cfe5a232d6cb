/* job.h - one completion request from its JSON to its last byte: prompts, choices, the answer so
 * far. The HTTP thread makes it, the engine's thread works on it, the last to let go frees it.
 *
 * Fields are the HTTP thread's until the job is handed over and the engine thread's after; those
 * in `shared` are both's, under the server's lock. */
#ifndef TERN_SERVE_JOB_H
#define TERN_SERVE_JOB_H

#include <time.h>

#include "serve/params.h"
#include "serve/serve.h"
#include "serve/token_list.h"

struct MHD_Connection;

/* The request as the API sees it. */
typedef enum api_kind { API_COMPLETION, API_CHAT } api_kind;

typedef struct serve_job serve_job;

/* One answer: the engine's request and what came of it. */
typedef struct serve_choice {
    serve_job *job;
    int index;            /* in the response */
    int prompt;           /* number of its prompt */
    uint64_t id;          /* of the engine's request */
    int in_engine;        /* the engine still knows it */
    int n_tokens;         /* of the answer */
    int n_cached;         /* of the prompt */
    json_machine machine; /* under a schema: where the answer stands */
    text_out text;        /* of the answer */
    json_t *logs;         /* log-probabilities that the client does not have yet */
    size_t log_offset;    /* where the next token begins in the text, for text_offset */
    const char *finish;   /* "stop", "length", ...; NULL: more to come */
    int announced;        /* the first chunk of a stream has gone out */
    uint64_t admitted_ns, first_ns, last_ns;
    uint64_t n_mates; /* sequences of the steps that decoded its tokens, added up */
    double predicted_prompt_s, predicted_decode_s; /* when it has ended; 0: not foretold */
} serve_choice;

struct serve_job {
    serve_job *next; /* in the server's inbox or list of active jobs */
    uint64_t id;
    api_kind kind;
    api_params params;
    int32_t **prompts; /* [n_prompts] ids, malloc'd */
    int *n_prompt;     /* [n_prompts] */
    int n_prompts;
    token_list *tokens;    /* for schemas */
    serve_choice *choices; /* [n_prompts * n], prompt by prompt */
    int n_choices, n_open, n_in_engine;
    int n_tok; /* what it counts for in the server's limit */
    time_t created;
    uint64_t arrived_ns, heard_ns; /* heard: when the client last got something */
    int failed;                    /* the error has been delivered, the rest is dropped */

    struct {
        int refs;
        struct MHD_Connection *connection; /* NULL: gone */
        int suspended;
        int cancelled;
        int http;         /* status; 0: not known yet */
        int done;         /* nothing will be added */
        serve_buffer out; /* body, or what of a stream there is */
        size_t n_read;    /* bytes of it that the client has */
    } shared;
};

/* What reading a request needs to know. */
typedef struct job_context {
    const tern_tokenizer *tokenizer;
    int n_vocab, n_ctx;
    tern_chat_format chat;
    token_list *tokens; /* used by the engine's thread alone */
} job_context;

/* Reads the body of a request. Returns 0 and a job with one reference, or -1 and the error. */
int tern_job_create(serve_job **out, const json_t *body, api_kind kind, const job_context *context,
                    api_error *error);
void tern_job_free(serve_job *job);

/* The ids of a text, malloc'd. */
int tern_job_encode(int32_t **ids, int *n, const job_context *context, const json_t *text,
                    unsigned flags, api_error *error);

/* The prompt of a list of chat messages, malloc'd. */
int tern_job_messages(int32_t **ids, int *n, const job_context *context, const json_t *messages,
                      api_error *error);

/* An array of token ids, malloc'd. */
int tern_job_ids(int32_t **ids, int *n, const job_context *context, const json_t *array,
                 const char *param, api_error *error);

#endif
