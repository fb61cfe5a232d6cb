"""BitNet b1.58 in the 2B4T architecture: ternary projections, int8 activations, squared ReLU gate.

Used by everything here that trains or scores. The forward pass computes with fake-quantised float
values that equal what a runtime computes with integers; gradients pass both quantisers unchanged
(straight through). Embedding, head (tied), norms and attention stay in floating point.
`Config.kind` says what a projection multiplies with; nothing else differs between the kinds:

    ternary  {-1, 0, 1} * mean|w|                 int8 activations   BitNet b1.58
    sign     {-1, 1} * mean|w|                    int8 activations   BitNet v1
    full     w                                    float activations  the twin to compare with
    codes    w, quantised already (from a file)   int8 activations
"""
from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import nn


@dataclass(frozen=True)
class Config:
    d: int = 256
    n_layer: int = 4
    h: int = 4
    kv: int = 2
    hd: int = 64
    f: int = 768
    n_vocab: int = 4096
    n_ctx: int = 512
    rope_base: float = 10000.0
    eps: float = 1e-5
    kind: str = "ternary"


def absmean(w):
    """max(mean|w|, 1e-5), summed in double."""
    return w.abs().mean(dtype=torch.float64).float().clamp(min=1e-5)


def ternary_parts(w):
    """w -> (T in {-1, 0, 1}, scale): scale = absmean(w), T = clamp(rint(w / scale))."""
    scale = absmean(w)
    return (w / scale).round().clamp(-1, 1), scale


def sign_parts(w):
    """w -> (T in {-1, 1}, scale): T = sign(w - mean w), 0 counts as -1; scale = absmean(w)."""
    return torch.where(w > w.mean(), 1.0, -1.0), absmean(w)


PARTS = {"ternary": ternary_parts, "sign": sign_parts}
KINDS = (*PARTS, "full")    # those that can be trained


def quantized(w, kind):
    """The weight that a projection multiplies with, its gradient passed on to w unchanged."""
    if kind not in PARTS:
        return w
    t, scale = PARTS[kind](w.detach())
    return w + (t * scale - w.detach())


def int8(x):
    """Fake-quantised activation, one scale per token, with a straight-through gradient."""
    xd = x.detach()
    s = 127.0 / xd.abs().amax(dim=-1, keepdim=True).clamp(min=1e-5)
    return x + ((xd * s).round().clamp(-128, 127) / s - xd)


def projection(k, n_out):
    """Master weight of a projection, [n_out, k]."""
    return nn.Parameter(torch.randn(n_out, k) * k**-0.5)


def rope_tables(config):
    """cos, sin [n_ctx, hd] for the half-split rotation, computed in double."""
    half = torch.arange(config.hd // 2, dtype=torch.float64)
    theta = config.rope_base ** (-2.0 * half / config.hd)
    angle = torch.arange(config.n_ctx, dtype=torch.float64)[:, None] * theta
    angle = torch.cat([angle, angle], dim=-1)
    return angle.cos().float(), angle.sin().float()


def rotate(x, cos, sin):
    """x [b, heads, t, hd] rotated by position, pairs (i, i + hd/2)."""
    a, b = x.chunk(2, dim=-1)
    return x * cos + torch.cat([-b, a], dim=-1) * sin


class Block(nn.Module):
    """One layer: attention with attn_sub_norm, then the gated FFN with ffn_sub_norm."""

    def __init__(self, c):
        super().__init__()
        self.c = c
        self.attn_norm = nn.Parameter(torch.ones(c.d))
        self.attn_q = projection(c.d, c.h * c.hd)
        self.attn_k = projection(c.d, c.kv * c.hd)
        self.attn_v = projection(c.d, c.kv * c.hd)
        self.attn_sub_norm = nn.Parameter(torch.ones(c.h * c.hd))
        self.attn_output = projection(c.h * c.hd, c.d)
        self.ffn_norm = nn.Parameter(torch.ones(c.d))
        self.ffn_gate = projection(c.d, c.f)
        self.ffn_up = projection(c.d, c.f)
        self.ffn_sub_norm = nn.Parameter(torch.ones(c.f))
        self.ffn_down = projection(c.f, c.d)

    def norm(self, x, gain):
        return F.rms_norm(x.float(), gain.shape, gain, self.c.eps)

    def project(self, x, *names):
        """x times the named weights, side by side."""
        w = torch.cat([quantized(getattr(self, name), self.c.kind) for name in names])
        return F.linear(x if self.c.kind == "full" else int8(x), w)

    def attention(self, x, cos, sin):
        c, (b, t, _) = self.c, x.shape
        qkv = self.project(self.norm(x, self.attn_norm), "attn_q", "attn_k", "attn_v")
        qkv = qkv.view(b, t, c.h + 2 * c.kv, c.hd).transpose(1, 2)
        q, k, v = qkv.split([c.h, c.kv, c.kv], dim=1)
        q, k = rotate(q, cos[:t], sin[:t]), rotate(k, cos[:t], sin[:t])
        k = k.repeat_interleave(c.h // c.kv, dim=1)
        v = v.repeat_interleave(c.h // c.kv, dim=1)
        o = F.scaled_dot_product_attention(q.to(v.dtype), k.to(v.dtype), v, is_causal=True)
        o = o.transpose(1, 2).reshape(b, t, c.h * c.hd)
        return self.project(self.norm(o, self.attn_sub_norm), "attn_output")

    def ffn(self, x):
        gate_up = self.project(self.norm(x, self.ffn_norm), "ffn_gate", "ffn_up")
        gate, up = gate_up.chunk(2, dim=-1)
        y = F.relu(gate.float()).square() * up.float()
        return self.project(self.norm(y, self.ffn_sub_norm), "ffn_down")

    def forward(self, x, cos, sin):
        x = x + self.attention(x, cos, sin)
        return x + self.ffn(x)


class BitNet(nn.Module):
    """ids [b, t] -> logits [b, t, n_vocab]. Parameter names are the GGUF names without suffix."""

    def __init__(self, config, block=Block):
        super().__init__()
        self.config = config
        self.token_embd = nn.Parameter(torch.randn(config.n_vocab, config.d) * 0.03)
        self.blk = nn.ModuleList(block(config) for _ in range(config.n_layer))
        self.output_norm = nn.Parameter(torch.ones(config.d))
        cos, sin = rope_tables(config)
        self.register_buffer("cos", cos, persistent=False)
        self.register_buffer("sin", sin, persistent=False)

    def forward(self, ids):
        x = F.embedding(ids, self.token_embd)
        for block in self.blk:
            x = block(x, self.cos, self.sin)
        x = F.rms_norm(x, self.output_norm.shape, self.output_norm, self.config.eps)
        return F.linear(x, self.token_embd)

    def loss(self, ids, targets):
        """Mean cross entropy in nats."""
        logits = self(ids).float().flatten(0, 1)
        return F.cross_entropy(logits, targets.flatten())
