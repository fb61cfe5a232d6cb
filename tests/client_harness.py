"""client_harness.py - lm-evaluation-harness's local-completions against `tern serve`, without the
network: a multiple-choice task from a file, tokenized by the server. The scores must be those that
follow from the server's log-probabilities, answer by answer, and those of `tern eval mc`.
"""
import json
import os
import subprocess
import tempfile
import unittest

FOLDER = tempfile.TemporaryDirectory()
os.environ.update(HF_HOME=FOLDER.name, HF_DATASETS_OFFLINE="1", HF_HUB_OFFLINE="1",
                  TOKENIZERS_PARALLELISM="false")

import lm_eval  # noqa: E402  (reads the environment)
from client_server import PROGRAM, Server  # noqa: E402
from lm_eval.tasks import TaskManager  # noqa: E402

QUESTIONS = [
    ("The sun rises in the", ["east", "spoon", "yesterday of"]),
    ("She opened the door and", ["went out", "cloud the of", "seven"]),
    ("It was a dark and stormy", ["night", "potato", "of which"]),
    ("He drank a glass of", ["water", "the the", "stones and"]),
    ("The king and the", ["queen", "quickly", "under"]),
    ("Once upon a", ["time", "green", "wherefore"]),
]

TASK = """
task: tern_choice
dataset_path: json
dataset_kwargs: {{data_files: {{test: {path}}}}}
test_split: test
output_type: multiple_choice
doc_to_text: "{bos}{{{{question}}}}"
doc_to_choice: "{{{{choices}}}}"
doc_to_target: 0
metric_list: [{{metric: acc}}, {{metric: acc_norm}}]
"""


def write_task(bos):
    data = os.path.join(FOLDER.name, "task.jsonl")
    with open(data, "w", encoding="utf-8") as file:
        for question, choices in QUESTIONS:
            file.write(json.dumps({"question": question, "choices": choices}) + "\n")
    folder = os.path.join(FOLDER.name, "tasks")
    os.mkdir(folder)
    with open(os.path.join(folder, "tern_choice.yaml"), "w", encoding="utf-8") as file:
        file.write(TASK.format(path=data, bos=bos))
    return folder


def tokens(server, text):
    body = {"prompt": text, "add_special_tokens": False}
    return json.loads(server.post("/tokenize", body))["tokens"]


def eval_mc():
    """What the program itself says about the same questions."""
    lines = "".join(json.dumps({"context": question, "choices": choices, "answer": 0}) + "\n"
                    for question, choices in QUESTIONS)
    out = subprocess.run([PROGRAM, "eval", "mc", "--json"], input=lines, text=True, check=True,
                         stdout=subprocess.PIPE, stderr=subprocess.DEVNULL).stdout
    return json.loads(out)


def choice_scores(server, question, choices):
    """Summed log-probabilities of every choice after the question, straight from the API."""
    scores = []
    for choice in choices:
        whole, context = tokens(server, f"{question} {choice}"), tokens(server, question)
        answer = json.loads(server.post("/v1/completions", {
            "prompt": [whole], "echo": True, "logprobs": 1, "max_tokens": 1, "temperature": 0}))
        values = answer["choices"][0]["logprobs"]["token_logprobs"]
        scores.append(sum(values[len(context):-1]))
    return scores


class Harness(unittest.TestCase):
    def check(self, server, bos, results, batch_size):
        samples, own = results["samples"]["tern_choice"], eval_mc()
        self.assertEqual(len(samples), len(QUESTIONS))
        n_right = 0
        for sample in samples:
            question, choices = bos + sample["doc"]["question"], sample["doc"]["choices"]
            expected = choice_scores(server, question, choices)
            said = [float(r[0]) for r in sample["filtered_resps"]]
            self.assertEqual(said, expected, f"batch size {batch_size}: {question}")
            for value, ours in zip(said, own["predictions"][sample["doc_id"]]["logprobs"]):
                self.assertAlmostEqual(value, ours, places=9)
            n_right += expected.index(max(expected)) == 0
        scores = results["results"]["tern_choice"]
        self.assertEqual(scores["acc,none"], n_right / len(QUESTIONS))
        self.assertAlmostEqual(scores["acc,none"], own["accuracy"], places=6)
        self.assertAlmostEqual(scores["acc_norm,none"], own["accuracy_norm"], places=6)

    def test_multiple_choice(self):
        with Server("--parallel", "8", "-t", "1") as server:
            bos = json.loads(server.get("/tokenizer_info"))["bos_token"]
            tasks = TaskManager(include_path=write_task(bos), include_defaults=False)
            for batch_size in (1, 5):
                results = lm_eval.simple_evaluate(
                    model="local-completions", tasks=["tern_choice"], task_manager=tasks,
                    model_args={"model": "demo", "base_url": server.url + "/completions",
                                "tokenizer_backend": "remote", "num_concurrent": 1,
                                "max_length": 512, "max_retries": 1},
                    batch_size=batch_size, bootstrap_iters=0, log_samples=True)
                self.check(server, bos, results, batch_size)


if __name__ == "__main__":
    unittest.main()
