/* utf8_stream.c - bytes of tokens to whole characters. What is pending is always the unfinished
 * beginning of one character, three bytes at most; so a new byte finishes it, extends it, or breaks
 * it. */
#include <string.h>

#include "base/text.h"
#include "tern/tokenizer.h"

static size_t put_replacement(char *out)
{
    memcpy(out, "\xef\xbf\xbd", 3);
    return 3;
}

size_t tern_utf8_push(tern_utf8_stream *stream, char *out, const char *bytes, size_t n)
{
    size_t written = 0;
    for (size_t i = 0; i < n; i++) {
        stream->pending[stream->n_pending++] = (unsigned char)bytes[i];
        /* A broken beginning is replaced without the byte that broke it, which is looked at again.
         */
        while (stream->n_pending > 0) {
            char pending[4];
            memcpy(pending, stream->pending, sizeof pending);
            size_t length;
            const tern_utf8_kind kind = tern_utf8_look(pending, (size_t)stream->n_pending, &length);
            if (kind == TERN_UTF8_UNFINISHED) break;
            if (kind == TERN_UTF8_WHOLE) {
                memcpy(out + written, pending, length);
                written += length;
            } else {
                written += put_replacement(out + written);
            }
            stream->n_pending -= (int)length;
            memmove(stream->pending, stream->pending + length, (size_t)stream->n_pending);
        }
    }
    return written;
}

size_t tern_utf8_finish(tern_utf8_stream *stream, char *out)
{
    if (stream->n_pending == 0) return 0;
    stream->n_pending = 0;
    return put_replacement(out);
}
