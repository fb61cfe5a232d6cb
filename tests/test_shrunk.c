/* test_shrunk.c - a mapped file that becomes shorter between its mapping and the first read ends a
 * program with one sentence and exit code 3. */
#include <setjmp.h>
#include <signal.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>
#include <sys/wait.h>
#include <unistd.h>

#include <cmocka.h>

#include "base/files.h"
#include "cli/shrunk.h"

static _Noreturn void read_shrunk(int fd, const char *path, int to)
{
    tern_file file;
    dup2(to, STDERR_FILENO);
    cli_exit_when_shrunk();
    if (tern_file_map(&file, path, NULL) != TERN_OK || ftruncate(fd, 0) != 0) _exit(100);
    const volatile uint8_t *last = file.data + file.bytes - 1;
    _exit(101 + *last);
}

static void test_shrunk(void **state)
{
    (void)state;
    char path[] = "/tmp/tern-shrunk-XXXXXX", text[200] = "";
    const int fd = mkstemp(path);
    int ends[2], status;
    assert_int_equal(ftruncate(fd, 100000), 0);
    assert_int_equal(pipe(ends), 0);
    const pid_t child = fork();
    if (child == 0) read_shrunk(fd, path, ends[1]);
    close(ends[1]);
    assert_true(read(ends[0], text, sizeof text - 1) > 0);
    assert_int_equal(waitpid(child, &status, 0), child);
    assert_true(WIFEXITED(status));
    assert_int_equal(WEXITSTATUS(status), TERN_E_MODEL);
    assert_non_null(strstr(text, "became shorter"));
    close(ends[0]);
    close(fd);
    unlink(path);
}

int main(void)
{
    const struct CMUnitTest tests[] = {cmocka_unit_test(test_shrunk)};
    return cmocka_run_group_tests(tests, NULL, NULL);
}
