/* cmd_eval_mc.c - `tern eval mc`: multiple choice from JSON lines such as
 *
 *   {"context": "The sky is", "choices": ["blue", "green"], "answer": 0}
 *
 * A choice is scored by ln p of its tokens behind the context; `accuracy` takes the largest sum,
 * `accuracy_norm` the largest sum per character, as lm-eval does. Context and choice are joined by
 * the delimiter and encoded together; scored are the tokens from the first on that is not the
 * context's own. */
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/fail.h"
#include "base/memory.h"
#include "base/text.h"
#include "cli/eval.h"

#define MAX_CHOICES 64

typedef struct mc_options {
    cli_model_options model;
    const char *text, *file, *delimiter;
    int json;
} mc_options;

#define AT(member) offsetof(mc_options, member)
static const cli_option options[] = {
    {"prompt", 'p', CLI_TEXT, AT(text), 0, 0, "TEXT", "the questions as JSON lines"},
    {"file", 'f', CLI_TEXT, AT(file), 0, 0, "FILE", "file with the questions as JSON lines"},
    {"delimiter", 0, CLI_TEXT, AT(delimiter), 0, 0, "TEXT",
     "between context and choice (default: a space)"},
    {"json", 0, CLI_FLAG, AT(json), 0, 0, NULL, "a JSON object, with every question's answer"},
    CLI_MODEL_OPTIONS(mc_options, model),
};
static int eval_mc(int argc, char **argv, tern_error *err);
const cli_command cli_eval_mc = {"eval mc",
                                 "multiple choice, from JSON lines (-p, -f or standard input)",
                                 "",
                                 options,
                                 (int)(sizeof options / sizeof options[0]),
                                 eval_mc};

typedef struct question {
    size_t line;
    const char *context;
    const json_t *choices;
    int answer;
} question;

/* Everything so far. */
typedef struct tally {
    const cli_session *session;
    const mc_options *options;
    json_t *predictions;
    double *logprobs; /* [n_ctx] */
    cli_sum right, right_norm, chance;
} tally;

/* Checks a line; the question points into `root`. */
static int read_question(question *q, const json_t *root, tern_error *err)
{
    const json_t *context = json_object_get(root, "context"),
                 *choices = json_object_get(root, "choices"),
                 *answer = json_object_get(root, "answer");
    if (!json_is_string(context) || !json_is_array(choices) || !json_is_integer(answer))
        return tern_fail(err, TERN_E_USAGE,
                         "line %zu is no question: it needs \"context\", a string, \"choices\", "
                         "strings, and \"answer\", a whole number",
                         q->line);
    const size_t n = json_array_size(choices);
    if (n < 2 || n > MAX_CHOICES)
        return tern_fail(err, TERN_E_USAGE, "line %zu has %zu choices: use 2 to %d", q->line, n,
                         MAX_CHOICES);
    for (size_t i = 0; i < n; i++)
        if (json_string_length(json_array_get(choices, i)) == 0)
            return tern_fail(err, TERN_E_USAGE,
                             "line %zu: choice %zu is no text: use strings that are not empty",
                             q->line, i);
    const json_int_t value = json_integer_value(answer);
    if (value < 0 || (size_t)value >= n)
        return tern_fail(err, TERN_E_USAGE,
                         "line %zu: the answer is %lld, but choices go from 0 to %zu", q->line,
                         (long long)value, n - 1);
    q->context = json_string_value(context);
    q->choices = choices;
    q->answer = (int)value;
    return TERN_OK;
}

/* Adds ln p of the tokens that the whole has and the context has not. */
static int score_tokens(double *out, const tally *t, const int32_t *whole, int n,
                        const int32_t *context, int n_context, tern_error *err)
{
    int first = 0;
    while (first < n_context && first < n - 1 && whole[first] == context[first]) first++;
    if (first == 0) first = 1; /* nothing stands before the first token */
    const int status = tern_engine_score(t->session->engine, t->logprobs, whole, n, err);
    for (int i = first; i < n && status == TERN_OK; i++) *out += t->logprobs[i - 1];
    return status;
}

static int score_choice(double *out, const tally *t, const question *q, size_t choice,
                        tern_error *err)
{
    const tern_tokenizer *tokenizer = tern_model_tokenizer(t->session->model);
    char *text;
    const int bytes = asprintf(&text, "%s%s%s", q->context, t->options->delimiter,
                               json_string_value(json_array_get(q->choices, choice)));
    if (bytes < 0) return tern_fail(err, TERN_E_FIT, "no memory for a question");
    int32_t *whole = NULL, *context = NULL;
    int n, n_context;
    int status = cli_encode(&whole, &n, tokenizer, text, (size_t)bytes, TERN_ENCODE_BOS, err);
    if (status == TERN_OK)
        status = cli_encode(&context, &n_context, tokenizer, q->context, strlen(q->context),
                            TERN_ENCODE_BOS, err);
    const int n_ctx = tern_engine_plan(t->session->engine)->workload.n_ctx;
    if (status == TERN_OK && n > n_ctx)
        status = tern_fail(err, TERN_E_USAGE,
                           "line %zu has %d tokens with choice %zu, more than the context of %d: "
                           "shorten it, or use a larger --ctx",
                           q->line, n, choice, n_ctx);
    if (status == TERN_OK) status = score_tokens(out, t, whole, n, context, n_context, err);
    free(whole);
    free(context);
    free(text);
    return status;
}

