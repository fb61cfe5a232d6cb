/* program_attn.c - attention of a program: how it is cut among threads, and the folds of groups.
 *
 * The work is a line of pages: KV head by KV head, of each the tokens in their order (those of one
 * sequence read the same pages, which stay in the caches), of each its pages. Every thread has an
 * equal part, to the nearest border of a group. Where a token's groups lie in several parts, the
 * thread that has the first ones folds, after a barrier, the states that the others kept. Kernels
 * write only their states and folds have one order, so the cut never changes a bit. */
#include <string.h>

#include "cpu/cpu_program.h"

/* An equal number of (token, KV head) each, in this order, gave two threads of 2B4T (5 KV heads)
 * 3:2 of a decode step beyond 512 positions and 1:3 of the first chunk of a prompt. Predicted: 1.2x
 * and 1.5x. Processor time of the busier thread, f16, 2-core Zen 3 VM under load, three runs of
 * each by turns: at 4000 positions 13.5 and 12.0 ms of 23 in all, a chunk of 256 tokens 7.6 and 5.1
 * ms. */

/* States of the query heads of one KV head in a thread's scratch: folded, of the next group, and
 * kept for another thread. */
enum { FOLDED, NEXT, KEPT };

/* Where a thread begins: a group of the unit kv_head * n_tok + token. */
typedef struct attn_cut {
    int unit, group;
} attn_cut;

static int pages_of(const tern_attn_args *a, int token)
{
    return a->view.pos[token] / TERN_PAGE_TOK + 1;
}

static int groups_of(const tern_attn_args *a, int token)
{
    return (pages_of(a, token) + TERN_GROUP_PAGES - 1) / TERN_GROUP_PAGES;
}

static size_t state_floats(const tern_attn_args *a)
{
    return (size_t)(a->h / a->view.kv) * (size_t)(a->view.hd + 2);
}

static float *states_at(const cpu_worker *w, const tern_attn_args *a, int thread, int place)
{
    uint8_t *scratch = w->scratch + (thread - w->thread) * (int64_t)TERN_THREAD_SCRATCH_BYTES;
    return (float *)(void *)scratch + (size_t)place * state_floats(a);
}

/* The cut before a thread. What is left of its unit there must fit into the thread's scratch. */
static attn_cut cut_before(const cpu_worker *w, const tern_attn_args *a, int thread)
{
    int64_t pages = 0;
    for (int t = 0; t < w->n_tok; t++) pages += pages_of(a, t);
    const int64_t at = pages * a->view.kv * thread / w->n_threads;
    int token = 0, page = (int)(at % pages);
    while (page >= pages_of(a, token)) page -= pages_of(a, token++);
    attn_cut cut = {(int)(at / pages) * w->n_tok + token, page / TERN_GROUP_PAGES};
    const int begin = cut.group * TERN_GROUP_PAGES, left = pages_of(a, token) - begin;
    const int size = left < TERN_GROUP_PAGES ? left : TERN_GROUP_PAGES;
    cut.group += 2 * (page - begin) > size;
    const int most = (int)(TERN_THREAD_SCRATCH_BYTES / sizeof(float) / state_floats(a)) - KEPT;
    const int least = groups_of(a, token) - most;
    if (cut.group > 0 && cut.group < least) cut.group = least;
    if (cut.group == groups_of(a, token)) cut = (attn_cut){cut.unit + 1, 0};
    return cut;
}

/* The groups of a unit between two cuts. */
static tern_range groups_between(const cpu_worker *w, const tern_attn_args *a, int unit,
                                 const attn_cut cuts[2])
{
    const int begin = unit == cuts[0].unit ? cuts[0].group : 0;
    return (tern_range){begin,
                        unit == cuts[1].unit ? cuts[1].group : groups_of(a, unit % w->n_tok)};
}

/* The states of one group, by the kernel of the KV type. */
static void attn_group(const cpu_worker *w, float *states, const tern_attn_args *a, int unit,
                       int group)
{
    const int token = unit % w->n_tok, kv_head = unit / w->n_tok;
    if (a->view.type == TERN_KV_F16)
        w->kernels->attn_group_f16(states, a, token, kv_head, group);
    else
        w->kernels->attn_group_i8(states, a, token, kv_head, group);
}

static void fold(const cpu_worker *w, const tern_attn_args *a, float *into, const float *from)
{
    const int hd = a->view.hd, heads = a->h / a->view.kv;
    for (int i = 0; i < heads; i++)
        w->kernels->attn_merge(into + i * (hd + 2), from + i * (hd + 2), hd);
}

/* o = state's o * (1/l). */
static void finish_head(float *o, const float *state, int hd)
{
    const float inverse = 1.0f / state[1];
    for (int d = 0; d < hd; d++) o[d] = state[2 + d] * inverse;
}

