"""Experiments of the chapter on gradient noise: two overlapping digits, three tasks, one small network.

Every function takes snapshots, networks at fixed parameters with all per-sample gradients, and returns one row per
seed and condition; :func:`~mtlrepro.analysis.summaries.summarise` turns rows into means with intervals over seeds.
Random draws come from CPU generators seeded by the snapshot's seed, so CPU and CUDA see the same batches.
"""

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from itertools import product
from typing import get_args

import numpy as np
import pandas as pd
import torch
from matplotlib.figure import Figure
from scipy import optimize, stats
from torch import Tensor
from torch.func import functional_call, jacrev
from torch.nn import Parameter

from mtlrepro import noise
from mtlrepro.analysis.summaries import summarise
from mtlrepro.analysis.verdicts import geometric_interval, number, range_interval
from mtlrepro.balancers import Balancer, create
from mtlrepro.data.digits import TwoDigits, two_digits
from mtlrepro.models.digits import DigitNet
from mtlrepro.pages.figures import gallery
from mtlrepro.tasks import TWO_DIGITS

TASKS = [task.name for task in TWO_DIGITS]


@dataclass(frozen=True)
class Snapshot:
    """A network at fixed parameters.

    Attributes:
        seed: seed of data, initial parameters, training and of all draws made with this snapshot.
        data: the ``N`` training images.
        model: the network, float64.
        gradients: per-sample gradients of each task over the shared parameters, ``[T, N, P]``.
        losses: mean loss of each task over the data, ``[T]``.
    """

    seed: int
    data: TwoDigits
    model: DigitNet
    gradients: Tensor
    losses: Tensor

    def generator(self, study: int) -> torch.Generator:
        """CPU generator of this seed for the study with that number."""
        return _generator(self.seed, study)

    def batches(self, batch: int, draws: int, generator: torch.Generator, *, replacement: bool = True) -> Tensor:
        """Sample weights ``[draws, N]`` of mini-batches, where the gradients live."""
        weights = noise.batch_weights(len(self.data), batch, draws, generator, replacement=replacement)
        return weights.to(self.gradients)


def _generator(seed: int, study: int) -> torch.Generator:
    """CPU generator whose stream belongs to this seed and study alone."""
    state = np.random.SeedSequence([seed, study]).generate_state(1, np.uint64)[0]
    return torch.Generator().manual_seed(int(state >> np.uint64(1)))


def task_losses(model: DigitNet, data: TwoDigits) -> Tensor:
    """Mean loss of each task over ``data``, ``[T]``."""
    outputs = model(data.images)
    return torch.stack([task.loss(outputs[task.name], data.targets).mean() for task in TWO_DIGITS])


def shared_gradient(loss: Tensor, model: DigitNet) -> Tensor:
    """Gradient of a scalar over the shared parameters, flattened, ``[P]``."""
    gradients = torch.autograd.grad(loss, list(model.shared_parameters()), retain_graph=True)
    return torch.cat([gradient.flatten() for gradient in gradients])


def sample_gradients(model: DigitNet, data: TwoDigits, chunk_size: int = 256) -> Tensor:
    """Per-sample gradients of each task over the shared parameters, ``[T, N, P]``, ``chunk_size`` images at once."""
    parameters = {name: value.detach() for name, value in model.named_parameters()}
    shared = {name: value for name, value in parameters.items() if name.startswith("encoder.")}

    def losses(shared: dict[str, Tensor], sample: tuple[Tensor, dict[str, Tensor]]) -> Tensor:
        image, targets = sample
        outputs = functional_call(model, {**parameters, **shared}, (image[None],))
        targets = {name: value[None] for name, value in targets.items()}
        return torch.stack([task.loss(outputs[task.name], targets).mean() for task in TWO_DIGITS])

    return noise.per_sample_gradients(losses, shared, (data.images, data.targets), chunk_size=chunk_size)


def check_parameters(samples: int, batch_size: int, batch_sizes: Sequence[int], gammas: Sequence[float]) -> None:
    """Refuse combinations of the chapter's parameters that it cannot show, before anything is computed.

    Raises:
        ValueError: if ``batch_size`` is odd or no proper divisor of ``samples``; if ``batch_sizes`` or ``gammas`` holds
            fewer than two values or one twice; if a batch size is not below ``samples``.
    """
    _check_batch_size(batch_size, samples)
    if len(batch_sizes) < 2 or len(set(batch_sizes)) < len(batch_sizes) or max(batch_sizes) >= samples:
        raise ValueError(f"batch_sizes is {list(batch_sizes)}; accepted: two or more, all different, below {samples}")
    if len(gammas) < 2 or len(set(gammas)) < len(gammas):
        raise ValueError(f"gammas is {list(gammas)}; accepted: two or more, all different")


