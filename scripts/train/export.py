"""Checkpoint -> GGUF with a canary, and checkpoint folders in the two published layouts.

    scripts/train/export.py --run .train/demo --out tern-demo.gguf
    scripts/train/export.py --run .train/demo --out x.gguf --packed x-packed --masters x-masters

What is exported is the model of the bf16 masters, so that all containers hold one model: masters
are rounded to bf16 first, the scale is their mean magnitude (summed in double), and codes follow
from both.

The canary is 64 ids of held-out text and their log-probabilities. reference.py computes it from the
values in the file, with the runtime's f16 KV and fixed-point head. The tolerance is room for int8
values that round the other way: disturbing every norm output by 2e-7 of itself, as another order of
float32 sums does, moves the demo's canary by 0.04 (median of 26 runs, largest 0.072); float32 K and
V move it by 0.044. A model that float32 K, V and head move by more than half of it gets twice that.
"""
import argparse
import json
from pathlib import Path

import numpy as np
import torch
from tokenizers import Tokenizer

import tokenizer as tok
from gguf_writer import F16, Writer, add_model, add_tokenizer
from hf_writer import write_folder
from model import PARTS, Config
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


def is_projection(key, w):
    return key.startswith("blk.") and w.ndim == 2


def rounded(weights):
    """The weights as the containers can hold them: projections on the grid of bf16."""
    return {key: w.bfloat16().float() if is_projection(key, w) else w
            for key, w in weights.items()}


def all_codes(weights, kind):
    """{key: (T, scale)} of the projections."""
    return {key: PARTS[kind](w) for key, w in weights.items() if is_projection(key, w)}


def build(config, weights, codes, tokenizer_path, name):
    """The GGUF file without its canary."""
    writer = Writer()
    add_model(writer, config, name, DESCRIPTION)
    add_tokenizer(writer, *tokenizer_parts(tokenizer_path))
    writer.add("tokenizer.chat_template", "str", tok.CHAT_TEMPLATE)
    writer.add_float("token_embd.weight", weights["token_embd"].numpy(), F16)
    for key, w in weights.items():
        if key in codes:
            t, scale = codes[key]
            writer.add_ternary(f"{key}.weight", t.numpy(), scale.item())
        elif w.ndim == 1:
            writer.add_float(f"{key}.weight", w.numpy())
    return writer


def add_canary(writer, path, ids):
    """Writes the file, and again with the log-probabilities it was found to have."""
    writer.write(path)
    logprobs = Reference(path, runtime=True).logprobs(ids)
    drift = float(np.abs(Reference(path).logprobs(ids) - logprobs).max())
    writer.add_array("tern.canary.tokens", "i32", ids)
    writer.add_array("tern.canary.logprobs", "f32", logprobs)
    writer.add("tern.canary.tolerance", "f32", max(TOLERANCE, 2 * drift))
    writer.write(path)
    return f"canary mean {logprobs.mean():.4f}, float32 K, V and head move it by {drift:.4f}"


def export(checkpoint, tokenizer_path, valid_path, name, paths):
    """Writes the containers named in paths ("gguf", "packed", "masters"); says what came out."""
    config = Config(**checkpoint["config"])
    if config.kind not in PARTS or (config.kind == "sign" and "masters" in paths):
        raise SystemExit(f"{config.kind} weights have no such container")
    weights = rounded(checkpoint["model"])
    codes = all_codes(weights, config.kind)
    for layout in ("packed", "masters"):
        if layout in paths:
            write_folder(paths[layout], config, weights, codes, tokenizer_path, layout)
    writer = build(config, weights, codes, tokenizer_path, name)
    return add_canary(writer, paths["gguf"], canary_ids(tokenizer_path, valid_path))


def main():
    parser = argparse.ArgumentParser(description=__doc__,
                                     formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--run", type=Path, default=Path(".train/demo"))
    parser.add_argument("--corpus", type=Path, default=Path(".train/corpus"))
    parser.add_argument("--data", type=Path, default=Path("../shared/data/classics"))
    parser.add_argument("--name", default="tern-demo")
    parser.add_argument("--out", type=Path, required=True, help="GGUF file")
    parser.add_argument("--packed", type=Path, help="checkpoint folder")
    parser.add_argument("--masters", type=Path, help="checkpoint folder")
    args = parser.parse_args()
    checkpoint = torch.load(args.run / "checkpoint.pt", weights_only=True)
    paths = {"gguf": args.out, "packed": args.packed, "masters": args.masters}
    said = export(checkpoint, args.corpus / "tokenizer.json", args.data / "valid.txt", args.name,
                  {layout: path for layout, path in paths.items() if path})
    print(f"{args.out}: {checkpoint['tokens']} tokens seen, {said}")


if __name__ == "__main__":
    main()
