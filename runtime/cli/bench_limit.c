/* bench_limit.c - the least time in which this machine could do the work of a run (P4).
 *
 *   prefill  8-bit products of the layers' matrices / int8 rate, plus the products of attention:
 *            at the float rate with f16 KV (fmaf, N6), at the int8 rate with i8 KV (a dot and two
 *            7-bit planes). The head's one row is left out, and so is everything that is neither.
 *   decode   the greater of that and of the bytes that no implementation of these types avoids /
 *            read bandwidth: ternary weights at 2 bits, KV of the positions attended to, and the
 *            high plane of the head's table, since a screened head need not read the low one.
 *
 * `bytes` of a sample is what the kernels in use really read in a step, each byte once: packed
 * weights with their scales, KV, and in decode the table: its high plane where there are two, since
 * the greedy heads of a bench are screened (the rows rescored, some tenths of a percent, are left
 * out). Of a prompt with its answer it is a step of the answer. */
#include "cli/bench.h"

static const tern_backend *backend_of(const bench_rig *rig, int device, tern_error *err)
{
    return tern_backend_find(tern_engine_plan(rig->engine)->devices[device], err);
}

/* Packed bytes of a matrix on the device that holds it. */
static int packed_bytes(double *bytes, const bench_rig *rig, int device,
                        const tern_weight_desc *desc, tern_error *err)
{
    const tern_backend *backend = backend_of(rig, device, err);
    if (!backend) return TERN_E_USAGE;
    tern_weight_layout layout;
    const int status = tern_weight_layout_of(&layout, backend, desc, err);
    if (status == TERN_OK) *bytes += (double)layout.bytes;
    return status;
}

/* Of the model as the devices hold it: products of a token with all layers' matrices, packed bytes
 * of these and of the table. */
typedef struct held_model {
    double macs, layers, table;
} held_model;

static int hold(held_model *held, const bench_rig *rig, tern_error *err)
{
    const tern_plan *plan = tern_engine_plan(rig->engine);
    const tern_head_type type = plan->workload.head_type;
    const tern_weight_desc head = tern_model_matrix(rig->config, TERN_MATRIX_HEAD, type);
    *held = (held_model){0};
    int status = packed_bytes(&held->table, rig, plan->head_device, &head, err);
    for (int l = 0; l < rig->config->n_layers; l++)
        for (int m = 0; m < TERN_N_LAYER_MATRICES && status == TERN_OK; m++) {
            const int attention = m == TERN_MATRIX_QKV || m == TERN_MATRIX_ATTN_OUT;
            const tern_weight_desc desc = tern_model_matrix(rig->config, (tern_matrix)m, type);
            held->macs += (double)desc.k * (double)desc.n_out;
            const int device = attention ? plan->attn_device[l] : plan->ffn_device[l];
            status = packed_bytes(&held->layers, rig, device, &desc, err);
        }
    return status;
}

/* Seconds of the run's products, all of them in the machine's best instructions. */
static double compute_seconds(const bench_rig *rig, const tern_rates *limits,
                              const bench_work *work, double macs)
{
    const tern_model_config *c = rig->config;
    const double positions = (double)work->n_context * c->n_layers;
    const double one = positions * c->h * c->hd; /* q . k, or p . v, of all heads */
    const int f16 = tern_engine_plan(rig->engine)->workload.kv_type == TERN_KV_F16;
    const double attention =
        f16 ? 2.0 * one / limits->f32_fma : 3.0 * one / limits->int8_mac;
    return (double)work->n_tok * macs / limits->int8_mac + attention;
}

/* Bytes of the KV that decode steps attend to. */
static double kv_bytes(const bench_rig *rig, const bench_work *decode)
{
    const tern_model_config *c = rig->config;
    const tern_kv_type type = tern_engine_plan(rig->engine)->workload.kv_type;
    const double position = (double)tern_kv_page_bytes(type, c->kv, c->hd) / TERN_PAGE_TOK;
    return (double)decode->n_context * position * c->n_layers;
}

int cli_bench_limit(bench_sample *out, const bench_rig *rig, const bench_work work[2],
                    tern_error *err)
{
    const bench_work *decode = &work[1];
    held_model held;
    const int status = hold(&held, rig, err);
    if (status != TERN_OK) return status;
    double seconds = compute_seconds(rig, &out->limits, &work[0], held.macs);
    out->bytes = held.layers;
    if (decode->n_steps) {
        const int i16 = tern_engine_plan(rig->engine)->workload.head_type == TERN_HEAD_I16;
        const double steps = (double)decode->n_steps, kv = kv_bytes(rig, decode);
        const double plane = (double)rig->config->n_vocab * rig->config->d;
        const double compute = compute_seconds(rig, &out->limits, decode, held.macs);
        const double read =
            (steps * (held.macs / 4.0 + plane) + kv) / out->limits.read_bytes;
        seconds += read > compute ? read : compute;
        out->bytes += (i16 ? held.table / 2.0 : held.table) + kv / steps;
    }
    out->limit_tok_s = (double)out->n_tok / seconds;
    return TERN_OK;
}
