"""Low-rank adapters in full precision beside the frozen ternary projections of a GGUF model.

    scripts/train/lora.py --author "Lewis Carroll" --out .train/carroll
    scripts/train/lora.py --compare .train/carroll .train/wells

A projection becomes y = BitLinear(x) + (x A^T) B^T * ALPHA / RANK: the side matrix sees the float
input, the codes stay as they are. The first form trains on the books of an author in train.txt.xz
and saves the adapter under the names of PEFT; the second prints bits per byte of each held-out book
without and with each adapter.
"""
import argparse
import json
from pathlib import Path

import torch
import torch.nn.functional as F
from safetensors.torch import load_file, save_file
from torch import nn

import tokenizer as tok
from evaluate import gguf_tokenizer
from hf_writer import NAMES, hf_name
from log import Log
from model import Block
from reference import read_gguf
from score import bits_per_byte, from_gguf
from train import Batches

RANK, ALPHA = 8, 16
PROJECTIONS = ("attn_q", "attn_k", "attn_v", "attn_output", "ffn_gate", "ffn_up", "ffn_down")
DEMO = Path("runtime/model/embedded/tern-demo.gguf")
LR, WARMUP, ROWS, WIDTH, SEED = 2e-3, 0.1, 8, 256, 1


class LoraBlock(Block):
    """A layer whose weights are frozen and whose projections have low-rank matrices beside them."""

    def __init__(self, c):
        super().__init__(c)
        self.requires_grad_(False)
        self.lora_a, self.lora_b = nn.ParameterDict(), nn.ParameterDict()
        for name in PROJECTIONS:
            n_out, k = getattr(self, name).shape
            self.lora_a[name] = nn.Parameter(torch.randn(RANK, k) * k**-0.5)
            self.lora_b[name] = nn.Parameter(torch.zeros(n_out, RANK))

    def project(self, x, *names):
        side = [F.linear(F.linear(x, self.lora_a[n]), self.lora_b[n]) for n in names]
        return super().project(x, *names) + torch.cat(side, dim=-1) * (ALPHA / RANK)


def frozen(path):
    """The model of a GGUF file with fresh adapters, which change nothing yet."""
    torch.manual_seed(SEED)
    model = from_gguf(path, LoraBlock)
    model.token_embd.requires_grad_(False)
    model.output_norm.requires_grad_(False)
    return model


def adapter(model):
    """{PEFT's name: parameter} of the adapters."""
    out = {}
    for key, value in model.named_parameters():
        if ".lora_" in key:
            _, layer, which, name = key.split(".")
            side = which.replace("lora_a", "lora_A").replace("lora_b", "lora_B")
            out[f"base_model.model.{hf_name(f'blk.{layer}.{name}')}.{side}.weight"] = value
    return out


def save(model, folder):
    config = {"peft_type": "LORA", "task_type": "CAUSAL_LM", "r": RANK, "lora_alpha": ALPHA,
              "lora_dropout": 0.0, "bias": "none",
              "target_modules": [NAMES[n].split(".")[-1] for n in PROJECTIONS]}
    (folder / "adapter_config.json").write_text(json.dumps(config, indent=1) + "\n")
    tensors = {name: value.detach() for name, value in adapter(model).items()}
    save_file(tensors, folder / "adapter_model.safetensors", {"format": "pt"})


@torch.no_grad()
def load(model, folder):
    saved = load_file(folder / "adapter_model.safetensors")
    for name, value in adapter(model).items():
        value.copy_(saved[name])


def books(data):
    """(split, author, title) and text of every book, training books first."""
    rows = [line.split("\t") for line in (data / "books.tsv").read_text().splitlines()[1:]]
    for split, name in (("train", "train.txt.xz"), ("valid", "valid.txt")):
        by_bytes = {int(r[3]): r for r in rows if r[0] == split}
        for text in tok.read_documents(data / name):
            yield tuple(by_bytes[len(text.encode())][:3]), text


def author_ids(tokenizer, data, author):
    texts = [text for (split, who, _), text in books(data) if (split, who) == ("train", author)]
    if not texts:
        raise SystemExit(f"no book for training is by '{author}': see {data / 'books.tsv'}")
    return tok.encode(tokenizer, texts)


def train(model, tokenizer, ids, steps, log):
    """AdamW on the adapters alone, the rate up in a tenth of the steps, then down to zero."""
    parameters = [p for p in model.parameters() if p.requires_grad]
    optimizer = torch.optim.AdamW(parameters, lr=LR, weight_decay=0.0)
    batches = Batches(ids, WIDTH, ROWS, tokenizer.token_to_id(tok.BOS), SEED)
    for step in range(steps):
        rate = min((step + 1) / (WARMUP * steps), (steps - step) / ((1 - WARMUP) * steps))
        optimizer.param_groups[0]["lr"] = LR * min(rate, 1.0)
        loss = model.loss(*batches(step))
        optimizer.zero_grad()
        loss.backward()
        nn.utils.clip_grad_norm_(parameters, 1.0)
        optimizer.step()
        log.bar((step + 1) / steps, loss.item())
        log.write({"step": step + 1, "tokens": (step + 1) * ROWS * WIDTH,
                   "loss": round(loss.item(), 4)})


def compare(model, tokenizer, data, folders, stride):
    """A line for each held-out book: bits per byte of the base and with each adapter."""
    held_out = [(name, text) for name, text in books(data) if name[0] == "valid"]
    columns = [adapted_bits(model, tokenizer, held_out, folder, stride)
               for folder in (None, *folders)]
    for (name, _), bits in zip(held_out, zip(*columns)):
        print(f"| {name[1]}, {name[2]} | " + " | ".join(f"{b:.4f}" for b in bits) + " |")


def adapted_bits(model, tokenizer, held_out, folder, stride):
    """Bits per byte of each text with the adapter of a folder, None for no adapter."""
    if folder:
        load(model, folder)
    return [bits_per_byte(model, tokenizer, text, stride) for _, text in held_out]


def main():
    parser = argparse.ArgumentParser(description=__doc__,
                                     formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--model", type=Path, default=DEMO)
    parser.add_argument("--data", type=Path, default=Path("../shared/data/classics"))
    parser.add_argument("--author")
    parser.add_argument("--steps", type=int, default=80)
    parser.add_argument("--stride", type=int, default=256)
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--out", type=Path)
    parser.add_argument("--compare", type=Path, nargs="+", metavar="FOLDER")
    args = parser.parse_args()
    torch.set_num_threads(args.threads)
    model, tokenizer = frozen(args.model), gguf_tokenizer(read_gguf(args.model)[0])
    if args.compare:
        compare(model, tokenizer, args.data, args.compare, args.stride)
        return
    if not args.author or not args.out:
        parser.error("training needs --author and --out")
    args.out.mkdir(parents=True, exist_ok=True)
    log = Log(args.out / "log.jsonl")
    train(model, tokenizer, author_ids(tokenizer, args.data, args.author), args.steps, log)
    log.close()
    save(model, args.out)


if __name__ == "__main__":
    main()
