/* part_load.c - the values of a part, streamed from the model's source of values: a few hundred
 * rows at a time are translated into the public host layout and imported. */
#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "base/f16.h"
#include "base/fail.h"
#include "base/memory.h"
#include "device/host_layout.h"
#include "model/model_file.h"
#include "model/part.h"
#include "model/rope.h"

#define CHUNK_ROWS 256 /* rows per import; a multiple of TERN_TILE_ROWS */

/* One load under way. */
typedef struct loader {
    tern_part *part;
    const tern_model *model;
    tern_stream *stream;
    uint64_t *done, total;
    const tern_progress *progress;
    tern_error *err;
    int layout_settled;
} loader;

/* The device contract takes tables and gains as finite; here is where that is checked. */
static int check_finite(const loader *l, const float *values, size_t n, const tern_gguf_tensor *t)
{
    for (size_t i = 0; i < n; i++)
        if (!isfinite(values[i]))
            return tern_fail(l->err, TERN_E_MODEL,
                             "'%s': tensor %.*s holds the value %g: the file is damaged",
                             l->model->gguf->name, (int)t->name.bytes, t->name.data,
                             (double)values[i]);
    return TERN_OK;
}

static int report(loader *l, size_t bytes)
{
    *l->done += bytes;
    return tern_progress_report(l->progress, "loading", *l->done, l->total, l->err);
}

/* ---- ternary matrices ----------------------------------------------------------------------- */

/* A matrix made of up to three tensors, one below the other. */
typedef struct stacked {
    const tern_gguf_tensor *tensor[3];
    int n_tensors;
    const tern_layer_tensors *layer;
    float scale[3];
} stacked;

static stacked tensors_of(const tern_layer_tensors *t, tern_matrix matrix)
{
    switch (matrix) {
    case TERN_MATRIX_QKV: return (stacked){{t->q, t->k, t->v}, 3, t, {0}};
    case TERN_MATRIX_ATTN_OUT: return (stacked){{t->attn_output}, 1, t, {0}};
    case TERN_MATRIX_GATE_UP: return (stacked){{t->gate, t->up}, 2, t, {0}};
    default: return (stacked){{t->down}, 1, t, {0}};
    }
}

static int check_scale(const loader *l, float scale, const tern_gguf_tensor *t)
{
    if (isfinite(scale) && scale >= 0.0f) return TERN_OK;
    return tern_fail(l->err, TERN_E_MODEL,
                     "'%s': the scale of tensor %.*s is %g: the file is damaged",
                     l->model->gguf->name, (int)t->name.bytes, t->name.data, (double)scale);
}

/* Memory for the translation of one matrix. */
typedef struct staging {
    uint8_t *codes; /* [16, k], a byte per code */
    uint8_t *tiles; /* [CHUNK_ROWS, k] in the public host layout */
    float *scale;   /* [CHUNK_ROWS] */
} staging;

static void free_staging(staging *s)
{
    free(s->codes);
    free(s->tiles);
    free(s->scale);
}

static int alloc_staging(staging *s, int k, tern_error *err)
{
    *s = (staging){0};
    int status = tern_alloc(&s->codes, TERN_TILE_ROWS, (size_t)k, "a staging area", err);
    if (status == TERN_OK)
        status = tern_alloc(&s->tiles, 1, tern_ternary_host_bytes(CHUNK_ROWS, k), "a staging area",
                            err);
    if (status == TERN_OK)
        status = tern_alloc(&s->scale, CHUNK_ROWS, sizeof *s->scale, "a staging area", err);
    return status;
}

/* Row of the file that holds row `row` of q or k as half-split rotation wants it: files of `llama`
 * bring the two halves of a head together (FORMATS 8.6). */
static size_t interleaved_row(const loader *l, const tern_layer_tensors *t,
                              const tern_gguf_tensor *tensor, size_t row)
{
    if (!l->model->qk_interleaved || (tensor != t->q && tensor != t->k)) return row;
    const size_t hd = (size_t)l->model->config.hd, in = row % hd;
    return row - in + (in < hd / 2 ? 2 * in : 2 * (in - hd / 2) + 1);
}

/* One row of the stacked matrix: codes [k] and its scale. */
static int stage_row(loader *l, uint8_t *codes, float *scale, const stacked *m, size_t row)
{
    int part = 0;
    while (row >= m->tensor[part]->ne[1]) row -= (size_t)m->tensor[part++]->ne[1];
    const tern_gguf_tensor *t = m->tensor[part];
    *scale = m->scale[part];
    const int status = l->model->values->codes(
        codes, scale, l->model, t, interleaved_row(l, m->layer, t, row), l->err);
    return status == TERN_OK ? check_scale(l, *scale, t) : status;
}

