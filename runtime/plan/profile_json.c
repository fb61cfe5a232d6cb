/* profile_json.c - profiles as JSON and back. Files come from people: every value is checked for
 * type and range, and every key that is not known is refused. */
#include <jansson.h>
#include <stdlib.h>
#include <string.h>

#include "base/fail.h"
#include "base/text.h"
#include "plan/profile.h"

#define AT(member) offsetof(tern_profile, member)

static const struct {
    const char *key;
    size_t offset, bytes;
    int required;
} texts[] = {
    {"name", AT(name), sizeof(((tern_profile *)0)->name), 1},
    {"kind", AT(kind), sizeof(((tern_profile *)0)->kind), 1},
    {"hardware", AT(hardware), sizeof(((tern_profile *)0)->hardware), 1},
    {"level", AT(level), sizeof(((tern_profile *)0)->level), 0},
    {"driver", AT(driver), sizeof(((tern_profile *)0)->driver), 0},
    {"build", AT(build), sizeof(((tern_profile *)0)->build), 0},
    {"source", AT(source), sizeof(((tern_profile *)0)->source), 0},
    {"storage", AT(storage), sizeof(((tern_profile *)0)->storage), 0},
};
#define N_TEXTS (sizeof texts / sizeof texts[0])

/* `fallback` stands for what a file leaves out; below 0: it must be there. In a file the value is
 * divided by `unit`. */
static const struct {
    const char *key;
    size_t offset;
    double min, max, fallback, unit;
} numbers[] = {
    {"read_gb_s", AT(read_bytes), 1e-3, 1e6, -1, 1e9},
    {"int8_gmac_s", AT(int8_mac), 1e-3, 1e9, -1, 1e9},
    {"f32_gfma_s", AT(f32_fma), 1e-3, 1e9, -1, 1e9},
    {"watts", AT(watts), 0, 1e5, 0, 1},
    {"reach_read", AT(reach_read), 0.01, 1, 0.6, 1},
    {"reach_compute", AT(reach_compute), 0.01, 1, 0.4, 1},
    {"op_ns", AT(op_ns), 0, 1e9, 1000, 1},
    {"run_ns", AT(run_ns), 0, 1e9, 5000, 1},
    {"to_gb_s", AT(to_bytes), 1e-3, 1e6, 10, 1e9},
    {"from_gb_s", AT(from_bytes), 1e-3, 1e6, 10, 1e9},
    {"copy_ns", AT(copy_ns), 0, 1e9, 1000, 1},
    {"while_copies", AT(while_copies), 0.01, 1, 1, 1},
    {"sustained", AT(sustained), 0.01, 1, 1, 1},
};
#define N_NUMBERS (sizeof numbers / sizeof numbers[0])

/* What is being read, for the sentences. */
typedef struct reader {
    const char *file;
    int index; /* of the profile */
    tern_error *err;
} reader;

static int bad_key(const reader *r, const char *key, const char *what)
{
    return tern_fail(r->err, TERN_E_USAGE,
                     "'%.100s': %s of profile %d %s: mend the file, or run `tern calibrate`",
                     r->file, TERN_QUOTED(key, strlen(key)), r->index + 1, what);
}

static int read_texts(tern_profile *out, const json_t *object, const reader *r)
{
    for (size_t i = 0; i < N_TEXTS; i++) {
        const json_t *value = json_object_get(object, texts[i].key);
        if (!value && !texts[i].required) continue;
        const char *text = json_string_value(value);
        if (!text || (texts[i].required && !*text) || json_string_length(value) >= texts[i].bytes)
            return bad_key(r, texts[i].key, "is no text of fitting length");
        for (const char *c = text; *c; c++)
            if ((unsigned char)*c < 0x20 || (unsigned char)*c > 0x7e)
                return bad_key(r, texts[i].key, "has characters that are not printable ASCII");
        memcpy((char *)out + texts[i].offset, text, strlen(text) + 1);
    }
    return TERN_OK;
}

static int read_numbers(tern_profile *out, const json_t *object, const reader *r)
{
    for (size_t i = 0; i < N_NUMBERS; i++) {
        const json_t *value = json_object_get(object, numbers[i].key);
        double number = numbers[i].fallback;
        if (value || number < 0) {
            number = json_is_number(value) ? json_number_value(value) : -1;
            if (!(number >= numbers[i].min && number <= numbers[i].max))
                return bad_key(r, numbers[i].key, "is missing or out of its range");
        }
        number *= numbers[i].unit;
        memcpy((char *)out + numbers[i].offset, &number, sizeof number);
    }
    const json_t *memory = json_object_get(object, "memory_mib");
    const json_t *threads = json_object_get(object, "threads");
    const json_int_t mib = json_integer_value(memory), n = json_integer_value(threads);
    if (mib < 1 || mib > (json_int_t)1 << 32)
        return bad_key(r, "memory_mib", "is no number of MiB");
    if (!json_is_integer(threads) || n < 0 || n > 1024)
        return bad_key(r, "threads", "is not 0 to 1024");
    out->memory_bytes = (uint64_t)mib << 20;
    out->n_threads = (int)n;
    out->estimated = json_is_true(json_object_get(object, "estimated"));
    return TERN_OK;
}

static int read_curve(tern_curve *out, const json_t *points, const char *key, const reader *r)
{
    const size_t n = json_array_size(points);
    if (n < 1 || n > TERN_CURVE_POINTS) return bad_key(r, key, "is no list of 1 to 12 points");
    for (size_t i = 0; i < n; i++) {
        const json_t *point = json_array_get(points, i);
        const double at = json_number_value(json_array_get(point, 0));
        const double ns = json_number_value(json_array_get(point, 1));
        if (!(at > (i ? out->at[i - 1] : 0) && at <= 1e9) || !(ns > 0 && ns <= 1e12))
            return bad_key(r, key, "has points that do not ascend from above 0");
        out->at[i] = at;
        out->ns[i] = ns;
    }
    out->n = (int)n;
    return TERN_OK;
}

