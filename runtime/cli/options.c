/* options.c - getopt_long over a table; every value is checked where it is read. */
#include "cli/options.h"

#include <errno.h>
#include <getopt.h>
#include <math.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/fail.h"
#include "base/units.h"
#include "cli/nearest.h"

#define MAX_OPTIONS 40

static int bad_value(const cli_option *o, const char *text, const char *wanted, tern_error *err)
{
    return tern_fail(err, TERN_E_USAGE, "--%s is '%.40s': use %s", o->name, text, wanted);
}

static int bad_range(const cli_option *o, const char *text, tern_error *err)
{
    return tern_fail(err, TERN_E_USAGE, "--%s is '%.40s': use a number from %.10g to %.10g",
                     o->name, text, o->min, o->max);
}

static int set_int(void *at, const cli_option *o, const char *text, tern_error *err)
{
    double value;
    const char *end;
    if (!tern_read_count(&value, &end, text) || *end || value < o->min || value > o->max)
        return bad_range(o, text, err);
    const int narrow = (int)value;
    memcpy(at, &narrow, sizeof narrow);
    return TERN_OK;
}

static int set_bytes(void *at, const cli_option *o, const char *text, tern_error *err)
{
    uint64_t bytes;
    if (!tern_read_bytes(&bytes, text) || (double)bytes < o->min || (double)bytes > o->max)
        return tern_fail(err, TERN_E_USAGE,
                         "--%s is '%.40s': use a number of bytes from %.10g to %.10g, as 64KiB or "
                         "2MiB",
                         o->name, text, o->min, o->max);
    memcpy(at, &bytes, sizeof bytes);
    return TERN_OK;
}

static int set_u64(void *at, const cli_option *o, const char *text, tern_error *err)
{
    char *end;
    errno = 0;
    const unsigned long long value = strtoull(text, &end, 10);
    if (text[0] < '0' || text[0] > '9' || *end || errno)
        return bad_value(o, text, "a whole number that is not negative", err);
    const uint64_t wide = value;
    memcpy(at, &wide, sizeof wide);
    return TERN_OK;
}

static int set_float(void *at, const cli_option *o, const char *text, tern_error *err)
{
    char *end;
    const double value = strtod(text, &end);
    if (end == text || *end || !(value >= o->min && value <= o->max))
        return bad_range(o, text, err);
    const float narrow = (float)value;
    memcpy(at, &narrow, sizeof narrow);
    return TERN_OK;
}

static int set_choice(void *at, const cli_option *o, const char *text, tern_error *err)
{
    const size_t n = strlen(text);
    int index = 0;
    for (const char *word = o->arg; *word; index++) {
        const size_t length = strcspn(word, "|");
        if (length == n && memcmp(word, text, n) == 0) {
            memcpy(at, &index, sizeof index);
            return TERN_OK;
        }
        word += length + (word[length] == '|');
    }
    return bad_value(o, text, o->arg, err);
}

static int set_value(void *values, const cli_option *o, const char *text, tern_error *err)
{
    void *at = (char *)values + o->offset;
    switch (o->kind) {
    case CLI_FLAG: {
        const int on = 1;
        memcpy(at, &on, sizeof on);
        return TERN_OK;
    }
    case CLI_INT: return set_int(at, o, text, err);
    case CLI_BYTES: return set_bytes(at, o, text, err);
    case CLI_U64: return set_u64(at, o, text, err);
    case CLI_FLOAT: return set_float(at, o, text, err);
    case CLI_TEXT: memcpy(at, &text, sizeof text); return TERN_OK;
    case CLI_CHOICE: return set_choice(at, o, text, err);
    }
    return TERN_OK;
}