/* Rows row0 .. row0+rows of the stacked matrix into the staging area. */
static int stage_rows(loader *l, staging *s, const stacked *m, const tern_weight_rows *rows)
{
    const size_t k = (size_t)m->tensor[0]->ne[0];
    const size_t group_bytes = tern_ternary_host_bytes(TERN_TILE_ROWS, (int)k);
    for (int done = 0; done < rows->rows; done += TERN_TILE_ROWS) {
        const int left = rows->rows - done;
        const int here = left < TERN_TILE_ROWS ? left : TERN_TILE_ROWS;
        for (int i = 0; i < here; i++) {
            const int status = stage_row(l, s->codes + (size_t)i * k, &s->scale[done + i], m,
                                         (size_t)(rows->row0 + done + i));
            if (status != TERN_OK) return status;
        }
        tern_host_pack(s->tiles + (size_t)(done / TERN_TILE_ROWS) * group_bytes, s->codes, k, here,
                       (int)k);
    }
    return report(l, (size_t)rows->rows * k / 4);
}

static int load_matrix(loader *l, const tern_weight *weight, stacked *m)
{
    const tern_weight_desc *desc = tern_weight_describe(weight);
    for (int i = 0; i < m->n_tensors; i++)
        m->scale[i] = l->model->values->scale(l->model, m->tensor[i]);
    staging s;
    int status = alloc_staging(&s, desc->k, l->err);
    for (int row = 0; row < desc->n_out && status == TERN_OK; row += CHUNK_ROWS) {
        const int left = desc->n_out - row;
        const tern_weight_rows rows = {.row0 = row, .rows = left < CHUNK_ROWS ? left : CHUNK_ROWS,
                                       .codes = s.tiles, .scale = s.scale};
        status = stage_rows(l, &s, m, &rows);
        if (status == TERN_OK)
            status = tern_weight_import((tern_weight *)(uintptr_t)weight, &rows, l->err);
    }
    free_staging(&s);
    for (int i = 0; i < m->n_tensors; i++)
        l->model->values->forget(l->model, m->tensor[i], 0, (size_t)m->tensor[i]->ne[1]);
    return status;
}

/* ---- tables (N7) ---------------------------------------------------------------------------- */

/* Column factors: the power of two 2^e for which the column's largest magnitude lies in [2^e,
 * 2^(e+1)); 1 for a zero column. Dividing by them equalises the columns; it is exact. */
static int equalise(loader *l, float *col, float *row, const tern_gguf_tensor *t)
{
    const size_t d = (size_t)t->ne[0], n_vocab = (size_t)t->ne[1];
    for (size_t v = 0; v < n_vocab; v++) {
        l->model->values->floats(row, l->model, t, v);
        const int status = check_finite(l, row, d, t);
        if (status != TERN_OK) return status;
        for (size_t i = 0; i < d; i++) {
            const float magnitude = fabsf(row[i]);
            col[i] = magnitude > col[i] ? magnitude : col[i];
        }
        if (v % CHUNK_ROWS == CHUNK_ROWS - 1)
            l->model->values->forget(l->model, t, v + 1 - CHUNK_ROWS, CHUNK_ROWS);
    }
    for (size_t i = 0; i < d; i++) {
        const uint32_t exponent = tern_f32_bits(col[i]) >> 23; /* 0: zero or subnormal */
        const int usable = exponent > 127 - 60 && exponent < 127 + 60;
        col[i] = usable ? tern_f32_from_bits(exponent << 23) : 1.0f;
    }
    return TERN_OK;
}

/* w16 = rint((x/col) / scale), |w16| <= 32639, split as 256*high + low with low in [-128, 127]. */
static float split_row(int8_t *high, int8_t *low, float *row, const float *col, size_t d)
{
    float most = 0.0f;
    for (size_t i = 0; i < d; i++) {
        row[i] /= col[i];
        most = fabsf(row[i]) > most ? fabsf(row[i]) : most;
    }
    const float scale = most / 32639.0f;
    for (size_t i = 0; i < d; i++) {
        float w = scale > 0.0f ? rintf(row[i] / scale) : 0.0f;
        w = w > 32639.0f ? 32639.0f : w < -32639.0f ? -32639.0f : w;
        const int32_t value = (int32_t)w, upper = (value + 128) >> 8;
        high[i] = (int8_t)upper;
        low[i] = (int8_t)(value - 256 * upper);
    }
    return scale;
}

