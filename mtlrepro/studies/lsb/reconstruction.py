r"""What of loss scale balancing (LSB) is a reconstruction: three public codes, the size of the step, an open reading.

Two of the codes multiply :math:`\alpha d_k` onto the loss beside its weight, and a comment in the third says that the
paper does so too. A figure of the weights :math:`w_k = \pi_k L(t-1) / l_k(t-1)` then leaves the difficulty out, and
its loss scales :math:`w_k(t) l_k(t)` have the shares :math:`\pi_k l_k(t) / l_k(t-1)`, level at any beta. What acts on
the gradients is :math:`\alpha d_k w_k`. In all three codes :math:`L(t)` is the total that was trained, with the
difficulty in it, so these factors are ours. Where :math:`L(t)` is made without it, they are ours times one number for
all tasks: with

.. math:: \alpha d_k w_k = \operatorname{softmax}_k(\log \pi_k + \beta \log l_k(t-1) - \beta \log l_k(t-2))
    \, L(t-1) / l_k(t-1),

in which the totals of :math:`d_k` have cancelled, only the factor :math:`L(t-1)` depends on the reading.
"""

from collections.abc import Sequence

import numpy as np
import pandas as pd
import torch
from matplotlib.figure import Figure

from mtlrepro.analysis.verdicts import Interval, Verdict, mean_interval, number, range_interval
from mtlrepro.balancers import LSB
from mtlrepro.pages.exhibit import Exhibit
from mtlrepro.pages.figures import COLOURS, legend
from mtlrepro.studies import trends as studies_trends
from mtlrepro.studies import variants as studies_variants
from mtlrepro.studies.lsb import grids as lsb_grids
from mtlrepro.studies.lsb import method
from mtlrepro.studies.lsb.method import Recorded
from mtlrepro.studies.scores import DELTA, Scores
from mtlrepro.studies.setting import Setting
from mtlrepro.training.config import RunConfig

SUPPLEMENT, HTF, GEMTL, NNUNET, OURS = "supplement", "HTF-Net", "GeMTL", "nnU-Net fork", "this book"
PARTS = pd.DataFrame(
    [
        ("w at t = 1", "π = 1/K", "π, not equal", "1/K", "π = 1/K", "π"),
        ("w at t = 2", "not stated", "π L / l", "L / (K l)", "π L / l", "π L / l"),
        (
            "d",
            "not stated",
            "(l ratio / L ratio)^β",
            "as coded [L / (K l²)]^β, no ratio",
            "(l ratio / L ratio)^β",
            "as two codes",
        ),
        ("β", "grows linearly", "1, constant", "0 at t = 3, grows to 1", "rate (t - 2)", "rate (t - 2)"),
        ("α", "not stated", "none", "K / Σ d", "1 / Σ π d", "1 / Σ π d"),
        ("α d acts", "not stated", "beside the weight", "beside the weight", "in it, unlike the paper", "in it"),
        ("L holds α d", "not stated", "yes", "yes", "yes", "yes"),
    ],
    columns=["part", SUPPLEMENT, HTF, GEMTL, NNUNET, OURS],
)
"""What each source says of a part of the update; "unlike the paper" is that code's own comment.

In GeMTL's class `LSBwD`, `losses_cache_prev2` holds the losses of the first period at the end of the second, and from
then on the weight `L / (K l)`, which cancels the weight by which the difficulty divides.
"""
EXAMPLE = (10.0, 0.1)
"""Losses of two tasks that are a factor of 100 apart."""
INSIDE, DRAWN, VARIANT = "usual reading", "same runs, drawn without difficulty", "total made without difficulty"
"""The usual reading; its runs as a figure of the other reading draws them; and runs that are trained by that one."""
SCORES = Scores.of(
    (
        "depth.delta1",
        "depth.rmse",
        "normal.within_30",
        "normal.mean_angle",
        "curvature.lsb_loss",
        "reshading.lsb_loss",
    )
)
"""Metrics of the four tasks."""
AGREE = 2.0
"""Readings whose Delta_m differs by less, in %, count as the same in effect."""


def runs(setting: Setting) -> list[RunConfig]:
    """Runs of both readings, of the same seeds."""
    return [*usual(setting), *lsb_grids.outside(setting)]


def usual(setting: Setting) -> list[RunConfig]:
    """LSB with four tasks at Taskonomy's growth of beta."""
    return lsb_grids.trends(setting, lsb_grids.FOUR, ["lsb"])