static int read_curves(tern_profile *out, const json_t *object, const reader *r)
{
    const json_t *curves = json_object_get(object, "curves");
    for (int i = 0; i < TERN_N_CURVES; i++) {
        const char *key = tern_curve_name((tern_curve_id)i);
        const json_t *points = json_object_get(curves, key);
        if (!points && out->estimated) continue;
        const int status = read_curve(&out->curves[i], points, key, r);
        if (status != TERN_OK) return status;
    }
    return TERN_OK;
}

static int is_known(const char *key)
{
    static const char *const others[] = {"memory_mib", "threads", "estimated", "curves"};
    for (size_t i = 0; i < N_TEXTS; i++)
        if (strcmp(key, texts[i].key) == 0) return 1;
    for (size_t i = 0; i < N_NUMBERS; i++)
        if (strcmp(key, numbers[i].key) == 0) return 1;
    for (size_t i = 0; i < sizeof others / sizeof others[0]; i++)
        if (strcmp(key, others[i]) == 0) return 1;
    return 0;
}

static int read_profile(tern_profile *out, json_t *object, const reader *r)
{
    const char *key;
    json_t *value;
    json_object_foreach(object, key, value)
    {
        if (!is_known(key)) return bad_key(r, key, "is no key of a profile");
    }
    *out = (tern_profile){.storage = "2-bit"};
    int status = read_texts(out, object, r);
    if (status == TERN_OK) status = read_numbers(out, object, r);
    return status == TERN_OK ? read_curves(out, object, r) : status;
}

static int read_file(tern_profile *out, int cap, int *n, json_t *root, const reader *base)
{
    const json_t *version = json_object_get(root, "tern_profiles");
    const json_t *list = json_object_get(root, "profiles");
    if (!json_is_integer(version))
        return tern_fail(base->err, TERN_E_USAGE,
                         "'%.100s' is no file of profiles: `tern calibrate -o FILE` writes one",
                         base->file);
    if (json_integer_value(version) != TERN_PROFILE_VERSION)
        return tern_fail(base->err, TERN_E_USAGE,
                         "'%.100s' has version %lld of the profiles, this program reads %d: run "
                         "`tern calibrate` again",
                         base->file, (long long)json_integer_value(version), TERN_PROFILE_VERSION);
    const size_t count = json_array_size(list);
    if (count < 1 || count > (size_t)cap)
        return tern_fail(base->err, TERN_E_USAGE, "'%.100s' holds %zu profiles: use 1 to %d",
                         base->file, count, cap);
    for (size_t i = 0; i < count; i++) {
        const reader r = {base->file, (int)i, base->err};
        const int status = read_profile(&out[i], json_array_get(list, i), &r);
        if (status != TERN_OK) return status;
    }
    *n = (int)count;
    return TERN_OK;
}

int tern_profiles_parse(tern_profile *out, int cap, int *n, const char *text, size_t bytes,
                        const char *name, tern_error *err)
{
    json_error_t problem;
    json_t *root = json_loadb(text, bytes, JSON_REJECT_DUPLICATES, &problem);
    if (!root)
        return tern_fail(err, TERN_E_USAGE, "'%.100s' is no JSON: line %d, %s", name, problem.line,
                         TERN_QUOTED(problem.text, strlen(problem.text)));
    const reader r = {name, 0, err};
    const int status = read_file(out, cap, n, root, &r);
    json_decref(root);
    return status;
}

/* ---- writing -------------------------------------------------------------------------------- */

static json_t *curves_json(const tern_profile *p)
{
    json_t *curves = json_object();
    for (int i = 0; i < TERN_N_CURVES; i++) {
        const tern_curve *c = &p->curves[i];
        if (!c->n) continue;
        json_t *points = json_array();
        for (int k = 0; k < c->n; k++)
            json_array_append_new(points, json_pack("[f, f]", c->at[k], c->ns[k]));
        json_object_set_new(curves, tern_curve_name((tern_curve_id)i), points);
    }
    return curves;
}

static json_t *profile_json(const tern_profile *p)
{
    json_t *object = json_object();
    for (size_t i = 0; i < N_TEXTS; i++) {
        const char *text = (const char *)p + texts[i].offset;
        if (*text) json_object_set_new(object, texts[i].key, json_string(text));
    }
    json_object_set_new(object, "estimated", json_boolean(p->estimated));
    json_object_set_new(object, "threads", json_integer(p->n_threads));
    json_object_set_new(object, "memory_mib", json_integer((json_int_t)(p->memory_bytes >> 20)));
    for (size_t i = 0; i < N_NUMBERS; i++) {
        double value;
        memcpy(&value, (const char *)p + numbers[i].offset, sizeof value);
        json_object_set_new(object, numbers[i].key, json_real(value / numbers[i].unit));
    }
    json_object_set_new(object, "curves", curves_json(p));
    return object;
}

int tern_profiles_write(char **text, const tern_profile *profiles, int n, tern_error *err)
{
    json_t *list = json_array();
    for (int i = 0; i < n; i++) json_array_append_new(list, profile_json(&profiles[i]));
    json_t *root = json_pack("{s:i, s:o}", "tern_profiles", TERN_PROFILE_VERSION, "profiles", list);
    char *out = root ? json_dumps(root, JSON_INDENT(1) | JSON_REAL_PRECISION(6)) : NULL;
    json_decref(root);
    if (!out) return tern_fail(err, TERN_E_FIT, "no memory for the profiles");
    *text = out;
    return TERN_OK;
}
