/* cmd_run.c - `tern run`: text in, the model's continuation out, token by token. */
#include <jansson.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/clock.h"
#include "base/fail.h"
#include "cli/console.h"

typedef struct run_options {
    cli_model_options model;
    const char *prompt, *file;
    int max_tokens, ignore_end, json, top_k;
    uint64_t seed;
    float temperature, top_p, min_p, repetition;
} run_options;

#define AT(member) offsetof(run_options, member)
static const cli_option options[] = {
    {"prompt", 'p', CLI_TEXT, AT(prompt), 0, 0, "TEXT", "text to continue"},
    {"file", 'f', CLI_TEXT, AT(file), 0, 0, "FILE", "file with the text to continue"},
    {"n-predict", 'n', CLI_INT, AT(max_tokens), 1, 1 << 24, "N",
     "tokens to write at most (default: until the model ends)"},
    {"seed", 's', CLI_U64, AT(seed), 0, 0, "N", "seed of the sampling (default 0)"},
    {"temp", 0, CLI_FLOAT, AT(temperature), 0, 100, "X", "temperature, 0 for greedy (default 0.7)"},
    {"top-k", 0, CLI_INT, AT(top_k), 0, 1 << 24, "N",
     "keep the N likeliest tokens, 0 for all (default 40)"},
    {"top-p", 0, CLI_FLOAT, AT(top_p), 0, 1, "X", "keep this much probability (default 0.9)"},
    {"min-p", 0, CLI_FLOAT, AT(min_p), 0, 1, "X",
     "drop tokens below X times the likeliest (default 0)"},
    {"repeat-penalty", 0, CLI_FLOAT, AT(repetition), 0, 100, "X",
     "divide repeated logits (default 1)"},
    {"ignore-eos", 0, CLI_FLAG, AT(ignore_end), 0, 0, NULL, "go on after the end token"},
    {"json", 0, CLI_FLAG, AT(json), 0, 0, NULL, "one JSON object instead of streamed text"},
    CLI_MODEL_OPTIONS(run_options, model),
};
static int run(int argc, char **argv, tern_error *err);
const cli_command cli_run = {"run",
                             "continues a text (-p, -f or standard input) on standard output",
                             "",
                             options,
                             (int)(sizeof options / sizeof options[0]),
                             run};

/* The answer under way. */
typedef struct answer {
    const tern_tokenizer *tokenizer;
    tern_utf8_stream utf8;
    int stream; /* text goes to standard output at once */
    json_t *ids;
    char *text; /* collected for JSON */
    size_t text_bytes, text_room;
    int n_tokens;
    tern_finish finish;
} answer;

static int put_text(answer *a, const char *text, size_t n, tern_error *err)
{
    if (n == 0) return TERN_OK;
    if (a->stream) {
        if (fwrite(text, 1, n, stdout) != n || fflush(stdout) != 0)
            return tern_fail(err, TERN_E_IO, "cannot write to standard output");
        return TERN_OK;
    }
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

static int put_token(answer *a, int32_t token, tern_error *err)
{
    a->n_tokens++;
    if (a->ids) json_array_append_new(a->ids, json_integer(token));
    if (tern_tokenizer_is_control(a->tokenizer, token)) return TERN_OK;
    size_t bytes;
    const char *piece = tern_tokenizer_bytes(a->tokenizer, token, &bytes);
    char text[512];
    for (size_t done = 0; done < bytes;) { /* tokens longer than the buffer go in parts */
        const size_t left = bytes - done, here = left < 128 ? left : 128;
        const size_t n = tern_utf8_push(&a->utf8, text, piece + done, here);
        const int status = put_text(a, text, n, err);
        if (status != TERN_OK) return status;
        done += here;
    }
    return TERN_OK;
}

static int generate(answer *a, tern_engine *engine, const tern_request *request, tern_error *err)
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
    return status == TERN_OK && n ? put_text(a, rest, n, err) : status;
}

static double rate(uint64_t tokens, uint64_t ns)
{
    return ns ? (double)tokens * 1e9 / (double)ns : 0.0;
}

/* What the plan promised for this prompt and answer, beside what was measured. */
static void print_promise(const cli_plan *p, const tern_engine *engine, const tern_engine_stats *s)
{
    if (!p->predicted || !s->prefill_tok || !s->decode_tok) return;
    const tern_model_config *config = tern_model_config_of(tern_engine_model(engine));
    const int prompt = (int)s->prefill_tok, decoded = (int)s->decode_tok;
    const double first = tern_forecast_prefill_s(&p->plan, config, &p->site.site, prompt);
    const double step =
        tern_forecast_step_s(&p->plan, config, &p->site.site, 1, prompt + decoded / 2);
    fprintf(stderr, "predicted: prefill %.1f tok/s, decode %.1f tok/s; measured %.1f and %.1f\n",
            prompt / first, 1 / step, rate(s->prefill_tok, s->prefill_ns),
            rate(s->decode_tok, s->decode_ns));
}

