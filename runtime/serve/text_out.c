/* text_out.c - the text of one answer. New text is searched once: from the longest stop string's
 * length before it. */
#include "serve/text_out.h"

#include <string.h>

/* Bytes at the end of the answer that begin a stop string. */
static size_t held_back(const text_out *out, const char *stop)
{
    const size_t length = strlen(stop), answer = out->text.n - out->begin;
    size_t n = length - 1 < answer ? length - 1 : answer;
    while (n > 0 && memcmp(out->text.data + out->text.n - n, stop, n) != 0) n--;
    return n;
}

/* Looks for stop strings that end after `old` bytes; the first in the text counts. */
static void apply_stops(text_out *out, const text_stops *stops, size_t old)
{
    size_t end = out->text.n, hold = 0;
    for (int i = 0; i < stops->n; i++) {
        const size_t length = strlen(stops->list[i]);
        const size_t from = old < out->begin + length ? out->begin : old - length;
        const char *found =
            memmem(out->text.data + from, out->text.n - from, stops->list[i], length);
        if (found && (size_t)(found - out->text.data) < end) end = (size_t)(found - out->text.data);
        out->stopped |= found != NULL;
        const size_t held = held_back(out, stops->list[i]);
        hold = held > hold ? held : hold;
    }
    if (out->stopped) out->text.n = end;
    out->ready = out->stopped ? end : out->text.n - hold;
}

static void append(text_out *out, const text_stops *stops, const char *text, size_t n)
{
    const size_t old = out->text.n;
    tern_bytes_add(&out->text, text, n);
    if (out->text.n > old) apply_stops(out, stops, old);
}

void tern_text_push(text_out *out, const text_stops *stops, const char *bytes, size_t n)
{
    char text[3 * (256 + 4)];
    for (size_t done = 0; done < n && !out->stopped;) {
        const size_t here = n - done < 256 ? n - done : 256;
        append(out, stops, text, tern_utf8_push(&out->utf8, text, bytes + done, here));
        done += here;
    }
}

void tern_text_finish(text_out *out, const text_stops *stops)
{
    char rest[4];
    if (!out->stopped) append(out, stops, rest, tern_utf8_finish(&out->utf8, rest));
    out->ready = out->text.n;
}

const char *tern_text_take(text_out *out, size_t *n)
{
    const char *from = out->text.data ? out->text.data + out->sent : "";
    *n = out->text.failed ? 0 : out->ready - out->sent;
    out->sent = out->ready;
    return from;
}

void tern_text_free(text_out *out)
{
    tern_bytes_free(&out->text);
}
