"""Adapters: a fresh one changes nothing, training leaves the base alone, files read back."""
import contextlib
import io
import tempfile
import unittest
from pathlib import Path

import torch

import lora
from log import Log

ROOT = Path(__file__).resolve().parents[2]
DEMO = ROOT / lora.DEMO


class Lora(unittest.TestCase):
    @classmethod
    def setUpClass(cls):
        cls.tokenizer = lora.gguf_tokenizer(lora.read_gguf(DEMO)[0])
        text = (ROOT / "CONTRIBUTING.md").read_text("utf-8")
        cls.stream = lora.tok.encode(cls.tokenizer, [text])
        cls.ids = torch.from_numpy(cls.stream[:32].astype(int))[None]

    def logits(self, model):
        with torch.no_grad():
            return model(self.ids)

    def test_fresh_adapter_changes_nothing(self):
        self.assertTrue(torch.equal(self.logits(lora.frozen(DEMO)),
                                    self.logits(lora.from_gguf(DEMO))))

    def test_training_moves_the_adapter_alone(self):
        base, model = lora.from_gguf(DEMO).state_dict(), lora.frozen(DEMO)
        with tempfile.TemporaryDirectory() as name, contextlib.redirect_stdout(io.StringIO()):
            folder = Path(name)
            log = Log(folder / "log.jsonl")
            lora.train(model, self.tokenizer, self.stream, 2, log)
            log.close()
            lora.save(model, folder)
            again = lora.frozen(DEMO)
            lora.load(again, folder)
        for key, value in base.items():
            self.assertTrue(torch.equal(value, model.state_dict()[key]), key)
        self.assertFalse(torch.equal(self.logits(model), self.logits(lora.from_gguf(DEMO))))
        self.assertTrue(torch.equal(self.logits(model), self.logits(again)))


if __name__ == "__main__":
    unittest.main()
