/* graph.c - BitNet b1.58 (FORMATS 9.1) as operations of the device contract; readable in one
 * sitting. */
#include "model/graph.h"

/* A list under construction. */
typedef struct list {
    tern_op *ops;
    int n, layer;
} list;

static tern_op *push(list *l, tern_op_kind kind)
{
    tern_op *op = &l->ops[l->n++];
    *op = (tern_op){.kind = kind, .layer = l->layer};
    return op;
}

static void norm_quant(list *l, const tern_part *part, tern_span x, tern_span gain)
{
    push(l, TERN_OP_NORM_QUANT)->u.norm_quant =
        (tern_op_norm_quant){.x = x, .gain = gain, .q = part->quant, .eps = part->config->eps};
}

static void linear(list *l, const tern_part *part, const tern_weight *weight, tern_span y,
                   int accumulate)
{
    push(l, TERN_OP_LINEAR)->u.linear = (tern_op_linear){part->quant, weight, y, accumulate};
}

/* x += Wo . norm(attention(rope(Wq . h), rope(Wk . h), Wv . h)), h = norm(x) */
static void attention_half(list *l, const tern_part *part, const tern_layer_part *layer)
{
    const tern_model_config *c = part->config;
    norm_quant(l, part, part->x, layer->attn_norm);
    linear(l, part, layer->matrix[TERN_MATRIX_QKV], part->qkv, 0);
    push(l, TERN_OP_ROPE_KV)->u.rope_kv = (tern_op_rope_kv){
        .qkv = part->qkv, .rope = part->rope, .pool = layer->pool, .h = c->h, .eps = c->eps};
    push(l, TERN_OP_ATTN)->u.attn = (tern_op_attn){
        .q = tern_span_cols(part->qkv, 0, (int64_t)c->h * c->hd),
        .pool = layer->pool, .o = part->attn, .h = c->h};
    norm_quant(l, part, part->attn, layer->attn_sub_norm);
    linear(l, part, layer->matrix[TERN_MATRIX_ATTN_OUT], part->x, 1);
}

/* x += Wdown . norm(act(Wgate . h) * (Wup . h)), h = norm(x) */
static void ffn_half(list *l, const tern_part *part, const tern_layer_part *layer)
{
    const int f = part->config->f;
    norm_quant(l, part, part->x, layer->ffn_norm);
    linear(l, part, layer->matrix[TERN_MATRIX_GATE_UP], part->gate_up, 0);
    push(l, TERN_OP_ACT_MUL)->u.act_mul = (tern_op_act_mul){
        .gate = tern_span_cols(part->gate_up, 0, f), .up = tern_span_cols(part->gate_up, f, f),
        .y = part->act, .act = part->config->act};
    norm_quant(l, part, part->act, layer->ffn_sub_norm);
    linear(l, part, layer->matrix[TERN_MATRIX_DOWN], part->x, 1);
}

int tern_graph_segment(tern_op *ops, const tern_part *part, const tern_segment *segment)
{
    list l = {ops, 0, -1};
    if (segment->embed)
        push(&l, TERN_OP_EMBED)->u.embed = (tern_op_embed){
            part->ids, part->embed, part->x, part->config->embed_multiplier};
    for (int half = segment->first; half < segment->end; half++) {
        l.layer = half / 2;
        if (half % 2 == 0)
            attention_half(&l, part, &part->layers[half / 2]);
        else
            ffn_half(&l, part, &part->layers[half / 2]);
    }
    return l.n;
}

int tern_graph_head(tern_op *ops, const tern_part *part, tern_head_mode mode, int pick)
{
    list l = {ops, 0, -1};
    push(&l, TERN_OP_HEAD)->u.head = (tern_op_head){
        .x = part->x, .gain = part->head_gain, .table = part->head, .mode = mode,
        .logits = part->logits, .score = part->score, .eps = part->config->eps};
    const int top = mode == TERN_HEAD_TOP;
    if (top) {
        l.ops[0].u.head.top = part->top;
        l.ops[0].u.head.n = part->n_top;
    } else if (mode == TERN_HEAD_SCORE) {
        l.ops[0].u.head.top = part->score_top;
        l.ops[0].u.head.n = part->n_score_top;
    }
    if (pick)
        push(&l, TERN_OP_PICK)->u.pick = (tern_op_pick){
            .logits = top ? (tern_span){0} : part->logits, .top = top ? part->top : (tern_span){0},
            .n = top ? part->n_top : 0, .ids = part->picked, .n_vocab = part->config->n_vocab};
    return l.n;
}
