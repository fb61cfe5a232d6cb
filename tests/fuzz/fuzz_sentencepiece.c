/* fuzz_sentencepiece.c - any bytes as a tokenizer.model. */
#include "format/sentencepiece.h"
#include "format/tokenizer_gguf.h"
#include "fuzz.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t n)
{
    const tern_tokenizer_extra extra = {.bos = 1, .ends = {2, -1, -1}};
    tern_gguf_writer w = {0};
    tern_gguf *gguf = NULL;
    tern_tokenizer *tokenizer = NULL;
    tern_error err = {0};
    int status = tern_sentencepiece_keys(&w, data, n, &extra, "fuzz", &err);
    if (status == TERN_OK) status = tern_gguf_writer_finish(&w, &err);
    if (status == TERN_OK) status = tern_gguf_parse(&gguf, w.bytes, w.n, "fuzz", &err);
    if (status == TERN_OK) status = tern_tokenizer_from_gguf(&tokenizer, gguf, NULL, &err);
    check_status(status, &err);
    tern_tokenizer_destroy(tokenizer);
    tern_gguf_close(gguf);
    tern_gguf_writer_free(&w);
    return 0;
}
