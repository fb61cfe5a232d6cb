/* fail.c - error sentences, the log hook and progress reports. The hook is the library's only
 * mutable global besides the CPU level mask; it is set before any other call. */
#include "base/fail.h"

#include <stdarg.h>
#include <stdio.h>

static tern_log_fn *log_hook;
static void *log_user;

#define STRING_OF(x) #x
#define VERSION_TEXT(a, b, c) STRING_OF(a) "." STRING_OF(b) "." STRING_OF(c)

const char *tern_version(void)
{
    return VERSION_TEXT(TERN_VERSION_MAJOR, TERN_VERSION_MINOR, TERN_VERSION_PATCH);
}

size_t tern_dtype_bytes(tern_dtype type)
{
    switch (type) {
    case TERN_F32: return 4;
    case TERN_F16: return 2;
    case TERN_S32: return 4;
    case TERN_S8:
    case TERN_U8:
    case TERN_OPAQUE: return 1;
    }
    return 1;
}

int tern_fail(tern_error *err, int status, const char *format, ...)
{
    if (err) {
        err->status = status;
        va_list args;
        va_start(args, format);
        vsnprintf(err->text, sizeof err->text, format, args);
        va_end(args);
    }
    return status;
}

void tern_log_set(tern_log_fn *fn, void *user)
{
    log_hook = fn;
    log_user = user;
}

void tern_log(tern_log_level level, const char *format, ...)
{
    if (!log_hook) return;
    char line[512];
    va_list args;
    va_start(args, format);
    vsnprintf(line, sizeof line, format, args);
    va_end(args);
    log_hook(log_user, level, line);
}

int tern_progress_report(const tern_progress *progress, const char *activity, uint64_t done,
                         uint64_t total, tern_error *err)
{
    if (!progress || !progress->fn) return TERN_OK;
    if (progress->fn(progress->user, activity, done, total) == 0) return TERN_OK;
    return tern_fail(err, TERN_E_IO, "%s was interrupted", activity);
}