static void print_summary(const answer *a, const tern_engine *engine, const cli_plan *plan)
{
    tern_engine_stats s;
    tern_engine_stats_get(engine, &s);
    uint64_t bytes = 0;
    for (int i = 0; i < tern_engine_plan(engine)->n_devices; i++)
        bytes += tern_engine_used_bytes(engine, i);
    fprintf(stderr,
            "%sprefill %llu tok at %.1f tok/s, decode %llu tok at %.1f tok/s, memory %.1f MiB "
            "(process %.1f MiB), end: %s\n",
            a->stream ? "\n" : "", (unsigned long long)s.prefill_tok,
            rate(s.prefill_tok, s.prefill_ns), (unsigned long long)s.decode_tok,
            rate(s.decode_tok, s.decode_ns), (double)bytes / 1048576.0,
            (double)tern_peak_resident_bytes() / 1048576.0, tern_finish_name(a->finish));
    print_promise(plan, engine, &s);
    if (a->finish == TERN_FINISH_CONTEXT)
        fprintf(stderr, "tern: the context of %d tokens is full\n",
                tern_engine_plan(engine)->workload.n_ctx);
}

static int print_json(answer *a, const tern_engine *engine, tern_error *err)
{
    tern_engine_stats s;
    tern_engine_stats_get(engine, &s);
    const tern_model_config *config = tern_model_config_of(tern_engine_model(engine));
    json_t *text = json_stringn(a->text ? a->text : "", a->text_bytes);
    json_t *object = json_pack(
        "{s:s, s:o, s:O, s:s, s:I, s:I, s:f, s:f}", "model", config->name, "text", text, "tokens",
        a->ids, "finish", tern_finish_name(a->finish), "prefill_tok", (json_int_t)s.prefill_tok,
        "decode_tok", (json_int_t)s.decode_tok, "prefill_tok_s", rate(s.prefill_tok, s.prefill_ns),
        "decode_tok_s", rate(s.decode_tok, s.decode_ns));
    if (!object) return tern_fail(err, TERN_E_FIT, "no memory for the JSON answer");
    const int failed = json_dumpf(object, stdout, JSON_INDENT(2)) != 0 || putchar('\n') == EOF;
    json_decref(object);
    return failed ? tern_fail(err, TERN_E_IO, "cannot write to standard output") : TERN_OK;
}

static int run_session(const run_options *o, cli_session *session, tern_error *err)
{
    const tern_tokenizer *tokenizer = tern_model_tokenizer(session->model);
    char *text;
    size_t bytes;
    int32_t *ids;
    int n;
    int status = cli_read_text(&text, &bytes, o->prompt, o->file, err);
    if (status != TERN_OK) return status;
    status = cli_encode(&ids, &n, tokenizer, text, bytes, TERN_ENCODE_BOS, err);
    free(text);
    if (status != TERN_OK) return status;
    answer a = {.tokenizer = tokenizer, .stream = !o->json, .ids = o->json ? json_array() : NULL};
    const tern_request request = {
        .prompt = ids, .n_prompt = n, .max_tokens = o->max_tokens, .ignore_end = o->ignore_end,
        .sampling = {.temperature = o->temperature, .top_k = o->top_k, .top_p = o->top_p,
                     .min_p = o->min_p, .repetition = o->repetition, .seed = o->seed},
    };
    cli_catch_interrupt();
    status = generate(&a, session->engine, &request, err);
    if (status == TERN_OK && o->json) status = print_json(&a, session->engine, err);
    if (status == TERN_OK) print_summary(&a, session->engine, &session->plan);
    json_decref(a.ids);
    free(a.text);
    free(ids);
    return status;
}

static int run(int argc, char **argv, tern_error *err)
{
    run_options o = {.temperature = 0.7f, .top_k = 40, .top_p = 0.9f};
    int status = cli_parse(&o, &cli_run, argc, argv, NULL, err);
    if (status != TERN_OK) return status < 0 ? TERN_OK : status;
    cli_session session;
    status = cli_open(&session, &o.model, err);
    if (status != TERN_OK) return status;
    status = run_session(&o, &session, err);
    cli_close(&session);
    return status;
}
