"""Error of momentum while the parameters move: noise, as Eq. 8 says, and lag, which it omits (Eq. 7 and 8)."""

from collections.abc import Sequence
from itertools import product

import pandas as pd
import torch
from torch.nn.utils import parameters_to_vector

from mtlrepro import noise
from mtlrepro.analysis.summaries import summarise
from mtlrepro.analysis.verdicts import Verdict, geometric_interval, number, range_interval
from mtlrepro.data.digits import two_digits
from mtlrepro.models.digits import gradients_of_copies
from mtlrepro.pages.exhibit import Exhibit
from mtlrepro.pages.figures import curves, legend, panels
from mtlrepro.studies.noise.digits import check_finite, conditions, initial_network, seeded_generator


def training_error(
    seeds: int,
    samples: int,
    gammas: Sequence[float],
    steps: int,
    *,
    chains: int,
    learning_rate: float,
    batch_size: int,
    device: str,
) -> pd.DataFrame:
    """Eq. 7 and 8 while the parameters move: the error of momentum, split into noise and lag.

    Each network trains on the mean of the three losses by `theta -= learning_rate * m`. Beside the momentum of the
    batch gradients, `m`, the momentum of the full gradients at the same parameters, `M`, is kept; with both
    divided by `1 - gamma^t`, `m - g = (m - M) + (M - g)`: the noise that Eq. 8 describes and the lag it omits.

    A seed has one set of images and of initial parameters, from which `chains` networks start that draw their own
    batches and drift apart. Gradients are computed in float32, momentum and parameters are kept in float64.

    Returns:
        Columns `seed`, `gamma`, `step`; means over the chains of `noise` = |m - M|^2, `lag` = |M - g|^2, `total` =
        |m - g|^2, `cross` = 2 <m - M, M - g>, so that noise, lag and cross add up to the total, and `signal` = |g|^2;
        `predicted`: the sum of the steps' own |n|^2 by their squared weights, of which the expectation is that of the
        noise, as every batch is drawn independently at the parameters of its step; and `assumed`: the second line of
        Eq. 8, which takes the noise of all steps as that of the current one, times |n|^2 of the current batch, whose
        expectation is tr(C)/B at the current parameters.

    Raises:
        ValueError: If no gamma is given.
        FloatingPointError: If a loss is not finite, naming step and task.
    """
    if not gammas or min(gammas) < 0:
        raise ValueError(f"gammas is {list(gammas)}; accepted: one or more, at least 0")
    entries = []
    for seed, gamma in product(range(seeds), gammas):
        data = two_digits(samples, seed=seed).to(device, torch.float32)
        model = initial_network(seed, data)
        generator = seeded_generator(seed, 8)
        shared = sum(parameter.numel() for parameter in model.shared_parameters())
        parameters = parameters_to_vector(model.parameters()).detach().double().repeat(chains, 1)
        velocity = torch.zeros_like(parameters)
        average = torch.zeros_like(parameters[:, :shared])
        predicted = torch.zeros_like(parameters[:, 0])
        for step in range(1, steps + 1):
            full = gradients_of_copies(model, parameters.float(), data)[1][:, :shared].double()
            index = torch.randint(samples, (chains, batch_size), generator=generator).to(device)
            losses, batch = gradients_of_copies(model, parameters.float(), data[index])
            check_finite(losses.mean(0), step)
            velocity = gamma * velocity + (1 - gamma) * batch.double()
            average = gamma * average + (1 - gamma) * full
            current = (batch[:, :shared] - full).square().sum(1)
            predicted = gamma**2 * predicted + (1 - gamma) ** 2 * current
            unbiased = 1 - gamma**step
            momentum, lagging = velocity[:, :shared] / unbiased, average / unbiased
            parts = {"noise": momentum - lagging, "lag": lagging - full, "total": momentum - full, "signal": full}
            powers = {name: part.square().sum(1).mean().item() for name, part in parts.items()}
            powers["cross"] = 2 * (parts["noise"] * parts["lag"]).sum(1).mean().item()
            powers["predicted"] = predicted.mean().item() / unbiased**2
            powers["assumed"] = noise.momentum_power_factor(gamma, step) * current.mean().item() / unbiased**2
            entries.append({"seed": seed, "gamma": gamma, "step": step, **powers})
            parameters = parameters - learning_rate * velocity
    return pd.DataFrame(entries)


def error_parts(moving: pd.DataFrame) -> pd.DataFrame:
    """Noise, lag and signal of :func:`training_error` at every tenth step, long form.

    Returns:
        Columns `gamma`, `part`, `step`; `mean`, `low`, `high`: geometric mean over seeds with its interval.
    """
    shown = moving[moving["step"] % 10 == 0]
    parts = shown.melt(["seed", "gamma", "step"], ["noise", "lag", "signal"], var_name="part", value_name="power")
    return summarise(parts[parts["power"] > 0], "power", ["gamma", "part", "step"], geometric_interval)


