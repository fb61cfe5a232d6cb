/* profile.c - curves, and the library of profiles that is part of the program: the files of
 * runtime/plan/profiles, one after the other, each ended by a zero byte. */
#include "plan/profile.h"

#include <stdio.h>
#include <string.h>

#include "base/fail.h"

extern const char tern_profiles_begin[], tern_profiles_end[];

const char *tern_curve_name(tern_curve_id id)
{
    static const char *const names[TERN_N_CURVES] = {
        "linear",     "norm_quant", "act_mul",   "rope_kv",     "embed",       "attn_f16_1",
        "attn_f16_4", "attn_i8_1",  "attn_i8_4", "chunk_f16_1", "chunk_f16_4", "chunk_i8_1",
        "chunk_i8_4", "top_i16",    "top_i8",
    };
    return names[id];
}

double tern_curve_ns(const tern_curve *c, double at)
{
    if (at <= c->at[0]) return c->ns[0] * at / c->at[0];
    for (int i = 1; i < c->n; i++)
        if (at <= c->at[i]) {
            const double share = (at - c->at[i - 1]) / (c->at[i] - c->at[i - 1]);
            return c->ns[i - 1] + share * (c->ns[i] - c->ns[i - 1]);
        }
    return c->ns[c->n - 1] * at / c->at[c->n - 1];
}

int tern_profile_library_all(tern_profile *out, int cap, int *n, tern_error *err)
{
    *n = 0;
    for (const char *at = tern_profiles_begin; at < tern_profiles_end;) {
        const size_t bytes = strlen(at);
        int here;
        const int status = tern_profiles_parse(out + *n, cap - *n, &here, at, bytes,
                                               "the library of profiles", err);
        if (status != TERN_OK) return status;
        *n += here;
        at += bytes + 1;
    }
    return TERN_OK;
}

int tern_profile_library(tern_profile *out, const char *name, tern_error *err)
{
    tern_profile list[TERN_PROFILE_MAX_FILE];
    int n;
    const int status = tern_profile_library_all(list, TERN_PROFILE_MAX_FILE, &n, err);
    if (status != TERN_OK) return status;
    char names[400] = "";
    for (int i = 0; i < n; i++) {
        if (strcmp(list[i].name, name) == 0) {
            *out = list[i];
            return TERN_OK;
        }
        const size_t used = strlen(names);
        snprintf(names + used, sizeof names - used, "%s%.31s", i ? ", " : "", list[i].name);
    }
    return tern_fail(err, TERN_E_USAGE, "there is no profile '%.40s': use one of %s", name, names);
}
