/* files.c - mapping and reading files. Reading a mapped file that has shrunk raises SIGBUS; that is
 * the one case a reader cannot check for beforehand; programs catch it (cli/shrunk.c). */
#include "base/files.h"

#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/fail.h"

int tern_file_map(tern_file *out, const char *path, tern_error *err)
{
    /* Without O_NONBLOCK a pipe would wait for its writer. */
    const int fd = open(path, O_RDONLY | O_CLOEXEC | O_NONBLOCK);
    if (fd < 0) return tern_fail(err, TERN_E_IO, "cannot open '%s': %s", path, strerror(errno));
    struct stat st;
    int status = TERN_OK;
    if (fstat(fd, &st) != 0) {
        status = tern_fail(err, TERN_E_IO, "cannot examine '%s': %s", path, strerror(errno));
    } else if (!S_ISREG(st.st_mode)) {
        status = tern_fail(err, TERN_E_IO, "'%s' is not a regular file", path);
    } else if (st.st_size == 0) {
        *out = (tern_file){0};
    } else {
        const size_t bytes = (size_t)st.st_size;
        void *p = mmap(NULL, bytes, PROT_READ, MAP_PRIVATE, fd, 0);
        if (p == MAP_FAILED)
            status = tern_fail(err, TERN_E_IO, "cannot map '%s': %s", path, strerror(errno));
        else
            *out = (tern_file){.data = p, .bytes = bytes, .mapped = 1};
    }
    close(fd);
    return status;
}

void tern_file_unmap(tern_file *file)
{
    if (file && file->mapped) munmap((void *)(uintptr_t)file->data, file->bytes);
    if (file) *file = (tern_file){0};
}

void tern_file_forget(const tern_file *file, size_t offset, size_t bytes)
{
    const size_t page = (size_t)sysconf(_SC_PAGESIZE);
    const size_t begin = (offset + page - 1) / page * page;
    const size_t end = (offset + bytes) / page * page;
    if (file->mapped && begin < end && end <= file->bytes)
        madvise((void *)(uintptr_t)(file->data + begin), end - begin, MADV_DONTNEED);
}

int tern_stream_read(char **out, size_t *bytes, FILE *stream, const char *name, size_t max_bytes,
                     tern_error *err)
{
    char *text = NULL;
    size_t used = 0, room = 0;
    for (;;) {
        if (room - used < 2) {
            room = room ? room * 2 : 4096;
            char *grown = realloc(text, room);
            if (!grown) {
                free(text);
                return tern_fail(err, TERN_E_FIT, "no memory to read '%s' (%zu bytes)", name, room);
            }
            text = grown;
        }
        const size_t got = fread(text + used, 1, room - used - 1, stream);
        used += got;
        if (used > max_bytes) {
            free(text);
            return tern_fail(err, TERN_E_USAGE, "'%s' is larger than %zu bytes: give less text",
                             name, max_bytes);
        }
        if (got == 0) break;
    }
    if (ferror(stream)) {
        free(text);
        return tern_fail(err, TERN_E_IO, "cannot read '%s': %s", name, strerror(errno));
    }
    text[used] = 0;
    *out = text;
    *bytes = used;
    return TERN_OK;
}
