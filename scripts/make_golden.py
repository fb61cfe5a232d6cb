"""Makes tests/golden/bitnet-tiny.gguf and .bin: a random model and its logits by transformers.

    .venv/train/bin/python scripts/make_golden.py [--out tests/golden]

The logits come from Hugging Face's BitNetForCausalLM in float32, built through its
quantization_config (without one the class silently uses plain linear layers).
tests/golden/README.md holds the layout of the .bin file, the versions and the reasons for the
tolerance.
"""
import argparse
import hashlib
import os
import struct
import sys
import tempfile
from pathlib import Path

os.environ["TORCHDYNAMO_DISABLE"] = "1"
sys.path.insert(0, str(Path(__file__).parent / "train"))

import numpy as np
import torch
import transformers
from safetensors.numpy import save_file
from transformers import BitNetForCausalLM, DynamicCache
from transformers.integrations import bitnet

from gguf_writer import F16, Writer, add_model, add_tokenizer
from model import Config
from reference import Reference, read_gguf

CONFIG = Config(d=128, n_layer=3, h=4, kv=2, hd=32, f=256, n_vocab=384, n_ctx=256)
DEMO = Path("runtime/model/embedded/tern-demo.gguf")
DESCRIPTION = "Random BitNet b1.58 weights for tests; no use beyond them."
SEED = 220      # found by search: no value lies near a rounding boundary, see the README
N_TOK = 96
TOLERANCE = 0.02
OUTLIER = 60        # gain of the few large channels
BRANCH = 0.3        # what a half-layer adds to the residual, beside an embedding of 0.15
HF_NAMES = {
    "attn_norm": "input_layernorm", "ffn_norm": "post_attention_layernorm",
    "attn_sub_norm": "self_attn.attn_sub_norm", "ffn_sub_norm": "mlp.ffn_sub_norm",
    "attn_q": "self_attn.q_proj", "attn_k": "self_attn.k_proj", "attn_v": "self_attn.v_proj",
    "attn_output": "self_attn.o_proj", "ffn_gate": "mlp.gate_proj", "ffn_up": "mlp.up_proj",
    "ffn_down": "mlp.down_proj",
}


