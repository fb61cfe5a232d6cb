/* answer.h - one request at a time for `run` and `chat`: sampling from options, the answer's text
 * as whole characters, streamed or collected. */
#ifndef TERN_CLI_ANSWER_H
#define TERN_CLI_ANSWER_H

#include "cli/options.h"
#include "tern/engine.h"

/* How an answer is drawn and when it ends. */
typedef struct cli_sampling_options {
    int max_tokens, top_k;
    uint64_t seed;
    float temperature, top_p, min_p, repetition;
} cli_sampling_options;

#define CLI_SAMPLING_DEFAULTS {.temperature = 0.7f, .top_k = 40, .top_p = 0.9f}

/* clang-format off */
#define CLI_SAMPLING_OPTIONS(type, member)                                                      \
    {"n-predict", 'n', CLI_INT, offsetof(type, member.max_tokens), 1, 1 << 24, "N",             \
     "tokens to write at most (default: until the model ends)"},                                \
    {"seed", 's', CLI_U64, offsetof(type, member.seed), 0, 0, "N",                              \
     "seed of the sampling (default 0)"},                                                       \
    {"temp", 0, CLI_FLOAT, offsetof(type, member.temperature), 0, 100, "X",                     \
     "temperature, 0 for greedy (default 0.7)"},                                                \
    {"top-k", 0, CLI_INT, offsetof(type, member.top_k), 0, 1 << 24, "N",                        \
     "keep the N likeliest tokens, 0 for all (default 40)"},                                    \
    {"top-p", 0, CLI_FLOAT, offsetof(type, member.top_p), 0, 1, "X",                            \
     "keep this much probability (default 0.9)"},                                               \
    {"min-p", 0, CLI_FLOAT, offsetof(type, member.min_p), 0, 1, "X",                            \
     "drop tokens below X times the likeliest (default 0)"},                                    \
    {"repeat-penalty", 0, CLI_FLOAT, offsetof(type, member.repetition), 0, 100, "X",            \
     "divide repeated logits (default 1)"}
/* clang-format on */

/* The request for a prompt, which must outlive it. */
tern_request cli_request(const cli_sampling_options *options, const int32_t *prompt, int n_prompt);

/* The answer under way. Begin with tokenizer and stream set and all else zero; free text. */
typedef struct cli_answer {
    const tern_tokenizer *tokenizer;
    int stream; /* text also goes to standard output at once */
    tern_utf8_stream utf8;
    char *text; /* valid UTF-8 [text_bytes] */
    size_t text_bytes, text_room;
    int32_t *tokens; /* [n_tokens] */
    int n_tokens, tokens_room;
    tern_finish finish;
} cli_answer;

/* Runs the request to its end; Ctrl-C (cli_interrupted) cancels it. */
int cli_answer_run(cli_answer *answer, tern_engine *engine, const tern_request *request,
                   tern_error *err);
void cli_answer_free(cli_answer *answer);

#endif