def _check_batch_size(batch_size: int, samples: int) -> None:
    if batch_size % 2 or samples % batch_size or batch_size == samples:
        accepted = f"an even divisor of samples, which is {samples}, below it"
        raise ValueError(f"batch_size is {batch_size}; accepted: {accepted}")


def snapshots(
    seeds: int, samples: int, steps: int, *, learning_rate: float, batch_size: int, device: str
) -> list[Snapshot]:
    """Train one network per seed with equal weights, then freeze it.

    Training minimises the mean of the three losses by SGD with momentum 0.9, batches drawn with replacement. Seeds
    are 0, 1, ...; each has its own images, initial parameters and batches.

    Raises:
        ValueError: if ``batch_size`` is odd or no proper divisor of ``samples``, or CUDA is asked for and absent.
        FloatingPointError: if a loss is not finite, naming step and task.
    """
    _check_batch_size(batch_size, samples)
    if device.startswith("cuda") and not torch.cuda.is_available():
        raise ValueError(f"device is {device!r}, but PyTorch finds no CUDA device; accepted here: 'cpu'")
    taken = []
    for seed in range(seeds):
        data = two_digits(samples, seed=seed).to(device, torch.float64)
        model = _train(data, seed, steps, learning_rate=learning_rate, batch_size=batch_size)
        losses = task_losses(model, data).detach()
        _check_finite(losses, steps + 1)
        taken.append(Snapshot(seed, data, model, sample_gradients(model, data), losses))
    return taken


def _train(data: TwoDigits, seed: int, steps: int, *, learning_rate: float, batch_size: int) -> DigitNet:
    """Train a new network with momentum 0.9."""
    model = _network(seed, data)
    optimizer = torch.optim.SGD(model.parameters(), lr=learning_rate, momentum=0.9)
    generator = _generator(seed, 7)
    for step in range(1, steps + 1):
        index = torch.randint(len(data), (batch_size,), generator=generator).to(data.images.device)
        losses = task_losses(model, data[index])
        _check_finite(losses, step)
        optimizer.zero_grad()
        torch.autograd.backward(losses.mean())
        optimizer.step()
    return model


def _network(seed: int, data: TwoDigits) -> DigitNet:
    """Network with initial parameters of that seed, the same on every device, where the data are."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        model = DigitNet()
    return model.to(data.images)


def _check_finite(losses: Tensor, step: int) -> None:
    bad = [name for name, loss in zip(TASKS, losses.tolist(), strict=True) if not np.isfinite(loss)]
    if bad:
        raise FloatingPointError(f"step {step}: loss of task {', '.join(bad)} is not finite; lower the learning rate")


def examples(samples: int, count: int) -> tuple[Figure, pd.DataFrame]:
    """Draw the first of the ``samples`` images of seed 0; the table holds targets and the images' mean brightness."""
    data = two_digits(samples)[:count]
    images = data.images[:, 0].numpy()
    left, right = (data.targets[name].tolist() for name in ("left", "right"))
    table = pd.DataFrame({"left": left, "right": right, "brightness": images.mean((1, 2)).astype(float)})
    table["sum"] = table["left"] + table["right"]
    return gallery(list(images), [f"{i}, {j}; {i + j}" for i, j in zip(left, right, strict=True)]), table


def overview(taken: Sequence[Snapshot], batch_size: int) -> pd.DataFrame:
    """Loss, signal and noise of each task, mean over seeds."""
    entries = []
    for snapshot in taken:
        signal, noise_ = powers(snapshot, batch_size)
        entries += _rows(snapshot, loss=snapshot.losses, signal=signal, noise=noise_)
    means = pd.DataFrame(entries).drop(columns="seed").groupby("task", sort=False).mean()
    return means.reset_index()


