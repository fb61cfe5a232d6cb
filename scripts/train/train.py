"""Trains a BitNet model, or its full-precision twin, on a text corpus.

    scripts/train/train.py --preset demo
    scripts/train/train.py --preset d128 --kind full --lr 0.016 --tokens 8e5 \\
        --corpus .train/small --every 16 --out .train/full

Everything it writes lies in --out (checkpoint.pt, log.jsonl) and --corpus (tokenizer.json,
train.npy). The schedule follows progress = tokens seen / --tokens and ends with a learning rate of
zero. Two stages: high rate with weight decay, then an abrupt drop to half the rate, no decay of
weights, down to zero. Never reads test.txt; valid.txt is only measured, never chosen by.

An interrupted run (SIGINT, SIGTERM) writes a checkpoint, and --resume continues it bit for bit: the
order of the data is a function of seed and step, the rest is in the checkpoint. Only --minutes, a
time budget that replaces the tokens' progress where it is ahead, lets the clock decide something.
"""
import argparse
import math
import os
import signal
import threading
import time
from dataclasses import asdict, dataclass, replace
from pathlib import Path

# On shared cores a thread that spins at a barrier takes the time of the thread it waits for.
os.environ.setdefault("OMP_WAIT_POLICY", "passive")

import numpy as np
import torch

import tokenizer as tok
from log import Log
from model import KINDS, BitNet, Config
from muon import Muon

SAVE_SECONDS = 600
LOG_STEPS, VALID_STEPS = 20, 200
VALID_WINDOWS = 64


@dataclass(frozen=True)
class Recipe:
    rows: int = 8               # rows of n_ctx tokens in a batch
    accumulate: int = 1         # batches in a step
    tokens: float = 12.6e6      # of the whole run
    lr_matrix: float = 4e-3     # Muon, projections
    lr_vector: float = 3e-3     # AdamW, embedding and norm gains
    warmup: float = 0.01        # of the progress
    stage2: float = 0.5         # where the rate drops and weight decay ends
    stage1_end: float = 0.8     # rate at the end of stage 1, relative to the peak
    stage2_start: float = 0.5   # rate at the start of stage 2
    weight_decay: float = 0.1
    precision: str = "f32"      # of matrix products; bf16 where the hardware multiplies it fast
    seed: int = 1


def small(d):
    """Sizes that differ in width alone: 24 d^2 weights in projections, 512 d in the embedding."""
    return Config(d=d, n_layer=2, h=d // 32, kv=max(d // 64, 1), hd=32, f=3 * d, n_vocab=512,
                  n_ctx=256)


