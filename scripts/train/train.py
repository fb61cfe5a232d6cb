"""Trains a BitNet model on a text corpus, on a CPU.

    scripts/train/train.py --preset demo --minutes 80

Everything it writes lies in .train/NAME: tokenizer.json, train.npy, checkpoint.pt, log.jsonl.
The schedule follows progress = the larger of tokens seen / --tokens and time / --minutes, so a run
always ends with a learning rate of zero. Two stages: high rate with weight decay, then an abrupt
drop to half the rate, no decay of weights, down to zero. Never reads test.txt; valid.txt is only
measured, never chosen by.
"""
import argparse
import json
import math
import os
import time
from dataclasses import dataclass
from pathlib import Path

# On shared cores a thread that spins at a barrier takes the time of the thread it waits for.
os.environ.setdefault("OMP_WAIT_POLICY", "passive")

import numpy as np
import torch

import tokenizer as tok
from model import PRESETS, BitNet
from muon import Muon


@dataclass(frozen=True)
class Recipe:
    rows: int = 8               # rows of n_ctx tokens in a step
    lr_matrix: float = 4e-3     # Muon, ternary projections
    lr_vector: float = 3e-3     # AdamW, embedding and norm gains
    warmup: float = 0.01        # of the progress
    stage2: float = 0.5         # where the rate drops and weight decay ends
    stage1_end: float = 0.8     # rate at the end of stage 1, relative to the peak
    stage2_start: float = 0.5   # rate at the start of stage 2
    weight_decay: float = 0.1
    seed: int = 1


def schedule(recipe, progress):
    """(learning-rate factor, weight decay) at a progress in [0, 1]."""
    if progress < recipe.stage2:
        factor = 1 - (1 - recipe.stage1_end) * progress / recipe.stage2
        return factor * min(1.0, progress / recipe.warmup), recipe.weight_decay
    left = (1 - progress) / (1 - recipe.stage2)
    return recipe.stage2_start * max(left, 0.0), 0.0