void cli_print_help(const cli_command *command)
{
    printf("usage: tern %s [options]%s%s\n%s\n\noptions\n", command->name,
           command->operands[0] ? " " : "", command->operands, command->summary);
    for (int i = 0; i < command->n_options; i++) {
        const cli_option *o = &command->options[i];
        char left[64];
        const char *arg = o->arg ? o->arg : "";
        if (o->letter)
            snprintf(left, sizeof left, "-%c, --%s %s", o->letter, o->name, arg);
        else
            snprintf(left, sizeof left, "    --%s %s", o->name, arg);
        printf("  %-26s %s\n", left, o->help);
    }
    printf("  %-26s %s\n", "-h, --help", "this text");
}

/* getopt's own tables, made from ours. */
typedef struct getopt_tables {
    struct option longs[MAX_OPTIONS + 2];
    char letters[2 * MAX_OPTIONS + 8];
} getopt_tables;

static void make_tables(getopt_tables *t, const cli_command *command)
{
    char *letter = t->letters;
    *letter++ = ':';
    *letter++ = 'h';
    memset(t->longs, 0, sizeof t->longs);
    for (int i = 0; i < command->n_options; i++) {
        const cli_option *o = &command->options[i];
        const int takes = o->kind == CLI_FLAG ? no_argument : required_argument;
        t->longs[i] = (struct option){o->name, takes, NULL, 256 + i};
        if (o->letter) {
            *letter++ = o->letter;
            if (o->kind != CLI_FLAG) *letter++ = ':';
        }
    }
    t->longs[command->n_options] = (struct option){"help", no_argument, NULL, 'h'};
    *letter = 0;
}

/* The long option that --text probably means, as a question; "" when none is near. */
static const char *suggestion(char out[96], const cli_command *command, const char *text)
{
    char word[CLI_MAX_WORD];
    out[0] = 0;
    if (strncmp(text, "--", 2) != 0) return out;
    snprintf(word, sizeof word, "%.*s", (int)strcspn(text + 2, "="), text + 2);
    cli_nearest search = {.word = word};
    for (int i = 0; i < command->n_options; i++)
        cli_nearest_offer(&search, command->options[i].name);
    cli_nearest_offer(&search, "help");
    if (search.best) snprintf(out, 96, " (did you mean --%s?)", search.best);
    return out;
}

static int refuse_option(const cli_command *command, int what, char **argv, tern_error *err)
{
    /* A letter stands in optopt; a long name is what was read last. */
    const char letter[] = {'-', (char)optopt, 0};
    const char *text = optopt > 0 && optopt < 256 ? letter : argv[optind - 1];
    if (what == '?' && (optopt == 'h' || optopt >= 256)) /* known, but with =VALUE behind it */
        return tern_fail(err, TERN_E_USAGE, "'%.60s': this option takes no value",
                         argv[optind - 1]);
    if (what == ':')
        return tern_fail(err, TERN_E_USAGE, "'%.60s' wants an argument: see `tern %s --help`", text,
                         command->name);
    return tern_fail(err, TERN_E_USAGE,
                     "'%.60s' is no option of this command%s: see `tern %s --help`", text,
                     suggestion((char[96]){0}, command, text), command->name);
}

int cli_parse(void *values, const cli_command *command, int argc, char **argv, int *n_operands,
              tern_error *err)
{
    getopt_tables tables;
    make_tables(&tables, command);
    optind = 1;
    opterr = 0;
    for (int c; (c = getopt_long(argc, argv, tables.letters, tables.longs, NULL)) != -1;) {
        if (c == 'h') {
            cli_print_help(command);
            return -1;
        }
        if (c == '?' || c == ':') return refuse_option(command, c, argv, err);
        const cli_option *found = NULL;
        for (int i = 0; i < command->n_options; i++)
            if (c == 256 + i || c == command->options[i].letter) found = &command->options[i];
        const int status = set_value(values, found, optarg, err);
        if (status != TERN_OK) return status;
    }
    if (n_operands) *n_operands = argc - optind;
    if (!n_operands && optind < argc)
        return tern_fail(err, TERN_E_USAGE, "'%.60s' is not expected here: see `tern %s --help`",
                         argv[optind], command->name);
    return TERN_OK;
}
