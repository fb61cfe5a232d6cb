/* kerncheck_device_head.c - HEAD in its three modes, and PICK, on a device. */
#include "kerncheck_device.h"

static void check_head(kd_run *run, int d, int n_vocab, int n_rows, tern_head_type type)
{
    const int n = case_int(&run->random, 1, n_vocab < 90 ? n_vocab : 90);
    const int n_tok = n_rows + case_int(&run->random, 0, 3);
    kd_case(run, "HEAD d %d, %d tokens in the vocabulary, %d rows, %d best, %s", d, n_vocab, n_rows,
            n, type == TERN_HEAD_I16 ? "i16" : "i8");
    const kd_pair x = kd_floats(run, n_tok, d, d + 2, 0), gain = kd_floats(run, 1, d, d, 0);
    const kd_weight table = kd_table(run, n_vocab, d, type);
    const kd_pair logits = kd_floats(run, n_rows, n_vocab, n_vocab + 3, 0);
    const size_t top_bytes = (size_t)n_rows * (size_t)n * sizeof(tern_candidate);
    const size_t score_bytes = (size_t)n_rows * sizeof(tern_score);
    const kd_pair top = kd_opaque(run, top_bytes, top_bytes);
    const kd_pair top2 = kd_opaque(run, top_bytes, top_bytes);
    const kd_pair score = kd_opaque(run, score_bytes, score_bytes);
    tern_op ops[2][3];
    for (int i = 0; i < 2; i++) {
        for (int mode = 0; mode < 3; mode++)
            ops[i][mode] = (tern_op){.kind = TERN_OP_HEAD, .layer = -1,
                                     .u.head = {.x = x.s[i], .gain = gain.s[i],
                                                .table = table.w[i], .mode = (tern_head_mode)mode,
                                                .n = mode ? n : 0, .eps = 1e-5f}};
        ops[i][TERN_HEAD_FULL].u.head.logits = logits.s[i];
        ops[i][TERN_HEAD_TOP].u.head.top = top.s[i];
        ops[i][TERN_HEAD_SCORE].u.head.top = top2.s[i];
        ops[i][TERN_HEAD_SCORE].u.head.score = score.s[i];
    }
    const tern_batch_limits limits = {n_tok, 1, n_rows, 1024};
    kd_batch b;
    kd_batch_make(run, &b, n_tok, 1, n_rows, 1024);
    for (int r = 0; r < n_rows; r++) b.targets[r] = case_int(&run->random, 0, n_vocab - 1);
    kd_go(run, ops[0], ops[1], 3, &limits, &b.batch);
    kd_same(run, "FULL", &logits, (size_t)n_rows * (size_t)(n_vocab + 3) * sizeof(float));
    kd_same(run, "TOP", &top, top_bytes);
    kd_same(run, "SCORE", &score, score_bytes);
    kd_same(run, "TOP of SCORE", &top2, top_bytes);
    kd_gaps(run);
}

void kd_check_head(kd_run *run)
{
    static const int widths[] = {1, 60, 64, 127, 128, 200, 257, 512};
    static const int vocabularies[] = {1, 15, 16, 17, 100, 333, 1000, 130};
    static const int rows[] = {1, 2, 3, 8, 9, 17, 5, 1};
    for (int i = 0; i < 24; i++)
        check_head(run, widths[i % 8], vocabularies[i * 3 % 8], rows[(i + i / 8) % 8],
                   i % 3 ? TERN_HEAD_I16 : TERN_HEAD_I8);
    check_head(run, 64, 100, 64, TERN_HEAD_I16);
    check_head(run, 128, 2050, 2, TERN_HEAD_I16);
    check_head(run, 70000, 20, 2, TERN_HEAD_I16); /* past the bound of one s32 chain */
    check_head(run, 70000, 20, 1, TERN_HEAD_I8);
}

/* What the rows of a PICK point to. */
typedef struct pick_lists {
    int32_t bias_ids[64], count_ids[64], counts[64];
    float bias[64];
    uint32_t mask[160];
} pick_lists;

static int draw_ids(kd_run *run, int32_t *ids, int n_vocab)
{
    int n = 0;
    for (int id = case_int(&run->random, 0, n_vocab - 1); id < n_vocab && n < 64; n++) {
        ids[n] = id;
        id += case_int(&run->random, 1, 1 + n_vocab / 8);
    }
    return n;
}

