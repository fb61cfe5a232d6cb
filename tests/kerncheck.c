/* kerncheck.c - checks every installed CPU kernel against the reference, bit for bit, and measures
 * it: a kernel is tested and benched because it is installed.
 *
 *   kerncheck [--level NAME|all] [--op NAME] [--seed N] [--list] [--bench] [--break]
 *   kerncheck --device NAME [--op NAME] [--seed N]      the operations of a device instead
 *
 * A slot that a level fills with something else than its parent does is a kernel. The exit status
 * is 1 when one differs from ref; --bench measures what passed and refuses the rest. --break checks
 * a LINEAR that is wrong in one bit instead of the levels, and must fail. */
#include "kerncheck.h"

#include <getopt.h>
#include <signal.h>
#include <stdio.h>
#include <time.h>
#include <unistd.h>

#include "base/threads.h"
#include "kerncheck_device.h"

#define SLOT(name) #name, offsetof(tern_cpu_kernels, name)

/* Every slot of the table; one without a check must not be installed. */
static const struct {
    const char *name;
    size_t offset;
    void (*check)(kc_run *run);
    void (*bench)(kc_run *run);
} slots[] = {
    {SLOT(embed), kc_check_embed, kc_bench_embed},
    {SLOT(norm_quant), kc_check_norm_quant, kc_bench_norm_quant},
    {SLOT(linear), kc_check_linear, kc_bench_linear},
    {SLOT(rope_kv), kc_check_rope_kv, kc_bench_rope_kv},
    {SLOT(attn_group_f16), kc_check_attn_group_f16, kc_bench_attn_group_f16},
    {SLOT(attn_group_i8), kc_check_attn_group_i8, kc_bench_attn_group_i8},
    {SLOT(attn_merge), kc_check_attn_merge, kc_bench_attn_merge},
    {SLOT(act_mul), kc_check_act_mul, kc_bench_act_mul},
    {SLOT(norm), NULL, NULL},
    {SLOT(add), NULL, NULL},
    {SLOT(pool), NULL, NULL},
    {SLOT(head_quant), kc_check_head_quant, kc_bench_head_quant},
    {SLOT(head_logits), kc_check_head_logits, kc_bench_head_logits},
    {SLOT(head_top), kc_check_head_top, kc_bench_head_top},
    {SLOT(head_score), kc_check_head_score, kc_bench_head_score},
    {SLOT(pick), kc_check_pick, kc_bench_pick},
};
enum { N_SLOTS = sizeof slots / sizeof slots[0] };

typedef struct options {
    const char *level, *op, *device;
    uint64_t seed;
    int list, bench, broken;
} options;

static const kc_run *running; /* for the signal handler */

/* An access outside an operand hits its guard page: say which case, then end. */
static void on_signal(int number)
{
    (void)number;
    if (running)
        printf("%s %s, %s: touched memory outside its operands; replay: --level %s --op %s "
               "--seed %llu\n",
               running->op, running->level, running->what, running->level, running->op,
               (unsigned long long)running->seed);
    fflush(stdout);
    _exit(1);
}

static int compare_times(const void *a, const void *b)
{
    const double x = *(const double *)a, y = *(const double *)b;
    return (x > y) - (x < y);
}

/* Time of this thread alone: what else runs on the machine takes it away, but does not count. */
static double thread_ns(void)
{
    struct timespec t;
    clock_gettime(CLOCK_THREAD_CPUTIME_ID, &t);
    return (double)t.tv_sec * 1e9 + (double)t.tv_nsec;
}

static double time_calls(const tern_cpu_kernels *kernels, const kc_work *work, int n)
{
    const double begin = thread_ns();
    for (int i = 0; i < n; i++) work->call(kernels, work->context);
    return (thread_ns() - begin) / n;
}

/* Median and best nanoseconds of a call, over about 0.3 s and 3 to 400 measurements of at least
 * 50 us each. */
static double measure(const tern_cpu_kernels *kernels, const kc_work *work, double *best)
{
    double times[400], total = 0;
    const int repeats = 1 + (int)(50e3 / time_calls(kernels, work, 1));
    int n = 0;
    while (n < 400 && (n < 3 || total < 3e8)) {
        times[n] = time_calls(kernels, work, repeats);
        total += times[n++] * repeats;
    }
    qsort(times, (size_t)n, sizeof times[0], compare_times);
    *best = times[0];
    return times[n / 2];
}

void kc_bench(const kc_run *run, const char *shape, const kc_work *work)
{
    double ref_best, best;
    work->call(run->got, work->context); /* touches the pages */
    const double ref = measure(run->ref, work, &ref_best);
    const double time = measure(run->got, work, &best);
    printf("%-15s %-10s %-26s %10.1f us (best %.1f)", run->op, run->level, shape, time * 1e-3,
           best * 1e-3);
    if (work->weight_bytes > 0) printf("  %6.2f GB/s", work->weight_bytes / time);
    if (work->macs > 0) printf("  %7.2f GMAC/s", work->macs / time);
    if (work->values > 0) printf("  %6.3f ns/value", time / work->values);
    printf("  %6.1f x ref\n", ref / time);
    fflush(stdout);
}

static int same_slot(const tern_cpu_kernels *a, const tern_cpu_kernels *b, size_t offset)
{
    return memcmp((const char *)a + offset, (const char *)b + offset, sizeof(void (*)(void))) == 0;
}

