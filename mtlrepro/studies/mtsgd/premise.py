r"""The premise of MTSGD, Figure 3: the ratio of the gradients of disparity and segmentation, by layer and epoch.

The null is two independent Gaussian gradients of equal size. The squared ratio of their slices of n elements has the F
distribution with n and n degrees of freedom, and that of single elements is the square of a Cauchy variable: a share
:math:`\frac{2}{\pi} (\arctan b - \arctan a)` of them lies between a and b. Even then ratios fill the range from 0.01
to 100, of which the figure's caption speaks. What tells is the median, which is 1 at every n.

Runs that diverged are left out and counted, and a claim about a factor at which one did is not judged.
"""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from itertools import pairwise

import numpy as np
import pandas as pd
from matplotlib.figure import Figure
from scipy import stats

from mtlrepro.analysis.verdicts import (
    Interval,
    Verdict,
    bracketed_over,
    geometric_interval,
    number,
    over_seeds,
    percent_interval,
)
from mtlrepro.pages.exhibit import Exhibit
from mtlrepro.pages.figures import COLOURS, canvas, curves, dots, legend, level, log_x
from mtlrepro.studies.comparison import NOT_KNOWN
from mtlrepro.studies.mtsgd import grids
from mtlrepro.studies.mtsgd.comparisons import KERNELS, TASKS, Epochs, after, groups, pooled, read
from mtlrepro.studies.setting import Setting, diverged
from mtlrepro.training.config import RunConfig
from mtlrepro.training.slices import BINS, DECADES, LEVELS, PER_DECADE, Slices

SOURCE = "Section 3.1, Figures 2 and 3"
"""Figure 3 says that one task has the much larger gradients, Figure 2 that it is disparity."""
OURS = "our question"
FINDING = 1
"""Number of the claim about the sizes of gradients in the box of claims."""
MUCH = 10.0
"""Median ratio from which gradients are much larger; ours, half of the way from 1 to 100 on a logarithmic axis."""
SPAN = (0.01, 100.0)
"""Ratios that the figure's caption names; the figure itself is not among what we have of the article."""
NEAR = 1.0
"""Points of % by which the share of the ratios within `SPAN` may differ from the null's."""
EXPONENT = 0.1
"""Deviation from 1 of the exponent with which the ratio grows in the loss scale that counts as none."""
DRAWN = 4
"""Stored bins in a bar of the histograms."""
PASSES = 500
"""Backward passes in one epoch, as the text has it."""


@dataclass(frozen=True)
class Premise:
    """Comparisons of gradients along runs of joint SGD.

    Attributes:
        setting: At the scale of the runs.
        factors: Factor on the loss of disparity to the comparisons of its runs, by seed; without those of which none is
            left.
        lost: Factor to how many of its runs diverged and are left out, if any did.
    """

    setting: Setting
    factors: dict[float, list[Epochs]]
    lost: Mapping[float, int] = field(default_factory=dict)

    @property
    def plain(self) -> list[Epochs]:
        """Runs without a factor, those of the tables."""
        return self.factors[1.0]

    @property
    def epochs(self) -> list[int]:
        """Epochs after which gradients are compared."""
        return list(self.plain[0])

    def judged(self, measured: Interval) -> Interval | None:
        """What was measured without a factor, but None if a run diverged."""
        return None if 1.0 in self.lost else measured

    def left_out(self, factors: Iterable[float] = (1.0,)) -> str:
        """Say which runs at some factors diverged, in a sentence after others; see `diverged`."""
        chosen = set(factors)
        return diverged({f"a factor of {one:g}": count for one, count in self.lost.items() if one in chosen})


def load(setting: Setting) -> Premise:
    """Read the comparisons at the largest scale at which all runs are stored; missing runs are trained.

    Args:
        setting: What all experiments share.

    Raises:
        RuntimeError: All runs without a factor diverged, see `Setting.reference`.
    """

    def configs(one: Setting) -> list[RunConfig]:
        return one.unbroken(run for runs in grids.premise(one).values() for run in runs)

    at = setting.largest_stored(configs)
    by_factor = grids.premise(at)
    left = {factor: at.finite(runs) for factor, runs in by_factor.items()}
    left[1.0] = at.reference("joint SGD whose gradients are compared", by_factor[1.0])
    return Premise(at, {factor: read(at, runs) for factor, runs in left.items() if runs}, at.lost(by_factor))


