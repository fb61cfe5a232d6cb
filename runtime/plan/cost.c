/* cost.c - what one operation costs on a device (DESIGN: latency plus the time of the work). Where
 * the profile holds a measured curve, it is the time; elsewhere it is
 *   max(bytes / read rate, int8 products / int8 rate, float products / float rate)
 * with the parts of these rates that the kernels reach. How the CPU cuts attention among threads
 * (cpu/program_attn.c) shows in the time, because the last thread is waited for. */
#include <math.h>

#include "plan/planner.h"

/* Where the costs of a step come from. */
typedef struct context {
    const tern_profile *profile;
    const tern_model_config *config;
    const tern_workload *workload;
    const tern_step *step;
    double times;
} context;

const char *tern_cost_class_name(tern_cost_class cost_class)
{
    static const char *const names[TERN_N_COST_CLASSES] = {"weights", "attention", "head",
                                                           "norms",   "latency",   "copies"};
    return names[cost_class];
}

double tern_cost_ns(const tern_cost *cost)
{
    double ns = 0;
    for (int i = 0; i < TERN_N_COST_CLASSES; i++) ns += cost->of[i].ns;
    return ns;
}

static void add_work(tern_work *to, const tern_work *work, double times)
{
    to->ns += times * work->ns;
    to->bytes += times * work->bytes;
    to->macs += times * work->macs;
    to->fmas += times * work->fmas;
}

void tern_cost_add(tern_cost *to, const tern_cost *cost, double times)
{
    for (int i = 0; i < TERN_N_COST_CLASSES; i++) add_work(&to->of[i], &cost->of[i], times);
}

const char *tern_work_binds(double *reach, const tern_work *work, const tern_profile *p)
{
    static const char *const names[] = {"memory", "int8", "f32"};
    const double least[] = {work->bytes / p->read_bytes * 1e9, work->macs / p->int8_mac * 1e9,
                            work->fmas / p->f32_fma * 1e9};
    int most = 0;
    for (int i = 1; i < 3; i++)
        if (least[i] > least[most]) most = i;
    *reach = work->ns > 0 ? least[most] / work->ns : 0;
    return least[most] > 0 ? names[most] : "latency";
}

static double formula_ns(const tern_profile *p, const tern_work *w)
{
    const double read = w->bytes / (p->read_bytes * p->reach_read);
    const double int8 = w->macs / (p->int8_mac * p->reach_compute);
    const double f32 = w->fmas / (p->f32_fma * p->reach_compute);
    return 1e9 * fmax(read, fmax(int8, f32));
}

/* Adds an operation: `units` of a curve at a point of it, or the formula over the work. */
static void add_op(tern_cost *cost, const context *c, tern_cost_class cost_class, tern_curve_id id,
                   const double at_units[2], tern_work work)
{
    const tern_curve *curve = &c->profile->curves[id];
    work.ns =
        curve->n ? tern_curve_ns(curve, at_units[0]) * at_units[1] : formula_ns(c->profile, &work);
    work.ns /= c->profile->sustained;
    add_work(&cost->of[cost_class], &work, c->times);
    cost->of[TERN_COST_LATENCY].ns += c->times * c->profile->op_ns;
}

static void add_linear(tern_cost *cost, const context *c, tern_matrix matrix)
{
    const tern_weight_desc w = tern_model_matrix(c->config, matrix, TERN_HEAD_I16);
    const double t = c->step->n_tok, weights = (double)w.k * w.n_out;
    add_op(cost, c, TERN_COST_LINEAR, TERN_CURVE_LINEAR, (const double[2]){t, weights},
           (tern_work){.bytes = weights / 4 + 4.0 * w.n_out, .macs = t * weights});
}

/* An operation on rows of floats, in the caches: 8 bytes and a few products a value. */
static void add_rows(tern_cost *cost, const context *c, tern_curve_id id, double columns)
{
    const double t = c->step->n_tok;
    add_op(cost, c, TERN_COST_FLOAT, id, (const double[2]){t, columns},
           (tern_work){.bytes = 8 * t * columns, .fmas = 4 * t * columns});
}

/* Curves of the KV type: `four` query heads a KV head or one; a chunk of a prompt or decoding. */
static tern_curve_id attn_curve(const context *c, int four)
{
    const int chunk = c->step->n_seq == 1 && c->step->n_tok > 1;
    const int i8 = c->workload->kv_type == TERN_KV_I8;
    return (tern_curve_id)(TERN_CURVE_ATTN_F16_1 + 4 * chunk + 2 * i8 + four);
}

double tern_mean_context(const tern_step *s)
{
    const double t = s->n_seq == 1 ? s->n_tok : 1;
    return s->first + 0.5 + 0.5 * t;
}

/* Times of one (token, KV head) that the thread with the largest part takes: parts are equal to the
 * nearest border of a group of pages. */
static double attn_rounds(double units, double keys, int threads)
{
    const double group = TERN_GROUP_PAGES * TERN_PAGE_TOK;
    return keys <= group ? ceil(units / threads) : fmax(units / threads, group / keys);
}

