"""The rule: weight against similarity, its two forms, what it does to two tasks and to more, and what Adam makes of it.

w_ij = 1 + tanh(s_ij p), and the step is 1/(N (N - 1)) sum_{i<j} w_ij (g_i + g_j) = sum_k W_k g_k with
W_k = 1/(N (N - 1)) sum_{j != k} w_kj. For two tasks W_1 = W_2 = w_12 / 2: the step is the mean gradient times w_12.
"""

from collections.abc import Sequence
from dataclasses import replace
from itertools import combinations

import numpy as np
import pandas as pd
import torch
from matplotlib.figure import Figure
from torch import Tensor, nn

from mtlrepro.analysis.verdicts import Interval, Verdict, range_interval
from mtlrepro.balancers.mclgs import similarity_weights
from mtlrepro.pages import figures
from mtlrepro.pages.exhibit import Exhibit
from mtlrepro.studies.comparison import bracketed, fixed

STRENGTHS = (40.0, 10.0, 4.0, 1.0, 0.0)
"""Values of p that figures show, from the start of the centre's curriculum to its end."""
DRAWS, SIZE = 200, 1000
"""Random sets of gradients, and the number of parameters of each."""
EXACT = 1e-9
"""Up to which rounding makes an identity miss."""
STEPS = 400
"""Steps for which an optimizer sees a gated gradient."""
GATES = ("constant", "falling", "random")
"""Gates of the same mean: one number, from twice that to 0 linearly, and 0 or twice that by chance."""
MEAN_GATE = 0.5


def pair_form(gradients: Tensor, p: float) -> Tensor:
    """The poster's step, pair by pair: 1/(N (N - 1)) sum_{i<j} w_ij (g_i + g_j).

    Args:
        gradients: `[N, parameters]`, N at least 2.
        p: Strength of the curriculum.
    """
    n = len(gradients)
    step = torch.zeros_like(gradients[0])
    for i, j in combinations(range(n), 2):
        similarity = torch.cosine_similarity(gradients[i], gradients[j], dim=0)
        step += (1 + torch.tanh(similarity * p)) * (gradients[i] + gradients[j])
    return step / (n * (n - 1))


def task_form(gradients: Tensor, p: float) -> Tensor:
    """The same step, task by task: sum_k W_k g_k, as the library takes it."""
    return similarity_weights(gradients @ gradients.T, p) @ gradients


def draws(n: int) -> list[Tensor]:
    """Draw sets of n gradients, `[n, SIZE]` float64 each; the numbers are the same in every call.

    Each gradient has a part of its own, and one that all tasks have with another factor in [-1, 1], so that some pairs
    agree and others conflict.

    Args:
        n: Number of tasks.
    """
    generator = torch.Generator().manual_seed(n)
    made = []
    for _ in range(DRAWS):
        own, common = (torch.randn(rows, SIZE, generator=generator, dtype=torch.float64) for rows in (n, 1))
        factors = 2 * torch.rand(n, 1, generator=generator, dtype=torch.float64) - 1
        made.append(own + factors * common)
    return made


def turns(n: int, p: float) -> pd.DataFrame:
    """Compare the step with the mean gradient, for each set of `draws`.

    Args:
        n: Number of tasks.
        p: Strength of the curriculum.

    Returns:
        One row a set: `tasks`, `similarity`, the mean cosine of a pair; `length`, that of the step over that of the
        mean gradient; and `turned`, the angle between them in degrees.
    """
    rows = []
    for gradients in draws(n):
        step, mean = task_form(gradients, p), gradients.mean(0)
        cosines = [torch.cosine_similarity(gradients[i], gradients[j], dim=0) for i, j in combinations(range(n), 2)]
        # By the chord of unit vectors: an arc cosine near 1 would turn rounding into an angle.
        chord = (step / step.norm() - mean / mean.norm()).norm()
        rows.append(
            {
                "tasks": n,
                "similarity": float(torch.stack(cosines).mean()),
                "length": float(step.norm() / mean.norm()),
                "turned": float(torch.rad2deg(2 * torch.asin(chord / 2))),
            }
        )
    return pd.DataFrame(rows)


