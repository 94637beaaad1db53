"""Error of momentum while the parameters move: noise, as Eq. 8 says, and lag, which it omits (Eq. 7 and 8)."""

from collections.abc import Sequence
from itertools import product

import pandas as pd
import torch
from torch.nn.utils import parameters_to_vector

from mtlrepro.analysis.summaries import summarise
from mtlrepro.analysis.verdicts import Verdict, geometric_interval
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
        |m - g|^2 (noise and lag are correlated, so it is not their sum), `signal` = |g|^2, and `predicted`: the noise
        by Eq. 8 with each step's own |n|^2 in place of tr(C)/B, as C changes on the way.

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
            predicted = gamma**2 * predicted + (1 - gamma) ** 2 * (batch[:, :shared] - full).square().sum(1)
            unbiased = 1 - gamma**step
            momentum, lagging = velocity[:, :shared] / unbiased, average / unbiased
            parts = {"noise": momentum - lagging, "lag": lagging - full, "total": momentum - full, "signal": full}
            powers = {name: part.square().sum(1).mean().item() for name, part in parts.items()}
            powers["predicted"] = predicted.mean().item() / unbiased**2
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
    """Verdicts on Eq. 8 in the second half of training, from :func:`training_error`."""
    verdicts = []
    for gamma, rows in late_error(moving).groupby("gamma"):
        case = f"γ = {gamma:g}"
        verdicts += [
            Verdict(
                "While training, the noise of momentum follows Eq. 8",
                "Eq. 8",
                1,
                0.25,
                geometric_interval(rows["noise"] / rows["predicted"]),
                reading="measured power over that summed from the noise of each step, second half of training",
                case=case,
                finding=4,
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
        caption="Noise and lag of momentum and the full gradient (signal) while the parameters move, as squared norms."
        f" {lag_finding(late_error(moving))}"
        f" {conditions(moving['seed'].nunique(), 'geometric means with 95% intervals over seeds')}",
        rtol=1e-2,
        alt="Squared norms of the noise and the lag of momentum and of the full gradient over training steps, one panel"
        " per momentum.",
    )


def lag_finding(late: pd.DataFrame) -> str:
    """What the figure of the training shows: lag and whole error over the noise, in the second half of training."""
    lag, error = (
        ", ".join(
            f"{interval} at γ = {gamma:g}"
            for gamma, interval in (late[part] / late["noise"]).groupby("gamma").apply(geometric_interval).items()
        )
        for part in ("lag", "total")
    )
    return f"In the second half, over the power of the noise, that of the lag is {lag}, and that of both is {error}."
