"""Shape of the noise: how far from a Gaussian (Eq. 6)."""

from collections.abc import Sequence

import numpy as np
import pandas as pd
import torch
from scipy import stats

from mtlrepro import noise
from mtlrepro.analysis.summaries import with_expected
from mtlrepro.analysis.verdicts import Interval, Verdict, excess_interval, geometric_interval, mean_interval
from mtlrepro.pages.exhibit import Exhibit
from mtlrepro.pages.figures import canvas, curves, legend, log_x, quantiles
from mtlrepro.studies.noise.digits import BARS, TASKS, Snapshot, conditions

CASES = {"random": "mean over random directions", "most noise": "direction of most noise"}
"""Directions of :func:`gaussianity` as cases of a verdict."""


def gaussianity(
    snapshots: Sequence[Snapshot], sizes: Sequence[int], draws: int, directions: int = 8
) -> tuple[pd.DataFrame, pd.DataFrame]:
    """The Gaussian assumption: noise of batches projected on random directions and on the direction of most noise.

    Returns:
        Kurtosis, columns `seed`, `task`, `direction`, `batch`, `kurtosis` (excess, from `draws` batches), `expected`
        (that of single samples over B, exact with replacement) and `skewness` (size of that of single samples over the
        root of B, exact with replacement), means over directions. Quantiles of all tasks and seeds together, columns
        `direction`, `batch`, `normal`, `noise`, in units of the standard deviation.
    """
    entries, projections = [], []
    for snapshot in snapshots:
        generator = snapshot.generator(4)
        shape = (snapshot.gradients.shape[-1], directions)
        random = torch.randn(shape, generator=generator, dtype=torch.float64).to(snapshot.gradients)
        for k, task in enumerate(TASKS):
            centred = snapshot.gradients[k] - snapshot.gradients[k].mean(0)
            leading = torch.linalg.eigh(centred @ centred.T)[1][:, -1] @ centred
            for direction, axes in {"random": random, "most noise": leading[:, None]}.items():
                samples = centred @ axes
                samples = samples / samples.std(0, correction=0)
                # An eigenvector has no sign of its own; skewness gives the projections one on every machine.
                skewness = samples.pow(3).mean(0)
                samples = samples * torch.where(skewness < 0, -1.0, 1.0)
                single = noise.excess_kurtosis(samples).mean()
                for size in sizes:
                    drawn = snapshot.batches(size, draws, generator) @ samples * size**0.5
                    entries.append(
                        {
                            "seed": snapshot.seed,
                            "task": task,
                            "direction": direction,
                            "batch": size,
                            "kurtosis": noise.excess_kurtosis(drawn).mean().item(),
                            "expected": (single / size).item(),
                            "skewness": (skewness.abs().mean() / size**0.5).item(),
                        }
                    )
                    projections.append((direction, size, drawn.flatten().cpu().numpy()))
    return pd.DataFrame(entries), _quantiles(projections)


def quantile_alt(batch: int, table: pd.DataFrame) -> str:
    """Alternative text of the quantile plot for one batch size, from the rows drawn in it."""
    ends = table.loc[table["normal"] == table["normal"].max()].set_index("direction")["noise"]
    reached = ", ".join(f"{value:.1f} in the direction of {name}" for name, value in ends.items())
    return f"Quantiles of the noise for batches of {batch}: where a Gaussian reaches 3.0, the noise reaches {reached}."


def _quantiles(projections: Sequence[tuple[str, int, np.ndarray]]) -> pd.DataFrame:
    probabilities = stats.norm.cdf(np.linspace(-3, 3, 25))
    pooled: dict[tuple[str, int], list[np.ndarray]] = {}
    for direction, size, values in projections:
        pooled.setdefault((direction, size), []).append(values)
    tables = [
        pd.DataFrame(
            {
                "direction": direction,
                "batch": size,
                "normal": stats.norm.ppf(probabilities),
                "noise": np.quantile(np.concatenate(values), probabilities),
            }
        )
        for (direction, size), values in pooled.items()
    ]
    return pd.concat(tables, ignore_index=True)


