"""client_openai.py - openai-python against `tern serve`: answers, streams, many at once, errors,
cancelling; and the requests that Open WebUI and `vllm bench serve` send.
"""
import asyncio
import json
import tempfile
import unittest

import openai
from client_server import Server

MESSAGES = [{"role": "system", "content": "You tell stories."},
            {"role": "user", "content": "Tell me one."}]


class OpenAI(unittest.TestCase):
    @classmethod
    def setUpClass(cls):
        cls.server = Server("--parallel", "8", "-t", "1")
        cls.client = openai.OpenAI(base_url=cls.server.url, api_key="none", max_retries=0)

    @classmethod
    def tearDownClass(cls):
        cls.client.close()
        cls.server.__exit__()

    def chat(self, **fields):
        return self.client.chat.completions.create(
            model="demo", messages=MESSAGES, max_tokens=24, seed=3, **fields)

    def test_models(self):
        self.assertEqual([m.id for m in self.client.models.list()], ["demo"])

    def test_completion(self):
        answer = self.client.completions.create(
            model="demo", prompt=["The sea", "A horse"], max_tokens=8, temperature=0, logprobs=2)
        self.assertEqual([c.index for c in answer.choices], [0, 1])
        self.assertEqual(answer.usage.completion_tokens, 16)
        self.assertEqual(len(answer.choices[0].logprobs.token_logprobs), 8)
        for own, top in zip(answer.choices[1].logprobs.token_logprobs,
                            answer.choices[1].logprobs.top_logprobs):
            self.assertEqual(own, max(top.values()))

    def test_chat_and_stream_agree(self):
        whole = self.chat(n=2)
        texts, ends, usage = ["", ""], [None, None], None
        for chunk in self.chat(n=2, stream=True, stream_options={"include_usage": True}):
            usage = chunk.usage or usage
            for choice in chunk.choices:
                texts[choice.index] += choice.delta.content or ""
                ends[choice.index] = choice.finish_reason or ends[choice.index]
        self.assertEqual(texts, [c.message.content for c in whole.choices])
        self.assertEqual(ends, [c.finish_reason for c in whole.choices])
        self.assertEqual(usage.total_tokens, whole.usage.total_tokens)

    def test_chat_logprobs(self):
        answer = self.chat(logprobs=True, top_logprobs=4)
        for token in answer.choices[0].logprobs.content:
            self.assertEqual(len(token.top_logprobs), 4)
            self.assertLessEqual(token.logprob, token.top_logprobs[0].logprob)

    def test_schema(self):
        schema = {"type": "object", "properties": {"mood": {"enum": ["glad", "sad"]}},
                  "required": ["mood"], "additionalProperties": False}
        answer = self.chat(response_format={
            "type": "json_schema", "json_schema": {"name": "m", "strict": True, "schema": schema}})
        self.assertIn(json.loads(answer.choices[0].message.content)["mood"], ["glad", "sad"])
        self.assertEqual(answer.choices[0].finish_reason, "stop")

    def test_many_at_once(self):
        alone = [self.client.completions.create(model="demo", prompt=f"Day {i}", max_tokens=20,
                                                seed=i).choices[0].text for i in range(12)]

        async def together():
            async with openai.AsyncOpenAI(base_url=self.server.url, api_key="none") as client:
                return await asyncio.gather(*(
                    client.completions.create(model="demo", prompt=f"Day {i}", max_tokens=20,
                                              seed=i)
                    for i in range(12)))

        self.assertEqual([a.choices[0].text for a in asyncio.run(together())], alone)

    def test_errors(self):
        with self.assertRaises(openai.BadRequestError) as caught:
            self.chat(temperature=-1)
        self.assertEqual(caught.exception.param, "temperature")
        with self.assertRaises(openai.NotFoundError):
            self.client.completions.create(model="other", prompt="a")

    def test_cancelled_stream(self):
        stream = self.client.completions.create(
            model="demo", prompt="The", max_tokens=480, stream=True,
            extra_body={"ignore_eos": True})
        next(iter(stream))
        stream.close()
        self.server.wait_idle()

    def test_cancelled_task(self):
        async def run():
            async with openai.AsyncOpenAI(base_url=self.server.url, api_key="none") as client:
                task = asyncio.create_task(client.completions.create(
                    model="demo", prompt="The", max_tokens=480, extra_body={"ignore_eos": True}))
                while self.server.metric("num_requests_running") == 0:
                    await asyncio.sleep(0.001)
                task.cancel()
                with self.assertRaises(asyncio.CancelledError):
                    await task

        before = self.server.metric("generation_tokens_total")
        asyncio.run(run())
        self.server.wait_idle()
        self.assertLess(self.server.metric("generation_tokens_total") - before, 480)

    def test_open_webui(self):
        """What it sends for a chat: whole messages, a stream, fields that we do not know."""
        text = self.server.post("/v1/chat/completions", {
            "stream": True, "model": "demo", "messages": MESSAGES, "params": {}, "max_tokens": 4,
            "features": {}, "metadata": {}, "stream_options": {"include_usage": True}})
        lines = [line for line in text.split("\n") if line]
        self.assertTrue(all(line.startswith("data: ") for line in lines))
        self.assertEqual(lines[-1], "data: [DONE]")
        json.loads(lines[0][6:])

    def test_plan(self):
        """The plan of the server, and its forecast beside the measured times."""
        plan = json.loads(self.server.get("/plan"))
        self.assertEqual(plan["workload"]["seqs"], 8)
        self.assertEqual(plan["devices"][0]["name"], "cpu:0")
        self.assertGreater(plan["devices"][0]["total_bytes"], 1 << 20)
        self.assertGreater(plan["forecast"]["decode_tok_s"], 0)
        answer = json.loads(self.server.post("/v1/completions", {
            "prompt": "The sea", "max_tokens": 8, "ignore_eos": True}))
        self.assertGreater(answer["timings"]["predicted_prompt_ms"], 0)
        self.assertGreater(answer["timings"]["predicted_decode_ms"], 0)

    def test_planned_server(self):
        with Server("--plan", "auto", "-t", "1", "-c", "256") as server:
            self.assertEqual(json.loads(server.get("/plan"))["workload"]["ctx"], 256)

    def test_vllm_bench(self):
        text = self.server.post("/v1/completions", {
            "model": "demo", "prompt": "The sea", "repetition_penalty": 1.0, "max_tokens": 6,
            "logprobs": None, "stream": True, "stream_options": {"include_usage": True},
            "ignore_eos": True, "temperature": 0.0})
        chunks = [json.loads(line[6:]) for line in text.split("\n")
                  if line.startswith("data: {")]
        self.assertTrue(any(c["choices"] and c["choices"][0]["text"] for c in chunks))
        self.assertEqual(chunks[-1]["usage"]["completion_tokens"], 6)

    def test_keys(self):
        with tempfile.NamedTemporaryFile("w") as file:
            file.write("# ours\nsecret-1\n")
            file.flush()
            with Server("--api-key-file", file.name, "-t", "1") as server:
                with openai.OpenAI(base_url=server.url, api_key="secret-1") as client:
                    self.assertEqual(len(client.models.list().data), 1)
                with openai.OpenAI(base_url=server.url, api_key="secret-2") as client:
                    with self.assertRaises(openai.AuthenticationError):
                        client.models.list()


if __name__ == "__main__":
    unittest.main()