class Batches:
    """Rows of inputs and targets: BOS, then n_ctx ids of the stream, each id once an epoch."""

    def __init__(self, ids, n_ctx, rows, bos, seed):
        self.ids, self.n_ctx, self.rows, self.bos, self.seed = ids, n_ctx, rows, bos, seed
        self.steps_per_epoch = (len(ids) // n_ctx - 1) // rows
        self.epoch = None

    def __call__(self, step):
        epoch, i = divmod(step, self.steps_per_epoch)
        if epoch != self.epoch:
            rng = np.random.default_rng([self.seed, epoch])
            self.offset = rng.integers(self.n_ctx)
            self.order = rng.permutation(self.steps_per_epoch * self.rows)
            self.epoch = epoch
        starts = self.order[i * self.rows:(i + 1) * self.rows] * self.n_ctx + self.offset
        rows = np.stack([self.ids[s:s + self.n_ctx] for s in starts]).astype(np.int64)
        return with_bos(rows, self.bos)


def with_bos(rows, bos):
    """Targets [b, t] -> (inputs: BOS and all but the last, targets)."""
    targets = torch.from_numpy(rows)
    first = torch.full((len(rows), 1), bos)
    return torch.cat([first, targets[:, :-1]], dim=1), targets


def valid_rows(tokenizer, path, n_ctx, n_rows):
    """Evenly spread windows of valid.txt and the bytes of an average token there."""
    documents = tok.read_documents(path)
    ids = tok.encode(tokenizer, documents)
    starts = np.linspace(0, len(ids) - n_ctx, n_rows).astype(int)
    rows = np.stack([ids[s:s + n_ctx] for s in starts]).astype(np.int64)
    return rows, sum(len(d.encode()) for d in documents) / len(ids)


@torch.no_grad()
def valid_bits(loss, rows, bytes_per_token, bos, batch):
    """Bits per byte on the windows, an estimate good enough to follow a run."""
    losses = []
    for i in range(0, len(rows), batch):
        with torch.autocast("cpu", dtype=torch.bfloat16):
            losses.append(loss(*with_bos(rows[i:i + batch], bos)).item())
    return sum(losses) / len(losses) / math.log(2) / bytes_per_token


def optimizers(model, recipe):
    matrices = [p for block in model.blk for p in block.parameters() if p.ndim == 2]
    vectors = [model.token_embd, model.output_norm]
    vectors += [p for block in model.blk for p in block.parameters() if p.ndim == 1]
    adamw = torch.optim.AdamW(vectors, lr=recipe.lr_vector, betas=(0.9, 0.95), weight_decay=0.0,
                              fused=True)
    return [Muon(matrices, lr=recipe.lr_matrix), adamw]


class Run:
    """Model, optimisers and counters of one training run, and their checkpoint."""

    def __init__(self, config, recipe, path):
        torch.manual_seed(recipe.seed)
        self.config, self.recipe, self.path = config, recipe, path
        self.model = BitNet(config)
        self.optimizers = optimizers(self.model, recipe)
        self.step, self.seconds = 0, 0.0

    def save(self):
        state = {
            "config": self.config.__dict__, "step": self.step, "seconds": self.seconds,
            "tokens": self.step * self.recipe.rows * self.config.n_ctx,
            "model": self.model.state_dict(),
            "optimizers": [o.state_dict() for o in self.optimizers],
        }
        torch.save(state, self.path.with_suffix(".tmp"))
        self.path.with_suffix(".tmp").replace(self.path)

    def load(self):
        state = torch.load(self.path, weights_only=True)
        self.step, self.seconds = state["step"], state["seconds"]
        self.model.load_state_dict(state["model"])
        for optimizer, saved in zip(self.optimizers, state["optimizers"]):
            optimizer.load_state_dict(saved)

    def update(self, loss, batch, progress):
        """One step of gradient descent; returns the loss in nats per token."""
        factor, decay = schedule(self.recipe, progress)
        rates = (self.recipe.lr_matrix, self.recipe.lr_vector)
        for optimizer, rate in zip(self.optimizers, rates):
            optimizer.param_groups[0]["lr"] = rate * factor
        self.optimizers[0].param_groups[0]["weight_decay"] = decay
        with torch.autocast("cpu", dtype=torch.bfloat16):
            value = loss(*batch)
        value.backward()
        torch.nn.utils.clip_grad_norm_(self.optimizers[1].param_groups[0]["params"], 1.0)
        for optimizer in self.optimizers:
            optimizer.step()
            optimizer.zero_grad(set_to_none=True)
        self.step += 1
        return value.item()


def fit(run, batches, valid, args, log):
    """Steps until the budget is spent; a log line every 20 steps, valid.txt every 5 minutes."""
    tokens_per_step = run.recipe.rows * run.config.n_ctx
    loss = torch.compile(run.model.loss)
    last_save = last_valid = time.monotonic()
    recent, started, base = [], time.monotonic(), run.seconds
    while True:
        run.seconds = base + time.monotonic() - started
        progress = max(run.step * tokens_per_step / args.tokens, run.seconds / 60 / args.minutes)
        if progress >= 1:
            break
        recent.append(run.update(loss, batches(run.step), progress))
        now = time.monotonic()
        if run.step % 20 == 0:
            line = {"step": run.step, "tokens": run.step * tokens_per_step,
                    "seconds": round(base + now - started, 1), "progress": round(progress, 4),
                    "loss": round(sum(recent) / len(recent), 4)}
            recent = []
            if now - last_valid > 300:
                line["valid_bits_per_byte"] = round(valid(loss), 4)
                last_valid = now
            log(line)
        if now - last_save > 600:
            run.save()
            last_save = now
    run.save()
    log({"step": run.step, "tokens": run.step * tokens_per_step, "seconds": round(run.seconds, 1),
         "progress": 1.0, "valid_bits_per_byte": round(valid(loss), 4)})


def main():
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--preset", choices=PRESETS, default="demo")
    parser.add_argument("--data", default="../shared/data/classics")
    parser.add_argument("--out", help="default .train/PRESET")
    parser.add_argument("--tokens", type=float, default=40e6, help="token budget")
    parser.add_argument("--minutes", type=float, default=80, help="time budget")
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--resume", action="store_true")
    args = parser.parse_args()
    torch.set_num_threads(args.threads)
    config, recipe = PRESETS[args.preset], Recipe()
    out = Path(args.out or f".train/{args.preset}")
    tokenizer, ids = tok.prepare(out, Path(args.data), config.n_vocab)
    bos = tokenizer.token_to_id(tok.BOS)
    rows, bytes_per_token = valid_rows(tokenizer, Path(args.data) / "valid.txt", config.n_ctx, 64)
    run = Run(config, recipe, out / "checkpoint.pt")
    if args.resume:
        run.load()
    with open(out / "log.jsonl", "a" if args.resume else "w", buffering=1) as file:
        def log(line):
            file.write(json.dumps(line) + "\n")
            print(json.dumps(line), flush=True)
        fit(run, Batches(ids, config.n_ctx, recipe.rows, bos, recipe.seed),
            lambda loss: valid_bits(loss, rows, bytes_per_token, bos, recipe.rows), args, log)


if __name__ == "__main__":
    main()