static void draw_pick(kd_run *run, tern_pick *p, pick_lists *lists, int n_vocab)
{
    uint64_t *random = &run->random;
    *p = (tern_pick){.seed = case_next(random), .choice = (uint32_t)case_int(random, 0, 3),
                     .position = (uint32_t)case_int(random, 0, 5000)};
    static const float temperatures[] = {0.0f, 1e-6f, 0.3f, 1.0f, 1.0f, 3.0f, 100.0f};
    p->temperature = temperatures[case_int(random, 0, 6)];
    if (case_int(random, 0, 1)) p->top_k = case_int(random, 1, n_vocab + 3);
    if (case_int(random, 0, 1)) p->top_p = 0.01f * (float)case_int(random, 0, 100);
    if (case_int(random, 0, 2) == 0) p->min_p = 0.02f * (float)case_int(random, 0, 60);
    if (case_int(random, 0, 1)) {
        p->n_counts = draw_ids(run, lists->count_ids, n_vocab);
        for (int i = 0; i < p->n_counts; i++) lists->counts[i] = case_int(random, 0, 3);
        p->repetition = case_int(random, 0, 2) ? 1.5f : 0.0f;
        p->presence = case_int(random, 0, 1) ? 0.7f : 0.0f;
        p->frequency = case_int(random, 0, 1) ? 0.3f : 0.0f;
    }
    if (case_int(random, 0, 1)) {
        p->n_bias = draw_ids(run, lists->bias_ids, n_vocab);
        for (int i = 0; i < p->n_bias; i++) lists->bias[i] = case_float(random, 8.0f);
    }
    const int mask = case_int(random, 0, 3);
    for (int i = 0; i < 160; i++)
        lists->mask[i] = mask == 1 ? 0 : (uint32_t)(case_next(random) & case_next(random));
    if (mask < 2) p->mask = lists->mask;
    p->bias_ids = lists->bias_ids;
    p->bias = lists->bias;
    p->count_ids = lists->count_ids;
    p->counts = lists->counts;
}

/* Logits with ties, zeros of both signs and a wide range. */
static void draw_logits(kd_run *run, float *logits, int n)
{
    const int kind = case_int(&run->random, 0, 3);
    for (int i = 0; i < n; i++) {
        logits[i] = case_float(&run->random, kind == 0 ? 1.0f : 30.0f);
        if (kind == 2) logits[i] = (float)case_int(&run->random, -3, 3);
        if (kind == 3 && case_int(&run->random, 0, 1)) logits[i] = i % 2 ? -0.0f : 0.0f;
    }
}

static void check_pick(kd_run *run, int n_vocab, int n_rows, int n_top)
{
    static pick_lists lists[64];
    kd_case(run, "PICK of %d tokens, %d rows, %d candidates", n_vocab, n_rows, n_top);
    float *values = case_alloc((size_t)n_rows * (size_t)n_vocab * sizeof *values);
    draw_logits(run, values, n_rows * n_vocab);
    const kd_pair logits = kd_values(run, n_rows, n_vocab, n_vocab, TERN_F32, values);
    free(values);
    const size_t bytes = (size_t)n_rows * (size_t)n_top * sizeof(tern_candidate);
    tern_candidate *candidates = case_alloc(bytes);
    for (int r = 0; r < n_rows; r++)
        for (int i = 0; i < n_top; i++) /* distinct ids, descending logits */
            candidates[r * n_top + i] = (tern_candidate){
                20.0f - 0.5f * (float)(i / 2), (int32_t)(((int64_t)i * 2 + r) % n_vocab)};
    const kd_pair top = kd_opaque(run, bytes, bytes);
    for (int i = 0; i < 2; i++)
        if (bytes)
            tern_upload(run->side[i].stream, run->side[i].memory, top.s[i].offset_bytes, candidates,
                        bytes, NULL);
    for (int i = 0; i < 2; i++) tern_stream_sync(run->side[i].stream, NULL);
    free(candidates);
    const kd_pair ids = kd_values(run, n_rows, 1, 1, TERN_S32, NULL);
    tern_op ops[2];
    for (int i = 0; i < 2; i++)
        ops[i] = (tern_op){.kind = TERN_OP_PICK, .layer = -1,
                           .u.pick = {.logits = n_top ? (tern_span){0} : logits.s[i],
                                      .top = n_top ? top.s[i] : (tern_span){0}, .ids = ids.s[i],
                                      .n = n_top, .n_vocab = n_vocab}};
    const tern_batch_limits limits = {n_rows, 1, n_rows, 1024};
    kd_batch b;
    kd_batch_make(run, &b, n_rows, 1, n_rows, 1024);
    for (int r = 0; r < n_rows; r++) draw_pick(run, &b.picks[r], &lists[r], n_vocab);
    kd_go(run, &ops[0], &ops[1], 1, &limits, &b.batch);
    kd_same(run, "ids", &ids, (size_t)n_rows * sizeof(int32_t));
    kd_gaps(run);
}

void kd_check_pick(kd_run *run)
{
    static const int vocabularies[] = {1, 2, 31, 33, 100, 255, 1000, 5000};
    for (int i = 0; i < 40; i++) {
        const int n_vocab = vocabularies[i % 8];
        check_pick(run, n_vocab, 1 + i % 7, 0);
        check_pick(run, n_vocab, 1 + i % 5, n_vocab > 3 ? 1 + i % (n_vocab / 2) : 1);
    }
    check_pick(run, 65, 64, 0); /* more lists than the region of one row holds */
}
