"""Muon: momentum whose matrix is replaced by its nearest semi-orthogonal one (Jordan et al., 2024).

Used by train.py for the projections. Each update is scaled to a root mean square of about
0.2, as AdamW's is (Liu et al., arXiv 2502.16982), so both optimisers take rates of one size.
Parameters of one shape are stacked, which keeps the small products of a small model busy.
"""
import torch


def orthogonalize(g, dtype):
    """Newton-Schulz, quintic, 5 steps, on a batch [n, rows, columns] with rows <= columns."""
    x = g.to(dtype)
    x = x / (x.norm(dim=(-2, -1), keepdim=True) + 1e-7)
    for _ in range(5):
        a = x @ x.mT
        x = 3.4445 * x + (-4.7750 * a + 2.0315 * (a @ a)) @ x
    return x.float()


class Muon(torch.optim.Optimizer):
    """dtype: of the Newton-Schulz products, bfloat16 where the hardware multiplies it fast."""

    def __init__(self, params, lr, dtype, momentum=0.95, weight_decay=0.0):
        super().__init__(params, {"lr": lr, "momentum": momentum, "weight_decay": weight_decay})
        self.dtype = dtype

    @torch.no_grad()
    def step(self):
        for group in self.param_groups:
            shapes = {}
            for p in group["params"]:
                shapes.setdefault(tuple(p.shape), []).append(p)
            for shape, params in shapes.items():
                self.step_shape(group, shape, params)

    def step_shape(self, group, shape, params):
        directions = []
        for p in params:
            state = self.state[p]
            if "momentum" not in state:
                state["momentum"] = torch.zeros_like(p)
            buffer = state["momentum"].lerp_(p.grad, 1 - group["momentum"])
            directions.append(p.grad.lerp(buffer, group["momentum"]))
        g = torch.stack(directions)
        wide = shape[0] <= shape[1]
        update = orthogonalize(g if wide else g.mT, self.dtype)
        update = (update if wide else update.mT) * (0.2 * max(shape) ** 0.5)
        for p, u in zip(params, update):
            p.mul_(1 - group["lr"] * group["weight_decay"]).add_(u, alpha=-group["lr"])
