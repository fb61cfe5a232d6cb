/* plan_part.h - what a plan asks of one of its devices; the engine allocates from it. */
#ifndef TERN_PLAN_PART_H
#define TERN_PLAN_PART_H

#include "model/part.h"
#include "tern/plan.h"

void tern_plan_part(tern_part_desc *out, const tern_plan *plan, int device);

#endif
