/* editor.h - lines from a person, with editing and history, or from a pipe as they are. */
#ifndef TERN_CLI_EDITOR_H
#define TERN_CLI_EDITOR_H

#include "tern/base.h"

typedef struct cli_editor cli_editor;

/* `history` names a file that keeps lines from one call of the program to the next; NULL: none.
 * On a terminal Ctrl-C must be caught by cli_keep_interrupt(). */
int cli_editor_create(cli_editor **out, const char *history, tern_error *err);

/* Writes the history back. */
void cli_editor_destroy(cli_editor *editor);

/* Whether a person is typing. */
int cli_editor_is_terminal(const cli_editor *editor);

#define CLI_EDITOR_MARK "\1" /* encloses bytes of a prompt that take no room, as colours do */

/* The next line without its newline, valid until the next call, and its length; NULL at the end.
 * The prompt is shown on a terminal only. Ctrl-C begins the line again. */
int cli_editor_read(cli_editor *editor, const char **line, size_t *bytes, const char *prompt,
                    tern_error *err);

#endif