def late_error(moving: pd.DataFrame) -> pd.DataFrame:
    """Mean of :func:`training_error` over the second half of training, by gamma and seed."""
    late = moving[moving["step"] > moving["step"].max() / 2]
    means: pd.DataFrame = late.groupby(["gamma", "seed"]).mean()
    return means


def training_claims(moving: pd.DataFrame) -> list[Verdict]:
    """Verdicts on Eq. 8 in the second half of training, from :func:`training_error`.

    That the noise is, in expectation, the sum of the steps' own noise is no claim of Eq. 8 but follows from batches
    drawn independently; what Eq. 8 adds is that the steps' noise is that of the current parameters.
    """
    verdicts = []
    for gamma, rows in late_error(moving).groupby("gamma"):
        case = f"γ = {gamma:g}"
        verdicts += [
            Verdict(
                "While training, the noise of momentum follows Eq. 8",
                "Eq. 8",
                1,
                0.25,
                geometric_interval(rows["noise"] / rows["assumed"]),
                reading="noise power over the finite sum of Eq. 8 times tr(C)/B at the current parameters, second half"
                " of training",
                case=case,
                finding=4,
            ),
            Verdict(
                "While training, the noise powers of the steps add up by their squared weights",
                "independent batches",
                1,
                0.25,
                geometric_interval(rows["noise"] / rows["predicted"]),
                reading="noise power over that sum, second half of training",
                case=case,
                kind="expectation",
            ),
            Verdict(
                "While training, the error of momentum is its noise alone",
                "our question on Eq. 7",
                1,
                0.1,
                geometric_interval(rows["total"] / rows["noise"]),
                reading="power of the distance from the full gradient over that of the noise, second half of training",
                case=case,
                kind="ours",
                limits=4,
            ),
        ]
    return verdicts


def training_figure(moving: pd.DataFrame) -> Exhibit:
    """Noise and lag of momentum over the steps of training, from :func:`training_error`."""
    table = error_parts(moving)
    figure, axes_by_gamma = panels(table["gamma"].nunique())
    for axes, (gamma, rows) in zip(axes_by_gamma, table.groupby("gamma"), strict=True):
        curves(axes, rows, "step", by="part")
        axes.set(yscale="log", xlabel="training step", title=f"γ = {gamma:g}")
    axes_by_gamma[0].set_ylabel("squared norm")
    legend(figure, axes_by_gamma[0], 3)
    return Exhibit(
        name="momentum_training",
        table=table,
        figure=figure,
        uses=("seeds", "samples", "batch_size", "gammas", "moving_rate", "chains"),
        caption="Power of the noise and of the lag of momentum and of the full gradient (signal) while the parameters"
        " move."
        f" {noise_finding(late_error(moving))}"
        f" {conditions(moving['seed'].nunique(), 'geometric means with 95% intervals over seeds')}",
        rtol=1e-2,
        alt="Squared norms of the noise and the lag of momentum and of the full gradient over training steps, one panel"
        " per momentum.",
    )


def noise_finding(late: pd.DataFrame) -> str:
    """What the figure of the training shows: noise over the noise that Eq. 8 assumes, in the second half of training.

    The quotients are geometric means, as in the verdicts.
    """
    ratios = (late["noise"] / late["assumed"]).groupby("gamma").apply(geometric_interval)
    text = ", ".join(f"{interval} at γ = {gamma:g}" for gamma, interval in ratios.items())
    return f"In the second half, the noise over that of Eq. 8 at the current parameters is {text}."


def part_table(moving: pd.DataFrame) -> Exhibit:
    """Parts of the error of momentum over its noise power, from :func:`training_error`; they add up.

    Quotients are taken for each seed and averaged arithmetically, so that the means add up as the seeds do.
    """
    late = late_error(moving)
    entries = []
    for gamma, rows in late.groupby("gamma"):
        entry = {"γ": gamma, "noise": 1.0}
        for part, title in {"lag": "lag", "cross": "2⟨noise, lag⟩", "total": "whole error"}.items():
            found = range_interval(rows[part] / rows["noise"])
            entry |= {title: found.value, f"{title} low": found.low, f"{title} high": found.high}
        entries.append(entry)
    return Exhibit(
        name="momentum_parts",
        table=pd.DataFrame(entries),
        caption="Parts of the error of momentum in the second half of training, each over the noise power of the same"
        f" seed. {part_finding(late)} {conditions(moving['seed'].nunique(), 'means with ranges over seeds')}",
        rtol=1e-2,
    )


def part_finding(late: pd.DataFrame) -> str:
    """What the table of the parts shows: one plus lag plus cross term is the whole, for each momentum."""
    sums = []
    for gamma, rows in late.groupby("gamma"):
        lag, cross, total = (number((rows[part] / rows["noise"]).mean()) for part in ("lag", "cross", "total"))
        sums.append(f"1 + {lag} + ({cross}) = {total} at γ = {gamma:g}")
    return f"Noise, lag and the cross term 2⟨noise, lag⟩ add up to the whole: {', '.join(sums)}."
