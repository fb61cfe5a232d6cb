"""Makes tests/tokenizers/: small tokenizers of every kind, and the ids that `tokenizers` gives.

    .venv/train/bin/python scripts/make_tokenizers.py [--out tests/tokenizers]

For each pre-tokenizer a BPE is trained on a made-up corpus; 2,000 made-up texts are encoded. The
texts hold what goes wrong: runs of digits and of white space, CR and LF, contractions in both
cases, combining marks (which qwen2's tokenizer composes first), CJK, emoji, and bytes that are no
UTF-8. Those bytes are beyond the library: Tern encodes each of them as the token of that byte, and
so does this script; SentencePiece's kind gets no such texts.

texts.bin   u32 number of texts; each u32 bytes, bytes
NAME.json   tokenizer.json as Hugging Face writes it
NAME.ids    for each text u16 number of ids (0xffff: no text for this kind), u16 ids
"""
import argparse
import json
import random
import struct
from pathlib import Path

import tokenizers
from tokenizers import Regex, Tokenizer, models, normalizers, pre_tokenizers, trainers

N_TEXTS, SEED, VOCAB = 2000, 7, 700
LLAMA3 = (r"(?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?\p{L}+|%s| ?[^\s\p{L}\p{N}]+[\r\n]*"
          r"|\s*[\r\n]+|\s+(?!\S)|\s+")
GPT2 = r"'s|'t|'re|'ve|'m|'ll|'d| ?\p{L}+| ?\p{N}+| ?[^\s\p{L}\p{N}]+|\s+(?!\S)|\s+"
WORDS = ("the of and to in a is that it was for on are as with his they at be this from have or by "
         "one had not but what all were when we there can an your which their said if do will each "
         "don't I'm you're we'll he'd it's I've WE'LL DON'T naïve café Москва привет мир 你好 世界 "
         "日本語 テスト 한국어 שלום مرحبا ελληνικά").split()
ODD = ["\r\n", "\n", "\n\n", "\t", "  ", "   ", "\u00a0", "\u3000", "\u2003", "'", "'s", "'S",
       "'Ll", "`", "``", "==", "!=", "...", "?!", "(", ")", "[x]", "{", "}", "$5", "+", "<a>",
       "^", "~", "|", "\\", "\"", "#", "&", "%", "@", "1", "12", "123", "1234", "3.14159",
       "2026-11-25", "٣٤٥٦", "½", "Ⅷ", "²", "e\u0301", "n\u0303o", "\u0301", "\u200d",
       "👩\u200d💻", "😀", "🇩🇪", "👍🏽", "ß", "ſ", "İ", "ﬁ", "\0", "\u007f", "中文",
       "漢字かな", "가", "𝒳", "\U0001f9ea", "\ufeff", "d\u0307\u0323", "\u1112\u1161\u11ab",
       "\u0958", "\u212b"]
BROKEN = [b"\xff", b"\xc3", b"\xe2\x82", b"\xf0\x9f\x98", b"\x80", b"\xed\xa0\x80", b"\xc0\xaf"]


def byte_alphabet():
    """Byte -> character of GPT-2's alphabet."""
    plain = [*range(0x21, 0x7f), *range(0xa1, 0xad), *range(0xae, 0x100)]
    others = [b for b in range(256) if b not in plain]
    return {**{b: chr(b) for b in plain}, **{b: chr(256 + i) for i, b in enumerate(others)}}


def make_text(rng):
    """Valid text and, now and then, broken bytes: a list of str and bytes."""
    parts = []
    for _ in range(rng.randint(0, 12)):
        kind = rng.random()
        if kind < 0.5:
            parts.append(rng.choice(("", " ")) + rng.choice(WORDS))
        elif kind < 0.97:
            parts.append(rng.choice(ODD))
        else:
            parts.append(rng.choice(BROKEN))
    return parts


def split_broken(raw):
    """Bytes as a list of valid stretches (str) and single broken bytes (int)."""
    out = []
    while raw:
        try:
            return out + [raw.decode("utf-8")]
        except UnicodeDecodeError as error:
            if error.start:
                out.append(raw[:error.start].decode("utf-8"))
            out.extend(raw[error.start:error.end])
            raw = raw[error.end:]
    return out


def corpus(rng):
    """Lines to train on; without NUL, which JSON libraries refuse in the keys of a vocabulary."""
    odd = [part for part in ODD if part != "\0"]
    return [" ".join(rng.choice(WORDS) if rng.random() < 0.8 else rng.choice(odd)
                     for _ in range(20)) for _ in range(3000)]


