/* program_attn.c - attention of a program: how it is cut among threads, and the folds of groups.
 * Kernels write only their states, so the cut never changes a bit. */
#include <string.h>

#include "cpu/cpu_program.h"

/* The states of one group, by the kernel of the KV type. */
static void attn_group(const cpu_worker *w, float *states, const tern_attn_args *a, int unit,
                       int group)
{
    const int token = unit / a->view.kv, kv_head = unit % a->view.kv;
    if (a->view.type == TERN_KV_F16)
        w->kernels->attn_group_f16(states, a, token, kv_head, group);
    else
        w->kernels->attn_group_i8(states, a, token, kv_head, group);
}

/* o = state's o * (1/l). */
static void attn_finish(float *o, const float *state, int hd)
{
    const float inverse = 1.0f / state[1];
    for (int d = 0; d < hd; d++) o[d] = state[2 + d] * inverse;
}

/* (token, KV head) units; the groups of a unit fold left to right in the thread's scratch. */
void tern_cpu_run_attn(cpu_worker *w, cpu_op *op)
{
    const tern_attn_args *a = &op->u.attn.args;
    const int kv = a->view.kv, hd = a->view.hd, heads = a->h / kv, state = hd + 2;
    float *folded = (float *)(void *)w->scratch, *next = folded + heads * state;
    const tern_range units = tern_cpu_share(w, w->n_tok * kv, 1);
    for (int unit = units.begin; unit < units.end; unit++) {
        const int token = unit / kv, kv_head = unit % kv;
        const int last = a->view.pos[token] / (TERN_GROUP_PAGES * TERN_PAGE_TOK);
        for (int group = 0; group <= last; group++) {
            float *into = group == 0 ? folded : next;
            attn_group(w, into, a, unit, group);
            for (int i = 0; i < heads && group > 0; i++)
                w->kernels->attn_merge(folded + i * state, next + i * state, hd);
        }
        float *o = op->u.attn.o + token * op->u.attn.ldo + (int64_t)kv_head * heads * hd;
        for (int i = 0; i < heads; i++) attn_finish(o + i * hd, folded + i * state, hd);
    }
}

void tern_cpu_run_attn_part(cpu_worker *w, cpu_op *op)
{
    const tern_attn_args *a = &op->u.attn.args;
    const int kv = a->view.kv, heads = a->h / kv, state = a->view.hd + 2,
              n_groups = op->u.attn.n_groups;
    const tern_range units = tern_cpu_share(w, w->n_tok * kv, 1);
    float *states = (float *)(void *)w->scratch;
    for (int unit = units.begin; unit < units.end; unit++) {
        const int token = unit / kv, kv_head = unit % kv;
        const int last = a->view.pos[token] / (TERN_GROUP_PAGES * TERN_PAGE_TOK);
        for (int group = 0; group <= last; group++) {
            attn_group(w, states, a, unit, group);
            for (int i = 0; i < heads; i++) {
                const int64_t row =
                    ((int64_t)token * a->h + kv_head * heads + i) * n_groups + group;
                memcpy(op->u.attn.o + row * op->u.attn.ldo, states + i * state,
                       (size_t)state * sizeof(float));
            }
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
        attn_finish(op->u.attn_merge.o + token * op->u.attn_merge.ldo + (int64_t)head * hd, folded,
                    hd);
    }
}
