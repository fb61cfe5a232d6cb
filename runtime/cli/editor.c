/* editor.c - libedit on a terminal, getline elsewhere. libedit reads characters through a function
 * of ours, so that Ctrl-C ends the line that is being typed and nothing else. */
#include "cli/editor.h"

#include <errno.h>
#include <histedit.h>
#include <locale.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "base/fail.h"
#include "base/memory.h"
#include "base/text.h"
#include "cli/console.h"

#define HISTORY_LINES 1000

struct cli_editor {
    EditLine *edit; /* NULL: no terminal */
    History *history;
    const char *history_file, *prompt;
    char *line; /* without a terminal: getline's */
    size_t line_room;
};

/* Lines may be any UTF-8, whatever the locale of the terminal says. */
static bool choose_utf8(void)
{
    return setlocale(LC_CTYPE, "C.UTF-8") || setlocale(LC_CTYPE, "");
}

/* One character of standard input; -1 when a signal came or it is broken, 0 at the end. */
static int read_char(EditLine *edit, wchar_t *out)
{
    (void)edit;
    char bytes[4];
    size_t n = 0, length;
    do {
        const ssize_t got = read(STDIN_FILENO, bytes + n, 1);
        if (got < 0 && errno == EINTR && !cli_interrupted()) continue;
        if (got <= 0) return (int)got;
        n++;
    } while (tern_utf8_look(bytes, n, &length) == TERN_UTF8_UNFINISHED);
    *out = L'?'; /* a broken byte */
    if (tern_utf8_look(bytes, n, &length) == TERN_UTF8_WHOLE) mbtowc(out, bytes, n);
    return 1;
}

static char *show_prompt(EditLine *edit)
{
    void *editor = NULL;
    el_get(edit, EL_CLIENTDATA, &editor);
    return (char *)(uintptr_t)((cli_editor *)editor)->prompt;
}

static int open_terminal(cli_editor *e, tern_error *err)
{
    HistEvent event;
    if (!choose_utf8()) return tern_fail(err, TERN_E_IO, "this system knows no character set");
    e->edit = el_init("tern", stdin, stdout, stderr);
    e->history = history_init();
    if (!e->edit || !e->history) return tern_fail(err, TERN_E_FIT, "no memory for the line editor");
    el_set(e->edit, EL_CLIENTDATA, e);
    el_set(e->edit, EL_PROMPT_ESC, show_prompt, *CLI_EDITOR_MARK);
    el_set(e->edit, EL_EDITOR, "emacs");
    el_set(e->edit, EL_GETCFN, read_char);
    history(e->history, &event, H_SETSIZE, HISTORY_LINES);
    history(e->history, &event, H_SETUNIQUE, 1);
    el_set(e->edit, EL_HIST, history, e->history);
    if (e->history_file) history(e->history, &event, H_LOAD, e->history_file);
    return TERN_OK;
}

int cli_editor_create(cli_editor **out, const char *history_file, tern_error *err)
{
    cli_editor *e;
    int status = tern_alloc(&e, 1, sizeof *e, "the line editor", err);
    if (status != TERN_OK) return status;
    if (isatty(STDIN_FILENO) && isatty(STDOUT_FILENO)) {
        e->history_file = history_file;
        status = open_terminal(e, err);
    }
    if (status == TERN_OK)
        *out = e;
    else
        cli_editor_destroy(e);
    return status;
}

void cli_editor_destroy(cli_editor *e)
{
    if (!e) return;
    HistEvent event;
    if (e->history && e->history_file) history(e->history, &event, H_SAVE, e->history_file);
    if (e->edit) el_end(e->edit);
    if (e->history) history_end(e->history);
    free(e->line);
    free(e);
}

int cli_editor_is_terminal(const cli_editor *editor)
{
    return editor->edit != NULL;
}

static int read_typed(cli_editor *e, const char **line, size_t *bytes)
{
    for (;;) {
        int count = 0;
        el_resize(e->edit);
        *line = el_gets(e->edit, &count);
        *bytes = count > 0 ? (size_t)count : 0;
        if (*line || !cli_interrupted()) break;
        cli_keep_interrupt();
        el_reset(e->edit);
        printf("\n");
    }
    if (!*line) return TERN_OK;
    HistEvent event;
    if (*bytes > 1) history(e->history, &event, H_ENTER, *line);
    return TERN_OK;
}

static int read_piped(cli_editor *e, const char **line, size_t *bytes, tern_error *err)
{
    errno = 0;
    const ssize_t n = getline(&e->line, &e->line_room, stdin);
    if (n < 0 && (ferror(stdin) || errno == ENOMEM))
        return tern_fail(err, TERN_E_IO, "cannot read standard input: %s", strerror(errno));
    *line = n < 0 ? NULL : e->line;
    *bytes = n < 0 ? 0 : (size_t)n;
    return TERN_OK;
}

int cli_editor_read(cli_editor *e, const char **line, size_t *bytes, const char *prompt,
                    tern_error *err)
{
    e->prompt = prompt;
    const int status = e->edit ? read_typed(e, line, bytes) : read_piped(e, line, bytes, err);
    if (status == TERN_OK && *line && *bytes && (*line)[*bytes - 1] == '\n') --*bytes;
    return status;
}
