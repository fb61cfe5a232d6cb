/* cmd_run.c - `tern run`: text in, the model's continuation out, token by token. */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/clock.h"
#include "base/fail.h"
#include "cli/generate.h"
#include "cli/console.h"

typedef struct run_options {
    cli_model_options model;
    cli_sampling_options sampling;
    const char *prompt, *file;
    int ignore_end, json;
} run_options;

#define AT(member) offsetof(run_options, member)
static const cli_option options[] = {
    {"prompt", 'p', CLI_TEXT, AT(prompt), 0, 0, "TEXT", "text to continue"},
    {"file", 'f', CLI_TEXT, AT(file), 0, 0, "FILE", "file with the text to continue"},
    CLI_SAMPLING_OPTIONS(run_options, sampling),
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
    const double first = tern_forecast_prefill_s(&p->plan, config, &p->site.site, 0, prompt);
    const double step =
        tern_forecast_step_s(&p->plan, config, &p->site.site, 1, prompt + decoded / 2);
    fprintf(stderr, "predicted: prefill %.1f tok/s, decode %.1f tok/s; measured %.1f and %.1f\n",
            prompt / first, 1 / step, rate(s->prefill_tok, s->prefill_ns),
            rate(s->decode_tok, s->decode_ns));
}

static void print_summary(const cli_answer *a, const tern_engine *engine, const cli_plan *plan)
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

static int print_json(const cli_answer *a, const tern_engine *engine, tern_error *err)
{
    tern_engine_stats s;
    tern_engine_stats_get(engine, &s);
    const tern_model_config *config = tern_model_config_of(tern_engine_model(engine));
    json_t *text = json_stringn(a->text ? a->text : "", a->text_bytes);
    json_t *ids = json_array();
    for (int i = 0; i < a->n_tokens; i++) json_array_append_new(ids, json_integer(a->tokens[i]));
    return cli_print_json(
        json_pack("{s:s, s:o, s:o, s:s, s:I, s:I, s:f, s:f}", "model", config->name, "text", text,
                  "tokens", ids, "finish", tern_finish_name(a->finish), "prefill_tok",
                  (json_int_t)s.prefill_tok, "decode_tok", (json_int_t)s.decode_tok,
                  "prefill_tok_s", rate(s.prefill_tok, s.prefill_ns), "decode_tok_s",
                  rate(s.decode_tok, s.decode_ns)),
        err);
}

static int run_session(const run_options *o, cli_session *session, const char *text, size_t bytes,
                       tern_error *err)
{
    const tern_tokenizer *tokenizer = tern_model_tokenizer(session->model);
    int32_t *ids;
    int n;
    int status = cli_encode(&ids, &n, tokenizer, text, bytes, TERN_ENCODE_BOS, err);
    if (status != TERN_OK) return status;
    cli_answer a = {.tokenizer = tokenizer, .stream = !o->json};
    tern_request request = cli_request(&o->sampling, ids, n);
    request.ignore_end = o->ignore_end;
    cli_catch_interrupt();
    status = cli_answer_run(&a, session->engine, &request, err);
    if (status == TERN_OK && o->json) status = print_json(&a, session->engine, err);
    if (status == TERN_OK) print_summary(&a, session->engine, &session->plan);
    cli_answer_free(&a);
    free(ids);
    return status;
}

static int run(int argc, char **argv, tern_error *err)
{
    run_options o = {.sampling = CLI_SAMPLING_DEFAULTS};
    int status = cli_parse(&o, &cli_run, argc, argv, NULL, err);
    if (status != TERN_OK) return status < 0 ? TERN_OK : status;
    char *text;
    size_t bytes;
    cli_session session;
    status = cli_read_text(&text, &bytes, o.prompt, o.file, err);
    if (status != TERN_OK) return status;
    status = cli_open(&session, &o.model, err);
    if (status == TERN_OK) {
        status = run_session(&o, &session, text, bytes, err);
        cli_close(&session);
    }
    free(text);
    return status;
}
