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
 * weights with their scales, KV, and in decode the table: its high plane for a single row, whose
 * head is screened (the rows rescored, some tenths of a percent, are left out), else all of it. */
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

/* Products of one token with the matrices of all layers, and their bytes as packed. */
static int layers_of(double *macs, double *bytes, const bench_rig *rig, tern_error *err)
{
    const tern_plan *plan = tern_engine_plan(rig->engine);
    *macs = *bytes = 0.0;
    for (int l = 0; l < rig->config->n_layers; l++)
        for (int m = 0; m < TERN_N_LAYER_MATRICES; m++) {
            const int attention = m == TERN_MATRIX_QKV || m == TERN_MATRIX_ATTN_OUT;
            const tern_weight_desc desc =
                tern_model_matrix(rig->config, (tern_matrix)m, plan->workload.head_type);
            *macs += (double)desc.k * (double)desc.n_out;
            const int device = attention ? plan->attn_device[l] : plan->ffn_device[l];
            const int status = packed_bytes(bytes, rig, device, &desc, err);
            if (status != TERN_OK) return status;
        }
    return TERN_OK;
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

int cli_bench_limit(bench_sample *out, const bench_rig *rig, const bench_test *test,
                    const bench_work *work, tern_error *err)
{
    const tern_model_config *c = rig->config;
    const tern_plan *plan = tern_engine_plan(rig->engine);
    double macs, packed, table = 0.0;
    int status = layers_of(&macs, &packed, rig, err);
    const tern_weight_desc head =
        tern_model_matrix(c, TERN_MATRIX_HEAD, plan->workload.head_type);
    if (status == TERN_OK)
        status = packed_bytes(&table, rig, plan->head_device, &head, err);
    if (status != TERN_OK) return status;
    const double steps = (double)work->n_steps;
    double seconds = compute_seconds(rig, &out->limits, work, macs);
    out->bytes = packed;
    if (test->n_decode) {
        const double position_bytes =
            (double)tern_kv_page_bytes(plan->workload.kv_type, c->kv, c->hd) / TERN_PAGE_TOK;
        const double kv = (double)work->n_context * position_bytes * c->n_layers;
        const double least = steps * (macs / 4.0 + (double)c->n_vocab * c->d) + kv;
        const double reading = least / out->limits.read_bytes;
        if (reading > seconds) seconds = reading;
        const int screened =
            test->batch == 1 && plan->workload.head_type == TERN_HEAD_I16;
        out->bytes += (screened ? table / 2.0 : table) + kv / steps;
    }
    out->limit_tok_s = (double)work->n_tok / seconds;
    return TERN_OK;
}
