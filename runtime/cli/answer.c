/* answer.c - drives the engine for one request and turns its tokens into text. */
#include "cli/answer.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/fail.h"
#include "cli/console.h"

tern_request cli_request(const cli_sampling_options *o, const int32_t *prompt, int n_prompt)
{
    return (tern_request){
        .prompt = prompt,
        .n_prompt = n_prompt,
        .max_tokens = o->max_tokens,
        .sampling = {.temperature = o->temperature, .top_k = o->top_k, .top_p = o->top_p,
                     .min_p = o->min_p, .repetition = o->repetition, .seed = o->seed},
    };
}

static int put_text(cli_answer *a, const char *text, size_t n, tern_error *err)
{
    if (n == 0) return TERN_OK;
    if (a->stream && (fwrite(text, 1, n, stdout) != n || fflush(stdout) != 0))
        return tern_fail(err, TERN_E_IO, "cannot write to standard output");
    if (a->text_bytes + n > a->text_room) {
        const size_t room = 2 * (a->text_bytes + n);
        char *grown = realloc(a->text, room);
        if (!grown) return tern_fail(err, TERN_E_FIT, "no memory for the answer");
        a->text = grown;
        a->text_room = room;
    }
    memcpy(a->text + a->text_bytes, text, n);
    a->text_bytes += n;
    return TERN_OK;
}

static int keep_token(cli_answer *a, int32_t token, tern_error *err)
{
    if (a->n_tokens == a->tokens_room) {
        const int room = 2 * a->n_tokens + 64;
        int32_t *grown = realloc(a->tokens, (size_t)room * sizeof *grown);
        if (!grown) return tern_fail(err, TERN_E_FIT, "no memory for the answer");
        a->tokens = grown;
        a->tokens_room = room;
    }
    a->tokens[a->n_tokens++] = token;
    return TERN_OK;
}

static int put_token(cli_answer *a, int32_t token, tern_error *err)
{
    int status = keep_token(a, token, err);
    if (status != TERN_OK || tern_tokenizer_is_control(a->tokenizer, token)) return status;
    size_t bytes;
    const char *piece = tern_tokenizer_bytes(a->tokenizer, token, &bytes);
    char text[512];
    for (size_t done = 0; done < bytes && status == TERN_OK;) { /* long tokens go in parts */
        const size_t left = bytes - done, here = left < 128 ? left : 128;
        const size_t n = tern_utf8_push(&a->utf8, text, piece + done, here);
        status = put_text(a, text, n, err);
        done += here;
    }
    return status;
}

int cli_answer_run(cli_answer *a, tern_engine *engine, const tern_request *request,
                   tern_error *err)
{
    uint64_t id;
    int status = tern_engine_submit(engine, &id, request, err);
    if (status != TERN_OK) return status;
    tern_engine_event *events = calloc((size_t)tern_engine_max_events(engine), sizeof *events);
    if (!events) return tern_fail(err, TERN_E_FIT, "no memory for the events");
    while (status == TERN_OK && a->finish == TERN_FINISH_NONE) {
        if (cli_interrupted()) tern_engine_cancel(engine, id);
        int n;
        status = tern_engine_step(engine, events, &n, err);
        for (int i = 0; i < n && status == TERN_OK; i++) {
            if (events[i].token >= 0) status = put_token(a, events[i].token, err);
            a->finish = events[i].finish;
        }
    }
    free(events);
    char rest[4];
    const size_t n = tern_utf8_finish(&a->utf8, rest);
    return status == TERN_OK ? put_text(a, rest, n, err) : status;
}

void cli_answer_free(cli_answer *a)
{
    free(a->text);
    free(a->tokens);
}
