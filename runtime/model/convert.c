/* convert.c - any model that can be opened, as a GGUF file in I2_S: keys are copied, matrices are
 * translated row by row, tables and norms keep their values. A known answer is computed first and
 * stored. The file appears under its name complete or not at all. */
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "base/f16.h"
#include "base/fail.h"
#include "base/memory.h"
#include "format/gguf_writer.h"
#include "format/ternary.h"
#include "model/canary.h"
#include "model/model_file.h"

#define BLOCK 128       /* weights that I2_S codes together */
#define TOLERANCE 0.05f /* of the known answer; the default types give it to the bit */
#define TEXT "It was a bright cold day, and the clocks of the town were striking. Nobody counted."

/* One conversion under way. */
typedef struct conversion {
    const tern_model *model;
    tern_gguf_writer header;
    FILE *file;
    char *temporary; /* its name until it is complete */
    uint64_t done, total;
    const tern_progress *progress;
    tern_error *err;
} conversion;

/* ---- header ---------------------------------------------------------------------------------- */

/* Keys that the new file says anew, or that spoke of the old one. */
static bool is_replaced(const tern_model *model, tern_text key)
{
    static const char *const keys[] = {"general.file_type",    "general.alignment",
                                       "tokenizer.ggml.pre",   "tern.canary.tokens",
                                       "tern.canary.logprobs", "tern.canary.tolerance",
                                       "split.no",             "split.count",
                                       "split.tensors.count"};
    static const char *const suffixes[] = {"hidden_activation", "feed_forward_activation"};
    for (size_t i = 0; i < sizeof keys / sizeof keys[0]; i++)
        if (tern_text_equals(key, keys[i])) return true;
    for (size_t i = 0; i < sizeof suffixes / sizeof suffixes[0]; i++) {
        char full[96];
        snprintf(full, sizeof full, "%s.%s", model->config.arch, suffixes[i]);
        if (tern_text_equals(key, full)) return true;
    }
    return false;
}

static void write_keys(conversion *c)
{
    static const char *const acts[] = {"relu2", "silu", "gelu"};
    const tern_gguf *gguf = c->model->gguf;
    char key[96];
    for (size_t i = 0; i < gguf->n_values; i++)
        if (!is_replaced(c->model, gguf->values[i].key))
            tern_gguf_put_value(&c->header, &gguf->values[i]);
    const char *pre = tern_tokenizer_pre(c->model->tokenizer);
    const char *act = acts[c->model->config.act];
    snprintf(key, sizeof key, "%s.hidden_activation", c->model->config.arch);
    tern_gguf_put_text(&c->header, key, act, strlen(act));
    if (strcmp(pre, "llama") != 0)
        tern_gguf_put_text(&c->header, "tokenizer.ggml.pre", pre, strlen(pre));
    tern_gguf_put_u32(&c->header, "general.file_type", 40);
}

/* The first tokens of a text; *n_ids is their number, or 0 where there is no room for two. */
static int canary_ids(int32_t ids[TERN_CANARY_MAX], int *n_ids, const tern_model *model,
                      tern_error *err)
{
    int32_t *all;
    size_t n = 0;
    const size_t cap = tern_tokenizer_bound(model->tokenizer, sizeof TEXT);
    int status = tern_alloc(&all, cap, sizeof *all, "the tokens of a text", err);
    if (status != TERN_OK) return status;
    status = tern_tokenizer_encode(model->tokenizer, all, cap, &n, TEXT, sizeof TEXT - 1,
                                   TERN_ENCODE_BOS, err);
    const size_t n_ctx = (size_t)model->config.n_ctx;
    const size_t most = n_ctx < TERN_CANARY_MAX ? n_ctx : TERN_CANARY_MAX;
    *n_ids = (int)(n < most ? n : most);
    if (*n_ids < 2) *n_ids = 0;
    memcpy(ids, all, (size_t)*n_ids * sizeof *ids);
    free(all);
    return status;
}

static int write_canary(conversion *c)
{
    int32_t ids[TERN_CANARY_MAX];
    float logprobs[TERN_CANARY_MAX];
    int n;
    int status = canary_ids(ids, &n, c->model, c->err);
    if (status != TERN_OK || n == 0) return status;
    status = tern_canary_compute(logprobs, c->model, ids, n, c->progress, c->err);
    if (status != TERN_OK) return status;
    const size_t count = (size_t)n;
    tern_gguf_put_array(&c->header, "tern.canary.tokens", TERN_GGUF_I32, count);
    tern_gguf_add_bytes(&c->header, ids, count * sizeof ids[0]);
    tern_gguf_put_array(&c->header, "tern.canary.logprobs", TERN_GGUF_F32, count - 1);
    tern_gguf_add_bytes(&c->header, logprobs, (count - 1) * sizeof logprobs[0]);
    tern_gguf_put_f32(&c->header, "tern.canary.tolerance", TOLERANCE);
    return TERN_OK;
}

