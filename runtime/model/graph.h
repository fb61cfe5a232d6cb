/* graph.h - the forward pass as lists of operations: the one place that says what a layer
 * computes. */
#ifndef TERN_MODEL_GRAPH_H
#define TERN_MODEL_GRAPH_H

#include "model/part.h"

/* Operations of the longest list: EMBED and n_layers layers of 6 + 5, or the head's two. */
#define TERN_GRAPH_OPS(n_layers) (1 + (6 + 5) * (n_layers))

/* EMBED (when the segment says so) and the half-layers of a segment; returns their number. */
int tern_graph_segment(tern_op *ops, const tern_part *part, const tern_segment *segment);

/* The head. With `pick`, a PICK of its logits (FULL) or candidates (TOP) follows. Returns 1 or
 * 2. */
int tern_graph_head(tern_op *ops, const tern_part *part, tern_head_mode mode, int pick);

#endif
