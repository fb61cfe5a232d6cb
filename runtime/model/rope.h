/* rope.h - the table of rotations (N3), the same bits on every host. */
#ifndef TERN_MODEL_ROPE_H
#define TERN_MODEL_ROPE_H

/* Positions first .. first+n of the table: row p holds hd/2 cosines, then hd/2 sines, of the angles
 * p * (base^(-2j/hd) / divisor[j]), j < hd/2, computed in double and rounded once. table [n, hd],
 * divisor [hd/2], above 0; NULL: all 1. */
void tern_rope_table(float *table, int first, int n, int hd, float base, const float *divisor);

#endif
