/* fail.h - makes the one sentence of a failure, where the failure happens. */
#ifndef TERN_BASE_FAIL_H
#define TERN_BASE_FAIL_H

#include "tern/base.h"

#ifdef __cplusplus
extern "C" {
#endif

/* Fills `err` (may be NULL) with the status and the formatted sentence; returns the status, so that
 * `return tern_fail(err, TERN_E_MODEL, "...")` reads as one thought. */
#if defined(__GNUC__)
__attribute__((format(printf, 3, 4)))
#endif
int tern_fail(tern_error *err, int status, const char *format, ...);

/* Sends one line to the log hook. */
#if defined(__GNUC__)
__attribute__((format(printf, 2, 3)))
#endif
void tern_log(tern_log_level level, const char *format, ...);

/* Reports progress; 0 to go on, or TERN_E_IO with "<activity> was interrupted". */
int tern_progress_report(const tern_progress *progress, const char *activity, uint64_t done,
                         uint64_t total, tern_error *err);

#ifdef __cplusplus
}
#endif
#endif
