"""Task weights that maximise gradient-to-noise ratios, in all readings of one sentence: a reconstruction of MaxGNR."""

from collections.abc import Iterator, Sequence
from itertools import product
from typing import get_args

import numpy as np
import pandas as pd
import torch
from scipy import optimize
from torch import Tensor
from torch.func import jacrev

from mtlrepro import noise
from mtlrepro.analysis.summaries import summarise
from mtlrepro.analysis.verdicts import (
    Interval,
    Verdict,
    correlation_interval,
    geometric_interval,
    number,
    range_interval,
    share_interval,
)
from mtlrepro.data.digits import TwoDigits
from mtlrepro.models.digits import sample_gradients
from mtlrepro.pages.exhibit import Exhibit
from mtlrepro.pages.figures import canvas, curves, dots, legend, panels
from mtlrepro.studies.noise.digits import BARS, TASKS, Snapshot, conditions, powers, task_rows

UNTESTED = Verdict(
    "MaxGNR improves results on NYUv2 and Cityscapes (the text of the paper was not available)",
    "main paper",
    reading="change of the tasks' scores against equal weights",
    finding=6,
)


def readings() -> Iterator[tuple[noise.Scalarisation, noise.Itgn, bool]]:
    """All readings of "maximise the GNR of each task"; with three tasks each has one maximum."""
    return product(get_args(noise.Scalarisation), get_args(noise.Itgn), (False, True))


def reading_name(scalarisation: str, itgn: str, own_noise: bool) -> str:
    """Name of a reading for tables and legends."""
    return f"{scalarisation}, {itgn}" + ", own noise" * own_noise


def closed_forms(snapshots: Sequence[Snapshot], batch_size: int) -> pd.DataFrame:
    """Weights of every reading by its formula against a numeric optimiser that knows only the ratios.

    The formulas are closed forms but for one number, a root found by bisection, in max-min without own noise and in
    the broad product with it.

    Returns:
        Columns `seed`, `reading`, `task`, `closed` (by formula), `numeric`, `difference` (relative) and `gnr` at the
        numeric optimum.
    """
    entries = []
    for snapshot in snapshots:
        signal, noise_ = powers(snapshot, batch_size)
        for scalarisation, itgn, own_noise in readings():
            closed = noise.gnr_weights(signal, noise_, scalarisation=scalarisation, itgn=itgn, own_noise=own_noise)
            numeric = numeric_gnr_weights(
                signal.cpu(), noise_.cpu(), scalarisation=scalarisation, itgn=itgn, own_noise=own_noise
            ).to(closed)
            entries += task_rows(
                snapshot,
                reading=reading_name(scalarisation, itgn, own_noise),
                closed=closed,
                numeric=numeric,
                difference=(numeric - closed).abs() / closed,
                gnr=noise.gnr(numeric, signal, noise_, itgn=itgn, own_noise=own_noise),
            )
    return pd.DataFrame(entries)


def numeric_gnr_weights(
    signal: Tensor, noise_: Tensor, *, scalarisation: noise.Scalarisation, itgn: noise.Itgn, own_noise: bool
) -> Tensor:
    """Weights that maximise the smallest GNR or the product of all, by BFGS or SLSQP on log weights; sum T.

    Raises:
        RuntimeError: If the optimiser does not converge.
    """
    tasks = len(signal)
    start = np.zeros(tasks)

    def log_gnr(logs: Tensor) -> Tensor:
        return noise.gnr(logs.exp(), signal, noise_, itgn=itgn, own_noise=own_noise).log()

    def values(logs: np.ndarray) -> np.ndarray:
        return np.asarray(log_gnr(torch.from_numpy(logs)))

    def slope(logs: np.ndarray) -> np.ndarray:
        return np.asarray(jacrev(log_gnr)(torch.from_numpy(logs)))

    if scalarisation == "product":
        # The ratios do not change along (1, ..., 1); a quadratic term picks the point of mean 0.
        result = optimize.minimize(  # type: ignore[call-overload]
            lambda logs: logs.mean() ** 2 - values(logs).sum(),
            start,
            jac=lambda logs: 2 * logs.mean() / tasks - slope(logs).sum(0),
            method="BFGS",
            options={"gtol": 1e-7},
        )
    else:
        result = optimize.minimize(  # type: ignore[call-overload]
            lambda point: point[:-1].mean() ** 2 - point[-1],
            np.append(start, values(start).min()),
            jac=lambda point: np.append(np.full(tasks, 2 * point[:-1].mean() / tasks), -1.0),
            constraints={
                "type": "ineq",
                "fun": lambda point: values(point[:-1]) - point[-1],
                "jac": lambda point: np.column_stack([slope(point[:-1]), -np.ones(tasks)]),
            },
            method="SLSQP",
            options={"ftol": 1e-10, "maxiter": 500},
        )
    if not result.success:
        raise RuntimeError(f"numeric optimiser: {result.message}")
    logs = result.x[:tasks]
    weights = np.exp(logs - logs.max())
    return torch.from_numpy(weights * tasks / weights.sum())


