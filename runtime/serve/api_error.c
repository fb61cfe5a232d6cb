/* api_error.c - errors in OpenAI's shape. */
#include "serve/api_error.h"

#include <jansson.h>
#include <stdarg.h>
#include <stdio.h>

static const char *type_of(int http)
{
    switch (http) {
    case 401: return "authentication_error";
    case 404: return "not_found_error";
    case 408: return "timeout_error";
    case 429: return "rate_limit_error";
    case 503: return "service_unavailable_error";
    default: return http >= 500 ? "server_error" : "invalid_request_error";
    }
}

int tern_api_fail(api_error *out, int http, const char *param, const char *format, ...)
{
    *out = (api_error){.http = http, .type = type_of(http)};
    snprintf(out->param, sizeof out->param, "%s", param ? param : "");
    va_list args;
    va_start(args, format);
    vsnprintf(out->message, sizeof out->message, format, args);
    va_end(args);
    return -1;
}

int tern_api_status(api_error *out, const char *param, const tern_error *err)
{
    const int client =
        err->status == TERN_E_USAGE || err->status == TERN_E_FIT || err->status == TERN_E_MODEL;
    return tern_api_fail(out, client ? 400 : 500, param, "%s", err->text);
}

char *tern_api_text(const api_error *e)
{
    json_t *root = json_pack("{s:{s:s, s:s, s:s?, s:i}}", "error", "message", e->message, "type",
                             e->type, "param", e->param[0] ? e->param : NULL, "code", e->http);
    if (!root) /* a message that is not UTF-8, or no memory */
        root = json_pack("{s:{s:s, s:s, s:n, s:i}}", "error", "message", "the request is not valid",
                         "type", e->type, "param", "code", e->http);
    char *text = root ? json_dumps(root, JSON_COMPACT) : NULL;
    json_decref(root);
    return text;
}

int tern_serve_fail(tern_error *err, int status, const char *format, ...)
{
    if (!err) return status;
    err->status = status;
    va_list args;
    va_start(args, format);
    vsnprintf(err->text, sizeof err->text, format, args);
    va_end(args);
    return status;
}
