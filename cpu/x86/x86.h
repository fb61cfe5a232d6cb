/* x86.h - the x86-64 kernels, by level; what a file may use is the last word of its name. */
#ifndef TERN_CPU_X86_X86_H
#define TERN_CPU_X86_X86_H

#include "cpu/kernels.h"
#include "cpu/limits.h"

void tern_cpu_kernels_avx2(tern_cpu_kernels *table);
void tern_cpu_kernels_avx512vnni(tern_cpu_kernels *table);

void tern_linear_avx2(const tern_linear_args *a, tern_range tokens, tern_range outputs);
void tern_linear_avx512vnni(const tern_linear_args *a, tern_range tokens, tern_range outputs);
void tern_attn_group_f16_avx2(float *states, const tern_attn_args *a, int token, int kv_head,
                              int group);
void tern_attn_group_i8_avx2(float *states, const tern_attn_args *a, int token, int kv_head,
                             int group);
void tern_attn_merge_avx2(float *into, const float *from, int hd);
void tern_rope_kv_avx2(const tern_rope_kv_args *a, tern_range tokens);
int tern_norm_quant_avx2(const tern_norm_quant_args *a, tern_range tokens);
void tern_act_mul_avx2(const tern_act_mul_args *a, tern_range tokens, tern_range cols);
void tern_embed_avx2(const tern_embed_args *a, tern_range tokens);
int tern_head_quant_avx2(const tern_head_args *a, tern_range rows);
void tern_head_logits_avx2(const tern_head_args *a, tern_range rows, tern_range vocab);
void tern_head_top_avx2(tern_candidate *top, const float *logits, int n_vocab, int n);
void tern_head_score_avx2(tern_score *score, const float *logits, int n_vocab, int target);
int32_t tern_pick_avx2(const tern_pick_args *a);
void tern_head_logits_avx512vnni(const tern_head_args *a, tern_range rows, tern_range vocab);

/* The loops behind the limits of the machine. */
void tern_cpu_probes_avx2(tern_cpu_probes *probes);
void tern_cpu_probes_avx512vnni(tern_cpu_probes *probes);

#endif
