/* gpu_model.c - the formulas of gpu_model.h. Each takes the kernel, tile and split that
 * linear_plan.c chooses for the shape, so it predicts what stands in the tree. */
#include "bench/gpu_model.h"

#include <math.h>

#include "bench/kernel_facts.h"
#include "cuda/attn_split.h"

const char *model_bound_name(model_bound bound)
{
    static const char *const names[] = {"memory", "L2", "issue slots", "tensor cores"};
    return names[bound];
}

/* Registers are given out by the warp, 8 a thread at a time; a CTA keeps 1 KiB for itself. */
int model_occupancy(int kernel)
{
    const linear_facts *f = &linear_facts_of[kernel];
    const int warp_registers = (f->registers + 7) / 8 * 8 * 32;
    int ctas = GPU_REGISTERS / (warp_registers * f->warps);
    const int by_smem = GPU_SMEM_BYTES / (f->smem_bytes + 1024), by_warps = GPU_WARPS / f->warps;
    if (by_smem < ctas) ctas = by_smem;
    return by_warps < ctas ? by_warps : ctas;
}

/* Nanoseconds in which the busiest SM issues instructions, or feeds its tensor cores. */
static double issue_ns(double instructions)
{
    return instructions / (GPU_ISSUE * GPU_REACH * GPU_CLOCK_HZ) * 1e9;
}

static double tensor_ns(double mma)
{
    return mma * GPU_MMA_CLOCKS / (GPU_REACH * GPU_CLOCK_HZ) * 1e9;
}

/* What a product moves at least: codes and their scales, q, y. */
static double linear_bytes(int t, int k, int n_out)
{
    const double k_pad = tern_cuda_pad_k(k);
    return k_pad * n_out / 4 + 4.0 * n_out + t * (k_pad + 4.0 * n_out);
}

/* The longest of the terms binds; what nothing hides comes behind it. */
static model_time longest(const double terms[4], double behind_ns)
{
    model_time time = {.bound = BOUND_MEMORY};
    for (int i = 1; i <= (int)BOUND_TENSOR; i++)
        if (terms[i] > terms[time.bound]) time.bound = (model_bound)i;
    time.stream_ns = terms[time.bound];
    time.ns = GPU_LATENCY_NS + time.stream_ns + behind_ns;
    return time;
}

/* Blocks of 16 rows x 128 columns that the busiest SM has of a matrix for one token, which is
 * shared out by `together` row groups. */
static double gemv_blocks(int k, int n_out, int together)
{
    const double units = ceil((double)n_out / (TERN_CUDA_ROWS * together));
    return ceil(units / GPU_SM) * together * tern_cuda_pad_k(k) / TERN_CUDA_COLS;
}

/* One token by itself: nothing is there when the kernel begins. */
static model_time linear_gemv(int k, int n_out)
{
    const double flight = GPU_SM * GEMV_FLIGHT_BYTES / (GPU_LATENCY_NS * 1e-9);
    const double terms[] = {
        linear_bytes(1, k, n_out) / fmin(GPU_READ_BYTES, flight) * 1e9,
        0,
        issue_ns(gemv_blocks(k, n_out, 1) * GEMV_BLOCK_INSTRUCTIONS),
        0,
    };
    return longest(terms, 0);
}

/* One token in a graph, from the end of the kernel before: the gap, what it begins with, its
 * instructions; weights come meanwhile, or bind. */
static double chained_gemv_ns(int k, int n_out, int together, double begin_ns)
{
    const double stream = linear_bytes(1, k, n_out) / GPU_READ_BYTES * 1e9;
    const double issue = issue_ns(gemv_blocks(k, n_out, together) * GEMV_BLOCK_INSTRUCTIONS);
    return fmax(stream, GPU_GAP_NS + begin_ns + issue);
}

static double prologue_ns(int k)
{
    return PROLOGUE_NS + 4.0 * k / PROLOGUE_L2_BYTES / GPU_CLOCK_HZ * 1e9 +
           issue_ns(k / 32.0 * PROLOGUE_INSTRUCTIONS);
}

/* Adds the clocks of the busiest SM for `ctas` CTAs of `stages` each: instructions and waits, and
 * wgmma. */
static void add_waves(double clocks[2], double ctas, double stages, const tern_linear_tile *tile)
{
    const double groups = tile->rows / WGMMA_ROWS;
    const double resident = fmin(ctas, WGMMA_RESIDENT / groups);
    const double rounds = ceil(ctas / resident);
    if (ctas <= 0) return;
    clocks[0] += rounds * stages * fmax(WGMMA_CHAIN_CLOCKS, WGMMA_INSTRUCTIONS * groups * resident);
    clocks[1] += rounds * stages * WGMMA_TOKEN_CLOCKS * tile->tokens * groups * resident;
}

/* Seconds behind the sums: the exchange of a cluster, and y that nothing hides: all of it where
 * every CTA has one tile, else what the CTAs of a wave write last. */
