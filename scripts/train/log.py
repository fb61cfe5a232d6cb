"""The log of a training run: log.jsonl, one object a line, and a bar on a terminal.

Used by train.py and lora.py.
"""
import json
import sys

BAR_WIDTH = 40


class Log:
    def __init__(self, path, step=0):
        """Begins a log, or continues one behind `step`: what an interrupted run wrote after its
        checkpoint is dropped."""
        lines = path.read_text().splitlines() if step else []
        self.file = open(path, "w", buffering=1)
        for line in lines:
            if json.loads(line)["step"] <= step:
                self.file.write(line + "\n")
        self.has_bar = sys.stderr.isatty()

    def write(self, line):
        text = json.dumps(line)
        self.file.write(text + "\n")
        self.clear()
        print(text, flush=True)

    def bar(self, progress, loss):
        if self.has_bar:
            filled = "#" * int(BAR_WIDTH * progress)
            print(f"\r[{filled:{BAR_WIDTH}}] {progress:6.1%} loss {loss:.3f} ", end="",
                  file=sys.stderr, flush=True)

    def clear(self):
        if self.has_bar:
            print("\r" + " " * (BAR_WIDTH + 24) + "\r", end="", file=sys.stderr, flush=True)

    def close(self):
        self.clear()
        self.file.close()
