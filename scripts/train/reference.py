"""Reads a BitNet b1.58 GGUF file and computes its logits in plain numpy float32.

Used by export.py (canary), evaluate.py and make_golden.py. It shares no code with the trainer or
the writer, so agreement between them means something. `runtime=True` adds what the Tern runtime
does beyond float32: K and V kept as f16 and the head in 16-bit fixed point with 15-bit activations.
The distance between the two is the evidence for the tolerances stored beside the numbers.
"""
import struct
from types import SimpleNamespace

import numpy as np

F32, F16, I2_S = 0, 1, 36
SCALARS = {0: "<B", 1: "<b", 2: "<H", 3: "<h", 4: "<I", 5: "<i", 6: "<f", 7: "<?", 10: "<Q",
           11: "<q", 12: "<d"}
STRING, ARRAY = 8, 9


class Cursor:
    def __init__(self, raw):
        self.raw, self.at = raw, 0

    def take(self, layout):
        values = struct.unpack_from(layout, self.raw, self.at)
        self.at += struct.calcsize(layout)
        return values if len(values) > 1 else values[0]

    def string(self):
        n = self.take("<Q")
        self.at += n
        return self.raw[self.at - n:self.at].decode("utf-8")

    def value(self, kind):
        if kind == STRING:
            return self.string()
        if kind == ARRAY:
            element, n = self.take("<IQ")
            return [self.value(element) for _ in range(n)]
        return self.take(SCALARS[kind])


