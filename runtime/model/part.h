/* part.h - the part of a model that one device holds: its memory, laid out by one function for
 * planner and allocator alike, its weights, and its programs.
 *
 *   tern_part_layout    pure: every object gets its place, every class its bytes (buffers NULL)
 *   tern_part_allocate  the same part on a device: buffers, weights without values, programs
 *   tern_part_load      the values, from the file
 *
 * Used by runtime/plan (layout only) and runtime/engine. */
#ifndef TERN_MODEL_PART_H
#define TERN_MODEL_PART_H

#include "device/backend.h"
#include "tern/model.h"

/* Candidates of a screened head: what greedy and the usual top-k need (fewer in tiny
 * vocabularies). */
#define TERN_PART_TOP 64

/* Candidates that come with log-probabilities. */
#define TERN_PART_SCORE_TOP 20

/* What a device is asked to hold. */
typedef struct tern_part_desc {
    uint8_t attn[TERN_MAX_LAYERS]; /* 1: the attention half of the layer, with its KV, is here */
    uint8_t ffn[TERN_MAX_LAYERS];  /* 1: the FFN half is here */
    int embed, head;               /* 1: the embedding, the head is here */
    int n_ctx, n_seq, n_tok, n_pages;
    tern_kv_type kv_type;
    tern_head_type head_type;
} tern_part_desc;

/* A half-layer's or layer's objects; those that are not here have no buffer. */
typedef struct tern_layer_part {
    const tern_weight *matrix[TERN_N_LAYER_MATRICES];
    tern_span attn_norm, attn_sub_norm, ffn_norm, ffn_sub_norm; /* [1, k] f32 */
    tern_kv_pool pool;
} tern_layer_part;

/* A run of half-layers (2*layer, 2*layer + 1) that one program computes; `embed`: it begins with
 * EMBED. */
typedef struct tern_segment {
    int first, end; /* half open; empty for an embedding on its own */
    int embed;
    tern_program *program;
} tern_segment;

typedef struct tern_part {
    tern_part_desc desc;
    const tern_model_config *config;
    const tern_backend *backend;
    tern_memory memory;
    tern_layer_part *layers;     /* [n_layers] */
    tern_weight *unplaced;       /* descriptions that stand for weights until they are allocated */
    const tern_weight *embed, *head;
    tern_span rope;      /* [n_ctx, hd] f32 */
    tern_span head_gain; /* [1, d] f32: output norm times the table's column factors */
    tern_span ids;       /* [n_tok, 1] s32: what EMBED reads */
    tern_span x;         /* [n_tok, d] f32: the residual stream */
    tern_span quant;     /* opaque: quantised activations of the widest k */
    tern_span qkv;       /* [n_tok, (h + 2 kv) * hd] f32 */
    tern_span attn;      /* [n_tok, h * hd] f32 */
    tern_span gate_up;   /* [n_tok, 2 f] f32 */
    tern_span act;       /* [n_tok, f] f32 */
    int n_full;          /* rows that FULL takes at once: n_seq, or TERN_HEAD_MAX_ROWS */
    tern_span logits;    /* [n_full, n_vocab] f32 */
    tern_span picked;    /* [n_seq, 1] s32 */
    tern_span score;     /* opaque: [n_tok] tern_score */
    tern_span top;       /* opaque: [n_seq, n_top] tern_candidate */
    int n_top;           /* candidates of pick_top */
    tern_span score_top; /* opaque: [n_tok, n_score_top] tern_candidate */
    int n_score_top;     /* candidates of all_scores */
    tern_segment *segments;
    int n_segments;
    tern_program *pick;       /* HEAD FULL, PICK: at most n_full rows */
    tern_program *pick_top;   /* HEAD TOP, PICK: at most n_seq, where n_top candidates suffice */
    tern_program *all_logits; /* HEAD FULL: at most n_full rows */
    tern_program *all_scores; /* HEAD SCORE: at most n_tok rows */
    tern_device *device;
    tern_buffer *buffers[TERN_N_MEMORY_CLASSES]; /* the scratch belongs to the programs */
} tern_part;

/* Lays the part out. `config` must outlive it. TERN_E_FIT when sizes overflow. */
int tern_part_layout(tern_part *out, const tern_part_desc *desc, const tern_model_config *config,
                     const tern_backend *backend, tern_error *err);

/* Gives a laid-out part its memory on a device of its backend. On failure the part stays
 * destroyable. */
int tern_part_allocate(tern_part *part, tern_device *device, tern_error *err);

/* Reads the part's weights from the model's file, reporting bytes done of `total` from *done on. */
int tern_part_load(tern_part *part, const tern_model *model, uint64_t *done, uint64_t total,
                   const tern_progress *progress, tern_error *err);

/* Bytes of the file that tern_part_load will read. */
uint64_t tern_part_file_bytes(const tern_part *part, const tern_model *model);

/* What the buffers and programs of an allocated part take, by class. */
tern_memory tern_part_used(const tern_part *part);

/* The device stays open. Safe on a zeroed part. */
void tern_part_destroy(tern_part *part);

#endif
