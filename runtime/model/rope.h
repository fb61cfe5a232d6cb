/* rope.h - the table of rotations (N3), the same bits on every host. */
#ifndef TERN_MODEL_ROPE_H
#define TERN_MODEL_ROPE_H

/* Positions first .. first+n of the table: row p holds hd/2 cosines, then hd/2 sines, of the angles
 * p * base^(-2j/hd), j < hd/2, computed in double and rounded once. table [n, hd]. */
void tern_rope_table(float *table, int first, int n, int hd, float base);

#endif
