"""Byte-level BPE for the models trained here: trains it, loads it, turns a corpus into ids.

Used by train.py (ids) and export.py (token list, merges, template).
The pre-tokeniser is "llama-bpe", whole pieces that are tokens skip the merges, and the last three
ids are the control tokens, so a runtime that reads Llama-3 vocabularies reads this one.
"""
import lzma
from pathlib import Path

import numpy as np
from tokenizers import Regex, Tokenizer, decoders, models, pre_tokenizers, trainers

BOS, EOS, EOT = "<|begin_of_text|>", "<|end_of_text|>", "<|eot_id|>"
SPECIALS = (BOS, EOS, EOT)
CHAT_TEMPLATE = (    # of BitNet b1.58 2B4T
    "{% for message in messages %}{{ message['role'] | capitalize }}: "
    "{{ message['content'] | trim }}<|eot_id|>{% endfor %}"
    "{% if add_generation_prompt %}Assistant: {% endif %}"
)
SEPARATOR = "<|endoftext|>"
LLAMA_BPE = (
    r"(?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}{1,3}"
    r"| ?[^\s\p{L}\p{N}]+[\r\n]*|\s*[\r\n]+|\s+(?!\S)|\s+"
)


def read_documents(path):
    """The documents of a text file (.xz or plain), without the blank lines around the separator."""
    path = Path(path)
    raw = lzma.open(path).read() if path.suffix == ".xz" else path.read_bytes()
    documents = (part.strip() for part in raw.decode("utf-8").split(SEPARATOR))
    return [document for document in documents if document]


def train(documents, n_vocab):
    """A tokenizer of exactly n_vocab ids: 256 bytes, merges, three control tokens."""
    tokenizer = Tokenizer(models.BPE(ignore_merges=True))
    tokenizer.pre_tokenizer = pre_tokenizers.Sequence([
        pre_tokenizers.Split(Regex(LLAMA_BPE), "isolated"),
        pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=False),
    ])
    tokenizer.decoder = decoders.ByteLevel()
    trainer = trainers.BpeTrainer(
        vocab_size=n_vocab - len(SPECIALS),
        initial_alphabet=pre_tokenizers.ByteLevel.alphabet(),
        show_progress=False,
    )
    tokenizer.train_from_iterator(documents, trainer)
    tokenizer.add_special_tokens(list(SPECIALS))
    assert tokenizer.get_vocab_size() == n_vocab, "the corpus is too small for this vocabulary"
    return tokenizer


def encode(tokenizer, documents):
    """One stream of u16 ids: BOS, text, EOS for each document."""
    bos, eos = tokenizer.token_to_id(BOS), tokenizer.token_to_id(EOS)
    parts = []
    for document in documents:
        ids = tokenizer.encode(document, add_special_tokens=False).ids
        parts.append(np.array([bos, *ids, eos], dtype=np.uint16))
    return np.concatenate(parts)


def prepare(folder, data, n_vocab, every=1):
    """The tokenizer and the training ids kept in folder, made from each `every`-th document of
    data/train.txt.xz if absent."""
    folder.mkdir(parents=True, exist_ok=True)
    saved, stream = folder / "tokenizer.json", folder / "train.npy"
    if not saved.exists() or not stream.exists():
        documents = read_documents(data / "train.txt.xz")[::every]
        tokenizer = train(documents, n_vocab)
        tokenizer.save(str(saved))
        np.save(stream, encode(tokenizer, documents))
    tokenizer = Tokenizer.from_file(str(saved))
    if tokenizer.get_vocab_size() != n_vocab:
        raise SystemExit(f"{saved} has {tokenizer.get_vocab_size()} ids, the model {n_vocab}: "
                         "name another folder")
    return tokenizer, np.load(stream)
