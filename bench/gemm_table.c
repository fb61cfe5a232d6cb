/* gemm_table.c - statistics and output of gemm_table.h. */
#include "bench/gemm_table.h"

#include <stdlib.h>
#include <string.h>

const char *gemm_side_name(gemm_side side)
{
    static const char *const names[] = {"W1.58A8", "cuBLASLt fp16", "cuBLASLt int8"};
    return names[side];
}

const char *gemm_mode_name(gemm_mode mode)
{
    static const char *const names[] = {"cold", "hot", "graph", "stream", "host"};
    return names[mode];
}

static const char *check_name(gemm_check check)
{
    static const char *const names[] = {"absent", "right", "WRONG"};
    return names[check];
}

int gemm_timed(const gemm_case *c, gemm_side side)
{
    return c->check[side] == GEMM_RIGHT && c->n_samples > 0;
}

static int compare(const void *a, const void *b)
{
    const double x = *(const double *)a, y = *(const double *)b;
    return (x > y) - (x < y);
}

gemm_stat gemm_stat_of(const double *samples, int n)
{
    double sorted[GEMM_MAX_SAMPLES];
    memcpy(sorted, samples, (size_t)n * sizeof *sorted);
    qsort(sorted, (size_t)n, sizeof *sorted, compare);
    const double median = n % 2 ? sorted[n / 2] : (sorted[n / 2 - 1] + sorted[n / 2]) / 2;
    return (gemm_stat){median, median > 0 ? (sorted[n - 1] - sorted[0]) / median : 0};
}

double gemm_ratio(const gemm_case *c, gemm_side side, gemm_mode mode)
{
    if (!gemm_timed(c, side) || !gemm_timed(c, GEMM_TERN)) return 0;
    double ratios[GEMM_MAX_SAMPLES];
    for (int i = 0; i < c->n_samples; i++)
        ratios[i] = c->ns[side][mode][i] / c->ns[GEMM_TERN][mode][i];
    return gemm_stat_of(ratios, c->n_samples).median;
}

int gemm_lead_ends(const gemm_case *cases, int n, gemm_side side, gemm_mode mode)
{
    int ends = 0;
    for (int i = 0; i < n; i++) {
        const double ratio = gemm_ratio(&cases[i], side, mode);
        if (ratio > 1) ends = 0;
        if (ratio > 0 && ratio <= 1 && !ends) ends = cases[i].t;
    }
    return ends;
}

double gemm_weight_bytes(const gemm_case *c, gemm_side side)
{
    static const double bytes[] = {0.25, 2, 1};
    return bytes[side] * c->k * c->n_out;
}

/* What a row of a table holds besides its names. */
typedef struct figures {
    gemm_stat stat;
    double tb_s, tops, of_limit, ratio;
} figures;

/* The limit of a product: its weights at the read rate or its multiply-adds at the int8 rate,
 * whichever takes longer; fp16 is held against its bytes alone. */
static figures figures_of(const gemm_conditions *x, const gemm_case *c, gemm_side side,
                          gemm_mode mode)
{
    figures f = {.stat = gemm_stat_of(c->ns[side][mode], c->n_samples)};
    const double ns = f.stat.median, bytes = gemm_weight_bytes(c, side);
    const double macs = (double)c->t * c->k * c->n_out;
    double least = bytes / x->limits.read_bytes * 1e9;
    const double compute = macs / x->limits.int8_mac * 1e9;
    if (side != GEMM_FP16 && compute > least) least = compute;
    f.tb_s = bytes / ns / 1e3;
    f.tops = 2 * macs / ns / 1e3;
    f.of_limit = least / ns;
    f.ratio = gemm_ratio(c, side, mode);
    return f;
}

static int same_product(const gemm_case *a, const gemm_case *b)
{
    return strcmp(a->preset, b->preset) == 0 && strcmp(a->matrix, b->matrix) == 0;
}