# --- ratios -------------------------------------------------------------------------------------------


def histogram(slices: Slices, kind: str, layers: np.ndarray) -> np.ndarray:
    """Count slices by sign and by the ratio of disparity's gradient to segmentation's.

    Args:
        slices: A comparison.
        kind: What a slice is, one of `LEVELS`.
        layers: Mask [L] of the layers.

    Returns:
        [2, BINS], as `Slices.histogram`, which has the reciprocal ratio.
    """
    return slices.histogram(TASKS, kind, layers)[:, ::-1]


def median(slices: Slices, kind: str, layers: np.ndarray) -> float:
    """Median of the ratio of disparity's gradient to segmentation's, over both signs; see `histogram`."""
    return 1 / slices.median(TASKS, kind, layers)


def null(slices: Slices, kind: str, layers: np.ndarray, low: float, high: float) -> float:
    """Share of the slices whose ratio lies from `low` to `high` under independent Gaussian gradients of equal size.

    Args:
        slices: A comparison, for the number and the size of the slices.
        kind: See `histogram`.
        layers: See `histogram`.
        low: At least 0.
        high: May be infinite.
    """
    counts = slices.counts[layers, LEVELS.index(kind)]
    n = slices.sizes[layers] / counts
    shares = stats.f.cdf(high**2, n, n) - stats.f.cdf(low**2, n, n)
    return float(np.average(shares, weights=counts))


def within(counted: np.ndarray, low: float, high: float) -> float:
    """Share of a histogram [2, BINS] of which the ratio lies from `low` to `high`, both edges of bins."""
    first, last = (round((np.log10(edge) + DECADES) * PER_DECADE) + 1 for edge in (low, high))
    return float(counted[:, first:last].sum() / counted.sum())


def bars(counted: np.ndarray) -> np.ndarray:
    """Bars of a figure from a histogram [2, BINS]: shares in %, [2, bars], what lies beyond the axis at its ends."""
    inner = counted[:, 1:-1].reshape(2, -1, DRAWN).sum(2)
    inner[:, 0] += counted[:, 0]
    inner[:, -1] += counted[:, -1]
    shares: np.ndarray = 100 * inner / inner.sum()
    return shares


EDGES = 10.0 ** (np.arange(0, BINS - 1, DRAWN) / PER_DECADE - DECADES)
"""Edges of the bars."""


def medians(shown: Premise) -> pd.DataFrame:
    """Medians of the ratio.

    Returns:
        One row a run, epoch, part of the network and level: `factor`, `seed`, `epoch`, `layers`, `level`, `median`.
    """
    rows = [
        (factor, seed, epoch, part, kind, median(slices, kind, layers))
        for factor, runs in shown.factors.items()
        for seed, run in enumerate(runs)
        for epoch, slices in run.items()
        for part, layers in groups(slices).items()
        for kind in LEVELS
    ]
    return pd.DataFrame(rows, columns=["factor", "seed", "epoch", "layers", "level", "median"])


def summarised(table: pd.DataFrame, by: Sequence[str]) -> pd.DataFrame:
    """Geometric means over seeds: the columns `by`, then `mean`, `low` and `high`; see `over_seeds`."""
    rows = []
    for keys, own in table.groupby(list(by), sort=False):
        found = over_seeds(own["median"], geometric_interval)
        rows.append((*keys, found.value, found.low, found.high))
    return pd.DataFrame(rows, columns=[*by, "mean", "low", "high"])


# --- exhibits -----------------------------------------------------------------------------------------


