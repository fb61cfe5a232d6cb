/* fuzz_encode.c - any bytes as text, for every pattern, with and without special tokens: the ids
 * fit the promised bound and give the same bytes back, unless they were composed first. The first
 * byte chooses. */
#include "format/tokenizer_gguf.h"
#include "format/tokenizer_internal.h"
#include "fuzz.h"
#include "vocabulary.h"

static const char *const pres[] = {"llama-bpe", "qwen2", "gpt-2", "default", "falcon"};
enum { N_PRES = sizeof pres / sizeof pres[0] };

/* Made once; libFuzzer's leak check sees them through this table. */
static tern_tokenizer *tokenizers[2][N_PRES];

static const tern_tokenizer *tokenizer_of(int compose, int pre)
{
    tern_tokenizer **t = &tokenizers[compose][pre];
    if (*t) return *t;
    gguf_builder b = tiny_vocabulary(1);
    put_key_bool(&b, TERN_KEY_COMPOSE, (uint8_t)compose);
    tern_gguf *gguf;
    if (tern_gguf_parse(&gguf, b.bytes, b.n, "fuzz", NULL) != TERN_OK) abort();
    if (tern_tokenizer_from_gguf(t, gguf, pres[pre], NULL) != TERN_OK) abort();
    tern_gguf_close(gguf);
    free(b.bytes);
    return *t;
}

static void check_bytes(const tern_tokenizer *t, const int32_t *ids, size_t n_ids, const char *text,
                        size_t n)
{
    size_t at = 0;
    for (size_t i = 0; i < n_ids; i++) {
        size_t bytes;
        const char *token = tern_tokenizer_bytes(t, ids[i], &bytes);
        if (!token || bytes > n - at || memcmp(token, text + at, bytes) != 0) abort();
        at += bytes;
    }
    if (at != n) abort();
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t n)
{
    if (n < 1) return 0;
    const int compose = data[0] >> 6 & 1;
    const tern_tokenizer *t = tokenizer_of(compose, data[0] % N_PRES);
    const unsigned flags = data[0] & 128 ? TERN_ENCODE_SPECIAL : 0u;
    const char *text = (const char *)data + 1;
    const size_t cap = tern_tokenizer_bound(t, n - 1);
    int32_t *ids = malloc(cap * sizeof *ids);
    size_t n_ids;
    if (!ids) abort();
    if (tern_tokenizer_encode(t, ids, cap, &n_ids, text, n - 1, flags, NULL) != TERN_OK) abort();
    if (n_ids > cap) abort();
    if (!compose) check_bytes(t, ids, n_ids, text, n - 1);
    free(ids);
    return 0;
}
