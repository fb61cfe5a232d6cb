/* explain.h - the parts of a report that argue: where the time goes, and why not otherwise. */
#ifndef TERN_PLAN_EXPLAIN_H
#define TERN_PLAN_EXPLAIN_H

#include <stdio.h>

#include "plan/planner.h"

/* The site's device that the plan's device d is. */
const tern_site_device *tern_report_device(const tern_report *report, int d);

/* Everything on one device of the site; 1 when it fits there. */
int tern_alternative_single(tern_report *out, const tern_report *report, int device);

void tern_explain_time(FILE *to, const tern_report *report);
void tern_explain_choice(FILE *to, const tern_report *report);

#endif