/* Checks one slot; returns the number of failures. */
static int check_slot(const options *o, const tern_cpu_kernels *ref, const tern_cpu_kernels *got,
                      const char *level, int slot)
{
    static kc_run run;
    run = (kc_run){.ref = ref, .got = got, .level = level, .op = slots[slot].name, .seed = o->seed,
                   .random = o->seed * 64 + (uint64_t)slot};
    running = &run;
    if (!slots[slot].check) {
        printf("%s %s: is installed, but kerncheck has no check for it\n", run.op, level);
        return 1;
    }
    if (o->list) {
        printf("%-15s %s\n", run.op, level);
        return 0;
    }
    slots[slot].check(&run);
    if (run.n_failed)
        printf("%s %s: FAIL, %d of %d cases; replay: --level %s --op %s --seed %llu\n", run.op,
               level, run.n_failed, run.n_cases, level, run.op, (unsigned long long)o->seed);
    else if (!o->bench)
        printf("%-15s %-10s ok, %d cases\n", run.op, level, run.n_cases);
    fflush(stdout);
    if (o->bench && run.n_failed) printf("%s %s: not measured, it is wrong\n", run.op, level);
    if (o->bench && !run.n_failed && slots[slot].bench) slots[slot].bench(&run);
    return run.n_failed;
}

/* Every kernel of a level that its parent has not. */
static int check_level(const options *o, const tern_cpu_level *levels, int level)
{
    tern_cpu_kernels ref, got, parent;
    tern_error err;
    int index, failed = 0;
    if (levels[level].parent < 0) return 0;
    if (levels[level].needs & ~tern_cpu_features()) {
        printf("%s: SKIP, this machine cannot run it\n", levels[level].name);
        return 0;
    }
    if (tern_cpu_level_select(&index, &ref, "ref", 0, &err) ||
        tern_cpu_level_select(&index, &got, levels[level].name, levels[level].needs, &err) ||
        tern_cpu_level_select(&index, &parent, levels[levels[level].parent].name,
                              levels[level].needs, &err)) {
        printf("%s: %s\n", levels[level].name, err.text);
        return 1;
    }
    for (int s = 0; s < N_SLOTS; s++)
        if (!same_slot(&got, &parent, slots[s].offset) &&
            (!o->op || strcmp(o->op, slots[s].name) == 0))
            failed += check_slot(o, &ref, &got, levels[level].name, s);
    return failed;
}

/* The reference, but for the lowest bit of one output of batches of 11 and more tokens. */
static void broken_linear(const tern_linear_args *a, tern_range tokens, tern_range outputs)
{
    tern_cpu_kernels ref;
    tern_cpu_kernels_ref(&ref);
    ref.linear(a, tokens, outputs);
    float *last = a->y + (tokens.end - 1) * a->ldy + outputs.end - 1;
    uint32_t bits;
    memcpy(&bits, last, 4);
    bits ^= tokens.end - tokens.begin > 10;
    memcpy(last, &bits, 4);
}

static int check_broken(const options *o)
{
    tern_cpu_kernels ref, got;
    tern_cpu_kernels_ref(&ref);
    got = ref;
    got.linear = broken_linear;
    int failed = 0;
    for (int s = 0; s < N_SLOTS; s++)
        if (!same_slot(&got, &ref, slots[s].offset))
            failed += check_slot(o, &ref, &got, "broken", s);
    return failed;
}

static int parse(options *o, int argc, char **argv)
{
    static const struct option names[] = {
        {"level", required_argument, NULL, 'l'}, {"op", required_argument, NULL, 'o'},
        {"seed", required_argument, NULL, 's'},  {"list", no_argument, NULL, 'i'},
        {"bench", no_argument, NULL, 'b'},       {"break", no_argument, NULL, 'x'},
        {"device", required_argument, NULL, 'd'},
        {NULL, 0, NULL, 0},
    };
    int option;
    *o = (options){.level = "all", .seed = 1};
    while ((option = getopt_long(argc, argv, "", names, NULL)) != -1) {
        switch (option) {
        case 'l': o->level = optarg; break;
        case 'o': o->op = optarg; break;
        case 's': o->seed = strtoull(optarg, NULL, 0); break;
        case 'i': o->list = 1; break;
        case 'b': o->bench = 1; break;
        case 'x': o->broken = 1; break;
        case 'd': o->device = optarg; break;
        default: return 0;
        }
    }
    return optind == argc;
}

int main(int argc, char **argv)
{
    options o;
    if (!parse(&o, argc, argv)) {
        printf("kerncheck [--level NAME|all] [--op NAME] [--seed N] [--list] [--bench] "
               "[--break]\nkerncheck --device NAME [--op NAME] [--seed N]\n");
        return 2;
    }
    struct sigaction action = {.sa_handler = on_signal};
    sigaction(SIGSEGV, &action, NULL);
    sigaction(SIGBUS, &action, NULL);
    tern_float_env_set();
    if (o.broken) return check_broken(&o) != 0;
    if (o.device) return kd_check_device(o.device, o.op, o.seed) != 0;
    int n, failed = 0, found = 0;
    const tern_cpu_level *levels = tern_cpu_levels(&n);
    for (int i = 0; i < n; i++) {
        if (strcmp(o.level, "all") != 0 && strcmp(o.level, levels[i].name) != 0) continue;
        found++;
        failed += check_level(&o, levels, i);
    }
    if (!found) printf("kerncheck: there is no level '%s'\n", o.level);
    return failed || !found;
}
