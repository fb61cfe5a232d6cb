/* search.h - the search without its second thoughts: for search.c, fit.c and the tests. */
#ifndef TERN_PLAN_SEARCH_H
#define TERN_PLAN_SEARCH_H

#include "plan/planner.h"

/* As tern_plan_search for a filled-in workload; TERN_E_FIT comes without advice. */
int tern_plan_search_exact(tern_plan *out, const tern_model_config *config,
                           const tern_workload *workload, const tern_site *site,
                           const tern_pins *pins, const tern_goal *goal, tern_error *err);

/* What a search is about. */
typedef struct tern_question {
    const tern_model_config *config;
    tern_workload workload;
    const tern_site *site;
    const tern_pins *pins;
    const tern_goal *goal;
} tern_question;

/* The sentence for a question that has no answer: what would fit. Returns TERN_E_FIT. */
int tern_plan_misfit(const tern_question *question, tern_error *err);

/* The workload with the largest context, in whole pages, that fits (a step is no longer than it);
 * returns that context, or 0 with *out untouched when not even one page fits. */
int tern_plan_largest_context(tern_workload *out, const tern_question *question);

#endif