/* Memory for the translation of a table. */
typedef struct table_staging {
    int8_t *high, *low;       /* [CHUNK_ROWS, d] */
    float *scale, *row, *col; /* [CHUNK_ROWS], [d], [d] */
} table_staging;

static int alloc_table_staging(table_staging *s, size_t d, tern_error *err)
{
    *s = (table_staging){0};
    int status = tern_alloc(&s->high, CHUNK_ROWS, d, "a staging area", err);
    if (status == TERN_OK) status = tern_alloc(&s->low, CHUNK_ROWS, d, "a staging area", err);
    if (status == TERN_OK) status = tern_alloc(&s->scale, CHUNK_ROWS, 4, "a staging area", err);
    if (status == TERN_OK) status = tern_alloc(&s->row, d, 4, "a staging area", err);
    if (status == TERN_OK) status = tern_alloc(&s->col, d, 4, "a staging area", err);
    return status;
}

static void free_table_staging(table_staging *s)
{
    free(s->high);
    free(s->low);
    free(s->scale);
    free(s->row);
    free(s->col);
}

static int import_table(loader *l, const tern_weight *weight, const tern_gguf_tensor *t,
                        table_staging *s)
{
    const size_t d = (size_t)t->ne[0], n_vocab = (size_t)t->ne[1];
    int status = equalise(l, s->col, s->row, t);
    for (size_t v = 0; v < n_vocab && status == TERN_OK; v += CHUNK_ROWS) {
        const size_t left = n_vocab - v, here = left < CHUNK_ROWS ? left : CHUNK_ROWS;
        for (size_t i = 0; i < here; i++) {
            l->model->values->floats(s->row, l->model, t, v + i);
            s->scale[i] = split_row(s->high + i * d, s->low + i * d, s->row, s->col, d);
        }
        const tern_weight_rows rows = {.row0 = (int)v, .rows = (int)here, .high = s->high,
                                       .low = s->low, .scale = s->scale, .col = s->col};
        status = tern_weight_import((tern_weight *)(uintptr_t)weight, &rows, l->err);
        l->model->values->forget(l->model, t, v, here);
        if (status == TERN_OK) status = report(l, t->bytes / n_vocab * here);
    }
    return status;
}

static int upload_row(loader *l, const tern_span *to, const float *from)
{
    const size_t bytes = (size_t)to->rows * (size_t)to->cols * sizeof(float);
    const int status = tern_upload(l->stream, to->buffer, to->offset_bytes, from, bytes, l->err);
    return status == TERN_OK ? tern_stream_sync(l->stream, l->err) : status;
}

/* The n values of a norm's gain. */
static int read_gain(float *gain, const loader *l, const tern_gguf_tensor *t, size_t n)
{
    l->model->values->floats(gain, l->model, t, 0);
    return check_finite(l, gain, n, t);
}

/* The head's gain: output norm times the column factors of the table it reads. */
static int upload_head_gain(loader *l, const float *col)
{
    const size_t d = (size_t)l->part->config->d;
    float *gain;
    int status = tern_alloc(&gain, d, sizeof *gain, "a staging area", l->err);
    if (status != TERN_OK) return status;
    status = read_gain(gain, l, l->model->output_norm, d);
    for (size_t i = 0; i < d; i++) gain[i] *= col[i];
    if (status == TERN_OK) status = check_finite(l, gain, d, l->model->output_norm);
    if (status == TERN_OK) status = upload_row(l, &l->part->head_gain, gain);
    free(gain);
    return status;
}

static int load_table(loader *l, const tern_weight *weight, const tern_gguf_tensor *t, int is_head)
{
    table_staging s;
    int status = alloc_table_staging(&s, (size_t)t->ne[0], l->err);
    if (status == TERN_OK) status = import_table(l, weight, t, &s);
    if (status == TERN_OK && is_head) status = upload_head_gain(l, s.col);
    free_table_staging(&s);
    return status;
}

static int load_tables(loader *l)
{
    tern_part *part = l->part;
    int status = TERN_OK;
    if (part->embed)
        status = load_table(l, part->embed, l->model->token_embd, part->head == part->embed);
    if (status == TERN_OK && part->head && part->head != part->embed)
        status = load_table(l, part->head, l->model->output, 1);
    return status;
}