def histograms_exhibit(shown: Premise) -> Exhibit:
    """Figure 3: the ratio by epoch and part of the network, a panel for each kind of slice.

    Sliders start at the epoch whose median is largest.

    Args:
        shown: What `load` gives.
    """
    frames: dict[tuple[str, str], tuple[Figure, str]] = {}
    rows = []
    largest = {}
    for epoch in shown.epochs:
        slices = pooled([run[epoch] for run in shown.plain])
        for part, layers in groups(slices).items():
            drawn = {kind: bars(histogram(slices, kind, layers)) for kind in LEVELS}
            nulls = {kind: _null_bars(slices, kind, layers) for kind in LEVELS}
            middle = {kind: median(slices, kind, layers) for kind in LEVELS}
            frames[after(epoch), part] = histograms_figure(drawn, nulls, middle), _histograms_alt(part, epoch, middle)
            rows += [
                (epoch, part, kind, sign, *shares)
                for kind, both in drawn.items()
                for sign, shares in zip(("positive", "negative"), both, strict=True)
            ]
            if part == KERNELS:
                largest[epoch] = middle["element"]
    start = max(largest, key=lambda epoch: largest[epoch])
    columns = ["epoch", "layers", "slice", "sign", *(f"{edge:.3g}" for edge in EDGES[:-1])]
    return Exhibit(
        name="ratios",
        table=pd.DataFrame(rows, columns=columns),
        caption="The ratio of the gradient of disparity to that of segmentation, by element and by slice, with slices "
        f"of the same direction above and opposite ones below. {_span_sentence(shown)} {_median_sentence(shown)}"
        f"{shown.left_out()} (Bars "
        "with their share of all slices; dashed: two independent Gaussians of equal size; line: the median; "
        f"{len(shown.plain)} seeds of {int(shown.plain[0][start].batches.max())} batches an epoch together.)",
        frames=frames,
        sliders=("after", "layers"),
        start=(after(start), KERNELS),
        uses=("scale", "comparison_seeds"),
        form="drawing",
        rtol=1e-3,
        atol=1e-3,
    )


def _null_bars(slices: Slices, kind: str, layers: np.ndarray) -> np.ndarray:
    """Shares in % of the bars under the null, [bars], of both signs together."""
    edges = [0.0, *EDGES[1:-1], np.inf]
    return 100 * np.array([null(slices, kind, layers, low, high) for low, high in pairwise(edges)])


def histograms_figure(drawn: dict[str, np.ndarray], nulls: dict[str, np.ndarray], middle: dict[str, float]) -> Figure:
    """Draw histograms, a panel a level: positive ratios above the axis, negative ones below.

    Args:
        drawn: Level to what `bars` gives.
        nulls: Level to shares [bars] of both signs under the null.
        middle: Level to the median.
    """
    drawing = Figure(figsize=(7.2, 4.2), dpi=95, layout="constrained")
    for axes, (kind, both) in zip(drawing.subplots(2, 2, sharex=True).flat, drawn.items(), strict=True):
        for name, shares, sign, colour in zip(("positive", "negative"), both, (1, -1), COLOURS, strict=False):
            axes.stairs(sign * shares, EDGES, fill=True, color=colour, alpha=0.6, label=name)
            axes.stairs(sign * nulls[kind] / 2, EDGES, color="0.2", linestyle="--", label="null" if sign > 0 else None)
        axes.axhline(0, color="0.3", linewidth=0.8)
        axes.axvline(middle[kind], color="0.2", linewidth=1.2, label="median")
        log_x(axes, [1e-4, *SPAN, 1, 1e4])
        axes.set_title(f"by {kind}, median {number(middle[kind])}", fontsize=9)
        axes.yaxis.set_major_formatter(lambda height, _: f"{abs(height):g}")
    drawing.supxlabel("disparity : segmentation", fontsize=10)
    drawing.supylabel("% of slices", fontsize=10)
    legend(drawing, drawing.axes[0], 4)
    return drawing


def _histograms_alt(part: str, epoch: int, middle: dict[str, float]) -> str:
    found = ", ".join(f"{number(value)} by {kind}" for kind, value in middle.items())
    return (
        f"Four mirrored histograms of the ratio on a logarithmic axis for {part} after epoch {epoch}, with the dashed "
        f"outline of the null; medians: {found}."
    )


