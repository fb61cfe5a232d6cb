/* buffer.c - bytes that grow, by doubling. */
#include "serve/buffer.h"

#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

void tern_bytes_add(serve_buffer *b, const void *data, size_t n)
{
    if (b->failed || n == 0) return;
    if (n > b->room - b->n) {
        const size_t room = 2 * (b->n + n) + 64;
        char *grown = realloc(b->data, room);
        if (!grown) {
            tern_bytes_free(b);
            b->failed = 1;
            return;
        }
        b->data = grown;
        b->room = room;
    }
    memcpy(b->data + b->n, data, n);
    b->n += n;
}

void tern_bytes_text(serve_buffer *b, const char *text)
{
    tern_bytes_add(b, text, strlen(text));
}

void tern_bytes_format(serve_buffer *b, const char *format, ...)
{
    char line[1024];
    va_list args;
    va_start(args, format);
    const int n = vsnprintf(line, sizeof line, format, args);
    va_end(args);
    if (n > 0) tern_bytes_add(b, line, (size_t)n < sizeof line ? (size_t)n : sizeof line - 1);
}

void tern_bytes_free(serve_buffer *b)
{
    free(b->data);
    *b = (serve_buffer){0};
}
