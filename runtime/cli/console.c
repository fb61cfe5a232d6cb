/* console.c - sessions, text and progress for the commands. */
#include "cli/console.h"

#include <errno.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "base/fail.h"
#include "base/files.h"
#include "base/memory.h"

#define MAX_TEXT_BYTES ((size_t)64 << 20)
#define BAR_WIDTH 30

/* Set by the signal handler; the one thing a handler may touch. */
static volatile sig_atomic_t interrupt_seen;

static void on_interrupt(int signal_number)
{
    (void)signal_number;
    interrupt_seen = 1;
}

void cli_catch_interrupt(void)
{
    struct sigaction action = {.sa_handler = on_interrupt, .sa_flags = (int)SA_RESETHAND};
    sigaction(SIGINT, &action, NULL); /* a second Ctrl-C ends the program at once */
    sigaction(SIGTERM, &action, NULL);
}

void cli_keep_interrupt(void)
{
    struct sigaction action = {.sa_handler = on_interrupt};
    sigaction(SIGINT, &action, NULL); /* without SA_RESTART: a read returns */
    interrupt_seen = 0;
}

int cli_interrupted(void)
{
    return interrupt_seen != 0;
}

const char *cli_color(FILE *to, cli_color_name color)
{
    static const char *const codes[] = {"\033[0m", "\033[1m", "\033[31m", "\033[32m", "\033[33m"};
    const char *no_color = getenv("NO_COLOR");
    return (no_color && *no_color) || !isatty(fileno(to)) ? "" : codes[color];
}

static int show_progress(void *user, const char *activity, uint64_t done, uint64_t total)
{
    int *shown = user;
    const int percent = total ? (int)(done * 100 / total) : 100;
    if (percent != *shown) {
        *shown = percent;
        const int filled = percent * BAR_WIDTH / 100;
        fprintf(stderr, "\r%s [%.*s%*s] %3d %%", activity, filled, "##############################",
                BAR_WIDTH - filled, "", percent);
    }
    return cli_interrupted();
}

tern_progress cli_progress(void)
{
    static int shown;
    shown = -1;
    if (!isatty(STDERR_FILENO)) return (tern_progress){0};
    return (tern_progress){show_progress, &shown};
}

void cli_progress_end(void)
{
    if (isatty(STDERR_FILENO)) fprintf(stderr, "\r\033[K");
}

int cli_open_model(tern_model **out, const cli_model_options *options, tern_error *err)
{
    static const char *const activations[] = {NULL, "relu2", "silu", "gelu"};
    const tern_model_options o = {.pretokenizer = options->pretokenizer,
                                  .activation = activations[options->activation],
                                  .i2s_layout = (char)('a' + options->i2s_layout),
                                  .tl_config = options->tl_config};
    return tern_model_open_with(out, options->model, &o, err);
}

int cli_open(cli_session *out, const cli_model_options *options, tern_error *err)
{
    const cli_batch one = {.n_seq = 1};
    return cli_open_batch(out, options, &one, err);
}

int cli_open_batch(cli_session *out, const cli_model_options *options, const cli_batch *batch,
                   tern_error *err)
{
    out->model = NULL;
    out->engine = NULL;
    int status = cli_open_model(&out->model, options, err);
    if (status != TERN_OK) return status;
    const tern_workload workload = {.n_ctx = options->n_ctx,
                                    .n_seq = batch->n_seq,
                                    .n_tok = batch->n_tok,
                                    .kv_type = (tern_kv_type)options->kv,
                                    .head_type = (tern_head_type)options->head};
    const tern_model_config *config = tern_model_config_of(out->model);
    status = cli_plan_make(&out->plan, config, options, &workload, err);
    if (status == TERN_OK) {
        cli_plan_say(&out->plan, config);
        if (batch->n_pages) out->plan.plan.n_pages = batch->n_pages;
        const tern_engine_options engine = {.device = {.n_threads = options->n_threads},
                                            .n_queue = batch->n_queue,
                                            .n_spill_pages = batch->n_spill_pages,
                                            .progress = cli_progress()};
        status = tern_engine_create(&out->engine, out->model, &out->plan.plan, &engine, err);
        cli_progress_end();
    }
    if (status == TERN_OK) return TERN_OK;
    tern_model_close(out->model);
    out->model = NULL;
    return status;
}

void cli_close(cli_session *session)
{
    tern_engine_destroy(session->engine);
    tern_model_close(session->model);
}

int cli_read_text(char **out, size_t *bytes, const char *text, const char *file, tern_error *err)
{
    if (text && file)
        return tern_fail(err, TERN_E_USAGE, "both -p and -f are given: use one of them");
    if (text) {
        *bytes = strlen(text);
        *out = strdup(text);
        return *out ? TERN_OK : tern_fail(err, TERN_E_FIT, "no memory for the text");
    }
    if (!file) {
        if (isatty(STDIN_FILENO))
            return tern_fail(err, TERN_E_USAGE,
                             "there is no text: give -p TEXT, -f FILE, or text on standard input");
        return tern_stream_read(out, bytes, stdin, "standard input", MAX_TEXT_BYTES, err);
    }
    FILE *stream = fopen(file, "re");
    if (!stream)
        return tern_fail(err, TERN_E_USAGE, "cannot open the text file '%s': %s", file,
                         strerror(errno));
    const int status = tern_stream_read(out, bytes, stream, file, MAX_TEXT_BYTES, err);
    fclose(stream);
    return status;
}

int cli_encode(int32_t **ids, int *n, const tern_tokenizer *tokenizer, const char *text,
               size_t bytes, unsigned flags, tern_error *err)
{
    const size_t cap = tern_tokenizer_bound(tokenizer, bytes);
    int32_t *list;
    int status = tern_alloc(&list, cap, sizeof *list, "the tokens of the text", err);
    if (status != TERN_OK) return status;
    size_t used;
    status = tern_tokenizer_encode(tokenizer, list, cap, &used, text, bytes, flags, err);
    if (status != TERN_OK) {
        free(list);
        return status;
    }
    *ids = list;
    *n = (int)used;
    return TERN_OK;
}

int cli_print_json(json_t *object, tern_error *err)
{
    if (!object) return tern_fail(err, TERN_E_FIT, "no memory for the JSON answer");
    const int failed = json_dumpf(object, stdout, JSON_INDENT(2)) != 0 || putchar('\n') == EOF;
    json_decref(object);
    return failed ? tern_fail(err, TERN_E_IO, "cannot write to standard output") : TERN_OK;
}