def random_gain(rng, n):
    """Gains in 0.5 .. 1.5, one channel of 32 far above, as trained models have them.

    The few large channels set the int8 step, so a runtime that forgets to quantise is far off,
    farther than rounding differences can carry two correct ones apart.
    """
    gain = rng.uniform(0.5, 1.5, n).astype(np.float32)
    gain[rng.permutation(n)[:n // 32]] *= OUTLIER
    return gain


def random_model(config, seed):
    """(ternary weights {name: (T, scale)}, float weights {name: array}), names as in GGUF."""
    rng = np.random.default_rng(seed)
    widths = config.h * config.hd, config.kv * config.hd
    ternary, floats = {}, {}
    embd = rng.normal(0, 0.15, (config.n_vocab, config.d))
    floats["token_embd.weight"] = embd.astype(np.float16).astype(np.float32)
    for i in range(config.n_layer):
        norms = {"attn_norm": config.d, "attn_sub_norm": widths[0], "ffn_norm": config.d,
                 "ffn_sub_norm": config.f}
        for name, n in norms.items():
            floats[f"blk.{i}.{name}.weight"] = random_gain(rng, n)
        shapes = {
            "attn_q": (widths[0], config.d, "attn_norm", 1.0),
            "attn_k": (widths[1], config.d, "attn_norm", 1.0),
            "attn_v": (widths[1], config.d, "attn_norm", 1.0),
            "attn_output": (config.d, widths[0], "attn_sub_norm", BRANCH),
            "ffn_gate": (config.f, config.d, "ffn_norm", 1.0),
            "ffn_up": (config.f, config.d, "ffn_norm", 1.0),
            "ffn_down": (config.d, config.f, "ffn_sub_norm", BRANCH),
        }
        for name, (n_out, k, norm, size) in shapes.items():
            t = rng.integers(-1, 2, (n_out, k)).astype(np.float32)
            gain = floats[f"blk.{i}.{norm}.weight"]
            scale = size / np.sqrt(2 / 3 * np.square(gain).sum()) * rng.uniform(0.7, 1.4)
            ternary[f"blk.{i}.{name}.weight"] = t, np.float32(scale)
    floats["output_norm.weight"] = rng.uniform(0.5, 1.5, config.d).astype(np.float32)
    return ternary, floats


def write_model(path, config, ternary, floats):
    """GGUF file; its tokenizer is the first part of the demo model's."""
    pairs, _ = read_gguf(DEMO)
    n_merges = config.n_vocab - 256 - 3
    tokens = pairs["tokenizer.ggml.tokens"]
    merges = [merge.split(" ") for merge in pairs["tokenizer.ggml.merges"][:n_merges]]
    tokens = tokens[:256 + n_merges] + tokens[-3:]
    assert all("".join(merge) in tokens for merge in merges)
    writer = Writer()
    add_model(writer, config, "bitnet-tiny", DESCRIPTION)
    add_tokenizer(writer, tokens, merges, *range(config.n_vocab - 3, config.n_vocab))
    for name, array in floats.items():
        writer.add_float(name, array, *([F16] if name.startswith("token_embd") else []))
    for name, (t, scale) in ternary.items():
        writer.add_ternary(name, t, scale)
    writer.write(path)


class F16Cache(DynamicCache):
    """A KV cache that keeps f16, as Tern's default does."""

    def update(self, key_states, value_states, *args, **kwargs):
        rounded = key_states.half().float(), value_states.half().float()
        return super().update(*rounded, *args, **kwargs)


def hf_name(name):
    """blk.0.attn_q.weight -> model.layers.0.self_attn.q_proj.weight"""
    parts = name.split(".")
    if parts[0] != "blk":
        names = {"token_embd": "model.embed_tokens", "output_norm": "model.norm"}
        return names[parts[0]] + ".weight"
    return f"model.layers.{parts[1]}.{HF_NAMES[parts[2]]}.weight"


def hf_model(config, ternary, floats):
    """The same weights as a transformers model, loaded from a checkpoint folder as a user would."""
    settings = transformers.BitNetConfig(
        vocab_size=config.n_vocab, hidden_size=config.d, intermediate_size=config.f,
        num_hidden_layers=config.n_layer, num_attention_heads=config.h,
        num_key_value_heads=config.kv, hidden_act="relu2", max_position_embeddings=config.n_ctx,
        rms_norm_eps=config.eps, rope_theta=config.rope_base, tie_word_embeddings=True,
        bos_token_id=config.n_vocab - 3, eos_token_id=config.n_vocab - 2,
        architectures=["BitNetForCausalLM"], dtype="float32",
        quantization_config={"quant_method": "bitnet", "linear_class": "autobitlinear",
                             "quantization_mode": "offline"})
    tensors = {hf_name(name): array for name, array in floats.items()}
    for name, (t, scale) in ternary.items():
        tensors[hf_name(name)] = t
        tensors[hf_name(name) + "_scale"] = np.array([scale], np.float32)
    with tempfile.TemporaryDirectory() as folder:
        settings.save_pretrained(folder)
        save_file(tensors, f"{folder}/model.safetensors", metadata={"format": "pt"})
        model = BitNetForCausalLM.from_pretrained(folder, dtype=torch.float32,
                                                  attn_implementation="eager")
    return check_loaded(model.eval(), tensors)


def check_loaded(model, tensors):
    """Every projection is an AutoBitLinear and every value is the one that was saved."""
    for layer in model.model.layers:
        for module in (*layer.self_attn.children(), *layer.mlp.children()):
            if isinstance(module, torch.nn.Linear):
                assert type(module) is bitnet.AutoBitLinear and not module.online_quant
    state = model.state_dict()
    for name, array in tensors.items():
        assert state[name].dtype == torch.float32, name
        assert np.array_equal(state[name].numpy(), array), name
    return model


@torch.no_grad()
def hf_logits(model, ids, cache):
    return model(torch.tensor([ids]), past_key_values=cache).logits[0].numpy()


class NoActQuant:
    @staticmethod
    def apply(x):
        return x


def distance(a, b):
    return float(np.abs(a - b).max())


def check(model, path, ids, logits):
    """Asserts what the tolerance rests on and prints the numbers."""
    runtime = Reference(path, runtime=True).logits(ids)
    exact = hf_logits(model, ids, DynamicCache())
    kept, bitnet.ActQuant = bitnet.ActQuant, NoActQuant
    unquantized = hf_logits(model, ids, F16Cache())
    bitnet.ActQuant = kept
    rows = {
        "numpy, f16 KV, fixed-point head": distance(runtime, logits),
        "transformers, f32 KV": distance(exact, logits),
        "numpy against transformers, f32 KV": distance(Reference(path).logits(ids), exact),
        "transformers without activation quantisation": distance(unquantized, logits),
    }
    for name, value in rows.items():
        print(f"{value:10.5f}  {name}")
    assert rows["numpy, f16 KV, fixed-point head"] < TOLERANCE / 4
    assert rows["transformers without activation quantisation"] > 20 * TOLERANCE
    assert 1 < logits.std() < 3


def main():
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--out", type=Path, default=Path("tests/golden"))
    args = parser.parse_args()
    torch.set_num_threads(1)
    ternary, floats = random_model(CONFIG, SEED)
    gguf, golden = args.out / "bitnet-tiny.gguf", args.out / "bitnet-tiny.bin"
    write_model(gguf, CONFIG, ternary, floats)
    bos = CONFIG.n_vocab - 3
    rng = np.random.default_rng(SEED)
    ids = [bos, *rng.integers(0, bos, N_TOK - 1).tolist()]
    model = hf_model(CONFIG, ternary, floats)
    logits = hf_logits(model, ids, F16Cache())
    check(model, gguf, ids, logits)
    head = struct.pack("<8sIIfI", b"TGOLD1", N_TOK, CONFIG.n_vocab, TOLERANCE, 0)
    golden.write_bytes(head + np.array(ids, "<i4").tobytes() + logits.astype("<f4").tobytes())
    print(f"torch {torch.__version__}, transformers {transformers.__version__}, "
          f"numpy {np.__version__}, logits mean {logits.mean():.3f} std {logits.std():.3f}")
    for path in (gguf, golden):
        print(hashlib.sha256(path.read_bytes()).hexdigest(), path.name)


if __name__ == "__main__":
    main()
