/* table_avx512vnni.c - the slots that level avx512vnni overwrites. */
#include "cpu/x86/x86.h"

void tern_cpu_kernels_avx512vnni(tern_cpu_kernels *table)
{
    table->linear = tern_linear_avx512vnni;
}
