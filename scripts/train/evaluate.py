"""Measures a GGUF model with reference.py: bits per byte on a text, and text it writes itself.

    scripts/train/evaluate.py runtime/model/embedded/tern-demo.gguf

Bits per byte: windows of n_ctx ids (BOS, then text), the next one `--stride` further; each window
scores only what the one before did not. Document ends count as tokens, not as bytes.
"""
import argparse
import math
from pathlib import Path

import numpy as np
import tokenizers
from tokenizers import Regex, decoders, models, pre_tokenizers

import tokenizer as tok
from reference import Reference


def gguf_tokenizer(pairs):
    """The tokenizer of a GGUF file, built from its own keys."""
    tokens = pairs["tokenizer.ggml.tokens"]
    merges = [tuple(merge.split(" ")) for merge in pairs["tokenizer.ggml.merges"]]
    vocabulary = {token: i for i, token in enumerate(tokens)}
    built = tokenizers.Tokenizer(models.BPE(vocabulary, merges, ignore_merges=True))
    built.pre_tokenizer = pre_tokenizers.Sequence([
        pre_tokenizers.Split(Regex(tok.LLAMA_BPE), "isolated"),
        pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=False),
    ])
    built.decoder = decoders.ByteLevel()
    built.add_special_tokens(list(tok.SPECIALS))
    return built


def document_bits(model, ids, bos, stride):
    """Bits of all ids of one document."""
    total, scored, width = 0.0, 0, model.c.n_ctx
    for start in range(0, max(len(ids) - width, 0) + stride, stride):
        window = ids[start:start + width]
        logprobs = model.logprobs([bos, *window])
        total -= logprobs[scored - start:].sum()
        scored = start + len(window)
        if scored == len(ids):
            break
    return total / math.log(2)


def bits_per_byte(model, tokenizer, path, stride):
    bos, eos = tokenizer.token_to_id(tok.BOS), tokenizer.token_to_id(tok.EOS)
    bits = n_bytes = 0
    for document in tok.read_documents(path):
        ids = [*tokenizer.encode(document, add_special_tokens=False).ids, eos]
        bits += document_bits(model, ids, bos, stride)
        n_bytes += len(document.encode())
    return bits / n_bytes


def sample(model, tokenizer, prompt, n, temperature, seed):
    """Prompt and n more tokens; temperature 0 takes the most likely ones."""
    rng = np.random.default_rng(seed)
    ids = [tokenizer.token_to_id(tok.BOS), *tokenizer.encode(prompt, add_special_tokens=False).ids]
    for _ in range(n):
        logits = model.logits(ids)[-1].astype("f8")
        if temperature > 0:
            p = np.exp((logits - logits.max()) / temperature)
            ids.append(int(rng.choice(len(p), p=p / p.sum())))
        else:
            ids.append(int(logits.argmax()))
        if ids[-1] == tokenizer.token_to_id(tok.EOS):
            break
    return tokenizer.decode(ids)


def main():
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("model", type=Path)
    parser.add_argument("--text", type=Path, default=Path("../shared/data/classics/valid.txt"))
    parser.add_argument("--stride", type=int, default=256)
    parser.add_argument("--prompt", default="It was a dark night, and")
    parser.add_argument("--tokens", type=int, default=120)
    parser.add_argument("--seed", type=int, default=1)
    args = parser.parse_args()
    model = Reference(args.model)
    tokenizer = gguf_tokenizer(model.pairs)
    for temperature in (0.0, 0.7):
        text = sample(model, tokenizer, args.prompt, args.tokens, temperature, args.seed)
        print(f"temperature {temperature}: {text}\n")
    print(f"{bits_per_byte(model, tokenizer, args.text, args.stride):.4f} bits per byte, "
          f"{args.text.name}, stride {args.stride}", flush=True)


if __name__ == "__main__":
    main()
