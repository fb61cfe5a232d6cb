/* test_golden.c - the whole forward pass against Hugging Face transformers in float32: every logit
 * of every position. Why the bounds are what they are stands in tests/golden/README.md: a rounding
 * to int8 that falls the other way moves a row and what attends to it, so rows without one must
 * agree to float accuracy, there must be enough of them, and the others must stay near. */
#include <math.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "session.h"

/* Contents of a .bin file. */
typedef struct golden {
    int n_tok, n_vocab;
    int32_t *ids;
    float *logits; /* [n_tok, n_vocab] */
} golden;

static void read_golden(golden *g, const char *name)
{
    char path[256];
    snprintf(path, sizeof path, TERN_SOURCE_DIR "/tests/golden/%s.bin", name);
    FILE *file = fopen(path, "rb");
    assert_non_null(file);
    char magic[8];
    uint32_t head[4];
    assert_int_equal(fread(magic, 1, 8, file), 8);
    assert_memory_equal(magic, "TGOLD1\0\0", 8);
    assert_int_equal(fread(head, 4, 4, file), 4);
    g->n_tok = (int)head[0];
    g->n_vocab = (int)head[1];
    const size_t n = (size_t)g->n_tok * (size_t)g->n_vocab;
    g->ids = calloc((size_t)g->n_tok, 4);
    g->logits = calloc(n, 4);
    assert_int_equal(fread(g->ids, 4, (size_t)g->n_tok, file), g->n_tok);
    assert_int_equal(fread(g->logits, 4, n, file), n);
    assert_int_equal(fgetc(file), EOF);
    fclose(file);
}

/* How far two logit tables are apart. */
typedef struct distance {
    double worst, mean;
    int n_exact; /* rows whose logits all agree to EXACT */
} distance;

#define EXACT 0.001 /* float32 sums in another order, and the 16-bit head: 0.0005 was measured */

static distance distance_of(const golden *g, const float *logits)
{
    distance d = {0};
    for (int t = 0; t < g->n_tok; t++) {
        double row = 0.0;
        for (int v = 0; v < g->n_vocab; v++) {
            const size_t i = (size_t)t * (size_t)g->n_vocab + (size_t)v;
            const double difference = fabs((double)logits[i] - (double)g->logits[i]);
            row = difference > row ? difference : row;
            d.mean += difference / ((double)g->n_tok * g->n_vocab);
        }
        d.n_exact += row <= EXACT;
        d.worst = row > d.worst ? row : d.worst;
    }
    return d;
}

static void check_logprobs(const session *s, const golden *g, const float *logits)
{
    tern_error err;
    double *logprobs = calloc((size_t)g->n_tok, sizeof *logprobs);
    assert_int_equal(tern_engine_score(s->engine, logprobs, g->ids, g->n_tok, &err), TERN_OK);
    for (int t = 0; t + 1 < g->n_tok; t++) {
        const float *row = logits + (size_t)t * (size_t)g->n_vocab;
        double sum = 0.0;
        for (int v = 0; v < g->n_vocab; v++) sum += exp((double)row[v]);
        assert_true(fabs(logprobs[t] - ((double)row[g->ids[t + 1]] - log(sum))) < 1e-5);
    }
    free(logprobs);
}

/* Of the model `name`: a file of this name with .gguf, or a checkpoint folder. */
static distance compare(const char *name, tern_kv_type kv_type, tern_head_type head_type)
{
    golden g;
    read_golden(&g, name);
    session s;
    const tern_workload workload = {.kv_type = kv_type, .head_type = head_type};
    char path[256];
    snprintf(path, sizeof path, TERN_SOURCE_DIR "/tests/golden/%s%s", name,
             strcmp(name, "bitnet-tiny") == 0 ? ".gguf" : "");
    assert_int_equal(session_open(&s, path, "cpu", &workload, 2), TERN_OK);
    assert_int_equal(tern_model_config_of(s.model)->n_vocab, g.n_vocab);
    float *logits = calloc((size_t)g.n_tok * (size_t)g.n_vocab, sizeof *logits);
    tern_error err;
    assert_int_equal(tern_engine_logits(s.engine, logits, g.ids, g.n_tok, 0, &err), TERN_OK);
    const distance d = distance_of(&g, logits);
    printf("%s, kv %d, head %d: worst %.4f, mean %.5f, %d of %d rows within %.3f\n", name,
           (int)kv_type, (int)head_type, d.worst, d.mean, d.n_exact, g.n_tok, EXACT);
    check_logprobs(&s, &g, logits);
    free(logits);
    free(g.ids);
    free(g.logits);
    session_close(&s);
    return d;
}

static void test_default_types(void **state)
{
    (void)state;
    const distance d = compare("bitnet-tiny", TERN_KV_F16, TERN_HEAD_I16);
    assert_true(d.n_exact >= 12);
    assert_true(d.mean <= 0.02);
    assert_true(d.worst <= 0.3);
}

/* The coarser types are further away, but the same model. */
static void test_coarse_types(void **state)
{
    (void)state;
    const distance i8_kv = compare("bitnet-tiny", TERN_KV_I8, TERN_HEAD_I16);
    const distance i8_head = compare("bitnet-tiny", TERN_KV_F16, TERN_HEAD_I8);
    assert_true(i8_kv.mean <= 0.1 && i8_head.mean <= 0.1);
}

/* The storages of Hugging Face, read from the folders that transformers has read. */
static void test_folders(void **state)
{
    (void)state;
    static const char *const names[] = {"llama-divide", "bitnet-packed", "bitnet-online"};
    for (size_t i = 0; i < sizeof names / sizeof names[0]; i++) {
        const distance d = compare(names[i], TERN_KV_F16, TERN_HEAD_I16);
        assert_true(d.n_exact >= 8); /* of 32 */
        assert_true(d.mean <= 0.02);
        assert_true(d.worst <= 0.3);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_default_types),
        cmocka_unit_test(test_coarse_types),
        cmocka_unit_test(test_folders),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