static void finish_unit(const cpu_worker *w, const cpu_op *op, int unit)
{
    const tern_attn_args *a = &op->u.attn.args;
    const int hd = a->view.hd, heads = a->h / a->view.kv;
    const int token = unit % w->n_tok, kv_head = unit / w->n_tok;
    const float *states = states_at(w, a, w->thread, FOLDED);
    float *o = op->u.attn.o + token * op->u.attn.ldo + (int64_t)kv_head * heads * hd;
    for (int i = 0; i < heads; i++) finish_head(o + i * hd, states + i * (hd + 2), hd);
}

/* Groups of a unit: from the first on they are folded, later ones are kept one by one. */
static void run_groups(const cpu_worker *w, const tern_attn_args *a, int unit, tern_range groups)
{
    float *folded = states_at(w, a, w->thread, FOLDED), *next = states_at(w, a, w->thread, NEXT);
    for (int g = groups.begin; g < groups.end; g++) {
        if (groups.begin > 0)
            attn_group(w, states_at(w, a, w->thread, KEPT + g - groups.begin), a, unit, g);
        else
            attn_group(w, g ? next : folded, a, unit, g);
        if (groups.begin == 0 && g > 0) fold(w, a, folded, next);
    }
}

/* Folds what the threads after this one kept of the unit that the cut divides. */
static void fold_kept(const cpu_worker *w, const tern_attn_args *a, attn_cut cut)
{
    const int unit = cut.unit;
    for (int thread = w->thread + 1; cut.unit == unit; thread++) {
        const attn_cut cuts[2] = {cut, cut_before(w, a, thread + 1)};
        const tern_range groups = groups_between(w, a, unit, cuts);
        for (int g = groups.begin; g < groups.end; g++)
            fold(w, a, states_at(w, a, w->thread, FOLDED),
                 states_at(w, a, thread, KEPT + g - groups.begin));
        cut = cuts[1];
    }
}

/* Whether any token has more than one group; otherwise no unit is cut. */
static int has_groups(const cpu_worker *w, const tern_attn_args *a)
{
    int most = 0;
    for (int t = 0; t < w->n_tok; t++) most = groups_of(a, t) > most ? groups_of(a, t) : most;
    return most > 1;
}

void tern_cpu_run_attn(cpu_worker *w, cpu_op *op)
{
    const tern_attn_args *a = &op->u.attn.args;
    if (w->n_tok == 0) return;
    const attn_cut cuts[2] = {cut_before(w, a, w->thread), cut_before(w, a, w->thread + 1)};
    for (int unit = cuts[0].unit; unit <= cuts[1].unit; unit++) {
        const tern_range groups = groups_between(w, a, unit, cuts);
        run_groups(w, a, unit, groups);
        if (groups.begin == 0 && unit < cuts[1].unit) finish_unit(w, op, unit);
    }
    if (w->n_threads == 1 || !has_groups(w, a)) return;
    tern_pool_barrier(w->pool);
    const int begun = cuts[0].unit < cuts[1].unit || cuts[0].group == 0;
    if (!begun || cuts[1].group == 0) return;
    fold_kept(w, a, cuts[1]);
    finish_unit(w, op, cuts[1].unit);
}

void tern_cpu_run_attn_part(cpu_worker *w, cpu_op *op)
{
    const tern_attn_args *a = &op->u.attn.args;
    const int heads = a->h / a->view.kv, state = a->view.hd + 2, n_groups = op->u.attn.n_groups;
    if (w->n_tok == 0) return;
    const attn_cut cuts[2] = {cut_before(w, a, w->thread), cut_before(w, a, w->thread + 1)};
    float *states = states_at(w, a, w->thread, FOLDED);
    for (int unit = cuts[0].unit; unit <= cuts[1].unit; unit++) {
        const tern_range groups = groups_between(w, a, unit, cuts);
        const int64_t head = (int64_t)(unit % w->n_tok) * a->h + unit / w->n_tok * heads;
        for (int g = groups.begin; g < groups.end; g++) {
            attn_group(w, states, a, unit, g);
            for (int i = 0; i < heads; i++)
                memcpy(op->u.attn.o + ((head + i) * n_groups + g) * op->u.attn.ldo,
                       states + i * state, (size_t)state * sizeof(float));
        }
    }
}

void tern_cpu_run_attn_merge(cpu_worker *w, cpu_op *op)
{
    const int h = op->u.attn_merge.h, hd = op->u.attn_merge.hd, state = hd + 2;
    const int64_t ld = op->u.attn_merge.ld_parts;
    float *folded = (float *)(void *)w->scratch;
    const tern_range units = tern_cpu_share(w, w->n_tok * h, 1);
    for (int unit = units.begin; unit < units.end; unit++) {
        const int token = unit / h, head = unit % h;
        const int last = w->program->batch->pos[token] / (TERN_GROUP_PAGES * TERN_PAGE_TOK);
        const float *part = op->u.attn_merge.parts + (int64_t)unit * op->u.attn_merge.n_groups * ld;
        memcpy(folded, part, (size_t)state * sizeof(float));
        for (int group = 1; group <= last; group++)
            w->kernels->attn_merge(folded, part + group * ld, hd);
        finish_head(op->u.attn_merge.o + token * op->u.attn_merge.ldo + (int64_t)head * hd, folded,
                    hd);
    }
}
