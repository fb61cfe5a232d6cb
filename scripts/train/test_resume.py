"""An interrupted and resumed run equals an uninterrupted one bit for bit."""
import contextlib
import io
import json
import tempfile
import unittest
from dataclasses import replace
from pathlib import Path

import numpy as np
import torch

from log import Log
from train import PRESETS, Batches, Recipe, Run, fit

STEPS, CUT = 45, 27
CONFIG = replace(PRESETS["d64"], n_vocab=64, n_ctx=16)
RECIPE = Recipe(rows=2, accumulate=2, tokens=STEPS * 2 * 2 * 16)
IDS = np.random.default_rng(1).integers(64, size=1000).astype(np.uint16)    # several epochs


def run_until(folder, stop_at, resume, recipe=RECIPE, config=CONFIG):
    """Trains to the end or to a step; the run and whether it ended."""
    run = Run(config, recipe, folder / "checkpoint.pt")
    if resume:
        run.load()
    log = Log(folder / "log.jsonl", run.step)
    batches = Batches(IDS, config.n_ctx, recipe.rows, 63, recipe.seed)
    valid = lambda loss: loss(*batches(0)).item()
    with contextlib.redirect_stdout(io.StringIO()):
        done = fit(run, batches, valid, log, stop=lambda: run.step >= stop_at, compiled=False)
    log.close()
    return run, done


def without_time(path):
    return [{k: v for k, v in json.loads(line).items() if k != "seconds"}
            for line in path.read_text().splitlines()]


class Resume(unittest.TestCase):
    def setUp(self):
        self.temporary = tempfile.TemporaryDirectory()
        self.addCleanup(self.temporary.cleanup)
        self.folder = Path(self.temporary.name)
        for name in ("whole", "cut"):
            (self.folder / name).mkdir()

    def same_state(self, a, b):
        for key, value in a.model.state_dict().items():
            self.assertTrue(torch.equal(value, b.model.state_dict()[key]), key)
        for one, other in zip(a.optimizers, b.optimizers):
            mine, theirs = one.state_dict()["state"], other.state_dict()["state"]
            self.assertEqual(mine.keys(), theirs.keys())
            for i in mine:
                for key in mine[i]:
                    self.assertTrue(torch.equal(mine[i][key], theirs[i][key]), key)

    def check(self, **change):
        config, recipe = replace(CONFIG, kind=change.get("kind", "ternary")), RECIPE
        recipe = replace(recipe, precision=change.get("precision", "f32"))
        whole, done = run_until(self.folder / "whole", STEPS + 1, False, recipe, config)
        self.assertTrue(done)
        cut, done = run_until(self.folder / "cut", CUT, False, recipe, config)
        self.assertFalse(done)
        with open(self.folder / "cut" / "log.jsonl", "a") as log:   # of steps that got lost
            log.write(json.dumps({"step": CUT + 1}) + "\n")
        again, done = run_until(self.folder / "cut", STEPS + 1, True, recipe, config)
        self.assertTrue(done)
        self.same_state(whole, again)
        self.assertFalse(torch.equal(cut.model.token_embd, again.model.token_embd))
        self.assertEqual(without_time(self.folder / "whole" / "log.jsonl"),
                         without_time(self.folder / "cut" / "log.jsonl"))

    def test_ternary(self):
        self.check()

    def test_sign(self):
        self.check(kind="sign")

    def test_full_in_mixed_precision(self):
        self.check(kind="full", precision="bf16")

    def test_other_options_are_refused(self):
        run_until(self.folder / "cut", CUT, False)
        with self.assertRaisesRegex(SystemExit, "recipe lr_matrix is 0.004, not 0.1"):
            run_until(self.folder / "cut", STEPS, True, replace(RECIPE, lr_matrix=0.1))
        with self.assertRaisesRegex(SystemExit, "config kind is ternary, not full"):
            run_until(self.folder / "cut", STEPS, True, RECIPE, replace(CONFIG, kind="full"))


if __name__ == "__main__":
    unittest.main()
