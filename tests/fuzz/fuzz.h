/* fuzz.h - what the fuzz targets share. A target is one function over any bytes; libFuzzer calls it
 * where the compiler is clang, fuzz_main.c elsewhere. A target aborts when a promise is broken: a
 * failure has a sentence and its status, whatever the bytes. */
#ifndef TERN_TESTS_FUZZ_H
#define TERN_TESTS_FUZZ_H

#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "tern/base.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t n);

static inline void check_status(int status, const tern_error *err)
{
    if (status == TERN_OK) return;
    const size_t length = strnlen(err->text, sizeof err->text);
    if (err->status != status || length == 0 || length == sizeof err->text) abort();
}

#endif
