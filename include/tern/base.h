/* tern/base.h - what every other header of Tern builds on: status codes, error sentences, the log
 * hook, progress and cancellation, data types.
 *
 * Conventions of the whole API
 *   - A fallible function returns 0 or a positive tern_status and takes a `tern_error *` as its
 *     last parameter. On failure the outputs are untouched and the error holds one sentence: what,
 *     where, the value, what to do. The pointer may be NULL.
 *   - Parameters come as: out, in, sizes, flags, error.
 *   - Who creates, destroys. Every destroy function takes NULL and half-built objects.
 *   - The library never exits, never aborts on input, and never prints to standard output.
 */
#ifndef TERN_BASE_H
#define TERN_BASE_H

#include <stddef.h>
#include <stdint.h>

#ifdef __cplusplus
extern "C" {
#endif

#define TERN_VERSION_MAJOR 0
#define TERN_VERSION_MINOR 1
#define TERN_VERSION_PATCH 0

/* Status of a call. The values are the exit codes of the program `tern`. */
typedef enum tern_status {
    TERN_OK = 0,
    TERN_E_IO = 1,        /* the system refused a file, a thread, a write */
    TERN_E_USAGE = 2,     /* a wrong option or argument */
    TERN_E_MODEL = 3,     /* a file that is not a model this program can run */
    TERN_E_FIT = 4,       /* it does not fit into memory, a budget or the context */
    TERN_E_DEVICE = 5,    /* a device failed */
    TERN_E_SELF_TEST = 6, /* a kernel or a model did not give its known answer */
} tern_status;

/* One failure: its status and one sentence, complete and ready to be shown to a person. */
typedef struct tern_error {
    int status; /* tern_status */
    char text[508];
} tern_error;

/* "0.1.0", from the macros above. */
const char *tern_version(void);

/* Log lines, one call per line, without a newline. The default hook drops everything.
 * Set it before any other call; the hook may be called from any thread. */
typedef enum tern_log_level { TERN_LOG_INFO, TERN_LOG_WARNING } tern_log_level;
typedef void tern_log_fn(void *user, tern_log_level level, const char *line);
void tern_log_set(tern_log_fn *fn, void *user);

/* Progress of long work: `done` of `total` (bytes, tokens, ...) of the named activity.
 * Called often and cheaply from the thread that does the work; non-zero asks the work to stop,
 * which then fails with TERN_E_IO and the sentence "... was interrupted". */
typedef int tern_progress_fn(void *user, const char *activity, uint64_t done, uint64_t total);
typedef struct tern_progress {
    tern_progress_fn *fn; /* NULL: nobody is looking */
    void *user;
} tern_progress;

/* Element types of spans and of model tensors. */
typedef enum tern_dtype {
    TERN_F32,
    TERN_F16,
    TERN_S8,
    TERN_S32,
    TERN_U8,
    TERN_OPAQUE, /* bytes whose layout is private to a backend; rows x cols do not apply */
} tern_dtype;

/* Bytes of one element; 1 for TERN_OPAQUE. */
size_t tern_dtype_bytes(tern_dtype type);

#ifdef __cplusplus
}
#endif
#endif
