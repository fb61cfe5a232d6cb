/* main.c - the program `tern`: picks the command, prints the one sentence of a failure, and ends
 * with its status as the exit code. */
#include <stdbool.h>
#include <stdio.h>
#include <string.h>

#include "base/fail.h"
#include "base/text.h"
#include "cli/console.h"
#include "cli/nearest.h"
#include "cli/shrunk.h"

const cli_command *const cli_commands[] = {
    &cli_run,      &cli_chat,     &cli_serve,      &cli_plan_command, &cli_calibrate, &cli_bench,
    &cli_eval_ppl, &cli_eval_kld, &cli_eval_mc,    &cli_inspect,      &cli_verify,    &cli_convert,
    &cli_devices,  &cli_tokenize, &cli_completion, &cli_man,          NULL,
};

static void print_help(FILE *to)
{
    fprintf(to, "usage: tern COMMAND [options]\n"
                "Runs native 1-bit and 1.58-bit language models.\n\ncommands\n");
    for (const cli_command *const *c = cli_commands; *c; c++)
        fprintf(to, "  %-12s%s\n", (*c)->name, (*c)->summary);
    fprintf(
        to,
        "\n`tern COMMAND --help` lists the options of a command.\n"
        "Exit codes: 1 input or output, 2 usage, 3 bad model, 4 does not fit, 5 device failed,\n"
        "6 self-test failed.\n");
}

static void print_log(void *user, tern_log_level level, const char *line)
{
    (void)user;
    const int warning = level == TERN_LOG_WARNING;
    fprintf(stderr, "tern: %s%s%s%s\n", warning ? cli_color(stderr, CLI_YELLOW) : "",
            warning ? "warning: " : "", warning ? cli_color(stderr, CLI_PLAIN) : "", line);
}

/* The command named by the first word or by the first two; *n_words is how many. */
static const cli_command *find_command(int argc, char **argv, int *n_words)
{
    for (const cli_command *const *c = cli_commands; *c; c++) {
        const char *name = (*c)->name;
        const size_t first = strcspn(name, " ");
        if (strlen(argv[1]) != first || strncmp(argv[1], name, first) != 0) continue;
        *n_words = name[first] ? 2 : 1;
        if (!name[first] || (argc > 2 && strcmp(argv[2], name + first + 1) == 0)) return *c;
    }
    return NULL;
}

/* A word that only begins commands, "eval": lists them, or says that one is wanted. */
static int run_group(int argc, char **argv, tern_error *err)
{
    const size_t n = strlen(argv[1]);
    const int help = argc == 3 && (strcmp(argv[2], "--help") == 0 || strcmp(argv[2], "-h") == 0);
    if (help) printf("usage: tern %s COMMAND [options]\n\ncommands\n", argv[1]);
    char names[200] = "";
    for (const cli_command *const *c = cli_commands; *c; c++) {
        if (strncmp((*c)->name, argv[1], n) != 0 || (*c)->name[n] != ' ') continue;
        const size_t used = strlen(names);
        snprintf(names + used, sizeof names - used, "%s%s", used ? ", " : "", (*c)->name + n + 1);
        if (help) printf("  %-12s%s\n", (*c)->name, (*c)->summary);
    }
    if (help) return TERN_OK;
    return tern_fail(err, TERN_E_USAGE,
                     "%s%.40s%s'%s' is followed by one of %s: see `tern %s --help`",
                     argc > 2 ? "'" : "", argc > 2 ? argv[2] : "", argc > 2 ? "' is unknown, " : "",
                     argv[1], names, argv[1]);
}

static bool is_group(const char *word)
{
    const size_t n = strlen(word);
    for (const cli_command *const *c = cli_commands; *c; c++)
        if (strncmp((*c)->name, word, n) == 0 && (*c)->name[n] == ' ') return true;
    return false;
}

static int refuse_command(char **argv, tern_error *err)
{
    char hint[100] = "";
    cli_nearest search = {.word = argv[1]};
    for (const cli_command *const *c = cli_commands; *c; c++)
        if (!strchr((*c)->name, ' ')) cli_nearest_offer(&search, (*c)->name);
    if (search.best) snprintf(hint, sizeof hint, " (did you mean `tern %s`?)", search.best);
    return tern_fail(err, TERN_E_USAGE, "'%s' is no command%s: see `tern --help`",
                     TERN_QUOTED(argv[1], strlen(argv[1])), hint);
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
    int n_words;
    const cli_command *command = find_command(argc, argv, &n_words);
    if (command) return command->run(argc - n_words, argv + n_words, err);
    return is_group(argv[1]) ? run_group(argc, argv, err) : refuse_command(argv, err);
}

int main(int argc, char **argv)
{
    tern_log_set(print_log, NULL);
    cli_exit_when_shrunk();
    if (argc < 2) {
        print_help(stderr);
        return TERN_E_USAGE;
    }
    tern_error err = {0};
    int status = run_command(argc, argv, &err);
    if (status == TERN_OK && (fflush(stdout) != 0 || ferror(stdout)))
        status = tern_fail(&err, TERN_E_IO, "cannot write to standard output");
    if (status != TERN_OK)
        fprintf(stderr, "%stern:%s %s\n", cli_color(stderr, CLI_RED), cli_color(stderr, CLI_PLAIN),
                err.text);
    return status;
}