def weight_finding(forms: pd.DataFrame) -> str:
    """What the weight figure shows: how many readings differ at all, and the range of the weight of `sum`."""
    wide = forms.pivot_table("closed", ["seed", "task"], "reading").round(9)
    weight = range_interval(forms.loc[forms["task"] == "sum", "closed"])
    return (
        f"{wide.shape[1]} readings of one sentence give {len(wide.T.drop_duplicates())} different weightings. Over"
        f" readings and seeds the weight of sum runs from {number(weight.low, 2)} to {number(weight.high, 2)}."
    )


def label_finding(table: pd.DataFrame) -> str:
    """What the label-noise figure shows: under which readings the range at the most noise still holds 1."""
    last = table[table["amount"] == table["amount"].max()]
    flat = last[(last["low"] <= 1 + 1e-9) & (last["high"] >= 1 - 1e-9)]
    falls = last.drop(flat.index)["mean"]
    return (
        f"Noise in one task's labels leaves its weight where it was under {len(flat)} readings"
        f" ({'; '.join(flat['reading'])}); under the other {len(falls)} the weight changes to between"
        f" {number(falls.min(), 2)} and {number(falls.max(), 2)} of its value."
    )


def label_noise(snapshots: Sequence[Snapshot], amounts: Sequence[float], batch_size: int) -> pd.DataFrame:
    """Weight of the task `sum` under each reading when noise is added to its labels alone.

    Each image enters twice, its label raised and lowered by `amount` standard units: the mean gradient of a squared
    error is unchanged and its noise grows, exactly. The other tasks see the same images twice.

    Returns:
        Columns `seed`, `reading`, `amount`, `weight` (of `sum`, of all weights' mean), `relative` (over
        the weight at the first amount), `noise` (s^2 of `sum`), `signal` (a^2 of `sum`).
    """
    task = TASKS.index("sum")
    entries = []
    for snapshot in snapshots:
        first: dict[str, float] = {}
        for amount in amounts:
            gradients = torch.cat([_relabelled(snapshot, task, amount), _relabelled(snapshot, task, -amount)])
            signal, noise_ = powers(snapshot, batch_size)
            signal[task] = gradients.mean(0).square().sum()
            noise_[task] = noise.covariance_trace(gradients) / batch_size
            for scalarisation, itgn, own_noise in readings():
                name = reading_name(scalarisation, itgn, own_noise)
                weights = noise.gnr_weights(signal, noise_, scalarisation=scalarisation, itgn=itgn, own_noise=own_noise)
                weight = weights[task].item()
                entries.append(
                    {
                        "seed": snapshot.seed,
                        "reading": name,
                        "amount": amount,
                        "weight": weight,
                        "relative": weight / first.setdefault(name, weight),
                        "noise": noise_[task].item(),
                        "signal": signal[task].item(),
                    }
                )
    return pd.DataFrame(entries)


