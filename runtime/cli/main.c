/* main.c - the program `tern`: picks the command, prints the one sentence of a failure, and ends
 * with its status as the exit code. */
#include <stdio.h>
#include <string.h>

#include "base/fail.h"
#include "cli/console.h"

static const cli_command *const commands[] = {&cli_run, &cli_bench, &cli_verify, &cli_devices,
                                              &cli_tokenize, &cli_serve};
#define N_COMMANDS (sizeof commands / sizeof commands[0])

static void print_help(FILE *to)
{
    fprintf(to, "usage: tern COMMAND [options]\n"
                "Runs native 1-bit and 1.58-bit language models.\n\ncommands\n");
    for (size_t i = 0; i < N_COMMANDS; i++)
        fprintf(to, "  %-12s%s\n", commands[i]->name, commands[i]->summary);
    fprintf(
        to,
        "\n`tern COMMAND --help` lists the options of a command.\n"
        "Exit codes: 1 input or output, 2 usage, 3 bad model, 4 does not fit, 5 device failed,\n"
        "6 self-test failed.\n");
}

static void print_log(void *user, tern_log_level level, const char *line)
{
    (void)user;
    fprintf(stderr, "tern: %s%s\n", level == TERN_LOG_WARNING ? "warning: " : "", line);
}

static int run_command(int argc, char **argv, tern_error *err)
{
    if (strcmp(argv[1], "--version") == 0) {
        printf("tern %s\n", tern_version());
        return TERN_OK;
    }
    if (strcmp(argv[1], "--help") == 0 || strcmp(argv[1], "-h") == 0) {
        print_help(stdout);
        return TERN_OK;
    }
    for (size_t i = 0; i < N_COMMANDS; i++)
        if (strcmp(argv[1], commands[i]->name) == 0)
            return commands[i]->run(argc - 1, argv + 1, err);
    return tern_fail(err, TERN_E_USAGE, "'%.40s' is no command: see `tern --help`", argv[1]);
}

int main(int argc, char **argv)
{
    tern_log_set(print_log, NULL);
    if (argc < 2) {
        print_help(stderr);
        return TERN_E_USAGE;
    }
    tern_error err = {0};
    int status = run_command(argc, argv, &err);
    if (status == TERN_OK && (fflush(stdout) != 0 || ferror(stdout)))
        status = tern_fail(&err, TERN_E_IO, "cannot write to standard output");
    if (status != TERN_OK) fprintf(stderr, "tern: %s\n", err.text);
    return status;
}
