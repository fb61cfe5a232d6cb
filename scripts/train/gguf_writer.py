"""Writes GGUF v3 files of BitNet b1.58 models: I2_S projections, f16 embedding, f32 norms.

Used by export.py and make_golden.py. `Writer` is the container; `add_model` and `add_tokenizer`
hold the key names, `add_ternary` the I2_S layout (blocks of 128 codes, high bits first, one f32
scale after the codes).
"""
import struct

import numpy as np

ARCH = "bitnet-b1.58"
ALIGNMENT = 32
F32, F16, I2_S = 0, 1, 36
FILE_TYPE_I2_S = 40
TOKEN_NORMAL, TOKEN_CONTROL = 1, 3
VALUE_TYPES = {"i32": (5, "<i"), "u32": (4, "<I"), "f32": (6, "<f"), "bool": (7, "<?")}
STRING, ARRAY = 8, 9


def pack_string(text):
    raw = text.encode("utf-8")
    return struct.pack("<Q", len(raw)) + raw


def pack_value(kind, value):
    """(GGUF type number, bytes) of one scalar or string."""
    if kind == "str":
        return STRING, pack_string(value)
    number, layout = VALUE_TYPES[kind]
    return number, struct.pack(layout, value)


def pack_i2_s(t, scale):
    """Ternary matrix [n_out, k] -> I2_S bytes: 32 per 128 codes, the scale, 28 zeros."""
    assert t.size % 128 == 0 and np.isin(t, (-1, 0, 1)).all()
    codes = (t.astype(np.int8) + 1).astype(np.uint8).reshape(-1, 4, 32)
    packed = codes[:, 0] << 6 | codes[:, 1] << 4 | codes[:, 2] << 2 | codes[:, 3]
    return packed.tobytes() + struct.pack("<f28x", scale)


class Writer:
    def __init__(self):
        self.pairs, self.tensors = [], []

    def add(self, key, kind, value):
        number, raw = pack_value(kind, value)
        self.pairs.append(pack_string(key) + struct.pack("<I", number) + raw)

    def add_array(self, key, kind, values):
        packed = [pack_value(kind, value) for value in values]
        head = struct.pack("<IIQ", ARRAY, packed[0][0], len(packed))
        self.pairs.append(pack_string(key) + head + b"".join(raw for _, raw in packed))

    def add_float(self, name, array, kind=F32):
        """f32 or f16 tensor; the last axis of the array is ne[0]."""
        raw = np.ascontiguousarray(array, "<f4" if kind == F32 else "<f2").tobytes()
        self.tensors.append((name, kind, array.shape[::-1], raw))

    def add_ternary(self, name, t, scale):
        self.tensors.append((name, I2_S, t.shape[::-1], pack_i2_s(t, scale)))

    def write(self, path):
        head = [b"GGUF", struct.pack("<IQQ", 3, len(self.tensors), len(self.pairs)), *self.pairs]
        data, offset = [], 0
        for name, kind, ne, raw in self.tensors:
            raw += bytes(-len(raw) % ALIGNMENT)
            head.append(pack_string(name) + struct.pack("<I", len(ne)))
            head.append(struct.pack(f"<{len(ne)}QIQ", *ne, kind, offset))
            data.append(raw)
            offset += len(raw)
        head = b"".join(head)
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(head + bytes(-len(head) % ALIGNMENT) + b"".join(data))


def add_model(writer, config, name, description):
    """General and hyper-parameter keys; config is a model.Config."""
    writer.add("general.architecture", "str", ARCH)
    writer.add("general.name", "str", name)
    writer.add("general.description", "str", description)
    writer.add("general.license", "str", "MIT")
    writer.add("general.alignment", "u32", ALIGNMENT)
    writer.add("general.file_type", "u32", FILE_TYPE_I2_S)
    writer.add("general.quantization_version", "u32", 2)
    integers = {
        "vocab_size": config.n_vocab, "context_length": config.n_ctx,
        "embedding_length": config.d, "block_count": config.n_layer,
        "feed_forward_length": config.f, "attention.head_count": config.h,
        "attention.head_count_kv": config.kv, "attention.key_length": config.hd,
        "attention.value_length": config.hd, "rope.dimension_count": config.hd,
    }
    for key, value in integers.items():
        writer.add(f"{ARCH}.{key}", "u32", value)
    writer.add(f"{ARCH}.rope.freq_base", "f32", config.rope_base)
    writer.add(f"{ARCH}.attention.layer_norm_rms_epsilon", "f32", config.eps)
    writer.add(f"{ARCH}.hidden_activation", "str", "relu2")


def add_tokenizer(writer, tokens, merges, bos, eos, eot):
    """Byte-level BPE keys; tokens in id order, merges as pairs in rank order, three control ids."""
    controls = {bos, eos, eot}
    kinds = [TOKEN_CONTROL if i in controls else TOKEN_NORMAL for i in range(len(tokens))]
    writer.add("tokenizer.ggml.model", "str", "gpt2")
    writer.add("tokenizer.ggml.pre", "str", "llama-bpe")
    writer.add_array("tokenizer.ggml.tokens", "str", tokens)
    writer.add_array("tokenizer.ggml.token_type", "i32", kinds)
    writer.add_array("tokenizer.ggml.merges", "str", [f"{a} {b}" for a, b in merges])
    writer.add("tokenizer.ggml.bos_token_id", "u32", bos)
    writer.add("tokenizer.ggml.eos_token_id", "u32", eos)
    writer.add("tokenizer.ggml.eot_token_id", "u32", eot)
    writer.add("tokenizer.ggml.add_bos_token", "bool", True)