def _span_sentence(shown: Premise) -> str:
    """How many elements lie within the figure's axis, and how many would under the null."""
    slices = pooled([slices for run in shown.plain for slices in run.values()])
    layers = groups(slices)[KERNELS]
    share = within(histogram(slices, "element", layers), *SPAN)
    expected = null(slices, "element", layers, *SPAN)
    return (
        f"Of all elements {number(100 * share)} % lie from {SPAN[0]:g} to {SPAN[1]:g}, which the figure's caption "
        f"names; of two independent Gaussians of equal size {number(100 * expected)} % do, so that the width says "
        "nothing about the sizes of the gradients."
    )


def _median_sentence(shown: Premise) -> str:
    """Medians over elements of all kernels, by epoch."""
    table = medians(shown).query("factor == 1 and layers == @KERNELS and level == 'element'")
    found = [
        f"{Interval(row['mean'], row['low'], row['high'])} after epoch {row['epoch']}"
        for row in summarised(table, ["epoch", "level"]).to_dict("records")
    ]
    return (
        f"The median, which the null has at 1, is {', '.join(found)}; much larger would be {MUCH:g} "
        f"({bracketed_over(len(shown.plain))})."
    )


def medians_exhibit(shown: Premise) -> Exhibit:
    """Medians of the ratio by part of the network, epoch and level.

    Args:
        shown: What `load` gives.
    """
    plain = medians(shown).query("factor == 1")
    table = summarised(plain, ["level", "layers", "epoch"])
    drawing = Figure(figsize=(7.2, 3.4), layout="constrained")
    panels = drawing.subplots(1, len(LEVELS), sharex=True, sharey=True)
    bounds = min(table["low"].min(), 1) / 1.2, 1.2 * max(table["high"].max(), 1)
    steps = (1, 2, 5) if bounds[1] < 10 * bounds[0] else (1,)
    ticks = [step * 10.0**decade for decade in range(-DECADES, DECADES) for step in steps]
    for axes, kind in zip(panels, LEVELS, strict=True):
        own = table[table["level"] == kind]
        dots(axes, own.assign(epoch=own["epoch"].map(after)), "layers", by="epoch", reference=1)
        log_x(axes, [tick for tick in ticks if bounds[0] <= tick <= bounds[1]])
        axes.set_xlim(bounds)
        axes.set_title(f"by {kind}", fontsize=9)
    drawing.supxlabel("median of disparity : segmentation", fontsize=10)
    legend(drawing, panels[0], len(shown.epochs))
    ordered = table.sort_values("mean")
    low, high = ordered.iloc[0], ordered.iloc[-1]
    return Exhibit(
        name="ratio_medians",
        table=table,
        caption="The median of the ratio of disparity's gradient to segmentation's in each part of the network. It "
        f"goes from {number(low['mean'])} ({low['layers']}, by {low['level']}, after epoch {low['epoch']}) to "
        f"{number(high['mean'])} ({high['layers']}, by {high['level']}, after epoch {high['epoch']})."
        f"{shown.left_out()} (Dashed: equal size; bars: {bracketed_over(len(shown.plain))}, of geometric means.)",
        figure=drawing,
        alt="Dots with bars on logarithmic axes, a panel for each kind of slice, a line for each part of the network "
        "and a colour for each epoch, beside a dashed line at one.",
        uses=("scale", "comparison_seeds"),
        form="drawing",
        rtol=1e-3,
    )


# --- scales of the loss -------------------------------------------------------------------------------


def responses(shown: Premise, kind: str = "element") -> pd.DataFrame:
    """Medians over all kernels against the factor on the loss of disparity, beside the law of proportion.

    Args:
        shown: What `load` gives.
        kind: What a slice is.

    Returns:
        One row a factor and epoch: `factor`, `epoch`, `mean`, `low`, `high`; `expected`, the median that the first seed
        that is left has without a factor, times the factor: what a network that does not respond would have.
    """
    own = medians(shown).query("layers == @KERNELS and level == @kind")
    first = own[(own["factor"] == 1) & (own["seed"] == 0)].set_index("epoch")["median"]
    table = summarised(own, ["factor", "epoch"])
    return table.assign(expected=table["factor"] * table["epoch"].map(first))


