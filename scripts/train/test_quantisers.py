"""Both quantisers and BitLinear: values by hand, gradients straight through."""
import unittest
from dataclasses import replace

import torch
import torch.nn.functional as F

from model import BitNet, Block, int8, quantized, sign_parts, ternary_parts
from train import PRESETS

TINY = replace(PRESETS["d64"], n_vocab=32, n_ctx=16)


class Values(unittest.TestCase):
    def test_ternary(self):
        t, scale = ternary_parts(torch.tensor([[0.1, -2.0, 0.9, 0.4], [-0.1, 1.5, -0.5, 2.5]]))
        self.assertEqual(scale.item(), 1.0)
        self.assertEqual(t.tolist(), [[0, -1, 1, 0], [0, 1, 0, 1]])

    def test_sign_is_centred(self):
        t, scale = sign_parts(torch.tensor([[0.0, 1.0, 2.0, 5.0]]))
        self.assertEqual(t.tolist(), [[-1, -1, -1, 1]])     # the mean itself counts as -1
        self.assertEqual(scale.item(), 2.0)

    def test_zero_matrix_has_a_scale(self):
        for parts in (ternary_parts, sign_parts):
            self.assertEqual(parts(torch.zeros(4, 4))[1].item(), torch.tensor(1e-5).item())

    def test_int8_has_one_scale_per_token(self):
        x = torch.tensor([[127.0, 0.6, -1.5], [0.5, -0.25, 0.0]])
        steps = int8(x) / (x.abs().amax(dim=-1, keepdim=True) / 127)
        expected = torch.tensor([[127.0, 1.0, -2.0], [127.0, -64.0, 0.0]])
        self.assertTrue(torch.allclose(steps, expected, atol=1e-4))


class Gradients(unittest.TestCase):
    def test_pass_the_quantisers_unchanged(self):
        torch.manual_seed(1)
        weight, up = torch.randn(8, 16, requires_grad=True), torch.randn(8, 16)
        for kind in ("ternary", "sign", "full"):
            (grad,) = torch.autograd.grad((quantized(weight, kind) * up).sum(), weight)
            self.assertTrue(torch.equal(grad, up), kind)
        (grad,) = torch.autograd.grad((int8(weight) * up).sum(), weight)
        self.assertTrue(torch.equal(grad, up))

    def test_of_a_projection_are_those_of_the_quantised_product(self):
        """dx = dy Wq and dW = dy^T xq, with the values that the product was made of."""
        for kind in ("ternary", "sign"):
            torch.manual_seed(2)
            block = Block(replace(TINY, kind=kind))
            x, dy = torch.randn(5, 64, requires_grad=True), torch.randn(5, 64)
            block.project(x, "attn_output").backward(dy)
            wq = quantized(block.attn_output, kind).detach()
            self.assertTrue(torch.allclose(x.grad, dy @ wq, atol=1e-5))
            self.assertTrue(torch.allclose(block.attn_output.grad, dy.T @ int8(x.detach()),
                                           atol=1e-5))

    def test_full_is_a_plain_product(self):
        torch.manual_seed(3)
        block = Block(replace(TINY, kind="full"))
        x = torch.randn(5, 64)
        self.assertTrue(torch.equal(block.project(x, "attn_q"), F.linear(x, block.attn_q)))

    def test_reach_every_parameter(self):
        torch.manual_seed(4)
        for kind in ("ternary", "sign", "full"):
            model = BitNet(replace(TINY, kind=kind))
            ids = torch.randint(32, (2, 17))
            model.loss(ids[:, :-1], ids[:, 1:]).backward()
            for name, p in model.named_parameters():
                self.assertTrue(p.grad.isfinite().all() and p.grad.abs().max() > 0, name)


if __name__ == "__main__":
    unittest.main()
