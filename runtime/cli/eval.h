/* eval.h - what the files of `tern eval` share.
 *
 *   cmd_eval_ppl.c  perplexity of a text
 *   cmd_eval_kld.c  how far one model's distributions are from another's
 *   cmd_eval_mc.c   multiple choice
 *   eval.c          the text, its windows, a sum of samples */
#ifndef TERN_CLI_EVAL_H
#define TERN_CLI_EVAL_H

#include "cli/console.h"

/* A text and how it is cut. */
typedef struct cli_eval_options {
    const char *text, *file;
    int window, n_windows;
} cli_eval_options;

/* clang-format off */
#define CLI_EVAL_OPTIONS(type, member)                                                          \
    {"prompt", 'p', CLI_TEXT, offsetof(type, member.text), 0, 0, "TEXT", "the text"},           \
    {"file", 'f', CLI_TEXT, offsetof(type, member.file), 0, 0, "FILE", "file with the text"},   \
    {"window", 'w', CLI_INT, offsetof(type, member.window), 8, 1 << 24, "N",                    \
     "tokens of a window (default 512, or the context)"},                                       \
    {"windows", 0, CLI_INT, offsetof(type, member.n_windows), 1, 1 << 30, "N",                  \
     "windows at most (default: all of the text)"}
/* clang-format on */

/* The tokens of a text in windows of llama.cpp's rule: consecutive and without overlap, the first
 * token of each replaced by BOS where the model wants one; scored are the tokens behind the middle,
 * numbers window/2 + 1 .. window - 1. What is left at the end of the text is left out. */
typedef struct cli_eval_text {
    char *text;
    size_t bytes;
    int32_t *ids;
    int n;
    int32_t bos; /* -1: none */
    int window, n_windows;
} cli_eval_text;

/* Reads the text, before a model takes its time to load. */
int cli_eval_read(cli_eval_text *out, const cli_eval_options *options, tern_error *err);

/* Encodes it for a model. TERN_E_USAGE when it does not fill a window. */
int cli_eval_cut(cli_eval_text *text, const cli_eval_options *options, const cli_session *session,
                 tern_error *err);

/* Window number w, which may be changed in place until the next call. */
int32_t *cli_eval_window(cli_eval_text *text, int w);
void cli_eval_free(cli_eval_text *text);

/* Samples, of which mean and standard error of the mean are wanted. */
typedef struct cli_sum {
    double sum, squares;
    uint64_t n;
} cli_sum;

void cli_sum_add(cli_sum *sum, double sample);
double cli_sum_mean(const cli_sum *sum);
double cli_sum_error(const cli_sum *sum); /* 0 for fewer than 2 samples */

/* "f16", "i8"; "i16", "i8": the choices that change logits. */
const char *cli_kv_name(const tern_engine *engine);
const char *cli_head_name(const tern_engine *engine);

#endif