def epoch_identity(taken: Sequence[Snapshot], batch_size: int) -> pd.DataFrame:
    """Eq. 2 over the disjoint batches of one epoch: relative distance of their mean from the full loss and gradient.

    Batch losses and gradients come from one backward pass per batch and task, not from per-sample gradients.

    Returns:
        Columns ``seed``, ``task``, ``loss``, ``gradient``.
    """
    entries = []
    for snapshot in taken:
        order = torch.randperm(len(snapshot.data), generator=snapshot.generator(0)).to(snapshot.gradients.device)
        losses = [task_losses(snapshot.model, snapshot.data[index]) for index in torch.split(order, batch_size)]
        for k, task in enumerate(TASKS):
            loss = torch.stack([batch[k].detach() for batch in losses]).mean()
            gradient = torch.stack([shared_gradient(batch[k], snapshot.model) for batch in losses]).mean(0)
            full = snapshot.gradients[k].mean(0)
            entries.append(
                {
                    "seed": snapshot.seed,
                    "task": task,
                    "loss": ((loss - snapshot.losses[k]).abs() / snapshot.losses[k]).item(),
                    "gradient": ((gradient - full).norm() / full.norm()).item(),
                }
            )
    return pd.DataFrame(entries)


def monte_carlo(taken: Sequence[Snapshot], batch_size: int, counts: Sequence[int], draws: int) -> pd.DataFrame:
    """Eq. 2 for random batches: distance of the mean of n independent batch gradients from the full gradient.

    Returns:
        Columns ``seed``, ``task``, ``batches`` (n), ``error``: root mean square over ``draws``, in units of the noise
        of one batch, ``sqrt(tr C / B)``; and ``expected``, ``1 / sqrt(n)``.
    """
    entries = []
    for snapshot in taken:
        generator = snapshot.generator(1)
        unit = (noise.covariance_trace(snapshot.gradients) / batch_size).sqrt()
        for n in counts:
            weights = snapshot.batches(batch_size, draws * n, generator).view(draws, n, -1).mean(1)
            error = noise.noise_power(snapshot.gradients, weights).mean(-1).sqrt() / unit
            entries += _rows(snapshot, batches=n, error=error, expected=n**-0.5)
    return pd.DataFrame(entries)


def noise_by_batch_size(taken: Sequence[Snapshot], sizes: Sequence[int], draws: int) -> pd.DataFrame:
    """Section 5: noise power of batches of each size, drawn with and without replacement, against tr(C)/B.

    Returns:
        Columns ``seed``, ``task``, ``sampling``, ``batch``, ``power`` (mean over ``draws``), ``appendix`` (tr(C)/B),
        ``factor`` (finite-population factor, 1 with replacement), ``ratio`` (power / appendix) and ``ratio_exact``
        (power / appendix / factor).

    Raises:
        ValueError: if there are fewer than two sizes, or one is not below ``N``, where no noise is left without
            replacement.
    """
    entries = []
    if len(set(sizes)) < 2:
        raise ValueError(f"sizes is {list(sizes)}; accepted: two or more batch sizes")
    if max(sizes) >= len(taken[0].data):
        raise ValueError(f"sizes go up to {max(sizes)}; accepted: below the number of samples, {len(taken[0].data)}")
    for snapshot in taken:
        generator = snapshot.generator(2)
        trace = noise.covariance_trace(snapshot.gradients)
        for replacement, size in product((True, False), sizes):
            weights = snapshot.batches(size, draws, generator, replacement=replacement)
            power = noise.noise_power(snapshot.gradients, weights).mean(-1)
            factor = 1.0 if replacement else noise.finite_population_factor(len(snapshot.data), size)
            entries += _rows(
                snapshot,
                sampling="with replacement" if replacement else "without replacement",
                batch=size,
                power=power,
                appendix=trace / size,
                factor=factor,
                ratio=power * size / trace,
                ratio_exact=power * size / (trace * factor),
            )
    return pd.DataFrame(entries)


def momentum_noise(taken: Sequence[Snapshot], gammas: Sequence[float], batch_size: int, chains: int) -> pd.DataFrame:
    """Eq. 8 at fixed parameters: noise of momentum after t steps over the noise of one gradient.

    Momentum starts from zero and runs for 4 / (1 - gamma) steps, when 0.03% of the limit is missing in power.

    Returns:
        Columns ``seed``, ``task``, ``gamma``, ``step``, ``ratio`` (root of the power ratio, mean over ``chains``),
        ``finite`` (exact for that step), ``limit`` (the appendix's), ``ratio_finite`` and ``ratio_limit`` (quotients).
    """
    entries = []
    for snapshot in taken:
        generator = snapshot.generator(3)
        trace = noise.covariance_trace(snapshot.gradients)
        for gamma in gammas:
            marks = _marks(round(4 / (1 - gamma)))
            means = torch.zeros(chains, len(snapshot.data)).to(snapshot.gradients)
            for step in range(1, marks[-1] + 1):
                means = gamma * means + (1 - gamma) * snapshot.batches(batch_size, chains, generator)
                if step not in marks:
                    continue
                power = noise.noise_power(snapshot.gradients, means).mean(-1)
                ratio = (power * batch_size / trace).sqrt()
                finite, limit = (noise.momentum_power_factor(gamma, t) ** 0.5 for t in (step, None))
                entries += _rows(
                    snapshot,
                    gamma=gamma,
                    step=step,
                    ratio=ratio,
                    finite=finite,
                    limit=limit,
                    ratio_finite=ratio / finite,
                    ratio_limit=ratio / limit,
                )
    return pd.DataFrame(entries)


