/* shrunk.c - see shrunk.h. */
#include "cli/shrunk.h"

#include <signal.h>
#include <unistd.h>

#include "tern/base.h"

/* Only what a signal handler may call. Another cause of SIGBUS ends the program as ever: the access
 * is repeated without a handler. */
static void on_bus_error(int signal_number, siginfo_t *info, void *context)
{
    static const char sentence[] = "tern: a file of the model became shorter, or its disk failed, "
                                   "while it was read: get the file again\n";
    (void)signal_number;
    (void)context;
    if (info->si_code != BUS_ADRERR) return;
    const ssize_t written = write(STDERR_FILENO, sentence, sizeof sentence - 1);
    _exit(written < 0 ? TERN_E_IO : TERN_E_MODEL);
}

void cli_exit_when_shrunk(void)
{
    struct sigaction action = {.sa_sigaction = on_bus_error,
                               .sa_flags = (int)SA_RESETHAND | SA_SIGINFO};
    sigaction(SIGBUS, &action, NULL);
}
