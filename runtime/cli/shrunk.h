/* shrunk.h - a mapped file that becomes shorter while it is read ends the program with a sentence
 * and TERN_E_MODEL instead of a crash. */
#ifndef TERN_CLI_SHRUNK_H
#define TERN_CLI_SHRUNK_H

/* From now on, for all threads. */
void cli_exit_when_shrunk(void);

#endif