static size_t n_characters(const char *text)
{
    size_t n = 0;
    for (; *text; text++) n += ((unsigned char)*text & 0xc0) != 0x80;
    return n;
}

static int ask(tally *t, const question *q, tern_error *err)
{
    const size_t n = json_array_size(q->choices);
    double best = -INFINITY, best_norm = -INFINITY;
    int chosen = 0, chosen_norm = 0;
    json_t *logprobs = json_array();
    for (size_t i = 0; i < n; i++) {
        double score = 0.0;
        const int status = score_choice(&score, t, q, i, err);
        if (status != TERN_OK) {
            json_decref(logprobs);
            return status;
        }
        const double norm =
            score / (double)n_characters(json_string_value(json_array_get(q->choices, i)));
        if (score > best) best = score, chosen = (int)i;
        if (norm > best_norm) best_norm = norm, chosen_norm = (int)i;
        json_array_append_new(logprobs, json_real(score));
    }
    cli_sum_add(&t->right, chosen == q->answer);
    cli_sum_add(&t->right_norm, chosen_norm == q->answer);
    cli_sum_add(&t->chance, 1.0 / (double)n);
    json_array_append_new(t->predictions,
                          json_pack("{s:I, s:i, s:i, s:i, s:o}", "line", (json_int_t)q->line,
                                    "answer", q->answer, "chosen", chosen, "chosen_norm",
                                    chosen_norm, "logprobs", logprobs));
    return TERN_OK;
}

static int ask_line(tally *t, const char *line, size_t bytes, size_t number, tern_error *err)
{
    json_error_t wrong;
    json_t *root = json_loadb(line, bytes, 0, &wrong);
    if (!root)
        return tern_fail(err, TERN_E_USAGE, "line %zu is no JSON: %.100s", number,
                         TERN_QUOTED(wrong.text, strlen(wrong.text)));
    question q = {.line = number};
    int status = read_question(&q, root, err);
    if (status == TERN_OK) status = ask(t, &q, err);
    json_decref(root);
    return status;
}

static int ask_all(tally *t, const char *text, size_t bytes, tern_error *err)
{
    const tern_progress progress = cli_progress();
    size_t number = 0;
    int status = TERN_OK;
    cli_catch_interrupt();
    for (size_t at = 0, n; at < bytes && status == TERN_OK; at += n + 1) {
        const char *end = memchr(text + at, '\n', bytes - at);
        n = end ? (size_t)(end - (text + at)) : bytes - at;
        number++;
        status = tern_progress_report(&progress, "asking", at, bytes, err);
        if (status == TERN_OK && strspn(text + at, " \t\r") < n)
            status = ask_line(t, text + at, n, number, err);
    }
    cli_progress_end();
    if (status == TERN_OK && t->right.n == 0)
        return tern_fail(err, TERN_E_USAGE, "there is no question in %zu lines", number);
    return status;
}

static int print_tally(const tally *t, tern_error *err)
{
    const double right = cli_sum_mean(&t->right), norm = cli_sum_mean(&t->right_norm);
    const double error = cli_sum_error(&t->right), norm_error = cli_sum_error(&t->right_norm);
    const double chance = cli_sum_mean(&t->chance);
    if (t->options->json)
        return cli_print_json(json_pack("{s:s, s:I, s:f, s:f, s:f, s:f, s:f, s:O}", "model",
                                        tern_model_config_of(t->session->model)->name, "questions",
                                        (json_int_t)t->right.n, "accuracy", right, "accuracy_error",
                                        error, "accuracy_norm", norm, "accuracy_norm_error",
                                        norm_error, "chance", chance, "predictions",
                                        t->predictions),
                              err);
    printf("accuracy %.4f +- %.4f, per character %.4f +- %.4f\n", right, error, norm, norm_error);
    printf("%llu questions, chance is %.4f\n", (unsigned long long)t->right.n, chance);
    return TERN_OK;
}

static int eval_session(const mc_options *o, const cli_session *session, const char *text,
                        size_t bytes, tern_error *err)
{
    tally t = {.session = session, .options = o, .predictions = json_array()};
    const int n_ctx = tern_engine_plan(session->engine)->workload.n_ctx;
    int status = tern_alloc(&t.logprobs, (size_t)n_ctx, sizeof *t.logprobs, "a question", err);
    if (status == TERN_OK) status = ask_all(&t, text, bytes, err);
    if (status == TERN_OK) status = print_tally(&t, err);
    free(t.logprobs);
    json_decref(t.predictions);
    return status;
}

static int eval_mc(int argc, char **argv, tern_error *err)
{
    mc_options o = {.delimiter = " "};
    int status = cli_parse(&o, &cli_eval_mc, argc, argv, NULL, err);
    if (status != TERN_OK) return status < 0 ? TERN_OK : status;
    char *text;
    size_t bytes;
    cli_session session;
    status = cli_read_text(&text, &bytes, o.text, o.file, err);
    if (status != TERN_OK) return status;
    status = cli_open(&session, &o.model, err);
    if (status == TERN_OK) {
        status = eval_session(&o, &session, text, bytes, err);
        cli_close(&session);
    }
    free(text);
    return status;
}
