/* table_avx2.c - the slots that level avx2 overwrites. */
#include "cpu/x86/x86.h"

void tern_cpu_kernels_avx2(tern_cpu_kernels *table)
{
    table->linear = tern_linear_avx2;
    table->attn_group_f16 = tern_attn_group_f16_avx2;
    table->attn_merge = tern_attn_merge_avx2;
}