def momentum_shuffled(taken: Sequence[Snapshot], gammas: Sequence[float], batch_size: int, chains: int) -> pd.DataFrame:
    """Eq. 8 at fixed parameters when batches come from shuffled epochs, as most training loops draw them.

    Every image appears once per epoch, so successive batches are negatively correlated. After 4 / (1 - gamma) steps,
    the noise is measured at eight steps spread over one epoch, and averaged.

    Returns:
        Columns ``seed``, ``task``, ``gamma``, ``ratio_limit``: noise of momentum over noise of one batch drawn
        without replacement, over the printed root.

    Raises:
        ValueError: if a batch takes all samples, where no noise is left.
    """
    entries = []
    for snapshot in taken:
        generator = snapshot.generator(9)
        n = len(snapshot.data)
        if batch_size >= n:
            raise ValueError(f"batch_size is {batch_size}; accepted: below the number of samples, {n}")
        single = noise.covariance_trace(snapshot.gradients) / batch_size * noise.finite_population_factor(n, batch_size)
        for gamma in gammas:
            first = round(4 / (1 - gamma))
            marks = {first + round(step) for step in np.linspace(0, n // batch_size, 8, endpoint=False)}
            means, powers_ = torch.zeros(chains, n).to(snapshot.gradients), []
            for step in range(1, max(marks) + 1):
                place = (step - 1) * batch_size % n
                if place == 0:
                    order = torch.rand(chains, n, generator=generator, dtype=torch.float64).argsort(1).to(means.device)
                means = gamma * means
                share = means.new_full((chains, batch_size), (1 - gamma) / batch_size)
                means.scatter_add_(1, order[:, place : place + batch_size], share)
                if step in marks:
                    powers_.append(noise.noise_power(snapshot.gradients, means).mean(-1))
            ratio = (torch.stack(powers_).mean(0) / single).sqrt() / momentum_limit(gamma)
            entries += _rows(snapshot, gamma=gamma, ratio_limit=ratio)
    return pd.DataFrame(entries)


def momentum_table(settled: pd.DataFrame, shuffled: pd.DataFrame) -> pd.DataFrame:
    """Quotient by the printed root per gamma, for independent batches and for shuffled epochs, with intervals."""
    tables = {"independent": settled, "shuffled": shuffled}
    parts = [
        summarise(table, "ratio_limit", ["gamma"]).set_index("gamma").add_prefix(f"{name}, ")
        for name, table in tables.items()
    ]
    return pd.concat(parts, axis=1).reset_index()


def momentum_limit(gamma: float) -> float:
    """Ratio of standard deviations that Eq. 8 prints."""
    return float(noise.momentum_power_factor(gamma) ** 0.5)


def momentum_alt(gamma: float, table: pd.DataFrame) -> str:
    """Alternative text of the momentum figure for one gamma, from the rows drawn in it."""
    first, last = table.iloc[0], table.iloc[-1]
    return (
        f"Momentum {gamma:g}: the noise ratio goes from {first['mean']:.2f} at step {first['step']:.0f} to"
        f" {last['mean']:.2f} at step {last['step']:.0f}; the printed limit is {momentum_limit(gamma):.2f}."
    )


def _marks(last: int) -> list[int]:
    """Steps to report, about evenly spaced in the logarithm from 1 to ``last``."""
    return sorted({round(step) for step in np.geomspace(1, last, 8)})


def momentum_while_training(
    seeds: int, samples: int, gammas: Sequence[float], steps: int, *, learning_rate: float, batch_size: int, device: str
) -> pd.DataFrame:
    """Eq. 7 and 8 while the parameters move: the error of momentum, split into noise and lag.

    Each network trains on the mean of the three losses by ``theta -= learning_rate * m``. Beside the momentum of the
    batch gradients, ``m``, the momentum of the full gradients at the same parameters, ``M``, is kept; with both
    divided by ``1 - gamma^t``, ``m - g = (m - M) + (M - g)``: the noise that Eq. 8 describes and the lag it omits.

    Returns:
        Columns ``seed``, ``gamma``, ``step``, ``noise`` = |m - M|^2, ``lag`` = |M - g|^2, ``total`` = |m - g|^2
        (noise and lag are correlated, so it is not their sum), ``signal`` = |g|^2, and ``predicted``: the noise by
        Eq. 8 with each step's own |n|^2 in place of tr(C)/B, as C changes on the way.

    Raises:
        ValueError: if no gamma is given.
        FloatingPointError: if a loss is not finite, naming step and task.
    """
    entries = []
    if not gammas or min(gammas) < 0:
        raise ValueError(f"gammas is {list(gammas)}; accepted: one or more, at least 0")
    for seed, gamma in product(range(seeds), gammas):
        data = two_digits(samples, seed=seed).to(device, torch.float64)
        model = _network(seed, data)
        generator = _generator(seed, 8)
        parameters = list(model.shared_parameters())
        heads = [parameter for task in TASKS for parameter in model.task_parameters(task)]
        velocity = [torch.zeros_like(parameter) for parameter in [*parameters, *heads]]
        average = torch.zeros(sum(parameter.numel() for parameter in parameters)).to(data.images)
        predicted = 0.0
        for step in range(1, steps + 1):
            full = shared_gradient(task_losses(model, data).mean(), model)
            index = torch.randint(samples, (batch_size,), generator=generator).to(device)
            losses = task_losses(model, data[index])
            _check_finite(losses, step)
            gradients = torch.autograd.grad(losses.mean(), [*parameters, *heads])
            velocity = [gamma * v + (1 - gamma) * g for v, g in zip(velocity, gradients, strict=True)]
            average = gamma * average + (1 - gamma) * full
            batch = torch.cat([gradient.flatten() for gradient in gradients[: len(parameters)]])
            predicted = gamma**2 * predicted + (1 - gamma) ** 2 * (batch - full).square().sum().item()
            unbiased = 1 - gamma**step
            momentum = torch.cat([v.flatten() for v in velocity[: len(parameters)]]) / unbiased
            lagging = average / unbiased
            parts = {"noise": momentum - lagging, "lag": lagging - full, "total": momentum - full, "signal": full}
            powers = {name: part.square().sum().item() for name, part in parts.items()}
            powers["predicted"] = predicted / unbiased**2
            entries.append({"seed": seed, "gamma": gamma, "step": step, **powers})
            with torch.no_grad():
                torch._foreach_add_([*parameters, *heads], velocity, alpha=-learning_rate)
    return pd.DataFrame(entries)


def spread(values: Sequence[int], count: int = 4) -> list[int]:
    """Up to ``count`` of the values, evenly spaced in their order, first and last included."""
    index = np.linspace(0, len(values) - 1, min(count, len(values))).round().astype(int)
    return [values[i] for i in index]


def error_parts(moving: pd.DataFrame) -> pd.DataFrame:
    """Noise, lag and signal of :func:`momentum_while_training` at every tenth step, long form.

    Returns:
        Columns ``gamma``, ``part``, ``step``; ``mean``, ``low``, ``high``: geometric mean over seeds with its interval.
    """
    shown = moving[moving["step"] % 10 == 0]
    parts = shown.melt(["seed", "gamma", "step"], ["noise", "lag", "signal"], var_name="part", value_name="power")
    parts = parts[parts["power"] > 0].assign(power=lambda rows: np.log(rows["power"]))
    table = summarise(parts, "power", ["gamma", "part", "step"])
    table[["mean", "low", "high"]] = np.exp(table[["mean", "low", "high"]])
    return table


def lag_finding(late: pd.DataFrame) -> str:
    """Caption of the training figure: lag over noise per gamma, in the second half of training."""
    quotients = (late["lag"] / late["noise"]).groupby("gamma").apply(geometric_interval)
    found = ", ".join(f"{interval} at γ = {gamma:g}" for gamma, interval in quotients.items())
    return (
        "Noise and lag of momentum while training, and the full gradient (signal). In the second half the lag's power"
        f" over the noise's is {found}. Geometric means over seeds."
    )


def gaussianity(
    taken: Sequence[Snapshot], sizes: Sequence[int], draws: int, directions: int = 8
) -> tuple[pd.DataFrame, pd.DataFrame]:
    """The Gaussian assumption: noise of batches projected on random directions and on the direction of most noise.

    Returns:
        Kurtosis, columns ``seed``, ``task``, ``direction``, ``batch``, ``kurtosis`` (excess, from ``draws`` batches)
        and ``expected`` (that of single samples over B, exact with replacement). Quantiles of all tasks and seeds
        together, columns ``direction``, ``batch``, ``normal``, ``noise``, in units of the standard deviation.
    """
    entries, projections = [], []
    for snapshot in taken:
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
                samples = samples * torch.where(samples.pow(3).mean(0) < 0, -1.0, 1.0)
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


def universality(taken: Sequence[Snapshot], sigma: Sequence[float], p: float) -> pd.DataFrame:
    """Eq. 3-5: effective weights of four combinations, automatic against closed form, and the gradients they imply.

    Returns:
        Columns ``seed``, ``combination``, ``task``, ``weight`` (automatic), ``closed``, ``difference`` (relative) and
        ``gradient``: relative distance of the combination's own gradient over the shared parameters, by one backward
        pass, from the weighted sum of task gradients.
    """
    entries = []
    for snapshot in taken:
        scales = torch.tensor(sigma).to(snapshot.losses)
        for combination in noise.combinations(scales, p):
            weights = noise.effective_weights(combination.combine, snapshot.losses)
            closed = combination.weights(snapshot.losses)
            losses = task_losses(snapshot.model, snapshot.data)
            direct = shared_gradient(combination.combine(losses), snapshot.model)
            weighted = closed @ snapshot.gradients.mean(1)
            entries += _rows(
                snapshot,
                combination=combination.name,
                weight=weights,
                closed=closed,
                difference=(weights - closed).abs() / closed,
                gradient=((direct - weighted).norm() / direct.norm()).item(),
            )
    return pd.DataFrame(entries)


def weight_table(table: pd.DataFrame) -> pd.DataFrame:
    """Mean automatic weight over seeds, one row per combination, one column per task."""
    wide = table.pivot_table("weight", "combination", "task", sort=False)
    return wide.reset_index().rename_axis(columns=None)


def printed_conditions(loss: float = 1.0, distance: float = 1e-9) -> pd.DataFrame:
    """Weights of combinations that are strictly monotone and continuous, the appendix's conditions, at one point.

    Returns:
        Columns ``combination``, ``weight``: derivative by the second loss, approached to within ``distance`` of
        ``loss``, and ``usable``: whether it is a positive number of ordinary size (1e-3 to 1e3).
    """
    functions: dict[str, Callable[[Tensor], Tensor]] = {
        "L1 + L2": lambda x: x,
        "L1 + (L2 - 1)^(1/3)": lambda x: torch.sign(x - loss) * (x - loss).abs().pow(1 / 3),
        "L1 + (L2 - 1)^3": lambda x: (x - loss) ** 3,
        "L1 - L2": lambda x: -x,
    }
    point = torch.tensor([loss + distance], dtype=torch.float64)
    entries = []
    for name, function in functions.items():
        (weight,) = noise.effective_weights(_total(function), point).tolist()
        entries.append({"combination": name, "weight": weight, "usable": 1e-3 < weight < 1e3})
    return pd.DataFrame(entries)


def _total(function: Callable[[Tensor], Tensor]) -> Callable[[Tensor], Tensor]:
    return lambda losses: function(losses).sum()


def pcgrad_weights(angles: Sequence[float]) -> pd.DataFrame:
    """Weights that PCGrad gives two tasks of equal loss whose gradients have length 1, against their angle.

    The tasks are ``|theta - c_k|^2 / 2`` with both centres at distance 1: at every angle between the gradients both
    losses are 1/2, so a combination f(L1, L2) would give the same weights at every angle. PCGrad's weights, by least
    squares from its step (mean over tasks), are ``(1 - min(cos, 0)) / 2``.

    Args:
        angles: between the two gradients, in degrees, above 0 and below 180.

    Returns:
        Columns ``angle``, ``method``, ``mean`` (the weight of either task).
    """
    entries = []
    for angle in angles:
        cosine, sine = np.cos(np.deg2rad(angle)), np.sin(np.deg2rad(angle))
        gradients = torch.tensor([[1.0, 0.0], [cosine, sine]], dtype=torch.float64)
        for method, name in {"mean": "equal", "PCGrad": "pcgrad"}.items():
            step = _combined(create(name, 2), gradients)
            weights = torch.linalg.lstsq(gradients.T, step[:, None]).solution
            entries.append({"angle": angle, "method": method, "mean": weights[0].item()})
    return pd.DataFrame(entries)


def span_residual(taken: Sequence[Snapshot]) -> pd.DataFrame:
    """Share of an edited gradient that no task weights can produce: its part outside the span of the task gradients.

    Returns:
        Columns ``seed``, ``method``, ``residual`` = norm outside the span over whole norm, for the mean, for PCGrad
        (mean over tasks, one draw of its order) and for GradDrop (one draw of its sign mask per coordinate).
    """
    entries = []
    for snapshot in taken:
        gradients = snapshot.gradients.mean(1).cpu()
        basis = torch.linalg.qr(gradients.T)[0]
        stream = snapshot.generator(5).initial_seed()
        balancers = {
            "mean": create("equal", len(TASKS)),
            "PCGrad": create("pcgrad", len(TASKS), seed=stream),
            "GradDrop": create("graddrop", len(TASKS), seed=stream),
        }
        for method, balancer in balancers.items():
            gradient = _combined(balancer, gradients)
            outside = gradient - basis @ (basis.T @ gradient)
            entries.append(
                {"seed": snapshot.seed, "method": method, "residual": (outside.norm() / gradient.norm()).item()}
            )
    return pd.DataFrame(entries)


def _combined(balancer: Balancer, gradients: Tensor) -> Tensor:
    """Step ``[P]`` of a balancer on losses that are linear in one parameter, with gradients ``[T, P]``."""
    point = Parameter(torch.zeros_like(gradients[0]))
    point.grad = torch.zeros_like(point)
    balancer.backward([gradient @ point for gradient in gradients], [point])
    return point.grad


def estimators(
    taken: Sequence[Snapshot], batch_size: int, gamma: float, steps: int, *, rate: float, chains: int
) -> pd.DataFrame:
    """Signal and noise of each task at fixed parameters: from momentum and from two batch sizes, against the exact.

    Both estimators see ``steps`` mini-batches; the two-batch one compares the norm of each with those of its two
    halves. Each row averages ``chains`` independent runs.

    Returns:
        Columns ``seed``, ``task``, ``estimator``, ``quantity`` (``signal`` or ``noise``), ``ratio``: estimate over
        exact value, at the last step.
    """
    entries = []
    for snapshot in taken:
        generator = snapshot.generator(6)
        signal, noise_ = powers(snapshot, batch_size)
        found: dict[str, list[Tensor]] = {"momentum": [], "two batches": []}
        for _ in range(chains):
            halves = snapshot.batches(batch_size // 2, 2 * steps, generator) @ snapshot.gradients
            half = halves.square().sum(-1).mean(1)
            whole = halves.view(len(TASKS), steps, 2, -1).mean(2)
            squared, trace = noise.two_batch_estimate(half, whole.square().sum(-1).mean(1), batch_size // 2, batch_size)
            found["two batches"].append(torch.stack([squared, trace / batch_size]))
            last = [torch.stack([run[-1] for run in noise.momentum_estimates(task, gamma, rate)]) for task in whole]
            found["momentum"].append(torch.stack(last, 1))
        for estimator, runs in found.items():
            mean = torch.stack(runs).mean(0)
            for quantity, estimate, exact in zip(("signal", "noise"), mean, (signal, noise_), strict=True):
                entries += _rows(snapshot, estimator=estimator, quantity=quantity, ratio=estimate / exact)
    return pd.DataFrame(entries)


def estimator_finding(table: pd.DataFrame) -> str:
    """Caption of the estimator figure: how many intervals hold the exact value, and the widest of them."""
    width = (table["high"] - table["low"]).groupby(table["quantity"]).max() / 2
    inside = ((table["low"] <= 1) & (table["high"] >= 1)).sum()
    return (
        f"{inside} of {len(table)} intervals contain the exact value. The widest reaches"
        f" {number(100 * width['noise'], 2)}% to either side for the noise and {number(100 * width['signal'], 2)}% for"
        " the signal."
    )


def powers(snapshot: Snapshot, batch_size: int) -> tuple[Tensor, Tensor]:
    """Exact signal |g|^2 and noise tr(C)/B of each task, ``[T]`` each."""
    signal = snapshot.gradients.mean(1).square().sum(-1)
    return signal, noise.covariance_trace(snapshot.gradients) / batch_size


def readings() -> Iterator[tuple[noise.Scalarisation, noise.Itgn, bool]]:
    """All readings of "maximise the GNR of each task" that have a unique maximum for three tasks."""
    for reading in product(get_args(noise.Scalarisation), get_args(noise.Itgn), (False, True)):
        if reading != ("product", "broad", True):
            yield reading


def reading_name(scalarisation: str, itgn: str, own_noise: bool) -> str:
    """Name of a reading for tables and legends."""
    return f"{scalarisation}, {itgn}" + ", own noise" * own_noise


def closed_forms(taken: Sequence[Snapshot], batch_size: int) -> pd.DataFrame:
    """Weights of every reading in closed form against a numeric optimiser that knows only the ratios.

    Returns:
        Columns ``seed``, ``reading``, ``task``, ``closed``, ``numeric``, ``difference`` (relative) and ``gnr`` at the
        numeric optimum.
    """
    entries = []
    for snapshot in taken:
        signal, noise_ = powers(snapshot, batch_size)
        for scalarisation, itgn, own_noise in readings():
            closed = noise.gnr_weights(signal, noise_, scalarisation=scalarisation, itgn=itgn, own_noise=own_noise)
            numeric = numeric_gnr_weights(
                signal.cpu(), noise_.cpu(), scalarisation=scalarisation, itgn=itgn, own_noise=own_noise
            ).to(closed)
            entries += _rows(
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
        RuntimeError: if the optimiser does not converge.
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
    """Caption of the weight figure: how many readings differ at all, and the range of the weight of ``sum``."""
    wide = forms.pivot_table("closed", ["seed", "task"], "reading").round(9)
    weight = range_interval(forms.loc[forms["task"] == "sum", "closed"])
    return (
        f"{wide.shape[1]} readings of one sentence give {len(wide.T.drop_duplicates())} different weightings. Over"
        f" readings and seeds the weight of sum runs from {number(weight.low, 2)} to {number(weight.high, 2)}."
    )


def label_finding(table: pd.DataFrame) -> str:
    """Caption of the label-noise figure: under which readings the interval at the most noise still holds 1."""
    last = table[table["amount"] == table["amount"].max()]
    flat = last[(last["low"] <= 1 + 1e-9) & (last["high"] >= 1 - 1e-9)]
    falls = last.drop(flat.index)["mean"]
    return (
        f"Noise in one task's labels leaves its weight where it was under {len(flat)} readings"
        f" ({'; '.join(flat['reading'])}); under the other {len(falls)} the weight changes to between"
        f" {number(falls.min(), 2)} and {number(falls.max(), 2)} of its value."
    )


def label_noise(taken: Sequence[Snapshot], amounts: Sequence[float], batch_size: int) -> pd.DataFrame:
    """Weight of the task ``sum`` under each reading when noise is added to its labels alone.

    Each image enters twice, its label raised and lowered by ``amount`` standard units: the mean gradient of a squared
    error is unchanged and its noise grows, exactly. The other tasks see the same images twice.

    Returns:
        Columns ``seed``, ``reading``, ``amount``, ``weight`` (of ``sum``, of all weights' mean), ``relative`` (over
        the weight at the first amount), ``noise`` (s^2 of ``sum``), ``signal`` (a^2 of ``sum``).
    """
    task = TASKS.index("sum")
    entries = []
    for snapshot in taken:
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
    """Per-sample gradients ``[N, P]`` of one task with its real-valued labels shifted."""
    name = TASKS[task]
    targets = {**snapshot.data.targets, name: snapshot.data.targets[name] + shift}
    return sample_gradients(snapshot.model, TwoDigits(snapshot.data.images, targets))[task]


def cross_terms(taken: Sequence[Snapshot], batch_size: int) -> pd.DataFrame:
    """How much the noises of tasks that share a batch, and their gradients, fail to be uncorrelated.

    Returns:
        Columns ``seed``, ``pair``; ``noise``, correlation of the two tasks' noises; ``gradient``, cosine of their full
        gradients; ``narrow`` and ``broad``: power of the pair's summed disturbance over the sum of the two powers, at
        the max-min weights of that reading; 1 if the formula's assumption held.
    """
    entries = []
    for snapshot in taken:
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


def _rows(snapshot: Snapshot, **columns: Tensor | float | str) -> list[dict[str, float | str]]:
    """One row per task; tensors hold one value per task, other values are repeated."""
    return [
        {
            "seed": snapshot.seed,
            "task": task,
            **{name: value[k].item() if isinstance(value, Tensor) else value for name, value in columns.items()},
        }
        for k, task in enumerate(TASKS)
    ]