/* Cases of the product that begins at cases[0]. */
static int product_length(const gemm_case *cases, int n)
{
    int length = 1;
    while (length < n && same_product(&cases[0], &cases[length])) length++;
    return length;
}

/* ---- Markdown ------------------------------------------------------------------------------- */

static void markdown_checks(FILE *out, const gemm_case *cases, int n)
{
    fprintf(out, "| product | k x n_out | M | W1.58A8 | fp16 | int8 |\n"
            "|---|---|--:|---|---|---|\n");
    for (int i = 0; i < n; i++)
        fprintf(out, "| %s %s | %d x %d | %d | %s | %s | %s |\n", cases[i].preset, cases[i].matrix,
                cases[i].k, cases[i].n_out, cases[i].t, check_name(cases[i].check[GEMM_TERN]),
                check_name(cases[i].check[GEMM_FP16]), check_name(cases[i].check[GEMM_INT8]));
}

static void markdown_case(FILE *out, const gemm_conditions *x, const gemm_case *c, gemm_mode mode)
{
    for (int s = 0; s < GEMM_N_SIDES; s++) {
        const gemm_side side = (gemm_side)s;
        if (c->check[s] == GEMM_WRONG)
            fprintf(out, "| %s %s | %d | %s | WRONG, not timed | | | | | |\n", c->preset, c->matrix,
                    c->t, gemm_side_name(side));
        if (!gemm_timed(c, side)) continue;
        const figures f = figures_of(x, c, side, mode);
        fprintf(out, "| %s %s | %d | %s | %.2f | %.0f %% | ", c->preset, c->matrix, c->t,
                gemm_side_name(side), f.stat.median / 1e3, 100 * f.stat.spread);
        if (mode == GEMM_HOST)
            fprintf(out, "| | | |\n");
        else
            fprintf(out, "%.2f | %.1f | %.0f %% | %.2f |\n", f.tb_s, f.tops, 100 * f.of_limit,
                    f.ratio);
    }
}

static void markdown_leads(FILE *out, const gemm_case *cases, int n)
{
    fprintf(out, "\n| product | lead over | cold ends at M | hot | graph | stream |\n"
            "|---|---|--:|--:|--:|--:|\n");
    for (int at = 0; at < n;) {
        const int length = product_length(&cases[at], n - at);
        for (int s = GEMM_FP16; s < GEMM_N_SIDES; s++) {
            fprintf(out, "| %s %s | %s |", cases[at].preset, cases[at].matrix,
                    gemm_side_name((gemm_side)s));
            for (int m = GEMM_COLD; m < GEMM_HOST; m++) {
                const int ends =
                    gemm_lead_ends(&cases[at], length, (gemm_side)s, (gemm_mode)m);
                if (ends)
                    fprintf(out, " %d |", ends);
                else
                    fprintf(out, " not seen |");
            }
            fprintf(out, "\n");
        }
        at += length;
    }
}

static void markdown(FILE *out, const gemm_conditions *x, const gemm_case *cases, int n)
{
    fprintf(out, "%s, %s, commit %s\n", x->hardware, x->level, *x->commit ? x->commit : "unknown");
    if (x->emulated) {
        fprintf(out, "EMULATED: results are checked, nothing is timed\n\n");
        markdown_checks(out, cases, n);
        return;
    }
    fprintf(out, "limits: read %.2f TB/s, int8 %.0f TOPS\n", x->limits.read_bytes / 1e12,
            2 * x->limits.int8_mac / 1e12);
    for (int m = 0; m < GEMM_N_MODES; m++) {
        fprintf(out, "\n%s\n\n| product | M | side | us | spread | TB/s of weights | TOPS | "
                "of limit | x W1.58A8 |\n|---|--:|---|--:|--:|--:|--:|--:|--:|\n",
                gemm_mode_name((gemm_mode)m));
        for (int i = 0; i < n; i++) markdown_case(out, x, &cases[i], (gemm_mode)m);
    }
    markdown_leads(out, cases, n);
}

