/* fuzz_request.c - any bytes as the body of a completion request (first byte even) or of a chat. */
#include <jansson.h>

#include "fuzz.h"
#include "serve/job.h"
#include "tern/model.h"

static tern_model *model;
static job_context context;

static void close_model(void)
{
    tern_tokens_free(context.tokens);
    tern_model_close(model);
}

static void open_model(void)
{
    if (tern_model_open(&model, NULL, NULL) != TERN_OK) abort();
    const tern_tokenizer *tokenizer = tern_model_tokenizer(model);
    context = (job_context){.tokenizer = tokenizer,
                            .n_vocab = tern_tokenizer_n_vocab(tokenizer),
                            .n_ctx = 256,
                            .chat = TERN_CHAT_NONE,
                            .tokens = tern_tokens_create(tokenizer)};
    if (!context.tokens) abort();
    atexit(close_model);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t n)
{
    if (!model) open_model();
    if (n < 1) return 0;
    json_t *body = json_loadb((const char *)data + 1, n - 1, JSON_REJECT_DUPLICATES, NULL);
    serve_job *job = NULL;
    api_error error = {0};
    if (body && tern_job_create(&job, body, data[0] % 2 ? API_CHAT : API_COMPLETION, &context,
                                &error) == 0)
        tern_job_free(job);
    else if (body && (error.http != 400 || !error.message[0]))
        abort();
    json_decref(body);
    return 0;
}