def needed(own: pd.DataFrame, target: float = MUCH) -> float:
    """Find the factor at which the median reaches a target, on straight lines between the logarithms of the points.

    Args:
        own: Rows of `responses` of one epoch, by rising factor.
        target: Median to be reached.

    Returns:
        Infinite if no measured factor reaches it, and the first if that does.
    """
    factors, found = np.log(own["factor"].to_numpy()), np.log(own["mean"].to_numpy())
    above = np.flatnonzero(found >= np.log(target))
    if not len(above):
        return np.inf
    i = int(above[0])
    if i == 0:
        return float(np.exp(factors[0]))
    part = (np.log(target) - found[i - 1]) / (found[i] - found[i - 1])
    return float(np.exp(factors[i - 1] + part * (factors[i] - factors[i - 1])))


def exponent(own: pd.DataFrame) -> Interval | None:
    """Exponent of a power law through the medians of one epoch, by least squares of logarithms.

    Args:
        own: Rows of `responses` of one epoch.

    Returns:
        The exponent with Student's 95 % interval from how far the points are off the line; infinite for two points, and
        None for one.
    """
    if len(own) < 2:
        return None
    fit = stats.linregress(np.log(own["factor"]), np.log(own["mean"]))
    freedom = len(own) - 2
    half = float(stats.t.ppf(0.975, freedom) * fit.stderr) if freedom else np.inf
    return Interval(float(fit.slope), float(fit.slope) - half, float(fit.slope) + half)


def scales_exhibit(shown: Premise) -> Exhibit:
    """At which factor on the loss of disparity the median is as the article has it.

    Args:
        shown: What `load` gives.
    """
    table = responses(shown)
    figure, axes = canvas()
    curves(axes, table.assign(epoch=table["epoch"].map(after)), "factor", by="epoch", expected="expected")
    axes.set(yscale="log", xlabel="factor on the loss of disparity", ylabel="median of disparity : segmentation")
    axes.yaxis.set_major_formatter("{x:g}")
    log_x(axes, list(shown.factors))
    level(axes, MUCH, "much larger")
    legend(figure, axes, len(shown.epochs) + 1)
    largest = max(shown.factors)
    return Exhibit(
        name="ratio_scales",
        table=table,
        caption="The median ratio of the gradients' elements in networks that are trained with the loss of disparity "
        f"scaled. {_needed_sentence(table, largest)}{shown.left_out(grids.DISPARITY_SCALES)} "
        f"(Dashed: in proportion to the factor; grey: {MUCH:g}, from which "
        f"disparity's gradients are much larger; of exponents 95 %, by the points' distance from a line; bars: "
        f"{bracketed_over(len(shown.plain))} without a factor, one seed otherwise.)",
        figure=figure,
        alt="Median ratio against the factor on logarithmic axes, a curve for each epoch beside its dashed line of "
        "proportion, and a level from which gradients are much larger.",
        uses=("scale", "comparison_seeds"),
        rtol=1e-3,
    )


def _needed_sentence(table: pd.DataFrame, largest: float) -> str:
    """Factors that the premise needs, predicted and measured, and how the median responds, by epoch."""
    parts = []
    for epoch, own in table.groupby("epoch", sort=False):
        factor, predicted = needed(own), MUCH / float(own["expected"].iloc[0])
        reached = f"{number(factor)}" if np.isfinite(factor) else f"more than {largest:g}"
        parts.append(
            f"after epoch {epoch} it needs a factor of {number(predicted)} by proportion and of {reached} as measured, "
            f"where the exponent is {exponent(own) or NOT_KNOWN}"
        )
    return f"For a median of {MUCH:g} {'; '.join(parts)}."


# --- claims -------------------------------------------------------------------------------------------


