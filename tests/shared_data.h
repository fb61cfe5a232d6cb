/* shared_data.h - finds data that is too large or not ours to keep in the repository: the folder
 * named by TERN_SHARED, or `shared` beside the repository. */
#ifndef TERN_TESTS_SHARED_DATA_H
#define TERN_TESTS_SHARED_DATA_H

#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>

#define SHARED_PATH_BYTES 4096
#define SKIPPED 77

/* The path of `name`, relative to the folder; false, with a printed sentence, when it is not there.
 */
static inline bool shared_path(char path[SHARED_PATH_BYTES], const char *name)
{
    const char *folder = getenv("TERN_SHARED");
    snprintf(path, SHARED_PATH_BYTES, "%s/%s", folder ? folder : TERN_SOURCE_DIR "/../shared",
             name);
    if (access(path, R_OK) == 0) return true;
    printf("skipped: %s is not there; set TERN_SHARED to the folder that holds %s\n", path, name);
    return false;
}

#endif
