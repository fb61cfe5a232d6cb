/* table_ref.c - fills every slot of the kernel table with the reference. */
#include "cpu/ref/ref.h"

void tern_cpu_kernels_ref(tern_cpu_kernels *table)
{
    *table = (tern_cpu_kernels){
        .embed = tern_embed_ref,
        .norm_quant = tern_norm_quant_ref,
        .linear = tern_linear_ref,
        .rope_kv = tern_rope_kv_ref,
        .attn_group_f16 = tern_attn_group_f16_ref,
        .attn_group_i8 = tern_attn_group_i8_ref,
        .attn_merge = tern_attn_merge_ref,
        .act_mul = tern_act_mul_ref,
        .norm = tern_norm_ref,
        .add = tern_add_ref,
        .pool = tern_pool_ref,
        .head_quant = tern_head_quant_ref,
        .head_logits = tern_head_logits_ref,
        .head_top = tern_head_top_ref,
        .head_score = tern_head_score_ref,
        .pick = tern_pick_ref,
    };
}
