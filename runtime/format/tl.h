/* tl.h - TL1 and TL2, the table-lookup layouts of bitnet.cpp (FORMATS 6). Their byte order depends
 * on three numbers per matrix shape that stand in no file: they come from a table of known models
 * or from a configuration like the one that bitnet.cpp's code generator writes. */
#ifndef TERN_FORMAT_TL_H
#define TERN_FORMAT_TL_H

#include <stdbool.h>

#include "tern/base.h"

/* One shape and its tiles: rows `bm`, columns `by`, and (TL1 only) rows of an inner block `inner`,
 * called BM, BK and bmm there. */
typedef struct tern_tl_shape {
    int n_out, k;
    int bm, by, inner;
} tern_tl_shape;

#define TERN_TL_MAX_SHAPES 16

/* A configuration: shapes 0 .. n. */
typedef struct tern_tl_config {
    tern_tl_shape shape[TERN_TL_MAX_SHAPES];
    int n;
} tern_tl_config;

/* Reads sections "[anything]" of lines "m = 3200", "k", "bm", "bk", "bmm" ('#' and ';' begin
 * comments). TERN_E_USAGE names the line. */
int tern_tl_config_parse(tern_tl_config *out, const char *text, const char *name, tern_error *err);

/* The tiles of a matrix: from `config` where it is not NULL, else from the table of known models.
 * False where the shape is unknown, has two configurations there, or cannot be cut like this.
 * `tl2` chooses the format. */
bool tern_tl_find(tern_tl_shape *out, const tern_tl_config *config, bool tl2, size_t n_out,
                  size_t k);

/* Bytes before the scale of a TL2 matrix, as bitnet.cpp counts them; k * n_out is below 2^63. False
 * where the shape is too small. */
bool tern_tl2_bytes(uint64_t *out, uint64_t k, uint64_t n_out);

#endif