def gate(kind: str) -> np.ndarray:
    """Gates of `STEPS` steps with a mean of `MEAN_GATE`, see `GATES`."""
    falling = 2 * MEAN_GATE * (1 - (np.arange(STEPS) + 0.5) / STEPS)
    halves = np.resize([0.0, 2 * MEAN_GATE], STEPS)
    shuffled = np.random.default_rng(0).permutation(halves)
    gates: np.ndarray = {"constant": np.full(STEPS, MEAN_GATE), "falling": falling, "random": shuffled}[kind]
    return gates


def moved(kind: str, optimizer: str, noise: float = 1.0) -> float:
    """How far an optimizer goes with a gated gradient, as a share of how far it goes without a gate.

    Args:
        kind: One of `GATES`.
        optimizer: `Adam`, or `SGD` with momentum 0.9.
        noise: Deviation of the gradient, whose mean is 1.
    """
    draws = 1 + noise * torch.randn(STEPS, 64, generator=torch.Generator().manual_seed(0), dtype=torch.float64)
    ends = []
    for gates in (gate(kind), np.ones(STEPS)):
        x = nn.Parameter(torch.zeros(64, dtype=torch.float64))
        chosen = torch.optim.Adam([x], lr=1e-3) if optimizer == "Adam" else torch.optim.SGD([x], lr=1e-3, momentum=0.9)
        for factor, gradient in zip(gates, draws, strict=True):
            x.grad = float(factor) * gradient
            chosen.step()
        ends.append(float(x.detach().mean()))
    return ends[0] / ends[1]


# --- exhibits and verdicts ----------------------------------------------------------------------------


def weights_exhibit() -> Exhibit:
    """The weight of a pair against the similarity of its gradients, at several strengths of the curriculum."""
    similarity = np.linspace(-1, 1, 101)
    parts = [
        pd.DataFrame({"p": f"p = {p:g}", "similarity": similarity, "mean": 1 + np.tanh(similarity * p)})
        for p in STRENGTHS
    ]
    table = pd.concat(parts, ignore_index=True)
    drawing, axes = figures.canvas()
    looks = figures.styles([f"p = {p:g}" for p in STRENGTHS])
    for name, own in table.groupby("p", sort=False):
        axes.plot(own["similarity"], own["mean"], color=looks[str(name)][0], label=str(name))
    axes.set_xlabel("similarity s")
    axes.set_ylabel("weight 1 + tanh(s p)")
    figures.legend(drawing, axes, len(STRENGTHS))
    low, high = 1 + np.tanh(STRENGTHS[0] * np.array([-0.05, 0.05]))
    caption = (
        f"Weight of a pair of tasks against the similarity of their gradients. At p = {STRENGTHS[0]:g} it is nearly a "
        f"binary gate: similarities of -0.05 and 0.05 have weights of {low:.3f} and {high:.3f}. Pairs that agree are "
        "weighed up to 2, so that the rule does more than weigh conflicts down."
    )
    return Exhibit(
        name="weight_by_similarity",
        table=table,
        caption=caption,
        figure=drawing,
        alt="Curves that rise from zero to two around a similarity of zero, a step for a large p and a line at one for "
        "p of zero.",
    )