/* Type in the new file: plain tables stay, block-quantised ones are copied. */
static uint32_t new_type(const tern_gguf_tensor *t, tern_tensor_role role)
{
    return role == TERN_ROLE_TERNARY ? TERN_GGML_I2_S : t->n_dims == 1 ? TERN_GGML_F32 : t->type;
}

static int write_header(conversion *c)
{
    const tern_gguf *gguf = c->model->gguf;
    for (size_t i = 0; i < gguf->n_tensors; i++) {
        const tern_gguf_tensor *t = &gguf->tensors[i];
        const tern_tensor_role role = (tern_tensor_role)c->model->role[i];
        if (role == TERN_ROLE_FACTOR) continue; /* becomes a part of its tensor's scale */
        if (role == TERN_ROLE_TERNARY && t->n_elements % BLOCK != 0)
            return tern_fail(c->err, TERN_E_MODEL,
                             "'%.140s': tensor %.*s has %llu weights, not a multiple of %d, which "
                             "I2_S cannot hold",
                             gguf->name, (int)t->name.bytes, t->name.data,
                             (unsigned long long)t->n_elements, BLOCK);
        tern_gguf_put_tensor(&c->header, t->name.data, t->name.bytes, new_type(t, role), t->ne[0],
                             t->n_dims == 1 ? 0 : t->ne[1]);
    }
    return tern_gguf_writer_finish(&c->header, c->err);
}

/* ---- data ------------------------------------------------------------------------------------ */

static int put(conversion *c, const void *data, size_t bytes)
{
    if (fwrite(data, 1, bytes, c->file) != bytes)
        return tern_fail(c->err, TERN_E_IO, "cannot write '%.200s': %s", c->temporary,
                         strerror(errno));
    c->done += bytes;
    return tern_progress_report(c->progress, "converting", c->done, c->total, c->err);
}

static int pad(conversion *c)
{
    static const uint8_t zeros[TERN_GGUF_ALIGNMENT];
    const size_t over = (size_t)(c->done % TERN_GGUF_ALIGNMENT);
    return over ? put(c, zeros, TERN_GGUF_ALIGNMENT - over) : TERN_OK;
}

static int mixed_scales(const conversion *c, const tern_gguf_tensor *t, size_t row)
{
    return tern_fail(c->err, TERN_E_MODEL,
                     "'%.140s': row %zu of tensor %.*s has a scale of its own, which I2_S cannot "
                     "hold: run the model as it is",
                     c->model->gguf->name, row, (int)t->name.bytes, t->name.data);
}

/* Rows of codes, cut into blocks of 128 that need not end with them; then the scale. */
static int put_rows(conversion *c, const tern_gguf_tensor *t, uint8_t *codes, uint8_t *bytes)
{
    const tern_values *values = c->model->values;
    const size_t k = (size_t)t->ne[0];
    const float given = values->scale(c->model, t);
    float first = 0.0f;
    size_t waiting = 0; /* codes of the last row that filled no block */
    for (size_t row = 0; row < (size_t)t->ne[1]; row++) {
        float scale = given;
        int status = values->codes(codes + waiting, &scale, c->model, t, row, c->err);
        if (status == TERN_OK && row > 0 && scale != first) status = mixed_scales(c, t, row);
        if (status != TERN_OK) return status;
        first = scale;
        const size_t n = waiting + k, whole = n / BLOCK * BLOCK;
        tern_i2s_encode(bytes, codes, whole);
        status = put(c, bytes, whole / 4);
        if (status != TERN_OK) return status;
        waiting = n - whole;
        memmove(codes, codes + whole, waiting);
    }
    const float tail[8] = {first};
    return put(c, tail, sizeof tail);
}

static int put_ternary(conversion *c, const tern_gguf_tensor *t)
{
    const size_t room = (size_t)t->ne[0] + BLOCK;
    uint8_t *codes, *bytes;
    int status = tern_alloc(&codes, room, 1, "a row of weights", c->err);
    if (status != TERN_OK) return status;
    status = tern_alloc(&bytes, room / 4 + 1, 1, "a row of weights", c->err);
    if (status == TERN_OK) {
        status = put_rows(c, t, codes, bytes);
        free(bytes);
    }
    free(codes);
    return status;
}