static double behind_wgmma(const tern_linear_plan *plan, const tern_linear_tile *tile,
                           double y_bytes)
{
    const double tile_bytes = 4.0 * tile->rows * tile->tokens;
    const double last = plan->n_items > plan->n_ctas ? plan->n_ctas * tile_bytes : y_bytes;
    const double others = tile_bytes * (plan->split - 1) / plan->split;
    const double clocks = WGMMA_EXCHANGE_CLOCKS + others / WGMMA_PEER_BYTES;
    return (plan->split > 1 ? clocks / GPU_CLOCK_HZ : 0) + fmin(last, y_bytes) / GPU_READ_BYTES;
}

static model_time linear_wgmma(int t, int k, int n_out)
{
    const tern_linear_plan plan = tern_cuda_linear_plan_hopper(t, n_out, k, GPU_SM);
    const tern_linear_tile tile = tern_cuda_linear_tile(plan.kernel);
    const double tiles = (double)plan.n_row_tiles * plan.n_tok_tiles;
    const double parts = (tiles - plan.n_whole) * plan.split; /* of tiles that are split */
    const double stages = (double)tern_cuda_pad_k(k) / TERN_CUDA_COLS;
    double clocks[2] = {0};
    add_waves(clocks, ceil((double)plan.n_whole / GPU_SM), stages, &tile);
    add_waves(clocks, ceil(parts / tern_cuda_cluster_slots(plan.split, GPU_SM)),
              ceil(stages / plan.split), &tile);
    const double y_bytes = 4.0 * t * n_out, bytes = linear_bytes(t, k, n_out);
    const int stays = plan.n_items > plan.n_ctas;
    const double terms[] = {
        (stays ? bytes : bytes - y_bytes) / GPU_READ_BYTES * 1e9,
        tiles * stages * TERN_CUDA_COLS * (tile.rows / 4.0 + tile.tokens) / GPU_L2_BYTES * 1e9,
        clocks[0] / GPU_CLOCK_HZ * 1e9,
        clocks[1] / (GPU_REACH * GPU_CLOCK_HZ) * 1e9,
    };
    return longest(terms, behind_wgmma(&plan, &tile, y_bytes) * 1e9);
}

model_time model_linear(int t, int k, int n_out)
{
    if (t == 1) return linear_gemv(k, n_out);
    if (t >= TERN_CUDA_IMAGE_TOK) return linear_wgmma(t, k, n_out);
    const tern_linear_plan plan = tern_cuda_linear_plan_hopper(t, n_out, k, GPU_SM);
    const tern_linear_tile tile = tern_cuda_linear_tile(plan.kernel);
    const linear_facts *f = &linear_facts_of[plan.kernel];
    const double tiles = (double)plan.n_row_tiles * plan.n_tok_tiles, ctas = tiles * plan.split;
    const double k_pad = tern_cuda_pad_k(k), busiest = ceil(ctas / GPU_SM);
    const double resident = fmin(busiest, model_occupancy((int)plan.kernel));
    const double active = fmin(ctas, GPU_SM);
    const double flight = active * resident * f->flight_bytes / (GPU_LATENCY_NS * 1e-9);
    const double steps = k_pad / TERN_CUDA_COLS / plan.split * tile.rows /
                         (TERN_CUDA_ROWS * f->groups); /* of all warps of a CTA */
    const double terms[] = {
        linear_bytes(t, k, n_out) / fmin(GPU_READ_BYTES, flight) * 1e9,
        tiles * k_pad * (tile.rows / 4.0 + tile.tokens) / GPU_L2_BYTES * 1e9,
        issue_ns(busiest * steps * f->instructions),
        tensor_ns(busiest * steps * f->mma),
    };
    return longest(terms, plan.split > 1 ? GPU_CLUSTER_NS : 0);
}

double model_cublas_ns(int t, int k, int n_out, int value_bytes)
{
    const double out_bytes = value_bytes == 1 ? 4 : 2; /* s32, fp16 */
    const double bytes =
        (double)value_bytes * k * ((double)n_out + t) + out_bytes * n_out * (double)t;
    const double operations = 2.0 * t * k * n_out;
    const double rate = value_bytes == 1 ? CUBLAS_INT8_OPS : CUBLAS_F16_FLOPS;
    return GPU_LATENCY_NS + 1e9 * fmax(bytes / GPU_READ_BYTES, operations / rate);
}

double model_layer_ns(const tern_model_config *config, int t)
{
    double ns = 0;
    for (int m = 0; m < TERN_N_LAYER_MATRICES; m++) {
        const tern_weight_desc w = tern_model_matrix(config, (tern_matrix)m, TERN_HEAD_I16);
        ns += model_linear(t, w.k, w.n_out).ns;
    }
    return ns;
}

double model_layer_cublas_ns(const tern_model_config *config, int t, int value_bytes)
{
    double ns = 0;
    for (int m = 0; m < TERN_N_LAYER_MATRICES; m++) {
        const tern_weight_desc w = tern_model_matrix(config, (tern_matrix)m, TERN_HEAD_I16);
        ns += model_cublas_ns(t, w.k, w.n_out, value_bytes);
    }
    return ns;
}

