/* candidates_ref.c - a binary heap of candidates, for HEAD TOP and PICK: selection and sorting in
 * place, without allocation and never quadratic. */
#include "cpu/ref/ref.h"

static void sift_from(tern_candidate *c, int n, int at, tern_candidate_above *above)
{
    const tern_candidate moved = c[at];
    for (;;) {
        int child = 2 * at + 1;
        if (child >= n) break;
        if (child + 1 < n && above(c[child + 1], c[child])) child++;
        if (!above(c[child], moved)) break;
        c[at] = c[child];
        at = child;
    }
    c[at] = moved;
}

void tern_heap_make(tern_candidate *c, int n, tern_candidate_above *above)
{
    for (int at = n / 2 - 1; at >= 0; at--) sift_from(c, n, at, above);
}

void tern_heap_sift(tern_candidate *c, int n, tern_candidate_above *above)
{
    sift_from(c, n, 0, above);
}

void tern_heap_pop(tern_candidate *c, int n, tern_candidate_above *above)
{
    const tern_candidate first = c[0];
    c[0] = c[n - 1];
    if (n > 1) sift_from(c, n - 1, 0, above);
    c[n - 1] = first;
}