def turns_exhibit(p: float = STRENGTHS[2]) -> Exhibit:
    """The length and the direction of the step, for two tasks and for three.

    Args:
        p: Strength of the curriculum.
    """
    table = pd.concat([turns(n, p) for n in (2, 3)], ignore_index=True)
    drawing = Figure(figsize=(7.2, 3.2), layout="constrained")
    panels = drawing.subplots(1, 2)
    looks = figures.styles(["2 tasks", "3 tasks"])
    for n, own in table.groupby("tasks"):
        colour, marker = looks[f"{n} tasks"]
        for axes, name in zip(panels, ("length", "turned"), strict=True):
            axes.plot(own["similarity"], own[name], marker, color=colour, label=f"{n} tasks", alpha=0.5)
    panels[0].set_ylabel("length, that of the mean is 1")
    panels[1].set_ylabel("angle to the mean, degrees")
    for axes in panels:
        axes.set_xlabel("mean similarity")
    figures.legend(drawing, panels[0], 2)
    angles = {n: range_interval(own["turned"]) for n, own in table.groupby("tasks")}
    caption = (
        f"The step of MCLGS beside the mean gradient, for random gradients of which some conflict (p = {p:g}). For "
        f"two tasks it has the direction of the mean, and the rule is a gate on its length; three tasks turn it by "
        f"{bracketed(angles[3])} degrees. ({DRAWS} draws of {SIZE} parameters; brackets: their range.)"
    )
    return Exhibit(
        name="gate_and_direction",
        table=table,
        caption=caption,
        figure=drawing,
        alt="Two clouds of dots against the mean similarity: the length of the step, which rises for two and three "
        "tasks, and its angle to the mean, which is zero for two tasks.",
        form="drawing",
    )


def optimizers_exhibit() -> Exhibit:
    """What optimizers make of a gate on the length of the gradient."""
    table = optimizers()
    rows = table.set_index("gate")
    texts = ", ".join(f"{kind} {fixed(float(rows['Adam'][kind]), 2)}" for kind in GATES)
    caption = (
        f"How far {STEPS} steps go with a gate of mean {MEAN_GATE:g} on the gradient, as a share of without one. With "
        f"SGD it is about the mean of the gate; with Adam, which divides by the gradient's size: {texts}. (A noisy "
        "gradient of mean 1; falling: linearly to 0; random: 0 or 1 by chance.)"
    )
    return Exhibit(name="gates_in_optimizers", table=table, caption=caption)


def optimizers() -> pd.DataFrame:
    """One row a gate of `GATES`: `gate`, and for `SGD` and `Adam` what `moved` gives."""
    return pd.DataFrame([{"gate": kind, **{name: moved(kind, name) for name in ("SGD", "Adam")}} for kind in GATES])


def claims(strengths: Sequence[float] = STRENGTHS) -> list[Verdict]:
    """Check what follows from the rule by algebra.

    Args:
        strengths: Values of p.
    """
    apart, turned, largest, ended = [], [], [], []
    for p in strengths:
        for n in (2, 3, 5):
            for gradients in draws(n)[:20]:
                step = task_form(gradients, p)
                apart.append(float((pair_form(gradients, p) - step).norm() / step.norm().clamp_min(1e-300)))
        turned += turns(2, p)["turned"].tolist()
        equal = draws(2)[0][:1].expand(3, SIZE)
        largest.append(float(task_form(equal, p).norm() / equal[0].norm()) - (1 + float(np.tanh(p))))
    for n in (2, 3, 5):
        for gradients in draws(n)[:20]:
            ended += (n * similarity_weights(gradients @ gradients.T, 0.0) - 1).tolist()
    factor = moved("constant", "Adam")
    return [
        _identity(
            "The sum over pairs is a sum over tasks with weights W_k", apart, "relative difference of both forms"
        ),
        _identity("For two tasks the step has the direction of the mean gradient", turned, "angle in degrees", 1e-5),
        _identity("Equal gradients g give (1 + tanh p) g, up to 2 g", largest, "difference of the factors"),
        replace(_identity("Where p is 0 all weights are those of the plain mean", ended, "N W_k less 1"), finding=4),
        Verdict(
            "A constant gate does not change how far Adam goes",
            "our question",
            1.0,
            1e-3,
            Interval(factor, factor, factor),
            reading=f"way of {STEPS} steps with a gate of {MEAN_GATE:g} as a share of that without",
            kind="ours",
        ),
    ]


def _identity(claim: str, differences: Sequence[float], reading: str, tolerance: float = EXACT) -> Verdict:
    return Verdict(
        claim,
        "update rule",
        0.0,
        tolerance,
        range_interval(np.abs(differences)),
        reading=f"{reading}, mean [range] over draws",
        kind="identity",
    )
