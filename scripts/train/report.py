"""Measures the runs of compare.py: tables and pictures for results.md.

    scripts/train/report.py --out FOLDER --tern build-gcc/tern

Ternary and sign models are exported and scored by `tern eval ppl`; full-precision twins, which no
ternary runtime runs, by score.py. Both score the ternary models, and the largest distance between
them is the tolerance of the comparison. What has been measured is kept in FOLDER/scores.json, so
test.txt is read once for each model.
"""
import argparse
import json
import subprocess
from pathlib import Path

import torch
from tokenizers import Tokenizer

from compare import RATE_TOKENS, RATES, SIZE_TOKENS, SIZES, last_line, rate_run, size_run
from export import export
from model import KINDS, PARTS
from plot import chart
from score import bits_per_byte, from_checkpoint, from_gguf
from train import PRESETS

STRIDE = 192
TEXTS = ("valid", "test")


def n_weights(size):
    """Weights in projections."""
    c = PRESETS[size]
    return c.n_layer * c.d * (2 * c.h * c.hd + 2 * c.kv * c.hd + 3 * c.f)


def by_tern(args, gguf, text, n_ctx):
    command = [args.tern, "eval", "ppl", "-m", gguf, "-f", args.data / f"{text}.txt", "-w", n_ctx,
               "--stride", STRIDE, "-t", args.threads, "--json"]
    done = subprocess.run(list(map(str, command)), capture_output=True, text=True, check=True)
    return json.loads(done.stdout)["bits_per_byte"]


def by_torch(args, model, text):
    tokenizer = Tokenizer.from_file(str(args.out / "corpus" / "tokenizer.json"))
    return bits_per_byte(model, tokenizer, (args.data / f"{text}.txt").read_text("utf-8"), STRIDE)


def measure(args, size, kind):
    """{text: bits per byte} of one model, and {text + " by torch"} where both can tell."""
    checkpoint = args.out / size_run(size, kind) / "checkpoint.pt"
    if kind not in PARTS:
        model = from_checkpoint(checkpoint)
        return {text: by_torch(args, model, text) for text in TEXTS}
    gguf = args.out / size_run(size, kind) / "model.gguf"
    export(torch.load(checkpoint, weights_only=True), args.out / "corpus" / "tokenizer.json",
           args.data / "valid.txt", size_run(size, kind), {"gguf": gguf})
    scores = {text: by_tern(args, gguf, text, PRESETS[size].n_ctx) for text in TEXTS}
    scores["valid by torch"] = by_torch(args, from_gguf(gguf), "valid")
    return scores


def all_scores(args):
    """{run: scores} of the runs that have ended, measured where they were not."""
    path = args.out / "scores.json"
    scores = json.loads(path.read_text()) if path.exists() else {}
    for size in SIZES:
        for kind in KINDS:
            name = size_run(size, kind)
            if name not in scores and last_line(args.out, name):
                scores[name] = measure(args, size, kind)
                path.write_text(json.dumps(scores, indent=1) + "\n")
    return scores


def print_sizes(scores, sizes):
    print("| weights in projections | text | " + " | ".join(KINDS)
          + " | ternary - full | sign - full |\n|" + "--:|" * (4 + len(KINDS)))
    for size in sizes:
        for text in TEXTS:
            bits = {kind: scores[size_run(size, kind)][text] for kind in KINDS}
            cells = [f"{bits[kind]:.4f}" for kind in KINDS]
            cells += [f"{bits[kind] - bits['full']:+.4f}" for kind in PARTS]
            print(f"| {n_weights(size):,} | {text} | " + " | ".join(cells) + " |")
    apart = [abs(s["valid"] - s["valid by torch"]) for s in scores.values() if len(s) > 2]
    print(f"\nLargest distance between `tern eval` and score.py: {max(apart):.5f} bits per byte.\n")


def print_rates(folder):
    print("| peak rate | " + " | ".join(KINDS) + " |\n|" + "--:|" * (1 + len(KINDS)))
    for rate in RATES:
        bits = [last_line(folder, rate_run(kind, rate))["valid_bits_per_byte"] for kind in KINDS]
        print(f"| {rate:g} | " + " | ".join(f"{b:.3f}" for b in bits) + " |")


def draw(args, scores, sizes):
    lines = {kind: [(n_weights(size) / 1e6, scores[size_run(size, kind)]["test"])
                    for size in sizes] for kind in KINDS}
    chart(args.pictures / "sizes.svg", lines, (f"{SIZE_TOKENS / 1e6:g} million tokens, test.txt",
          "million weights in projections", "bits per byte"), log_x=True)
    lines = {kind: [(rate, last_line(args.out, rate_run(kind, rate))["valid_bits_per_byte"])
                    for rate in RATES] for kind in KINDS}
    chart(args.pictures / "rates.svg", lines, (f"{RATE_TOKENS / 1e6:g} million tokens, valid.txt",
          "peak learning rate of the matrices", "bits per byte"), log_x=True)


def main():
    parser = argparse.ArgumentParser(description=__doc__,
                                     formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--out", type=Path, default=Path(".train"))
    parser.add_argument("--data", type=Path, default=Path("../shared/data/classics"))
    parser.add_argument("--pictures", type=Path, default=Path("scripts/train"))
    parser.add_argument("--tern", type=Path, default=Path("build-gcc/tern"))
    parser.add_argument("--threads", type=int, default=2)
    args = parser.parse_args()
    torch.set_num_threads(args.threads)
    scores = all_scores(args)
    sizes = [size for size in SIZES if all(size_run(size, kind) in scores for kind in KINDS)]
    if not sizes:
        raise SystemExit(f"{args.out}: no size has ended for all kinds: run compare.py first")
    print_sizes(scores, sizes)
    print_rates(args.out)
    draw(args, scores, sizes)


if __name__ == "__main__":
    main()
