"""The picture at the head of the chapter: batch gradients scatter around the full one, and momentum gathers them."""

import pandas as pd
import torch

from mtlrepro import noise
from mtlrepro.analysis.verdicts import number
from mtlrepro.pages.exhibit import Exhibit
from mtlrepro.pages.figures import COLOURS, canvas, legend
from mtlrepro.studies.noise.digits import TASKS, Snapshot

CLOUDS = ("one batch", "momentum")


def clouds(snapshot: Snapshot, task: str, batch_size: int, gamma: float, draws: int) -> pd.DataFrame:
    """Gradients of one task on random batches, and momenta of such gradients, in the plane of gradient and noise.

    The first axis points along the full gradient and its length is the unit; the second is the direction of most noise
    at a right angle to it. Momentum starts from zero, runs for 4 / (1 - gamma) steps and is divided by 1 - gamma^t.

    Args:
        snapshot: Frozen network.
        task: One of the tasks.
        batch_size: Images in a mini-batch.
        gamma: Momentum.
        draws: Points of each cloud.

    Returns:
        Columns `cloud` (of `CLOUDS`), `along`, `across`: `draws` rows a cloud.
    """
    gradients = snapshot.gradients[TASKS.index(task)]
    full = gradients.mean(0)
    length = full.norm()
    centred = gradients - full
    centred = centred - torch.outer(centred @ full, full) / length**2
    across = torch.linalg.svd(centred, full_matrices=False)[2][0]
    # A singular vector has no sign of its own; skewness gives the points one on every machine.
    across = across * torch.sign((centred @ across).pow(3).sum())
    plane = gradients @ torch.stack([full / length, across], 1) / length
    generator, steps = snapshot.generator(10), round(4 / (1 - gamma))
    batches = torch.stack([snapshot.batches(batch_size, draws, generator) for _ in range(steps)])
    average = noise.momentum(batches, gamma)[-1] / (1 - gamma**steps)
    points = {"one batch": batches[-1] @ plane, "momentum": average @ plane}
    return pd.concat(
        [pd.DataFrame(points[cloud].cpu(), columns=["along", "across"]).assign(cloud=cloud) for cloud in CLOUDS],
        ignore_index=True,
    )[["cloud", "along", "across"]]


def picture(snapshot: Snapshot, task: str, batch_size: int, gamma: float, draws: int) -> Exhibit:
    """Both clouds of :func:`clouds` around the full gradient, an arrow that points upwards."""
    table = clouds(snapshot, task, batch_size, gamma, draws)
    figure, axes = canvas(height=3.6)
    for index, cloud in enumerate(CLOUDS):
        rows = table[table["cloud"] == cloud]
        axes.plot(rows["across"], rows["along"], ".", color=COLOURS[index], alpha=0.6, label=cloud)
    axes.annotate("", (0, 1), (0, 0), arrowprops={"arrowstyle": "->", "linewidth": 2})
    axes.plot([], [], color="black", linewidth=2, label="full gradient")
    axes.set(xlabel="across the full gradient", ylabel="along it, in its length", aspect="equal", ylim=(-0.1, None))
    legend(figure, axes, 3)
    gradients = snapshot.gradients[TASKS.index(task)]
    ratio = (noise.covariance_trace(gradients) / batch_size / gradients.mean(0).square().sum()).sqrt().item()
    kept = noise.momentum_power_factor(gamma) ** 0.5
    return Exhibit(
        name="intuition",
        table=table,
        figure=figure,
        uses=("samples", "batch_size", "gamma"),
        caption="Each dot is an estimate of the same gradient (arrow): from one mini-batch, or averaged by momentum."
        f" Over all directions, the root mean square of a batch's noise is {number(ratio, 2)} times the length of the"
        f" gradient, and momentum keeps {number(kept, 2)} of it by Eq. 8. (Task {task}, one network, batches of"
        f" {batch_size}, γ = {gamma:g}; across: the direction of most noise.)",
        alt="A wide cloud of dots around the tip of an arrow from the origin, and within it a much smaller one.",
    )
