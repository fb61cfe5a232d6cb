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
void tern_attn_merge_avx2(float *into, const float *from, int hd);

/* The loops behind the limits of the machine. */
void tern_cpu_probes_avx2(tern_cpu_probes *probes);
void tern_cpu_probes_avx512vnni(tern_cpu_probes *probes);

#endif