def byte_level(name, lines):
    split = lambda pattern: pre_tokenizers.Split(Regex(pattern), "isolated")
    bytes_of = lambda regex: pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=regex)
    tokenizer = Tokenizer(models.BPE())
    tokenizer.pre_tokenizer = {
        "llama-bpe": pre_tokenizers.Sequence([split(LLAMA3 % r"\p{N}{1,3}"), bytes_of(False)]),
        "qwen2": pre_tokenizers.Sequence([split(LLAMA3 % r"\p{N}"), bytes_of(False)]),
        "gpt-2": bytes_of(True),
        "falcon": pre_tokenizers.Sequence([pre_tokenizers.Punctuation("contiguous"),
                                           bytes_of(True), split("[0-9][0-9][0-9]")]),
        "default": pre_tokenizers.Sequence([split(r"[\p{P}\$\+<=>\^~\|]+"), split(GPT2),
                                            split(r"\p{N}+"), split("[0-9][0-9][0-9]"),
                                            bytes_of(False)]),
    }[name]
    if name == "qwen2":
        tokenizer.normalizer = normalizers.NFC()
    trainer = trainers.BpeTrainer(vocab_size=VOCAB, show_progress=False,
                                  initial_alphabet=pre_tokenizers.ByteLevel.alphabet(),
                                  special_tokens=["<|end|>"])
    tokenizer.train_from_iterator(lines, trainer)
    return tokenizer


def sentencepiece(lines):
    """As in Llama's tokenizer.json: bytes are tokens, but no added ones; no pre-tokenizer."""
    tokenizer = Tokenizer(models.BPE(byte_fallback=True, unk_token="<unk>", fuse_unk=True))
    tokenizer.pre_tokenizer = pre_tokenizers.Metaspace()
    special = ["<unk>", "<s>", "</s>", *(f"<0x{i:02X}>" for i in range(256))]
    trainer = trainers.BpeTrainer(vocab_size=VOCAB + 300, show_progress=False,
                                  limit_alphabet=120, special_tokens=special)
    tokenizer.train_from_iterator(lines, trainer)
    settings = json.loads(tokenizer.to_str())
    settings["added_tokens"] = settings["added_tokens"][:3]
    settings["pre_tokenizer"] = None
    settings["normalizer"] = json.loads(normalizers.Sequence(
        [normalizers.Prepend("▁"), normalizers.Replace(" ", "▁")]).__getstate__())
    return Tokenizer.from_str(json.dumps(settings))


def encode(tokenizer, text, alphabet):
    ids = []
    for part in split_broken(text):
        if isinstance(part, int):
            ids.append(tokenizer.token_to_id(alphabet[part]))
        else:
            ids.extend(tokenizer.encode(part, add_special_tokens=False).ids)
    return ids


def main():
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--out", type=Path, default=Path("tests/tokenizers"))
    out = parser.parse_args().out
    out.mkdir(parents=True, exist_ok=True)
    rng = random.Random(SEED)
    lines, alphabet = corpus(rng), byte_alphabet()
    texts = [b"".join(p if isinstance(p, bytes) else p.encode() for p in make_text(rng))
             for _ in range(N_TEXTS)]
    packed = b"".join(struct.pack("<I", len(text)) + text for text in texts)
    (out / "texts.bin").write_bytes(struct.pack("<I", len(texts)) + packed)
    for name in ("llama-bpe", "qwen2", "gpt-2", "falcon", "default", "llama"):
        tokenizer = sentencepiece(lines) if name == "llama" else byte_level(name, lines)
        settings = json.loads(tokenizer.to_str())
        text = json.dumps(settings, ensure_ascii=False, separators=(",", ":"))
        (out / f"{name}.json").write_text(text + "\n")
        rows = []
        for raw in texts:
            broken = any(isinstance(part, int) for part in split_broken(raw))
            if name == "llama" and (broken or "▁".encode() in raw):
                rows.append(struct.pack("<H", 0xffff))
                continue
            ids = encode(tokenizer, raw, alphabet)
            rows.append(struct.pack(f"<H{len(ids)}H", len(ids), *ids))
        (out / f"{name}.ids").write_bytes(b"".join(rows))
    print(f"tokenizers {tokenizers.__version__}, {N_TEXTS} texts, seed {SEED}")


if __name__ == "__main__":
    main()