/* ---- norms and rotations -------------------------------------------------------------------- */

static int load_gain(loader *l, const tern_span *to, const tern_gguf_tensor *t)
{
    if (!to->buffer) return TERN_OK;
    float *gain;
    int status = tern_alloc(&gain, (size_t)to->cols, sizeof *gain, "a staging area", l->err);
    if (status != TERN_OK) return status;
    status = read_gain(gain, l, t, (size_t)to->cols);
    if (status == TERN_OK) status = upload_row(l, to, gain);
    free(gain);
    return status;
}

/* What divides the frequencies: the file's own numbers, times one for all. */
static int read_divisors(float *divisor, const loader *l, int n)
{
    const tern_gguf_tensor *t = l->model->rope_freqs;
    for (int j = 0; j < n; j++) divisor[j] = 1.0f;
    if (t) l->model->values->floats(divisor, l->model, t, 0);
    for (int j = 0; j < n; j++) {
        divisor[j] *= l->model->rope_factor;
        if (!(divisor[j] >= 1e-6f && divisor[j] <= 1e6f))
            return tern_fail(l->err, TERN_E_MODEL,
                             "'%s': frequency %d of the rotation is divided by %g: the file is "
                             "damaged",
                             l->model->gguf->name, j, (double)divisor[j]);
    }
    return TERN_OK;
}

static int load_rope(loader *l)
{
    const tern_span *to = &l->part->rope;
    if (!to->buffer) return TERN_OK;
    float *table, *divisor;
    const int n = (int)to->rows, hd = (int)to->cols;
    int status = tern_alloc(&divisor, (size_t)hd / 2, sizeof *divisor, "the rotation", l->err);
    if (status != TERN_OK) return status;
    status = tern_alloc(&table, (size_t)n * (size_t)hd, sizeof *table, "the rotary table", l->err);
    if (status == TERN_OK) {
        status = read_divisors(divisor, l, hd / 2);
        if (status == TERN_OK)
            tern_rope_table(table, 0, n, hd, l->part->config->rope_base, divisor);
        if (status == TERN_OK) status = upload_row(l, to, table);
        free(table);
    }
    free(divisor);
    return status;
}

static int load_layer(loader *l, int layer)
{
    const tern_layer_tensors *t = &l->model->layers[layer];
    const tern_layer_part *p = &l->part->layers[layer];
    int status = load_gain(l, &p->attn_norm, t->attn_norm);
    if (status == TERN_OK) status = load_gain(l, &p->attn_sub_norm, t->attn_sub_norm);
    if (status == TERN_OK) status = load_gain(l, &p->ffn_norm, t->ffn_norm);
    if (status == TERN_OK) status = load_gain(l, &p->ffn_sub_norm, t->ffn_sub_norm);
    if (status == TERN_OK && p->matrix[TERN_MATRIX_DOWN])
        status = tern_layout_check(&l->layout_settled, l->model, layer, l->err);
    for (int m = 0; m < TERN_N_LAYER_MATRICES && status == TERN_OK; m++) {
        if (!p->matrix[m]) continue;
        stacked tensors = tensors_of(t, (tern_matrix)m);
        status = load_matrix(l, p->matrix[m], &tensors);
    }
    return status;
}

uint64_t tern_part_file_bytes(const tern_part *part, const tern_model *model)
{
    uint64_t bytes = 0;
    for (int i = 0; i < part->config->n_layers; i++)
        for (int m = 0; m < TERN_N_LAYER_MATRICES; m++) {
            if (!part->layers[i].matrix[m]) continue;
            const tern_weight_desc *desc = &part->layers[i].matrix[m]->desc;
            bytes += (uint64_t)desc->n_out * (uint64_t)desc->k / 4;
        }
    if (part->embed) bytes += model->token_embd->bytes;
    if (part->head && part->head != part->embed) bytes += model->output->bytes;
    return bytes;
}

int tern_part_load(tern_part *part, const tern_model *model, uint64_t *done, uint64_t total,
                   const tern_progress *progress, tern_error *err)
{
    loader l = {part, model, NULL, done, total, progress, err, 0};
    int status = tern_stream_create(&l.stream, part->device, err);
    if (status == TERN_OK) status = load_tables(&l);
    for (int i = 0; i < part->config->n_layers && status == TERN_OK; i++)
        status = load_layer(&l, i);
    if (status == TERN_OK) status = load_rope(&l);
    tern_stream_destroy(l.stream);
    return status;
}