def kurtosis_claims(kurtosis: pd.DataFrame, batch_size: int) -> list[Verdict]:
    """Verdicts on Eq. 6 from :func:`gaussianity`, for the chapter's, the smallest and the largest batch.

    The chapter's own batch size comes first, as the one that is quoted; every task and kind of direction is a case. The
    draws judge that moments are those of one image, scaled; the moments themselves are then exact for each network.
    """
    sizes = kurtosis["batch"]
    verdicts = []
    for size in dict.fromkeys([batch_size, sizes.min(), sizes.max()]):
        for column, moment, interval in (
            ("expected", "excess kurtosis", kurtosis_interval),
            ("skewness", "size of the skewness", geometric_interval),
        ):
            cases = kurtosis[sizes == size].groupby(["task", "direction"], sort=False)
            verdicts += [
                Verdict(
                    "The noise is Gaussian",
                    "Eq. 6",
                    0,
                    0.1,
                    interval(rows[column]),
                    reading=f"{moment} at B = {size}, exact for each network",
                    case=f"{task}, {CASES[direction]}",
                    finding=3,
                )
                for (task, direction), rows in cases
            ]
    random = kurtosis[kurtosis["direction"] == "random"]
    return verdicts + [
        Verdict(
            "Excess kurtosis of the noise is that of one image over B",
            "sum of independent terms",
            0,
            0.1,
            mean_interval((rows["kurtosis"] - rows["expected"]).groupby(rows["seed"]).mean()),
            reading="difference of excess kurtosis, mean over random directions and tasks",
            case=f"B = {size}",
            kind="ours",
        )
        for size, rows in random.groupby("batch")
    ]


def kurtosis_interval(values: pd.Series) -> Interval:
    """Interval of excess kurtosis, which is never below -2, as a kurtosis is never below 1."""
    found = excess_interval(values + 3)
    return Interval(found.value - 3, found.low - 3, found.high - 3)


def quantile_figure(table: pd.DataFrame, seeds: int) -> Exhibit:
    """Quantiles of the noise of all `seeds` against a Gaussian's, one picture per batch size."""
    frames = {}
    for size in table["batch"].unique():
        rows = table[table["batch"] == size]
        figure, axes = canvas(height=3.6)
        quantiles(axes, rows, by="direction")
        axes.set(xlabel="quantile of a Gaussian", ylabel="quantile of the noise", ylim=(-5.5, 5.5))
        legend(figure, axes, 2, "direction of projection")
        frames[f"{size}"] = (figure, quantile_alt(size, rows))
    return Exhibit(
        name="quantiles",
        table=table,
        frames=frames,
        sliders=("batch size B",),
        uses=("batch_sizes", "batch_size", "draws"),
        caption="Quantiles of the projected noise against those of a Gaussian (grey line), one picture for each batch"
        f" size. Small batches have heavier tails; larger ones come to the line."
        f" {conditions(seeds, 'all tasks together')}",
    )


def kurtosis_figure(kurtosis: pd.DataFrame) -> Exhibit:
    """Excess kurtosis against batch size, from :func:`gaussianity`."""
    table = with_expected(kurtosis, "kurtosis", ["direction", "batch"], interval=kurtosis_interval)
    figure, axes = canvas()
    curves(axes, table, "batch", by="direction", expected="expected")
    axes.set(xlabel="batch size B", ylabel="excess kurtosis")
    log_x(axes, sorted(table["batch"].unique()))
    legend(figure, axes, 2, "direction of projection")
    return Exhibit(
        name="kurtosis",
        table=table,
        figure=figure,
        uses=("seeds", "batch_sizes", "draws"),
        caption="Excess kurtosis of the projected noise against the batch size, mean over tasks; dashed: that of one"
        " image over B. It"
        f" falls towards a Gaussian's zero as batches grow. {conditions(kurtosis['seed'].nunique(), BARS)}",
        alt="Excess kurtosis against batch size: one curve per direction, each near its prediction, which falls to"
        " zero.",
    )
