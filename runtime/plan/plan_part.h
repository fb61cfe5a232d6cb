/* plan_part.h - what a plan asks of one of its devices, from which the engine allocates; and the
 * defaults of a workload. */
#ifndef TERN_PLAN_PART_H
#define TERN_PLAN_PART_H

#include "model/part.h"
#include "tern/plan.h"

/* Puts defaults for what is 0. TERN_E_USAGE for what this model cannot do. */
int tern_workload_fill(tern_workload *workload, const tern_model_config *config, tern_error *err);

/* KV pages of every layer: whole contexts of all requests. */
int tern_plan_pages(const tern_workload *workload);

void tern_plan_part(tern_part_desc *out, const tern_plan *plan, int device);

#endif