def _relabelled(snapshot: Snapshot, task: int, shift: float) -> Tensor:
    """Per-sample gradients `[N, P]` of one task with its real-valued labels shifted."""
    name = TASKS[task]
    targets = {**snapshot.data.targets, name: snapshot.data.targets[name] + shift}
    return sample_gradients(snapshot.model, TwoDigits(snapshot.data.images, targets))[task]


def cross_terms(snapshots: Sequence[Snapshot], batch_size: int) -> pd.DataFrame:
    """How much the noises of tasks that share a batch, and their gradients, fail to be uncorrelated.

    Returns:
        Columns `seed`, `pair`; `noise`, correlation of the two tasks' noises; `gradient`, cosine of their full
        gradients; `narrow` and `broad`: power of the pair's summed disturbance over the sum of the two powers, at
        the max-min weights of that reading; 1 if the formula's assumption held.
    """
    entries = []
    for snapshot in snapshots:
        noises = noise.noise_gramian(snapshot.gradients) / batch_size
        full = snapshot.gradients.mean(1)
        products = full @ full.T
        disturbances = {"narrow": noises, "broad": noises + products}
        for i, j in ((0, 1), (0, 2), (1, 2)):
            entry = {"seed": snapshot.seed, "pair": f"{TASKS[i]}, {TASKS[j]}"}
            for name, gramian in (("noise", noises), ("gradient", products)):
                entry[name] = (gramian[i, j] / (gramian[i, i] * gramian[j, j]).sqrt()).item()
            for itgn in get_args(noise.Itgn):
                weights = noise.gnr_weights(*powers(snapshot, batch_size), itgn=itgn)
                scaled = weights[:, None] * disturbances[itgn] * weights
                entry[itgn] = (1 + 2 * scaled[i, j] / (scaled[i, i] + scaled[j, j])).item()
            entries.append(entry)
    return pd.DataFrame(entries)


def closed_form_claims(forms: pd.DataFrame) -> list[Verdict]:
    """Verdicts on the closed forms, from :func:`closed_forms`."""
    equal = [
        Verdict(
            "Weights by formula equal those of a numeric optimiser",
            "reconstruction",
            0,
            1e-5,
            range_interval(rows.groupby("seed")["difference"].max()),
            reading="largest relative difference",
            case=str(name),
            kind="identity",
        )
        for name, rows in forms.groupby("reading", sort=False)
    ]
    level = []
    for name, rows in forms[forms["reading"].str.startswith("maxmin")].groupby("reading", sort=False):
        ratios = rows.groupby("seed")["gnr"]
        level.append(
            Verdict(
                "The numeric max-min optimum has equal GNRs",
                "reconstruction",
                0,
                1e-5,
                range_interval(ratios.max() / ratios.min() - 1),
                reading="relative spread over tasks",
                case=str(name),
                kind="identity",
            )
        )
    return [*equal, *level]


def weight_interval(values: pd.Series) -> Interval:
    """Interval of a task weight of mean 1, which lies between 0 and the number of tasks."""
    tasks = len(TASKS)
    found = share_interval(values / tasks)
    return Interval(tasks * found.value, tasks * found.low, tasks * found.high)


def weight_figure(forms: pd.DataFrame) -> Exhibit:
    """Weights of the three tasks under every reading, from :func:`closed_forms`."""
    table = summarise(forms, "closed", ["reading", "task"], weight_interval)
    figure, axes = canvas(height=3.6)
    dots(axes, table, "reading", by="task", reference=1)
    axes.set(xlabel="task weight; the weights of a seed have the sum 3", xlim=(0, None))
    legend(figure, axes, 3)
    return Exhibit(
        name="weights",
        table=table,
        figure=figure,
        uses=("seeds", "batch_size"),
        caption="Task weights under each reading of MaxGNR, a reconstruction."
        f" {weight_finding(forms)} {conditions(forms['seed'].nunique(), BARS)}",
        alt="Weights of the three tasks, one line per reading of MaxGNR, one colour per task, with intervals over"
        " seeds.",
    )


