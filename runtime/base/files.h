/* files.h - a file as read-only memory, and a stream as one string. */
#ifndef TERN_BASE_FILES_H
#define TERN_BASE_FILES_H

#include <stdio.h>

#include "tern/base.h"

/* A mapped file, or memory that somebody else owns (`mapped` 0). */
typedef struct tern_file {
    const uint8_t *data;
    size_t bytes;
    int mapped;
} tern_file;

/* Maps a file. TERN_E_IO when it cannot be opened, is no regular file or cannot be mapped. */
int tern_file_map(tern_file *out, const char *path, tern_error *err);

/* Unmaps; safe on a zeroed object and on memory of others. */
void tern_file_unmap(tern_file *file);

/* Tells the system that a byte range will not be needed again soon (its pages may be dropped). */
void tern_file_forget(const tern_file *file, size_t offset, size_t bytes);

/* Reads a stream to its end into a zero-terminated string that the caller frees.
 * TERN_E_IO on a read error, TERN_E_USAGE beyond max_bytes; `name` is for the sentence. */
int tern_stream_read(char **out, size_t *bytes, FILE *stream, const char *name, size_t max_bytes,
                     tern_error *err);

#endif