DTYPES = {"f32": torch.float32, "bf16": torch.bfloat16}
PRESETS = {"demo": Config(), **{f"d{d}": small(d) for d in (32, 64, 128)}}


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
        self.per_epoch = (len(ids) // n_ctx - 1) // rows
        self.epoch = None

    def __call__(self, i):
        """Batch number i, a function of seed and i alone."""
        epoch, i = divmod(i, self.per_epoch)
        if epoch != self.epoch:
            rng = np.random.default_rng([self.seed, epoch])
            self.offset = rng.integers(self.n_ctx)
            self.order = rng.permutation(self.per_epoch * self.rows)
            self.epoch = epoch
        starts = self.order[i * self.rows:(i + 1) * self.rows] * self.n_ctx + self.offset
        rows = np.stack([self.ids[s:s + self.n_ctx] for s in starts]).astype(np.int64)
        return with_bos(rows, self.bos)


def with_bos(rows, bos):
    """Targets [b, t] -> (inputs: BOS and all but the last, targets)."""
    targets = torch.from_numpy(rows)
    first = torch.full((len(rows), 1), bos)
    return torch.cat([first, targets[:, :-1]], dim=1), targets


class Valid:
    """Bits per byte on evenly spread windows of a text, an estimate good enough to follow a run."""

    def __init__(self, tokenizer, path, n_ctx, batch):
        documents = tok.read_documents(path)
        ids = tok.encode(tokenizer, documents)
        starts = np.linspace(0, len(ids) - n_ctx, VALID_WINDOWS).astype(int)
        self.rows = np.stack([ids[s:s + n_ctx] for s in starts]).astype(np.int64)
        self.bytes_per_token = sum(len(d.encode()) for d in documents) / len(ids)
        self.bos, self.batch = tokenizer.token_to_id(tok.BOS), batch

    @torch.no_grad()
    def __call__(self, loss):
        batches = [self.rows[i:i + self.batch] for i in range(0, len(self.rows), self.batch)]
        nats = np.mean([loss(*with_bos(rows, self.bos)).item() for rows in batches])
        return float(nats) / math.log(2) / self.bytes_per_token


def optimizers(model, recipe):
    matrices = [p for block in model.blk for p in block.parameters() if p.ndim == 2]
    vectors = [model.token_embd, model.output_norm]
    vectors += [p for block in model.blk for p in block.parameters() if p.ndim == 1]
    adamw = torch.optim.AdamW(vectors, lr=recipe.lr_vector, betas=(0.9, 0.95), weight_decay=0.0,
                              fused=True)
    return [Muon(matrices, recipe.lr_matrix, DTYPES[recipe.precision]), adamw]


class Run:
    """Model, optimisers and counters of one training run, and their checkpoint."""

    def __init__(self, config, recipe, path, device="cpu"):
        torch.manual_seed(recipe.seed)
        self.config, self.recipe, self.path, self.device = config, recipe, path, device
        self.model = BitNet(config).to(device)
        self.optimizers = optimizers(self.model, recipe)
        self.step, self.seconds = 0, 0.0
        self.recent = []    # losses since the last line of the log

    @property
    def tokens(self):
        return self.step * self.recipe.accumulate * self.recipe.rows * self.config.n_ctx

    def save(self):
        state = {
            "config": asdict(self.config), "recipe": asdict(self.recipe), "step": self.step,
            "seconds": self.seconds, "tokens": self.tokens, "recent": self.recent,
            "rng": torch.get_rng_state(), "model": self.model.state_dict(),
            "optimizers": [o.state_dict() for o in self.optimizers],
        }
        torch.save(state, self.path.with_suffix(".tmp"))
        self.path.with_suffix(".tmp").replace(self.path)

    def load(self):
        state = torch.load(self.path, weights_only=True, map_location="cpu")
        for name, mine in (("config", asdict(self.config)), ("recipe", asdict(self.recipe))):
            other = [k for k in mine if mine[k] != state[name].get(k)]
            if other:
                was = state[name].get(other[0])
                raise SystemExit(f"{self.path}: {name} {other[0]} is {was}, not {mine[other[0]]}: "
                                 "resume with the options of the first start")
        self.step, self.seconds, self.recent = state["step"], state["seconds"], state["recent"]
        torch.set_rng_state(state["rng"])
        self.model.load_state_dict(state["model"])
        for optimizer, saved in zip(self.optimizers, state["optimizers"]):
            optimizer.load_state_dict(saved)

    def loss(self, compiled):
        """The loss as a function of inputs and targets."""
        inner = torch.compile(self.model.loss) if compiled else self.model.loss
        mixed = self.recipe.precision == "bf16"

        def loss(inputs, targets):
            with torch.autocast(self.device, dtype=torch.bfloat16, enabled=mixed):
                return inner(inputs.to(self.device), targets.to(self.device))
        return loss

    def update(self, loss, batches, progress):
        """One step of gradient descent; keeps the loss in nats per token."""
        factor, decay = schedule(self.recipe, progress)
        rates = (self.recipe.lr_matrix, self.recipe.lr_vector)
        for optimizer, rate in zip(self.optimizers, rates):
            optimizer.param_groups[0]["lr"] = rate * factor
        self.optimizers[0].param_groups[0]["weight_decay"] = decay
        n, total = self.recipe.accumulate, 0.0
        for i in range(n):
            value = loss(*batches(self.step * n + i)) / n
            value.backward()
            total += value.item()
        torch.nn.utils.clip_grad_norm_(self.optimizers[1].param_groups[0]["params"], 1.0)
        for optimizer in self.optimizers:
            optimizer.step()
            optimizer.zero_grad(set_to_none=True)
        self.step += 1
        self.recent.append(total)

    def line(self):
        """The line of the log for this step; begins a new mean of losses."""
        line = {"step": self.step, "tokens": self.tokens, "seconds": round(self.seconds, 1)}
        if self.recent:
            line["loss"] = round(sum(self.recent) / len(self.recent), 4)
        self.recent = []
        return line


def fit(run, batches, valid, log, minutes=math.inf, stop=lambda: False, compiled=True):
    """Steps until the budget is spent or stop() is true; True when the budget is spent."""
    loss = run.loss(compiled)
    started = time.monotonic() - run.seconds
    saved = time.monotonic()
    while not stop():
        run.seconds = time.monotonic() - started
        progress = max(run.tokens / run.recipe.tokens, run.seconds / 60 / minutes)
        if progress >= 1:
            line = run.line()
            line["valid_bits_per_byte"] = round(valid(loss), 4)
            run.save()
            log.write(line | {"done": True})
            return True
        run.update(loss, batches, progress)
        log.bar(progress, run.recent[-1])
        if run.step % LOG_STEPS == 0:
            line = run.line()
            if run.step % VALID_STEPS == 0:
                line["valid_bits_per_byte"] = round(valid(loss), 4)
            log.write(line)
        if time.monotonic() - saved > SAVE_SECONDS:
            run.save()
            saved = time.monotonic()
    run.save()
    return False


def interruption():
    """An event that SIGINT and SIGTERM set."""
    event = threading.Event()
    for number in (signal.SIGINT, signal.SIGTERM):
        signal.signal(number, lambda *_: event.set())
    return event


def parse(argv):
    parser = argparse.ArgumentParser(description=__doc__,
                                     formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--preset", choices=PRESETS, default="demo")
    parser.add_argument("--kind", choices=KINDS, default="ternary")
    parser.add_argument("--data", type=Path, default=Path("../shared/data/classics"))
    parser.add_argument("--corpus", type=Path, default=Path(".train/corpus"))
    parser.add_argument("--every", type=int, default=1,
                        help="make the corpus of each N-th book only")
    parser.add_argument("--out", type=Path, help="default .train/PRESET")
    parser.add_argument("--tokens", type=float, default=Recipe.tokens, help="token budget")
    parser.add_argument("--minutes", type=float, default=math.inf, help="time budget")
    parser.add_argument("--rows", type=int, default=Recipe.rows, help="rows of a batch")
    parser.add_argument("--accumulate", type=int, default=1, help="batches of a step")
    parser.add_argument("--lr", type=float, default=Recipe.lr_matrix, help="peak, matrices")
    parser.add_argument("--precision", choices=DTYPES, default="f32")
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--device", default="cpu", help="cpu or cuda")
    parser.add_argument("--no-compile", action="store_true", help="without torch.compile")
    parser.add_argument("--resume", action="store_true")
    return parser.parse_args(argv)


def main(argv=None):
    args = parse(argv)
    torch.set_num_threads(args.threads)
    config = replace(PRESETS[args.preset], kind=args.kind)
    recipe = Recipe(rows=args.rows, accumulate=args.accumulate, tokens=args.tokens,
                    lr_matrix=args.lr, precision=args.precision, seed=args.seed)
    out = args.out or Path(".train") / args.preset
    out.mkdir(parents=True, exist_ok=True)
    tokenizer, ids = tok.prepare(args.corpus, args.data, config.n_vocab, args.every)
    batches = Batches(ids, config.n_ctx, recipe.rows, tokenizer.token_to_id(tok.BOS), recipe.seed)
    valid = Valid(tokenizer, args.data / "valid.txt", config.n_ctx, recipe.rows)
    run = Run(config, recipe, out / "checkpoint.pt", args.device)
    if args.resume:
        if not run.path.exists():
            raise SystemExit(f"{run.path} is missing: start without --resume")
        run.load()
    log = Log(out / "log.jsonl", run.step)
    stop = interruption()
    done = fit(run, batches, valid, log, args.minutes, stop.is_set, not args.no_compile)
    log.close()
    if not done:
        raise SystemExit(f"{run.path}: stopped at step {run.step}; --resume goes on")


if __name__ == "__main__":
    main()