/* ---- CSV and JSON: a row for every case, side and mode -------------------------------------- */

/* A side without times has one row, of its check alone. */
static void csv_row(FILE *out, const gemm_conditions *x, const gemm_case *c, gemm_side side,
                    gemm_mode mode)
{
    const int timed = gemm_timed(c, side) && !x->emulated;
    fprintf(out, "%s,%s,%d,%d,%d,%s,%s,%s", c->preset, c->matrix, c->t, c->k, c->n_out,
            gemm_side_name(side), timed ? gemm_mode_name(mode) : "none",
            check_name(c->check[side]));
    if (!timed) {
        fprintf(out, ",,,,,,\n");
        return;
    }
    const figures f = figures_of(x, c, side, mode);
    fprintf(out, ",%.1f,%.4f,%.4f,%.3f,%.4f,%.4f\n", f.stat.median, f.stat.spread, f.tb_s, f.tops,
            f.of_limit, f.ratio);
}

static void json_row(FILE *out, const gemm_conditions *x, const gemm_case *c, gemm_side side,
                     gemm_mode mode)
{
    fprintf(out, "  {\"preset\": \"%s\", \"matrix\": \"%s\", \"m\": %d, \"k\": %d, \"n_out\": %d, "
            "\"side\": \"%s\", \"check\": \"%s\"", c->preset, c->matrix, c->t, c->k, c->n_out,
            gemm_side_name(side), check_name(c->check[side]));
    if (gemm_timed(c, side) && !x->emulated) {
        const figures f = figures_of(x, c, side, mode);
        fprintf(out, ", \"mode\": \"%s\", \"ns\": %.1f, \"spread\": %.4f, \"weight_tb_s\": %.4f, "
                "\"tops\": %.3f, \"of_limit\": %.4f, \"ratio\": %.4f", gemm_mode_name(mode),
                f.stat.median, f.stat.spread, f.tb_s, f.tops, f.of_limit, f.ratio);
    }
    fprintf(out, "}");
}

static void rows(FILE *out, const gemm_conditions *x, const gemm_case *cases, int n, int json)
{
    const char *separator = json ? "\n" : "";
    for (int i = 0; i < n; i++)
        for (int s = 0; s < GEMM_N_SIDES; s++) {
            const gemm_side side = (gemm_side)s;
            if (cases[i].check[s] == GEMM_ABSENT) continue;
            const int n_modes = gemm_timed(&cases[i], side) && !x->emulated ? GEMM_N_MODES : 1;
            for (int m = 0; m < n_modes; m++) {
                fputs(separator, out);
                (json ? json_row : csv_row)(out, x, &cases[i], side, (gemm_mode)m);
                separator = json ? ",\n" : "";
            }
        }
}

static void json(FILE *out, const gemm_conditions *x, const gemm_case *cases, int n)
{
    fprintf(out, "{\"machine\": \"%s\", \"level\": \"%s\", \"commit\": \"%s\", \"emulated\": %s,\n",
            x->hardware, x->level, x->commit, x->emulated ? "true" : "false");
    if (!x->emulated)
        fprintf(out, " \"limits\": {\"read_gb_s\": %.1f, \"int8_gmac_s\": %.0f},\n",
                x->limits.read_bytes / 1e9, x->limits.int8_mac / 1e9);
    fprintf(out, " \"rows\": [");
    rows(out, x, cases, n, 1);
    fprintf(out, "\n ]}\n");
}

void gemm_report(FILE *out, const gemm_conditions *conditions, const gemm_case *cases, int n,
                 gemm_form form)
{
    if (form == GEMM_JSON) {
        json(out, conditions, cases, n);
    } else if (form == GEMM_CSV) {
        fprintf(out, "preset,matrix,m,k,n_out,side,mode,check,ns,spread,weight_tb_s,tops,of_limit,"
                "ratio\n");
        rows(out, conditions, cases, n, 0);
    } else {
        markdown(out, conditions, cases, n);
    }
}
