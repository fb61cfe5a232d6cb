/* cmd_convert.c - `tern convert`: a checkpoint folder or any GGUF file as a GGUF file in I2_S. */
#include <stdio.h>

#include "base/fail.h"
#include "cli/console.h"

typedef struct convert_options {
    cli_model_options model;
    const char *output;
} convert_options;

static const cli_option options[] = {
    {"output", 'o', CLI_TEXT, offsetof(convert_options, output), 0, 0, "FILE",
     "the new file, which must not exist"},
    CLI_FILE_OPTIONS(convert_options, model),
};
static int convert(int argc, char **argv, tern_error *err);
const cli_command cli_convert = {"convert",
                                 "writes a checkpoint folder or GGUF file as GGUF in I2_S (-o)",
                                 "MODEL",
                                 options,
                                 (int)(sizeof options / sizeof options[0]),
                                 convert};

/* Shows progress where somebody sees it; Ctrl-C stops the work in any case, so that it can clean
 * up. */
static int watch(void *user, const char *activity, uint64_t done, uint64_t total)
{
    const tern_progress *shown = user;
    if (shown->fn) shown->fn(shown->user, activity, done, total);
    return cli_interrupted();
}

static int convert(int argc, char **argv, tern_error *err)
{
    convert_options o = {0};
    int n_operands, status = cli_parse(&o, &cli_convert, argc, argv, &n_operands, err);
    if (status != TERN_OK) return status < 0 ? TERN_OK : status;
    if (n_operands != 1 || !o.output)
        return tern_fail(err, TERN_E_USAGE,
                         "name one folder or file and the new file: "
                         "tern convert MODEL -o FILE");
    o.model.model = argv[argc - 1];
    tern_model *model;
    status = cli_open_model(&model, &o.model, err);
    if (status != TERN_OK) return status;
    tern_progress shown = cli_progress();
    const tern_progress progress = {watch, &shown};
    cli_catch_interrupt();
    status = tern_model_convert(model, o.output, &progress, err);
    cli_progress_end();
    tern_model_close(model);
    return status;
}