def claims(shown: Premise) -> list[Verdict]:
    """Judge Figure 3 and what the text says of it.

    The article trains with weights of 1:1, so that only the runs without a factor count for its claim.

    Args:
        shown: What `load` gives.
    """
    return [*_size_claims(shown), _span_claim(shown), *_scale_claims(shown), passes_claim(len(TASKS))]


def _size_claims(shown: Premise) -> list[Verdict]:
    """Whether the gradients of disparity are larger, and much larger, by level and epoch."""
    table = medians(shown).query("factor == 1 and layers == @KERNELS")
    reading = "median of the ratio segmentation : disparity over all convolutions, geometric mean of seeds"
    found = []
    for (kind, epoch), own in table.groupby(["level", "epoch"], sort=False):
        ratio = shown.judged(over_seeds(1 / own["median"], geometric_interval))
        case = f"by {kind}, after epoch {epoch}"
        found.append(
            Verdict(
                "The gradients of disparity are much larger than those of segmentation",
                SOURCE,
                1 / MUCH,
                0.0,
                ratio,
                below=True,
                reading=f"{reading}; much larger is read as a factor of {MUCH:g}",
                case=case,
                finding=FINDING,
            )
        )
        found.append(
            Verdict(
                "The gradients of disparity are larger than those of segmentation",
                OURS,
                1.0,
                0.0,
                ratio,
                below=True,
                reading=reading,
                case=case,
                kind="ours",
            )
        )
    return found


def _span_claim(shown: Premise) -> Verdict:
    """Whether ratios fill the range that the figure's caption names as those of equal gradients do."""
    parts = [pooled(list(run.values())) for run in shown.plain]
    layers = groups(parts[0])[KERNELS]
    shares = [100 * within(histogram(one, "element", layers), *SPAN) for one in parts]
    return Verdict(
        "As many ratios lie in the range of the figure's caption as of two Gaussian gradients of equal size",
        OURS,
        round(100 * null(parts[0], "element", layers, *SPAN), 2),
        NEAR,
        shown.judged(over_seeds(shares, percent_interval)),
        reading=f"% of the elements of all convolutions with a ratio from {SPAN[0]:g} to {SPAN[1]:g}",
        kind="ours",
    )


def _scale_claims(shown: Premise) -> list[Verdict]:
    """Whether a factor on the loss of disparity scales the ratio, and makes it that of the premise."""
    found = []
    for epoch, own in responses(shown).groupby("epoch", sort=False):
        at = own[own["factor"] == grids.PREMISE].to_dict("records")
        case = f"after epoch {epoch}"
        found += [
            Verdict(
                "The ratio of the gradients grows in proportion to the factor on the loss of disparity",
                OURS,
                1.0,
                EXPONENT,
                None if shown.lost else exponent(own),
                reading=f"exponent of a power law of the median over elements, {len(grids.DISPARITY_SCALES)} factors "
                "[95 %]",
                case=case,
                kind="ours",
            ),
            Verdict(
                f"With a factor of {grids.PREMISE:g} on its loss, disparity has the much larger gradients",
                OURS,
                1 / MUCH,
                0.0,
                Interval(*(1 / float(at[0][name]) for name in ("mean", "high", "low"))) if at else None,
                below=True,
                reading=f"median of the ratio segmentation : disparity over elements; much larger: by {MUCH:g}; one "
                "seed",
                case=case,
                kind="ours",
            ),
        ]
    return found


def passes_claim(n_tasks: int) -> Verdict:
    """Whether an epoch has the backward passes that the text has the figure made of.

    Args:
        n_tasks: Backward passes of a step.
    """
    missing = float(PASSES - n_tasks * grids.PAPER_STEPS)
    return Verdict(
        f"One epoch has the {PASSES} backward passes of the figure",
        "Section 3.1",
        0.0,
        0.0,
        Interval(missing, missing, missing),
        below=True,
        reading=f"passes that an epoch of {grids.PAPER_STEPS} steps is short of, with {n_tasks} passes a step",
    )
