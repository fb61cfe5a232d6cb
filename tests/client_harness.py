"""client_harness.py - lm-evaluation-harness's local-completions against `tern serve`, without the
network: a multiple-choice task from a file, tokenized by the server. The scores must be those that
follow from the server's log-probabilities, answer by answer.
"""
import json
import os
import tempfile
import unittest

FOLDER = tempfile.TemporaryDirectory()
os.environ.update(HF_HOME=FOLDER.name, HF_DATASETS_OFFLINE="1", HF_HUB_OFFLINE="1",
                  TOKENIZERS_PARALLELISM="false")

import lm_eval  # noqa: E402  (reads the environment)
from client_server import Server  # noqa: E402
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
doc_to_text: "{{{{question}}}}"
doc_to_choice: "{{{{choices}}}}"
doc_to_target: 0
metric_list: [{{metric: acc}}, {{metric: acc_norm}}]
"""


def write_task():
    data = os.path.join(FOLDER.name, "task.jsonl")
    with open(data, "w", encoding="utf-8") as file:
        for question, choices in QUESTIONS:
            file.write(json.dumps({"question": question, "choices": choices}) + "\n")
    folder = os.path.join(FOLDER.name, "tasks")
    os.mkdir(folder)
    with open(os.path.join(folder, "tern_choice.yaml"), "w", encoding="utf-8") as file:
        file.write(TASK.format(path=data))
    return folder


def tokens(server, text):
    body = {"prompt": text, "add_special_tokens": False}
    return json.loads(server.post("/tokenize", body))["tokens"]


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
    def check(self, server, results, batch_size):
        samples = results["samples"]["tern_choice"]
        self.assertEqual(len(samples), len(QUESTIONS))
        n_right = 0
        for sample in samples:
            question, choices = sample["doc"]["question"], sample["doc"]["choices"]
            expected = choice_scores(server, question, choices)
            said = [float(r[0]) for r in sample["filtered_resps"]]
            self.assertEqual(said, expected, f"batch size {batch_size}: {question}")
            n_right += expected.index(max(expected)) == 0
        accuracy = results["results"]["tern_choice"]["acc,none"]
        self.assertAlmostEqual(accuracy, n_right / len(QUESTIONS))

    def test_multiple_choice(self):
        tasks = TaskManager(include_path=write_task(), include_defaults=False)
        with Server("--parallel", "8", "-t", "1") as server:
            for batch_size in (1, 5):
                results = lm_eval.simple_evaluate(
                    model="local-completions", tasks=["tern_choice"], task_manager=tasks,
                    model_args={"model": "demo", "base_url": server.url + "/completions",
                                "tokenizer_backend": "remote", "num_concurrent": 1,
                                "max_length": 512, "max_retries": 1},
                    batch_size=batch_size, bootstrap_iters=0, log_samples=True)
                self.check(server, results, batch_size)


if __name__ == "__main__":
    unittest.main()