# --- the size of the step -----------------------------------------------------------------------------


def step_sizes(losses: Sequence[float] = EXAMPLE) -> pd.DataFrame:
    """Weights before and after the first balance: the total stays, the size of the step does not.

    Args:
        losses: Mean loss of each task in the first epoch.

    Returns:
        Two rows, t = 1 and 2: `t`; the weight of each task; `total`, the sum of weights times `losses`; and `step`, the
        length of the weighted sum of gradients if these have length 1 and are at right angles.
    """
    balancer = LSB(len(losses))
    values = torch.tensor(losses, dtype=torch.float64)
    rows = []
    for t in (1, 2):
        weights = balancer.weights
        named = {f"weight {k + 1}": float(weight) for k, weight in enumerate(weights)}
        rows.append({"t": t, **named, "total": float(weights @ values), "step": float(weights.norm())})
        balancer.end_epoch(values)
    return pd.DataFrame(rows)


# --- difficulty outside the weight --------------------------------------------------------------------


def common_factor(run: Recorded) -> float:
    """Largest spread over tasks of the log factors of both readings, on the recorded losses of a run.

    Each reading replays the losses with the run's options; 0 where the factors differ by one number for all tasks.
    """
    options = {name: value for name, value in run.options.items() if name != "outside"}
    both = [method.weights(run.losses, **options, outside=choice).to_numpy() for choice in (False, True)]
    logs = np.log(both[1] / both[0])
    return float((logs.max(axis=1) - logs.min(axis=1)).max())


def drawn_without_difficulty(history: pd.DataFrame) -> pd.DataFrame:
    """Loss scales of runs of LSB with equal priorities as a figure would draw them that leaves alpha d_k out.

    Args:
        history: As `studies.trends.history` gives it.

    Returns:
        The same with `scale` up to a factor common to all tasks, which their spread does not see, and `share`.
    """
    ordered = history.sort_values(["run", "task", "epoch"], kind="stable")
    before = ordered.groupby(["run", "task"], sort=False)["loss"].shift()
    scale = (ordered["loss"] / before.fillna(1.0)).reindex(history.index)
    total = scale.groupby([history["run"], history["epoch"]]).transform("sum")
    return history.assign(scale=scale, share=100 * scale / total)


def spreads(setting: Setting) -> pd.DataFrame:
    """Spread of log loss scales over the epochs in each reading, see `studies.trends.spread`.

    Returns:
        One row a reading, seed and epoch: `method`, the reading, `seed`, `epoch`, `spread`.
    """
    inside = studies_trends.history(setting, usual(setting))
    outside = studies_trends.history(setting, lsb_grids.outside(setting))
    tables = {INSIDE: inside, DRAWN: drawn_without_difficulty(inside), VARIANT: drawn_without_difficulty(outside)}
    return pd.concat([studies_trends.spread(own.assign(method=name)) for name, own in tables.items()])


