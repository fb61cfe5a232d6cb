/* api_error.h - a refused request, in the shape that OpenAI's clients read:
 *   {"error": {"message": ..., "type": ..., "param": ..., "code": ...}} */
#ifndef TERN_SERVE_API_ERROR_H
#define TERN_SERVE_API_ERROR_H

#include "tern/base.h"

typedef struct api_error {
    int http;         /* status code */
    const char *type; /* follows from the code */
    char param[64];   /* the field; empty: none */
    char message[600];
} api_error;

/* Fills the error; returns -1. `param` may be NULL. */
#if defined(__GNUC__)
__attribute__((format(printf, 4, 5)))
#endif
int tern_api_fail(api_error *out, int http, const char *param, const char *format, ...);

/* The error of a library call: usage and fit are the client's, the rest is the server's. */
int tern_api_status(api_error *out, const char *param, const tern_error *err);

/* As JSON text, which the caller frees; NULL without memory. */
char *tern_api_text(const api_error *error);

/* The same for errors of the server's own set-up; returns the status. */
#if defined(__GNUC__)
__attribute__((format(printf, 3, 4)))
#endif
int tern_serve_fail(tern_error *err, int status, const char *format, ...);

#endif
