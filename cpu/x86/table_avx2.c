/* table_avx2.c - the slots that level avx2 overwrites. */
#include "cpu/x86/x86.h"

void tern_cpu_kernels_avx2(tern_cpu_kernels *table)
{
    table->embed = tern_embed_avx2;
    table->norm_quant = tern_norm_quant_avx2;
    table->linear = tern_linear_avx2;
    table->rope_kv = tern_rope_kv_avx2;
    table->attn_group_f16 = tern_attn_group_f16_avx2;
    table->attn_group_i8 = tern_attn_group_i8_avx2;
    table->attn_merge = tern_attn_merge_avx2;
    table->act_mul = tern_act_mul_avx2;
    table->head_quant = tern_head_quant_avx2;
    table->head_logits = tern_head_logits_avx2;
    table->head_top = tern_head_top_avx2;
    table->head_score = tern_head_score_avx2;
    table->pick = tern_pick_avx2;
}
