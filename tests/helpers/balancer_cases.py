"""Small problems with known gradients, shared by the balancer tests."""

import torch
from hypothesis import strategies as st
from torch import Tensor, nn

from mtlrepro.balancers import Balancer

ALL = [
    "equal",
    "uncertainty",
    "dwa",
    "gls",
    "gradnorm",
    "lsb",
    "mgda",
    "pcgrad",
    "graddrop",
    "cagrad",
    "mclgs",
    "cagrad+mclgs",
    "maxgnr",
    "mtsgd",
    "fixed",
    "lagged_gls",
    "replay",
    "rlw",
    "uw-so",
    "warmup",
]
LOSS_WEIGHTING = [
    *("equal", "uncertainty", "dwa", "gls", "lsb"),
    *("fixed", "lagged_gls", "replay", "rlw", "uw-so", "warmup"),
]
RANDOM = ["pcgrad", "graddrop", "rlw"]
"""Methods that draw numbers in each step."""
GRAMIAN = ["mgda", "pcgrad", "cagrad", "mclgs", "cagrad+mclgs"]


def linear_step(
    balancer: Balancer, gradients: Tensor, losses: Tensor | None = None, **options: object
) -> tuple[Tensor, Tensor, Tensor | None]:
    """One step on L_k = <G_k, x> + h_k + constant, whose gradients are G_k [T, *shape] and, for head k, 1.

    Returns the shared gradient, the heads' gradients [T] and the weights.
    """
    n = len(gradients)
    x = nn.Parameter(torch.zeros_like(gradients[0]))
    heads = [nn.Parameter(torch.zeros((), dtype=gradients.dtype)) for _ in range(n)]
    values = torch.ones(n, dtype=gradients.dtype) if losses is None else losses
    items = [(g * x).sum() + h + v for g, h, v in zip(gradients, heads, values, strict=True)]
    weights = balancer.backward(items, [x], **options)
    assert x.grad is not None
    return x.grad, torch.stack([h.grad for h in heads if h.grad is not None]), weights


@st.composite
def matrices(draw, max_tasks=6, exponent=15):
    """Jacobians [T, n] of known structure, whose rows differ in length by up to 10^(2 exponent)."""
    n_tasks = draw(st.integers(1, max_tasks))
    size = draw(st.integers(1, 8))
    generator = torch.Generator().manual_seed(draw(st.integers(0, 2**30)))
    matrix = torch.randn(n_tasks, size, generator=generator, dtype=torch.float64)
    kind = draw(st.sampled_from(["generic", "low rank", "stationary", "twin", "zero row", "opposite"]))
    if kind == "low rank":
        matrix = matrix[:, :1] * matrix[:1]
    elif kind == "stationary":
        matrix[-1] = -matrix[:-1].sum(0)
    elif kind == "twin":
        matrix[-1] = matrix[0]
    elif kind == "zero row":
        matrix[0] = 0
    elif kind == "opposite":
        matrix[-1] = -matrix[0]
    powers = draw(st.lists(st.floats(-exponent, exponent), min_size=n_tasks, max_size=n_tasks))
    return matrix * 10.0 ** torch.tensor(powers, dtype=torch.float64)[:, None]


class Net(nn.Module):
    """A small trunk with T heads; no batch normalisation."""

    def __init__(self, n_tasks: int, seed: int = 0) -> None:
        super().__init__()
        torch.manual_seed(seed)
        self.trunk = nn.Sequential(nn.Conv2d(2, 4, 3), nn.Tanh(), nn.Conv2d(4, 4, 1), nn.Flatten(), nn.Linear(36, 6))
        self.heads = nn.ModuleList(nn.Linear(6, 1) for _ in range(n_tasks))

    def forward(self, x: Tensor) -> list[Tensor]:
        z = self.trunk(x)
        return [head(z) for head in self.heads]

    def shared(self) -> list[nn.Parameter]:
        return list(self.trunk.parameters())


def batch(seed: int, n_tasks: int, size: int = 4) -> tuple[Tensor, Tensor]:
    generator = torch.Generator().manual_seed(seed)
    return torch.randn(size, 2, 5, 5, generator=generator), torch.randn(n_tasks, size, 1, generator=generator)


def net_losses(net: Net, x: Tensor, y: Tensor) -> list[Tensor]:
    return [(k + 1) * (o - t).square().mean() for k, (o, t) in enumerate(zip(net(x), y, strict=True))]


def grads(net: nn.Module) -> list[Tensor]:
    return [p.grad.clone() for p in net.parameters() if p.grad is not None]


def count_passes(monkeypatch):
    """Count calls of autograd in a list that grows."""
    calls = []
    for name in ("grad", "backward"):
        original = getattr(torch.autograd, name)

        def counted(*args, original=original, **kwargs):
            calls.append(1)
            return original(*args, **kwargs)

        monkeypatch.setattr(torch.autograd, name, counted)
    return calls
