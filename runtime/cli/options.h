/* options.h - one table per command, from which everything about its options is made: parsing,
 * ranges, help, the man page and the completions of the shells. */
#ifndef TERN_CLI_OPTIONS_H
#define TERN_CLI_OPTIONS_H

#include <stddef.h>

#include "tern/base.h"

typedef enum cli_kind {
    CLI_FLAG,   /* int, set to 1 */
    CLI_INT,    /* int within min .. max; 4k is 4096, 1M is 1024k */
    CLI_BYTES,  /* uint64_t within min .. max; 2MiB, 2MB or a number of bytes */
    CLI_U64,    /* uint64_t */
    CLI_FLOAT,  /* float within min .. max */
    CLI_TEXT,   /* const char * */
    CLI_CHOICE, /* int: index into `choices`, words separated by | */
} cli_kind;

typedef struct cli_option {
    const char *name; /* long name, without dashes */
    char letter;      /* 0: none */
    cli_kind kind;
    size_t offset;    /* of the value in the command's struct */
    double min, max;
    const char *arg;  /* what the help calls the argument; for CLI_CHOICE the choices "f16|i8" */
    const char *help;
} cli_option;

typedef struct cli_command {
    const char *name;     /* "run", or two words: "eval ppl" */
    const char *summary;  /* one line */
    const char *operands; /* "" or e.g. "[TEXT]"; choices as "bash|zsh" */
    const cli_option *options;
    int n_options;
    int (*run)(int argc, char **argv, tern_error *err); /* argv[0] is the command */
} cli_command;

/* Parses options into `values` (already holding the defaults). Operands are not accepted unless
 * n_operands is given: then *n_operands is their number and they stand at the end of argv.
 * Returns 0, -1 when the help was asked for and printed, or TERN_E_USAGE. */
int cli_parse(void *values, const cli_command *command, int argc, char **argv, int *n_operands,
              tern_error *err);

void cli_print_help(const cli_command *command);

/* The options of every command that opens a model. */
typedef struct cli_model_options {
    const char *model;  /* file; NULL: the embedded one */
    const char *device; /* "cpu:0" */
    const char *plan;   /* "auto" or a file of `tern plan --save`; NULL: equal runs of layers */
    int n_threads, n_ctx, kv, head;
    const char *pretokenizer, *tl_config;
    int activation, i2s_layout; /* indices into the choices */
} cli_model_options;

#define CLI_MODEL_OPTIONS(type, member)                                                        \
    {"model", 'm', CLI_TEXT, offsetof(type, member.model),                                     \
     0,       0,   "FILE",   "GGUF file or checkpoint folder; default: the demo model"},       \
        {"device", 'd', CLI_TEXT, offsetof(type, member.device),                               \
         0,        0,   "LIST",   "devices, e.g. cpu or cpu:0,cpu:1 (default cpu)"},           \
        {"threads", 't',  CLI_INT, offsetof(type, member.n_threads),                           \
         1,         1024, "N",     "compute threads of a CPU device (default: one per core)"}, \
        {"ctx", 'c',     CLI_INT, offsetof(type, member.n_ctx),                                \
         1,     1 << 24, "N",     "context in tokens (default: the model's)"},                 \
        {"plan", 0, CLI_TEXT, offsetof(type, member.plan), 0, 0, "FILE|auto",                  \
         "places by the planner, or by a plan of `tern plan --save`"},                         \
        {"kv", 0, CLI_CHOICE, offsetof(type, member.kv),                                       \
         0,    0, "f16|i8",   "type of the KV cache (default f16)"},                           \
        {"head", 0, CLI_CHOICE, offsetof(type, member.head),                                   \
         0,      0, "i16|i8",   "precision of the head's table (default i16)"},                \
        CLI_FILE_OPTIONS(type, member)

/* Those of them that say how a file is to be read. */
#define CLI_FILE_OPTIONS(type, member)                                                         \
    {"pretokenizer", 0,  CLI_TEXT, offsetof(type, member.pretokenizer), 0, 0,                  \
     "NAME",         "instead of the file's: llama-bpe, gpt-2, qwen2, falcon, default"},       \
        {"activation", 0, CLI_CHOICE, offsetof(type, member.activation), 0, 0,                 \
         "file|relu2|silu|gelu", "activation of the FFN (default: the file's)"},               \
        {"i2s-layout", 0, CLI_CHOICE, offsetof(type, member.i2s_layout), 0, 0,                 \
         "a|b|c|d", "byte order of I2_S tensors (default a, as all published files)"},         \
    {                                                                                          \
        "tl-config", 0, CLI_TEXT, offsetof(type, member.tl_config), 0, 0, "FILE",              \
            "tile shapes of TL1 and TL2 tensors, as bitnet.cpp's kernel_config.ini"            \
    }

#endif
