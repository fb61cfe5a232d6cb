"""Bits per byte of a model in PyTorch, float32, by the rule of `tern eval ppl --stride`.

    scripts/train/score.py MODEL --corpus FOLDER --text FILE --stride 128

MODEL is a GGUF file or a checkpoint of train.py. Needed for what Tern cannot run: full-precision
twins and adapters. On quantised models it agrees with Tern; report.py measures how well.
The text begins with one BOS; windows of n_ctx tokens begin every `--stride` tokens; each token is
scored once, in the first window that holds it.
"""
import argparse
import math
from pathlib import Path

import torch
from tokenizers import Tokenizer

import tokenizer as tok
from model import BitNet, Block, Config
from reference import read_gguf

BATCH = 16


def from_gguf(path, block=Block):
    """The model of a GGUF file, its projections as codes times scale."""
    pairs, tensors = read_gguf(path)
    arch = pairs["general.architecture"]
    keys = {"d": "embedding_length", "n_layer": "block_count", "h": "attention.head_count",
            "kv": "attention.head_count_kv", "hd": "attention.key_length",
            "f": "feed_forward_length", "n_vocab": "vocab_size", "n_ctx": "context_length",
            "rope_base": "rope.freq_base", "eps": "attention.layer_norm_rms_epsilon"}
    config = Config(kind="codes", **{k: pairs[f"{arch}.{v}"] for k, v in keys.items()})
    state = {}
    for name, tensor in tensors.items():
        values = tensor[0] * tensor[1] if isinstance(tensor, tuple) else tensor
        state[name.removesuffix(".weight")] = torch.from_numpy(values)
    model = BitNet(config, block)
    model.load_state_dict(state, strict=block is Block)
    return model


def from_checkpoint(path):
    """The model of a training run."""
    checkpoint = torch.load(path, weights_only=True)
    model = BitNet(Config(**checkpoint["config"]))
    model.load_state_dict(checkpoint["model"])
    return model


@torch.no_grad()
def window_nats(model, windows, skip):
    """-ln p of the tokens behind the first `skip` of each window [b, t], summed."""
    logprobs = model(windows[:, :-1]).log_softmax(dim=-1)
    chosen = logprobs.gather(-1, windows[:, 1:, None])[:, skip - 1:]
    return -chosen.double().sum().item()


def text_nats(model, ids, stride):
    """-ln p of all ids but the first, summed."""
    width = model.config.n_ctx
    ids = torch.tensor(ids)
    if len(ids) <= width:
        return window_nats(model, ids[None], 1)
    nats = window_nats(model, ids[None, :width], 1)
    n_whole = (len(ids) - width) // stride
    for i in range(1, n_whole + 1, BATCH):
        starts = range(i, min(i + BATCH, n_whole + 1))
        windows = torch.stack([ids[s * stride:s * stride + width] for s in starts])
        nats += window_nats(model, windows, width - stride)
    left = len(ids) - width - n_whole * stride
    if left:
        last = ids[None, (n_whole + 1) * stride:]
        nats += window_nats(model, last, last.shape[1] - left)
    return nats


def bits_per_byte(model, tokenizer, text, stride):
    ids = tokenizer.encode(text, add_special_tokens=False).ids
    nats = text_nats(model, [tokenizer.token_to_id(tok.BOS), *ids], stride)
    return nats / math.log(2) / len(text.encode())


def main():
    parser = argparse.ArgumentParser(description=__doc__,
                                     formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("model", type=Path)
    parser.add_argument("--corpus", type=Path, default=Path(".train/corpus"))
    parser.add_argument("--text", type=Path, default=Path("../shared/data/classics/valid.txt"))
    parser.add_argument("--stride", type=int, default=128)
    args = parser.parse_args()
    model = (from_gguf if args.model.suffix == ".gguf" else from_checkpoint)(args.model)
    tokenizer = Tokenizer.from_file(str(args.corpus / "tokenizer.json"))
    bits = bits_per_byte(model, tokenizer, args.text.read_text("utf-8"), args.stride)
    print(f"{bits:.4f} bits per byte, {args.text.name}, stride {args.stride}")


if __name__ == "__main__":
    main()