double model_layer_macs(const tern_model_config *config)
{
    double macs = 0;
    for (int m = 0; m < TERN_N_LAYER_MATRICES; m++) {
        const tern_weight_desc w = tern_model_matrix(config, (tern_matrix)m, TERN_HEAD_I16);
        macs += (double)w.k * w.n_out;
    }
    return macs;
}

double model_layer_read_ns(const tern_model_config *config)
{
    return model_layer_macs(config) / 4 / GPU_READ_BYTES * 1e9;
}

double model_layer_graph_ns(const tern_model_config *config)
{
    double ns = 0;
    for (int m = 0; m < TERN_N_LAYER_MATRICES; m++) {
        const tern_weight_desc w = tern_model_matrix(config, (tern_matrix)m, TERN_HEAD_I16);
        ns += chained_gemv_ns(w.k, w.n_out, 1, GEMV_Q_NS);
    }
    return ns;
}

/* The same with their prologues, and gate and up in pairs. */
static double layer_fused_ns(const tern_model_config *config)
{
    double ns = 0;
    for (int m = 0; m < TERN_N_LAYER_MATRICES; m++) {
        const tern_weight_desc w = tern_model_matrix(config, (tern_matrix)m, TERN_HEAD_I16);
        ns += chained_gemv_ns(w.k, w.n_out, m == TERN_MATRIX_GATE_UP ? 2 : 1, prologue_ns(w.k));
    }
    return ns;
}

/* Every block of 64 positions for every token and head; decode reads KV from memory. */
static double attention_ns(const tern_model_config *c, const model_step *s)
{
    const double per_seq = (double)s->n_tok / s->n_seq;
    const double mean = s->first + (per_seq + 1) / 2, blocks = ceil(mean / TERN_PAGE_TOK);
    const int prefill = s->n_tok > s->n_seq, f16 = s->kv == TERN_KV_F16;
    const double instructions = prefill ? (f16 ? ATTN_PREFILL_F16 : ATTN_PREFILL_I8)
                                        : (f16 ? ATTN_DECODE_F16 : ATTN_DECODE_I8);
    const double work = blocks * s->n_tok * c->h * instructions * c->hd / 128.0;
    const double bytes =
        (double)tern_kv_page_bytes(s->kv, c->kv, c->hd) * ceil(s->first + per_seq) /
        TERN_PAGE_TOK * s->n_seq;
    return GPU_LATENCY_NS + fmax(issue_ns(work / GPU_SM), bytes / GPU_READ_BYTES * 1e9);
}

/* The head: planes of the table against both bytes of x, for 64 rows at a time. */
static double head_ns(const tern_model_config *c, const model_step *s)
{
    const double values = (double)c->n_vocab * c->d, planes = s->planes;
    const double mma = values / (16 * 32) * planes * 2 * ceil(s->rows / 8.0) / GPU_SM;
    const double tensor = s->rows > 1 ? tensor_ns(mma) : 0;
    const double logits = 8.0 * s->rows * c->n_vocab; /* written and read */
    const double table = planes * values * ceil(s->rows / 64.0);
    return s->rows ? fmax(tensor, (table + logits) / GPU_READ_BYTES * 1e9) : 0;
}

/* A layer of one token: four LINEARs with their gaps, attention with its own. */
static double one_token_ns(const tern_model_config *c, const model_step *s)
{
    const double blocks = ceil((s->first + 1.0) / TERN_PAGE_TOK);
    const double fold = blocks > 1 ? ceil(blocks / TERN_GROUP_PAGES) * ATTN_FOLD_NS : 0;
    return layer_fused_ns(c) + GPU_GAP_NS + ATTN_ROPE_NS + attention_ns(c, s) + fold;
}

double model_step_ns(const tern_model_config *c, const model_step *s)
{
    const double q = (double)c->h * c->hd;
    const double columns = c->d + (q + 2.0 * c->kv * c->hd) + q + c->d + 2.0 * c->f + c->f;
    const int one = s->n_tok == 1;
    const int merges = s->n_tok == s->n_seq && s->n_tok * c->kv < TERN_CUDA_ATTN_PAIRS;
    const double rows =
        LAYER_ROW_KERNELS * ROW_KERNEL_NS + 8.0 * s->n_tok * columns / GPU_L2_BYTES * 1e9;
    const double layer = one ? one_token_ns(c, s)
                             : (LAYER_KERNELS + merges) * GPU_GAP_NS + rows + attention_ns(c, s) +
                                   model_layer_ns(c, s->n_tok);
    const int kernels = one ? LAYER_KERNELS_FUSED : LAYER_KERNELS + merges;
    const int outer = one ? OUTER_KERNELS_FUSED : OUTER_KERNELS;
    const double device = c->n_layers * layer + outer * GPU_GAP_NS + head_ns(c, s);
    const double host = ((double)c->n_layers * kernels + outer) * GPU_HOST_LAUNCH_NS;
    return STEP_IN_GRAPH ? device : fmax(device, host);
}
