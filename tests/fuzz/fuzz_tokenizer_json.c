/* fuzz_tokenizer_json.c - any bytes as a tokenizer.json. */
#include "format/tokenizer_gguf.h"
#include "format/tokenizer_json.h"
#include "fuzz.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t n)
{
    const tern_tokenizer_extra extra = {.bos = 1, .ends = {2, -1, -1}};
    tern_gguf_writer w = {0};
    tern_gguf *gguf = NULL;
    tern_tokenizer *tokenizer = NULL;
    tern_error err = {0};
    json_t *json = NULL;
    int status = tern_json_parse(&json, (const char *)data, n, "fuzz", &err);
    if (status == TERN_OK) status = tern_tokenizer_json_keys(&w, json, &extra, "fuzz", &err);
    if (status == TERN_OK) status = tern_gguf_writer_finish(&w, &err);
    if (status == TERN_OK) status = tern_gguf_parse(&gguf, w.bytes, w.n, "fuzz", &err);
    if (status == TERN_OK) status = tern_tokenizer_from_gguf(&tokenizer, gguf, NULL, &err);
    check_status(status, &err);
    if (status == TERN_OK) {
        int32_t ids[64];
        size_t n_ids;
        check_status(tern_tokenizer_encode(tokenizer, ids, 64, &n_ids, "a b\xff \xe6\xbc\xa2", 8,
                                           TERN_ENCODE_BOS, &err),
                     &err);
    }
    tern_tokenizer_destroy(tokenizer);
    tern_gguf_close(gguf);
    tern_gguf_writer_free(&w);
    json_decref(json);
    return 0;
}
