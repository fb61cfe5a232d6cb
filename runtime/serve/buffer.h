/* buffer.h - bytes that grow. A failed allocation sticks and makes the buffer empty, so that a
 * sequence of appends needs one check at its end. */
#ifndef TERN_SERVE_BUFFER_H
#define TERN_SERVE_BUFFER_H

#include <stddef.h>

typedef struct serve_buffer {
    char *data;
    size_t n, room;
    int failed;
} serve_buffer;

void tern_bytes_add(serve_buffer *buffer, const void *data, size_t n);
void tern_bytes_text(serve_buffer *buffer, const char *text);
#if defined(__GNUC__)
__attribute__((format(printf, 2, 3)))
#endif
void tern_bytes_format(serve_buffer *buffer, const char *format, ...);
void tern_bytes_free(serve_buffer *buffer);

#endif