def label_claims(noisy: pd.DataFrame) -> list[Verdict]:
    r"""Verdicts on the weight of a task with noisy labels, from :func:`label_noise` at the most noise.

    All are identities. The formulas of max-min with own noise and of the other products show it at a glance. Max-min
    without own noise has :math:`w_i^2 \propto 1/(\rho a_i^2 + q_i)`, and :math:`\rho` grows by less than the share by
    which one :math:`q_i` does. In the broad product with own noise, a noisier task takes a larger share of every
    denominator; the maximiser answers as potentials do to a current drawn at that task, whose potential falls most.
    """
    verdicts = []
    for name, rows in noisy[noisy["amount"] == noisy["amount"].max()].groupby("reading", sort=False):
        change, reading = range_interval(rows["relative"]), "new over old weight at the most noise"
        if name.startswith("maxmin") and "own" in name:
            claim = "Noise in a task's labels leaves its weight where it was"
            verdict = Verdict(claim, "reconstruction", 1, 0.01, change, reading=reading, case=name, kind="identity")
        else:
            claim = "Noise in a task's labels lowers its weight"
            verdict = Verdict(
                claim, "reconstruction", 1, 0, change, below=True, reading=reading, case=name, kind="identity"
            )
        verdicts.append(verdict)
    return verdicts


def label_figure(noisy: pd.DataFrame) -> Exhibit:
    """Weight of the task with noisy labels against the noise, from :func:`label_noise`."""
    table = summarise(noisy, "relative", ["reading", "amount"], range_interval)
    figure, axes_by_kind = panels(2, height=3.6)
    for axes, kind in zip(axes_by_kind, ("maxmin", "product"), strict=True):
        curves(axes, table[table["reading"].str.startswith(kind)], "amount", by="reading")
        axes.set(xlabel="noise added to the labels of sum", ylim=(0, 1.1))
        axes.legend(fontsize=8, loc="lower left")
    axes_by_kind[0].set_ylabel("weight of sum / weight without it")
    return Exhibit(
        name="label_noise",
        table=table,
        figure=figure,
        uses=("seeds", "batch_size"),
        caption="Weight of the task sum, over its weight without it, against the noise in its labels alone."
        f" {label_finding(table)} {conditions(noisy['seed'].nunique(), 'bars: ranges over seeds')}",
        alt="Relative weight of the noisy task against the noise in its labels, max-min readings left, product readings"
        " right.",
    )


def cross_claims(cross: pd.DataFrame) -> list[Verdict]:
    """Verdicts on what the formula assumes of each network, from :func:`cross_terms`; signs must not cancel."""
    claims = {
        "noise": (
            "Noises of tasks on a shared batch are uncorrelated",
            "absolute correlation, mean over pairs of tasks",
        ),
        "gradient": ("Task gradients are orthogonal", "absolute cosine, mean over pairs of tasks"),
    }
    return [
        Verdict(
            claim,
            "reconstruction",
            0,
            0.05,
            share_interval(cross[column].abs().groupby(cross["seed"]).mean()),
            reading=reading,
            kind="ours",
        )
        for column, (claim, reading) in claims.items()
    ]


def cross_table(cross: pd.DataFrame) -> Exhibit:
    """Mean and interval over seeds of :func:`cross_terms`, one row a pair."""
    kinds = {
        "noise": ("correlation of noises", correlation_interval),
        "gradient": ("cosine of gradients", correlation_interval),
        "narrow": ("factor, narrow", geometric_interval),
        "broad": ("factor, broad", geometric_interval),
    }
    parts = []
    for column, (title, interval) in kinds.items():
        part = summarise(cross, column, ["pair"], interval).set_index("pair")
        parts.append(part.rename(columns={"mean": title, "low": f"{title} low", "high": f"{title} high"}))
    return Exhibit(
        name="cross_terms",
        table=pd.concat(parts, axis=1).reset_index(names="pair of tasks"),
        caption="What the tasks of a pair have in common on a shared batch, and the factor by which that changes the"
        " denominator of the third task's GNR at the max-min weights of each reading. The formula takes the first two"
        f" as 0 and the factors as 1. {conditions(cross['seed'].nunique(), '95% intervals over seeds')}",
    )
