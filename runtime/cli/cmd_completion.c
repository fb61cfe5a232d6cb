/* cmd_completion.c - `tern completion SHELL`: a script that completes commands, options and their
 * arguments, from the tables of the commands. Choices complete as words, FILE and DIR as paths. */
#include <stdio.h>
#include <string.h>

#include "base/fail.h"
#include "cli/console.h"

static int completion(int argc, char **argv, tern_error *err);
const cli_command cli_completion = {
    "completion",
    "prints a script that completes this program's command lines in a shell",
    "bash|zsh|fish",
    NULL,
    0,
    completion};

/* What may follow an option. */
typedef enum argument { ARG_NONE, ARG_WORDS, ARG_FILE, ARG_DIR, ARG_ANY } argument;

static argument argument_of(const cli_option *o)
{
    if (o->kind == CLI_FLAG) return ARG_NONE;
    if (o->kind == CLI_CHOICE) return ARG_WORDS;
    return strcmp(o->arg, "FILE") == 0 ? ARG_FILE : strcmp(o->arg, "DIR") == 0 ? ARG_DIR : ARG_ANY;
}

/* Text inside single quotes; the characters of `special` behind a backslash. */
static void put_escaped(const char *text, const char *special)
{
    for (; *text; text++) {
        if (*text == '\'') {
            fputs("'\\''", stdout); /* inside single quotes */
            continue;
        }
        if (strchr(special, *text)) putchar('\\');
        putchar(*text);
    }
}

/* "f16|i8" as words. */
static void put_words(const char *choices)
{
    for (; *choices; choices++) putchar(*choices == '|' ? ' ' : *choices);
}

/* First words of the commands, each once. */
static void put_first_words(void)
{
    const char *last = "";
    for (const cli_command *const *c = cli_commands; *c; c++) {
        const size_t n = strcspn((*c)->name, " ");
        if (n == strcspn(last, " ") && strncmp(last, (*c)->name, n) == 0) continue;
        printf(" %.*s", (int)n, (*c)->name);
        last = (*c)->name;
    }
}

/* ---- bash ---- */

static void put_bash_arguments(const cli_command *c)
{
    for (int i = 0; i < c->n_options; i++) {
        const cli_option *o = &c->options[i];
        const argument kind = argument_of(o);
        if (kind == ARG_NONE) continue;
        printf("    '%s --%s'", c->name, o->name);
        if (o->letter) printf(" | '%s -%c'", c->name, o->letter);
        printf(")");
        if (kind == ARG_FILE) printf(" COMPREPLY=($(compgen -f -- \"$word\"))");
        if (kind == ARG_DIR) printf(" COMPREPLY=($(compgen -d -- \"$word\"))");
        if (kind == ARG_WORDS) {
            printf(" COMPREPLY=($(compgen -W '");
            put_words(o->arg);
            printf("' -- \"$word\"))");
        }
        printf("%s return ;;\n", kind == ARG_ANY ? "" : ";");
    }
}

static void put_bash_options(const cli_command *c)
{
    printf("    '%s') words='--help", c->name);
    for (int i = 0; i < c->n_options; i++) printf(" --%s", c->options[i].name);
    if (strchr(c->operands, '|')) {
        putchar(' ');
        put_words(c->operands);
    }
    printf("' ;;\n");
}

static void print_bash(void)
{
    printf("# bash completion of tern, made by `tern completion bash`.\n"
           "_tern() {\n"
           "    local word=${COMP_WORDS[COMP_CWORD]} before=${COMP_WORDS[COMP_CWORD - 1]} words=\n"
           "    local command=${COMP_WORDS[1]}\n"
           "    COMPREPLY=()\n"
           "    case $COMP_CWORD in\n"
           "    1) words='--help --version");
    put_first_words();
    printf("'; command= ;;\n"
           "    esac\n"
           "    case \"$command $([ \"$COMP_CWORD\" -gt 2 ] && echo \"${COMP_WORDS[2]}\")\" in\n");
    for (const cli_command *const *c = cli_commands; *c; c++)
        if (strchr((*c)->name, ' ')) printf("    '%s') command='%s' ;;\n", (*c)->name, (*c)->name);
    printf("    esac\n"
           "    case \"$command $before\" in\n");
    for (const cli_command *const *c = cli_commands; *c; c++) put_bash_arguments(*c);
    printf("    esac\n"
           "    case $command in\n");
    for (const cli_command *const *c = cli_commands; *c; c++) {
        const char *second = strchr((*c)->name, ' ');
        put_bash_options(*c);
        if (second) /* the first word alone is completed by every second one */
            printf("    '%.*s') words=\"$words%s\" ;;&\n", (int)(second - (*c)->name), (*c)->name,
                   second);
    }
    printf("    esac\n"
           "    COMPREPLY=($(compgen -W \"$words\" -- \"$word\"))\n"
           "}\n"
           "complete -F _tern tern\n");
}

/* ---- zsh ---- */

