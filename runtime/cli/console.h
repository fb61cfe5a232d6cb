/* console.h - what the commands share: a model and an engine from options, text from -p, -f or
 * standard input, progress on a terminal. Answers go to standard output, all else to standard
 * error. */
#ifndef TERN_CLI_CONSOLE_H
#define TERN_CLI_CONSOLE_H

#include <jansson.h>
#include <stdio.h>

#include "cli/site.h"

/* What switches a stream to a colour: "" unless it is a terminal, and where NO_COLOR is set. */
typedef enum cli_color_name { CLI_PLAIN, CLI_BOLD, CLI_RED, CLI_GREEN, CLI_YELLOW } cli_color_name;
const char *cli_color(FILE *to, cli_color_name color);

/* A progress bar on standard error when that is a terminal, else nothing. */
tern_progress cli_progress(void);

/* Clears the bar's line. */
void cli_progress_end(void);

typedef struct cli_session {
    tern_model *model;
    tern_engine *engine;
    cli_plan plan;
} cli_session;

/* The model of -m, or the embedded one, with the options that say how to read it. */
int cli_open_model(tern_model **out, const cli_model_options *options, tern_error *err);

/* What an engine for many requests holds; zeros are the engine's own defaults. */
typedef struct cli_batch {
    int n_seq, n_tok, n_pages, n_spill_pages, n_queue;
} cli_batch;

/* Opens the model and loads an engine; after a failure *out is empty, and may be closed. */
int cli_open_batch(cli_session *out, const cli_model_options *options, const cli_batch *batch,
                   tern_error *err);

/* The same for one request at a time. */
int cli_open(cli_session *out, const cli_model_options *options, tern_error *err);
void cli_close(cli_session *session);

/* Text of -p, of the file of -f, or of standard input; the caller frees it.
 * TERN_E_USAGE when both or, on a terminal, none are given. */
int cli_read_text(char **out, size_t *bytes, const char *text, const char *file, tern_error *err);

/* Ids of a text; the caller frees them. */
int cli_encode(int32_t **ids, int *n, const tern_tokenizer *tokenizer, const char *text,
               size_t bytes, unsigned flags, tern_error *err);

/* Prints the object and a newline, and frees it; NULL stands for one that found no memory. */
int cli_print_json(json_t *object, tern_error *err);

/* Notes Ctrl-C and SIGTERM from now on; a second one ends the program at once. */
void cli_catch_interrupt(void);

/* Notes every Ctrl-C from now on, forgets earlier ones. */
void cli_keep_interrupt(void);

/* Whether the person pressed Ctrl-C since one of these was called. */
int cli_interrupted(void);

/* The commands, NULL behind the last, and each of them. */
extern const cli_command *const cli_commands[];
extern const cli_command cli_run, cli_chat, cli_plan_command, cli_calibrate, cli_bench,
    cli_eval_ppl, cli_eval_kld, cli_eval_mc, cli_inspect, cli_verify, cli_devices, cli_tokenize,
    cli_completion, cli_man, cli_convert, cli_serve;

#endif