/* Row `row`, read as floats, in a plain type that holds them exactly. */
static void pack_floats(uint8_t *out, const float *row, size_t k, uint32_t type)
{
    if (type == TERN_GGML_F32) {
        memcpy(out, row, 4 * k);
        return;
    }
    for (size_t i = 0; i < k; i++) {
        const uint16_t half = type == TERN_GGML_BF16 ? (uint16_t)(tern_f32_bits(row[i]) >> 16)
                                                     : tern_f16_from_f32(row[i]);
        memcpy(out + 2 * i, &half, sizeof half);
    }
}

static int put_plain(conversion *c, const tern_gguf_tensor *t, uint32_t type)
{
    const size_t k = (size_t)t->ne[0], n_out = (size_t)(t->n_elements / t->ne[0]);
    const size_t bytes = k * (type == TERN_GGML_F32 ? 4 : 2);
    float *row;
    int status = tern_alloc(&row, 2 * k, sizeof *row, "a row of a table", c->err);
    if (status != TERN_OK) return status;
    uint8_t *packed = (uint8_t *)(row + k);
    for (size_t i = 0; i < n_out && status == TERN_OK; i++) {
        c->model->values->floats(row, c->model, t, i);
        pack_floats(packed, row, k, type);
        status = put(c, packed, bytes);
        if (i % 256 == 255) c->model->values->forget(c->model, t, i - 255, 256);
    }
    free(row);
    return status;
}

static int put_tensor(conversion *c, size_t i)
{
    const tern_gguf *gguf = c->model->gguf;
    const tern_gguf_tensor *t = &gguf->tensors[i];
    const tern_tensor_role role = (tern_tensor_role)c->model->role[i];
    const uint32_t type = new_type(t, role);
    if (role == TERN_ROLE_FACTOR) return TERN_OK;
    int status;
    if (role == TERN_ROLE_TERNARY)
        status = put_ternary(c, t);
    else if (tern_tensor_type_find(type)->block == 1)
        status = put_plain(c, t, type);
    else
        status = put(c, t->file->data + t->offset, t->bytes);
    c->model->values->forget(c->model, t, 0, (size_t)(t->n_elements / t->ne[0]));
    return status == TERN_OK ? pad(c) : status;
}

/* ---- the file -------------------------------------------------------------------------------- */

static int open_temporary(conversion *c, const char *path)
{
    const size_t bytes = strlen(path) + 32;
    int status = tern_alloc(&c->temporary, bytes, 1, "a file name", c->err);
    if (status != TERN_OK) return status;
    snprintf(c->temporary, bytes, "%s.%ld.part", path, (long)getpid());
    const int fd = open(c->temporary, O_WRONLY | O_CREAT | O_EXCL | O_CLOEXEC, 0666);
    if (fd >= 0) c->file = fdopen(fd, "w");
    if (c->file) return TERN_OK;
    status =
        tern_fail(c->err, TERN_E_IO, "cannot create '%.200s': %s", c->temporary, strerror(errno));
    if (fd >= 0) {
        close(fd);
        unlink(c->temporary);
    }
    return status;
}

/* On disk and under its name, or gone. */
static int settle(conversion *c, const char *path, int status)
{
    if (!c->file) return status;
    const int flushed = fflush(c->file) == 0 && fsync(fileno(c->file)) == 0;
    const int closed = fclose(c->file) == 0;
    if (status == TERN_OK && !(flushed && closed))
        status = tern_fail(c->err, TERN_E_IO, "cannot write '%.200s': %s", c->temporary,
                           strerror(errno));
    if (status == TERN_OK && rename(c->temporary, path) != 0)
        status = tern_fail(c->err, TERN_E_IO, "cannot name the file '%.200s': %s", path,
                           strerror(errno));
    if (status != TERN_OK) unlink(c->temporary);
    return status;
}

static int convert(conversion *c, const char *path)
{
    int status = open_temporary(c, path); /* first, since it may fail at once */
    if (status != TERN_OK) return status;
    write_keys(c);
    status = write_canary(c);
    if (status == TERN_OK) status = write_header(c);
    if (status != TERN_OK) return status;
    c->total = c->header.n + c->header.data_bytes;
    status = put(c, c->header.bytes, c->header.n);
    for (size_t i = 0; i < c->model->gguf->n_tensors && status == TERN_OK; i++)
        status = put_tensor(c, i);
    return status;
}

int tern_model_convert(const tern_model *model, const char *path, const tern_progress *progress,
                       tern_error *err)
{
    if (model->preset)
        return tern_fail(err, TERN_E_USAGE, "a preset has no weights to convert: name a model");
    if (access(path, F_OK) == 0)
        return tern_fail(err, TERN_E_USAGE, "'%.200s' exists: choose another name or remove it",
                         path);
    conversion c = {.model = model, .progress = progress, .err = err};
    const int status = settle(&c, path, convert(&c, path));
    tern_gguf_writer_free(&c.header);
    free(c.temporary);
    return status;
}
