/* cmd_man.c - `tern man`: the manual page in roff, from the tables of the commands. */
#include <stdio.h>
#include <string.h>

#include "cli/console.h"

static int man(int argc, char **argv, tern_error *err);
const cli_command cli_man = {"man", "prints this program's manual page, in roff", "", NULL, 0, man};

/* Text as roff prints it: a leading dot is no request, a dash no hyphen. */
static void put(const char *text)
{
    if (*text == '.' || *text == '\'') fputs("\\&", stdout);
    for (; *text; text++) {
        if (*text == '\\')
            fputs("\\e", stdout);
        else if (*text == '-')
            fputs("\\-", stdout);
        else
            putchar(*text);
    }
}

static void put_option(const cli_option *o)
{
    printf(".TP\n");
    if (o->letter) printf("\\fB\\-%c\\fR, ", o->letter);
    printf("\\fB\\-\\-");
    put(o->name);
    printf("\\fR");
    if (o->arg) {
        printf(" \\fI");
        put(o->arg);
        printf("\\fR");
    }
    printf("\n");
    put(o->help);
    printf("\n");
}

static void put_command(const cli_command *c)
{
    printf(".SS tern %s\n", c->name);
    if (*c->operands) {
        printf("Usage: \\fBtern %s\\fR [\\fIoptions\\fR] \\fI", c->name);
        put(c->operands);
        printf("\\fR\n.PP\n");
    }
    put(c->summary);
    printf("\n");
    for (int i = 0; i < c->n_options; i++) put_option(&c->options[i]);
}

static int man(int argc, char **argv, tern_error *err)
{
    int status = cli_parse(NULL, &cli_man, argc, argv, NULL, err);
    if (status != TERN_OK) return status < 0 ? TERN_OK : status;
    printf(".TH TERN 1 \"\" \"tern %s\" \"User Commands\"\n"
           ".SH NAME\ntern \\- runs native 1\\-bit and 1.58\\-bit language models\n"
           ".SH SYNOPSIS\n\\fBtern\\fR \\fICOMMAND\\fR [\\fIoptions\\fR]\n"
           ".SH DESCRIPTION\n"
           "Answers go to standard output, everything else to standard error. Numbers of tokens\n"
           "may be written with k (1024) or M (1024k): 4k is 4096; sizes with units:\n"
           "512MiB, 2GB. Every command knows \\fB\\-h\\fR and \\fB\\-\\-help\\fR.\n.SH COMMANDS\n",
           tern_version());
    for (const cli_command *const *c = cli_commands; *c; c++) put_command(*c);
    printf(".SH ENVIRONMENT\n"
           ".TP\n\\fBTERN_CPU\\fR\nKernel level of CPU devices; \\fBtern devices\\fR shows the "
           "one in use.\n"
           ".TP\n\\fBNO_COLOR\\fR\nWhen set and not empty, nothing is printed in colour.\n"
           ".SH EXIT STATUS\n"
           "0 success, 1 input or output, 2 usage, 3 bad model, 4 does not fit, 5 device failed,\n"
           "6 self\\-test failed.\n");
    return TERN_OK;
}