static void put_zsh_option(const cli_option *o)
{
    printf(" \\\n            ");
    if (o->letter)
        printf("'(-%c --%s)'{-%c,--%s}'[", o->letter, o->name, o->letter, o->name);
    else
        printf("'--%s[", o->name);
    put_escaped(o->help, "[]\\");
    putchar(']');
    const argument kind = argument_of(o);
    if (kind != ARG_NONE) {
        printf(":");
        put_escaped(kind == ARG_WORDS ? o->name : o->arg, ":");
        printf(":");
    }
    if (kind == ARG_FILE) printf("_files");
    if (kind == ARG_DIR) printf("_files -/");
    if (kind == ARG_WORDS) {
        putchar('(');
        put_words(o->arg);
        putchar(')');
    }
    putchar('\'');
}

static void print_zsh(void)
{
    printf("#compdef tern\n"
           "# zsh completion of tern, made by `tern completion zsh`.\n"
           "local -a commands\n"
           "commands=(\n");
    for (const cli_command *const *c = cli_commands; *c; c++) {
        printf("    '");
        put_escaped((*c)->name, ":");
        putchar(':');
        put_escaped((*c)->summary, "");
        printf("'\n");
    }
    printf(")\n"
           "if (( CURRENT == 2 )); then\n"
           "    _describe command commands\n"
           "    return\n"
           "fi\n"
           "local command=$words[2]\n"
           "shift words\n"
           "(( CURRENT-- ))\n"
           "if (( ${commands[(I)$command $words[2]:*]} )); then\n"
           "    command=\"$command $words[2]\"\n"
           "    shift words\n"
           "    (( CURRENT-- ))\n"
           "fi\n"
           "case $command in\n");
    for (const cli_command *const *c = cli_commands; *c; c++) {
        printf("    '%s')\n        _arguments '(-h --help)'{-h,--help}'[this text]'", (*c)->name);
        for (int i = 0; i < (*c)->n_options; i++) put_zsh_option(&(*c)->options[i]);
        if (strchr((*c)->operands, '|')) {
            printf(" \\\n            '1:word:(");
            put_words((*c)->operands);
            printf(")'");
        }
        printf(" ;;\n");
    }
    printf("esac\n");
}

/* ---- fish ---- */

/* The beginning of a line for a command; two words are both to be seen. */
static void put_fish_head(const cli_command *c)
{
    const size_t first = strcspn(c->name, " ");
    printf("complete -c tern -n '__fish_seen_subcommand_from %.*s", (int)first, c->name);
    if (c->name[first]) printf("; and __fish_seen_subcommand_from%s", c->name + first);
    printf("'");
}

static void put_fish_option(const cli_command *c, const cli_option *o)
{
    put_fish_head(c);
    printf(" -l %s", o->name);
    if (o->letter) printf(" -s %c", o->letter);
    switch (argument_of(o)) {
    case ARG_NONE: printf(" -f"); break;
    case ARG_FILE: printf(" -r -F"); break;
    case ARG_DIR: printf(" -x -a '(__fish_complete_directories)'"); break;
    case ARG_ANY: printf(" -x"); break;
    case ARG_WORDS:
        printf(" -x -a '");
        put_words(o->arg);
        printf("'");
    }
    printf(" -d '");
    put_escaped(o->help, "\\");
    printf("'\n");
}

static void put_fish_command(const cli_command *c)
{
    const size_t first = strcspn(c->name, " ");
    if (c->name[first])
        printf("complete -c tern -f -n '__fish_seen_subcommand_from %.*s' -a '%s' -d '", (int)first,
               c->name, c->name + first + 1);
    else
        printf("complete -c tern -f -n __fish_use_subcommand -a %s -d '", c->name);
    put_escaped(c->summary, "\\");
    printf("'\n");
    if (strchr(c->operands, '|')) {
        put_fish_head(c);
        printf(" -f -a '");
        put_words(c->operands);
        printf("'\n");
    }
    for (int i = 0; i < c->n_options; i++) put_fish_option(c, &c->options[i]);
}

static void print_fish(void)
{
    printf("# fish completion of tern, made by `tern completion fish`.\n"
           "complete -c tern -f -n __fish_use_subcommand -a '");
    put_first_words();
    printf("'\n");
    printf("complete -c tern -l help -s h -f -d 'this text'\n");
    for (const cli_command *const *c = cli_commands; *c; c++) put_fish_command(*c);
}

static int completion(int argc, char **argv, tern_error *err)
{
    static const struct {
        const char *name;
        void (*print)(void);
    } shells[] = {{"bash", print_bash}, {"zsh", print_zsh}, {"fish", print_fish}};
    int n_operands;
    const int status = cli_parse(NULL, &cli_completion, argc, argv, &n_operands, err);
    if (status != TERN_OK) return status < 0 ? TERN_OK : status;
    const char *shell = n_operands == 1 ? argv[argc - 1] : "";
    for (size_t i = 0; i < sizeof shells / sizeof *shells; i++)
        if (strcmp(shell, shells[i].name) == 0) {
            shells[i].print();
            return TERN_OK;
        }
    return tern_fail(err, TERN_E_USAGE, "'%.40s' is no shell: use bash, zsh or fish", shell);
}