def late(spread: pd.DataFrame) -> dict[str, Interval]:
    """Mean spread over the second half of the epochs by reading, with its range over seeds.

    Args:
        spread: As `spreads` gives it.
    """
    half = spread[spread["epoch"] > spread["epoch"].max() // 2]
    means = half.groupby(["method", "seed"], sort=False)["spread"].mean()
    return {str(name): range_interval(values) for name, values in means.groupby("method", sort=False)}


def difference(setting: Setting) -> Interval:
    """Delta_m of runs whose total is made without difficulty, against the usual reading in runs of the same seed."""
    tables = {INSIDE: setting.trained(usual(setting)), VARIANT: setting.trained(lsb_grids.outside(setting))}
    scored = studies_variants.scored(tables, INSIDE, SCORES).pivot(index="seed", columns="variant", values="score")
    return mean_interval(scored[VARIANT] - scored[INSIDE])


def claims(setting: Setting) -> list[Verdict]:
    """Judge what the open reading changes: nothing in the ratio of factors, the figures, and hardly the training.

    Args:
        setting: Holds the runs.
    """
    recorded = method.recorded(setting, usual(setting))
    seeds = len(recorded)
    found = late(spreads(setting))
    level = round(studies_trends.LEVEL, 3)
    return [
        Verdict(
            "With the difficulty outside the weight, factors of tasks differ from the usual ones by one number for all",
            "reconstruction",
            0.0,
            1e-9,
            range_interval([common_factor(run) for run in recorded]),
            reading=f"largest spread of log factors over tasks on recorded losses, range of {seeds} runs",
            kind="identity",
        ),
        *(
            Verdict(
                "LSB's loss scales are level in the second half of the epochs",
                "our question",
                level,
                0.0,
                found[name],
                below=True,
                reading=f"mean spread of log loss scales, mean [range] of {seeds} seeds; below it they are balanced",
                case=name,
                kind="ours",
            )
            for name in (INSIDE, DRAWN)
        ),
        Verdict(
            "A total that is made without the difficulty trains the same network",
            "our question",
            0.0,
            AGREE,
            difference(setting),
            reading=f"{DELTA} against the usual reading, %, mean of {seeds} runs of the same seed [paired 95 %]",
            kind="ours",
        ),
    ]


# --- exhibits -----------------------------------------------------------------------------------------


def codes_exhibit() -> Exhibit:
    """Which parts of the update the supplement and three public codes agree on."""
    caption = (
        "The update of the weights as the supplement and three public codes have it. The codes agree on the first two "
        f"periods; {HTF} and {NNUNET} on the difficulty; {GEMTL} and {NNUNET} on alpha, and on an exponent that starts "
        f"near zero and grows. As coded, by what looks like a slip of a variable, the difficulty of {GEMTL} has no "
        "ratio of losses left from t = 4 on and falls with the size of the loss: it divides by a weight where the loss "
        "of the period before is meant. The evident intent is an inverted ratio, which it has at t = 3 alone, where β "
        f"is 0. The schedule of this book is that of {NNUNET}. (l and L: of the period before.)"
    )
    return Exhibit(name="codes", table=PARTS, caption=caption)


def step_sizes_exhibit() -> Exhibit:
    """What alpha keeps and what it does not, in numbers."""
    table = step_sizes()
    before, after = table.to_dict("records")
    losses = " and ".join(f"{loss:g}" for loss in EXAMPLE)
    caption = (
        f"The first balance of two tasks with losses {losses}: the total stays at {number(after['total'])}, but the "
        f"step along gradients of length 1 at right angles goes from {number(before['step'])} to "
        f"{number(after['step'])}."
    )
    return Exhibit(name="step_sizes", table=table, caption=caption)


def outside_exhibit(setting: Setting) -> Exhibit:
    """Spread of the loss scales in each reading.

    Args:
        setting: Holds the runs.
    """
    spread = spreads(setting)
    parts = [f"{name} {interval}" for name, interval in late(spread).items()]
    beta = LSB(1, rate=lsb_grids.TASKONOMY_RATE).beta(int(spread["epoch"].max()))
    caption = (
        f"Spread of the log loss scales of four tasks, beta up to {number(beta, 2)}. Mean over the second half of the "
        f"epochs [range over seeds]: {'; '.join(parts)}. Loss scales count as balanced below "
        f"{number(studies_trends.LEVEL)} (dashed). {DELTA} of the runs whose total is made without the difficulty, "
        f"against the usual reading: {difference(setting)} %."
    )
    return Exhibit(
        name="outside",
        table=spread.reset_index(drop=True),
        caption=caption,
        figure=figure(spread),
        alt="Spread of the log loss scales over the epochs: the usual reading rises with beta, the two lines of the "
        "reading without difficulty stay near zero.",
        uses=("scale", "seeds"),
        form="drawing",
    )


def figure(spread: pd.DataFrame) -> Figure:
    """Draw the spread over the epochs, a line for each reading through means over seeds, and pale ones for seeds."""
    drawing = Figure(figsize=(7.2, 3.2), layout="constrained")
    axes = drawing.subplots()
    for colour, (name, own) in zip(COLOURS, spread.groupby("method", sort=False), strict=False):
        for _, run in own.groupby("seed"):
            axes.plot(run["epoch"], run["spread"], color=colour, alpha=0.3, linewidth=1)
        means = own.groupby("epoch")["spread"].mean()
        axes.plot(means.index, means, color=colour, label=str(name))
    axes.axhline(studies_trends.LEVEL, color="0.4", linestyle="--", linewidth=1)
    axes.set_xlabel("epoch")
    axes.set_ylabel("spread of log loss scales")
    legend(drawing, axes, 3)
    return drawing