static void add_attention(tern_cost *cost, const context *c)
{
    const tern_model_config *m = c->config;
    const tern_step *s = c->step;
    const int threads = c->profile->n_threads > 1 ? c->profile->n_threads : 1;
    const double at = tern_mean_context(s);
    const double rounds = attn_rounds((double)s->n_tok * m->kv, at, threads);
    const double group = (double)m->h / m->kv;
    const double page = (double)tern_kv_page_bytes(c->workload->kv_type, m->kv, m->hd);
    const double reads = s->n_seq == 1 ? s->first + s->n_tok : (double)s->n_seq * (s->first + 1);
    const double products = at * s->n_tok * m->h * m->hd;
    tern_work work = {.bytes = page / TERN_PAGE_TOK * reads};
    if (c->workload->kv_type == TERN_KV_F16)
        work.fmas = 2 * products;
    else
        work.macs = 3 * products;
    const tern_curve *one = &c->profile->curves[attn_curve(c, 0)];
    const tern_curve *four = &c->profile->curves[attn_curve(c, 1)];
    work.ns = formula_ns(c->profile, &work);
    if (one->n) {
        const double ns1 = tern_curve_ns(one, at), ns4 = tern_curve_ns(four, at);
        const double ns = ns1 + (ns4 - ns1) * (group - 1) / 3;
        work.ns = rounds * m->hd * ns;
    }
    work.ns /= c->profile->sustained;
    add_work(&cost->of[TERN_COST_ATTENTION], &work, c->times);
    cost->of[TERN_COST_LATENCY].ns += c->times * c->profile->op_ns;
}

/* As greedy and top-k requests have it: the candidates of every row, screened where the table has
 * two planes, so that its low one is hardly read. */
static void add_head(tern_cost *cost, const context *c)
{
    const tern_model_config *m = c->config;
    const double rows = c->step->n_rows, values = (double)m->n_vocab * m->d;
    const int i16 = c->workload->head_type == TERN_HEAD_I16;
    if (c->step->n_rows == 0) return;
    add_op(cost, c, TERN_COST_HEAD, i16 ? TERN_CURVE_TOP_I16 : TERN_CURVE_TOP_I8,
           (const double[2]){rows, values},
           (tern_work){.bytes = values, .macs = 2 * rows * values});
    cost->of[TERN_COST_LATENCY].ns += c->times * c->profile->run_ns;
}

/* x of the batch to or from the device, through host memory. */
static void add_copy(tern_cost *cost, const context *c, double rate)
{
    const double bytes = 4.0 * c->step->n_tok * c->config->d;
    const tern_work work = {.ns = c->profile->copy_ns + 1e9 * bytes / rate, .bytes = bytes};
    add_work(&cost->of[TERN_COST_COPY], &work, c->times);
}

void tern_units_add(tern_units *u, const tern_profile *profile, const tern_model_config *config,
                    const tern_workload *workload, const tern_step *step, double times)
{
    const context c = {profile, config, workload, step, times};
    const int q = config->h * config->hd;
    add_rows(&u->attn, &c, TERN_CURVE_NORM_QUANT, config->d);
    add_linear(&u->attn, &c, TERN_MATRIX_QKV);
    add_rows(&u->attn, &c, TERN_CURVE_ROPE_KV, q + 2.0 * config->kv * config->hd);
    add_attention(&u->attn, &c);
    add_rows(&u->attn, &c, TERN_CURVE_NORM_QUANT, q);
    add_linear(&u->attn, &c, TERN_MATRIX_ATTN_OUT);
    add_rows(&u->ffn, &c, TERN_CURVE_NORM_QUANT, config->d);
    add_linear(&u->ffn, &c, TERN_MATRIX_GATE_UP);
    add_rows(&u->ffn, &c, TERN_CURVE_ACT_MUL, config->f);
    add_rows(&u->ffn, &c, TERN_CURVE_NORM_QUANT, config->f);
    add_linear(&u->ffn, &c, TERN_MATRIX_DOWN);
    add_rows(&u->embed, &c, TERN_CURVE_EMBED, config->d);
    add_head(&u->head, &c);
    u->launch.of[TERN_COST_LATENCY].ns += times * profile->run_ns;
    add_copy(&u->enter, &c, profile->to_bytes);
    add_copy(&u->leave, &c, profile->from_bytes);
}

void tern_units_prefill(tern_units *u, const tern_profile *profile, const tern_model_config *config,
                        const tern_workload *workload, int n_cached, int n_prompt)
{
    for (int first = n_cached; first < n_prompt; first += workload->n_tok) {
        const int left = n_prompt - first, last = left <= workload->n_tok;
        const tern_step step = {last ? left : workload->n_tok, 1, last, first};
        tern_units_add(u, profile, config, workload, &step, 1);
    }
}

void tern_units_decode(tern_units *u, const tern_profile *profile, const tern_model_config *config,
                       const tern_workload *workload, const tern_goal *goal)
{
    const int n = workload->n_seq;
    const tern_step step = {n, n, n, goal->n_prompt + goal->n_out / 2};
    tern_units_add(u, profile, config, workload, &step, goal->n_out - 1);
}