def decode(raw, at, kind, shape):
    """One tensor: float32 array, or (ternary array, scale) for I2_S."""
    n = int(np.prod(shape))
    if kind != I2_S:
        dtype = "<f4" if kind == F32 else "<f2"
        return np.frombuffer(raw, dtype, n, at).reshape(shape).astype(np.float32)
    blocks = np.frombuffer(raw, np.uint8, n // 4, at).reshape(-1, 1, 32)
    codes = (blocks >> np.array([6, 4, 2, 0], np.uint8)[None, :, None]) & 3
    assert codes.max() <= 2
    scale = np.frombuffer(raw, "<f4", 1, at + n // 4)[0]
    return codes.reshape(shape).astype(np.float32) - 1, scale


def read_gguf(path):
    """(key/value dictionary, tensor dictionary) of a GGUF v3 file."""
    cursor = Cursor(path.read_bytes())
    magic, version, n_tensors, n_pairs = cursor.take("<4sIQQ")
    assert (magic, version) == (b"GGUF", 3)
    pairs, infos = {}, {}
    for _ in range(n_pairs):
        key = cursor.string()
        pairs[key] = cursor.value(cursor.take("<I"))
    for _ in range(n_tensors):
        name, n_dims = cursor.string(), cursor.take("<I")
        shape = tuple(cursor.take("<Q") for _ in range(n_dims))[::-1]
        infos[name] = (*cursor.take("<IQ"), shape)
    base = -(-cursor.at // 32) * 32
    tensors = {n: decode(cursor.raw, base + o, k, s) for n, (k, o, s) in infos.items()}
    return pairs, tensors


def quantize(x, levels):
    """x [t, k] -> (whole numbers within +-levels, scale [t, 1])."""
    a = np.maximum(np.abs(x).max(axis=-1, keepdims=True), np.float32(1e-5))
    return np.rint(x * (np.float32(levels) / a)), a / np.float32(levels)


def rms_norm(x, gain, eps):
    return x / np.sqrt(np.mean(x * x, axis=-1, keepdims=True) + eps) * gain


def softmax(s):
    p = np.exp(s - s.max(axis=-1, keepdims=True))
    return p / p.sum(axis=-1, keepdims=True)


class Reference:
    def __init__(self, path, runtime=False, quantized=True):
        self.pairs, self.w = read_gguf(path)
        self.runtime, self.quantized = runtime, quantized
        arch = self.pairs["general.architecture"]
        key = lambda name: self.pairs[f"{arch}.{name}"]
        self.c = SimpleNamespace(
            d=key("embedding_length"), n_layer=key("block_count"), h=key("attention.head_count"),
            kv=key("attention.head_count_kv"), hd=key("attention.key_length"),
            n_vocab=key("vocab_size"), n_ctx=key("context_length"),
            eps=np.float32(key("attention.layer_norm_rms_epsilon")))
        theta = key("rope.freq_base") ** (-2.0 * np.arange(self.c.hd // 2) / self.c.hd)
        angle = np.arange(self.c.n_ctx)[:, None] * theta
        self.cos, self.sin = np.cos(angle).astype("f4"), np.sin(angle).astype("f4")

    def linear(self, x, name):
        t, scale = self.w[name]
        if not self.quantized:
            return x @ t.T * scale
        q, xs = quantize(x, 127)
        return (q @ t.T) * (xs * scale)

    def rotate(self, x):
        """x [t, heads, hd], pairs (i, i + hd/2)."""
        a, b = np.split(x, 2, axis=-1)
        cos, sin = self.cos[:len(x), None], self.sin[:len(x), None]
        return np.concatenate([a * cos - b * sin, a * sin + b * cos], axis=-1)

    def attention(self, x, blk):
        c, n = self.c, len(x)
        q = self.rotate(self.linear(x, blk + "attn_q.weight").reshape(n, c.h, c.hd))
        k = self.rotate(self.linear(x, blk + "attn_k.weight").reshape(n, c.kv, c.hd))
        v = self.linear(x, blk + "attn_v.weight").reshape(n, c.kv, c.hd)
        if self.runtime:
            k, v = k.astype("f2").astype("f4"), v.astype("f2").astype("f4")
        mask = np.triu(np.full((n, n), -np.inf, np.float32), 1)
        heads = []
        for i in range(c.h):
            j = i // (c.h // c.kv)
            scores = q[:, i] @ k[:, j].T / np.sqrt(np.float32(c.hd)) + mask
            heads.append(softmax(scores) @ v[:, j])
        o = rms_norm(np.concatenate(heads, axis=-1), self.w[blk + "attn_sub_norm.weight"], c.eps)
        return self.linear(o, blk + "attn_output.weight")

    def ffn(self, x, blk):
        gate = np.maximum(self.linear(x, blk + "ffn_gate.weight"), 0)
        y = gate * gate * self.linear(x, blk + "ffn_up.weight")
        y = rms_norm(y, self.w[blk + "ffn_sub_norm.weight"], self.c.eps)
        return self.linear(y, blk + "ffn_down.weight")

    def head(self, x):
        table = self.w["token_embd.weight"]
        if not self.runtime:
            return x @ table.T
        q, ws = quantize(table, 32639)
        h, xs = quantize(x, 16319)
        return ((h.astype("f8") @ q.T.astype("f8")) * (xs * ws.T)).astype("f4")

    def logits(self, ids):
        """ids [t] -> logits [t, n_vocab], all in float32."""
        x, eps = self.w["token_embd.weight"][np.asarray(ids)], self.c.eps
        for i in range(self.c.n_layer):
            blk = f"blk.{i}."
            x = x + self.attention(rms_norm(x, self.w[blk + "attn_norm.weight"], eps), blk)
            x = x + self.ffn(rms_norm(x, self.w[blk + "ffn_norm.weight"], eps), blk)
        return self.head(rms_norm(x, self.w["output_norm.weight"], eps))

    def logprobs(self, ids):
        """Natural-log probability of ids[i + 1] given ids[0 .. i], [len(ids) - 1]."""
        logits = self.logits(ids[:-1]).astype("f8")
        logits -= logits.max(axis=-1, keepdims=True)
        chosen = logits[np.arange(len(ids) - 1), ids[1:]]
        return chosen - np.log(np.exp(logits).sum(axis=-1))
