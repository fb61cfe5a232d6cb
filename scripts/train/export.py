"""Checkpoint -> GGUF with a canary: 64 ids of held-out text and their log-probabilities.

    scripts/train/export.py --preset demo --out runtime/model/embedded/tern-demo.gguf

reference.py computes the canary from the values in the file, with the runtime's f16 KV and
fixed-point head. The tolerance is room for int8 values that round the other way: disturbing every
norm output by 2e-7 of itself, as another order of float32 sums does, moves the demo's canary by
0.04 (median of 26 runs, largest 0.072); float32 K and V move it by 0.044.
"""
import argparse
import json
from pathlib import Path

import numpy as np
import torch
from tokenizers import Tokenizer

import tokenizer as tok
from gguf_writer import F16, Writer, add_model, add_tokenizer
from model import Config, ternary_parts
from reference import Reference

N_CANARY = 64
TOLERANCE = 0.1
DESCRIPTION = ("Demo BitNet b1.58 language model of Tern, trained from scratch on public-domain "
               "English prose.")


def tokenizer_parts(path):
    """Token texts in id order, merges in rank order, ids of the three control tokens."""
    model = json.loads(path.read_text())["model"]
    tokenizer = Tokenizer.from_file(str(path))
    tokens = [tokenizer.id_to_token(i) for i in range(tokenizer.get_vocab_size())]
    return tokens, model["merges"], *(tokenizer.token_to_id(s) for s in tok.SPECIALS)


def canary_ids(tokenizer_path, valid_path):
    """BOS and the first tokens of the first held-out document."""
    tokenizer = Tokenizer.from_file(str(tokenizer_path))
    text = tok.read_documents(valid_path)[0][:1000]
    ids = tokenizer.encode(text, add_special_tokens=False).ids
    return [tokenizer.token_to_id(tok.BOS), *ids[:N_CANARY - 1]]


def build(checkpoint, tokenizer_path, name):
    config = Config(**checkpoint["config"])
    writer = Writer()
    add_model(writer, config, name, DESCRIPTION)
    add_tokenizer(writer, *tokenizer_parts(tokenizer_path))
    weights = checkpoint["model"]
    writer.add_float("token_embd.weight", weights["token_embd"].numpy(), F16)
    for key, w in weights.items():
        if key.startswith("blk.") and w.ndim == 2:
            t, scale = ternary_parts(w)
            writer.add_ternary(f"{key}.weight", t.numpy(), scale.item())
        elif w.ndim == 1:
            writer.add_float(f"{key}.weight", w.numpy())
    return writer


def main():
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--preset", default="demo", help="reads .train/PRESET")
    parser.add_argument("--data", default="../shared/data/classics")
    parser.add_argument("--name", default="tern-demo")
    parser.add_argument("--out", type=Path, required=True)
    args = parser.parse_args()
    folder = Path(".train") / args.preset
    checkpoint = torch.load(folder / "checkpoint.pt", weights_only=True)
    writer = build(checkpoint, folder / "tokenizer.json", args.name)
    writer.write(args.out)
    ids = canary_ids(folder / "tokenizer.json", Path(args.data) / "valid.txt")
    logprobs = Reference(args.out, runtime=True).logprobs(ids)
    drift = np.abs(Reference(args.out).logprobs(ids) - logprobs).max()
    assert drift < TOLERANCE, f"without f16 KV and the fixed-point head it moves by {drift}"
    writer.add_array("tern.canary.tokens", "i32", ids)
    writer.add_array("tern.canary.logprobs", "f32", logprobs)
    writer.add("tern.canary.tolerance", "f32", TOLERANCE)
    writer.write(args.out)
    print(f"{args.out}: {checkpoint['tokens']} tokens seen, canary mean {logprobs.mean():.4f}, "
          f"float32 K, V and head move it by at most {drift:.4f}")


if __name__ == "__main__":
    main()
