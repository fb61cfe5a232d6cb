"""Ternary, sign and full-precision twins at three sizes on equal tokens: trains what is missing.

    scripts/train/compare.py --out FOLDER rates     # the learning rates, at one size
    scripts/train/compare.py --out FOLDER sizes     # the comparison, all at one rate

Each run lies in FOLDER/NAME (train.py); one that was interrupted goes on. `report.py` measures.
"""
import argparse
import json
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

from model import KINDS
from tokenizer import prepare
from train import PRESETS

SIZES = ("d32", "d64", "d128")
RATE_SIZE = "d64"
RATES = (0.001, 0.004, 0.016, 0.064, 0.256)
RATE_TOKENS, SIZE_TOKENS = 400_000, 800_000
RATE = 0.016    # of the comparison; results.md says why not each kind's best of RATES
EVERY = 16    # of the 256 books: 7 MB


def rate_run(kind, rate):
    return f"rate-{kind}-{rate:g}"


def size_run(size, kind):
    return f"{size}-{kind}"


def last_line(folder, name):
    """The last line of a run's log, the one with the result; None before the end of the run."""
    path = folder / name / "log.jsonl"
    lines = path.read_text().splitlines() if path.exists() else []
    line = json.loads(lines[-1]) if lines else {}
    return line if line.get("done") else None


def train(args, name, *options):
    """One run to its end, or nothing where it has ended."""
    if last_line(args.out, name):
        return
    folder = args.out / name
    command = [sys.executable, str(Path(__file__).with_name("train.py")), "--no-compile",
               "--threads", "1", "--data", str(args.data), "--corpus", str(args.out / "corpus"),
               "--out", str(folder), *options]
    if (folder / "checkpoint.pt").exists():
        command.append("--resume")
    subprocess.run(command, check=True, stdout=subprocess.DEVNULL)
    print(name, last_line(args.out, name), flush=True)


def jobs(args):
    """(name, options) of the runs of the chosen part."""
    if args.part == "rates":
        return [(rate_run(kind, rate), "--preset", RATE_SIZE, "--kind", kind, "--lr", str(rate),
                 "--tokens", str(RATE_TOKENS)) for kind in KINDS for rate in RATES]
    return [(size_run(size, kind), "--preset", size, "--kind", kind, "--tokens", str(SIZE_TOKENS),
             "--lr", str(RATE)) for size in SIZES for kind in KINDS]


def main():
    parser = argparse.ArgumentParser(description=__doc__,
                                     formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--out", type=Path, default=Path(".train"))
    parser.add_argument("--data", type=Path, default=Path("../shared/data/classics"))
    parser.add_argument("--workers", type=int, default=2, help="runs at a time, a thread each")
    parser.add_argument("part", choices=("rates", "sizes"))
    args = parser.parse_args()
    prepare(args.out / "corpus", args.data, PRESETS[SIZES[0]].n_vocab, EVERY)
    with ThreadPoolExecutor(args.workers) as pool:
        for future in [pool.submit(train, args, *job) for job in jobs(args)]:
            future.result()


if __name__ == "__main__":
    main()
