r"""Gradient noise of stochastic gradient descent, after the appendix of MaxGNR (Fan et al., ACCV 2022).

Symbols, throughout: :math:`N` samples in the data set, :math:`B` in a mini-batch (the appendix writes
:math:`|S|` for both), :math:`P` shared parameters, :math:`T` tasks. Row :math:`i` of a gradient matrix
`[N, P]` is :math:`\nabla_\theta l_i`, the full gradient :math:`g` is the mean of the rows, and a mini-batch
gradient :math:`\hat g` is `weights @ gradients` with sample weights that sum to 1. Momentum is linear too, so
every experiment with mini-batches is one matrix product with sample weights. All functions are pure.
"""

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from typing import Any, Literal

import torch
from torch import Tensor, nn
from torch.func import jacrev, vmap
from torch.nn.modules.batchnorm import _BatchNorm
from torch.nn.modules.module import register_module_forward_pre_hook
from torch.overrides import TorchFunctionMode

POWER_FLOOR = 1e-12

Randomness = Literal["error", "different", "same"]


def per_sample_gradients(
    losses: Callable[[dict[str, Tensor], Any], Tensor],
    parameters: dict[str, Tensor],
    samples: Any,  # noqa: ANN401 - any pytree of tensors
    chunk_size: int | None = None,
    *,
    randomness: Randomness = "error",
) -> Tensor:
    """Gradient of every task's loss on every sample (the summands of Eq. 2), in one vectorised pass.

    A loss on one sample has to be defined without the others. Batch normalisation in training mode, and in any mode
    without running statistics, takes the statistics of the batch, and is refused. Dropout draws random numbers, which
    need a decision: `randomness`, as in `torch.func.vmap`. The tasks of one sample share its draw, as in a training
    step.

    Args:
        losses: `(parameters, one sample) -> [T]`, the losses of the tasks on that sample.
        parameters: Parameters to differentiate by, `P` numbers in all.
        samples: Pytree of tensors whose first dimension is `N`.
        chunk_size: Samples differentiated at once; memory grows with it. `None` takes all.
        randomness: Random numbers that `losses` draws: `error` refuses them, `different` draws anew for each sample,
            as a training step does, so that their noise counts, `same` draws once for all samples (on CUDA, once for
            each chunk).

    Returns:
        `[T, N, P]`, the parameters flattened in the order of the mapping.

    Raises:
        ValueError: `randomness` is none of the three, or is `error` where random numbers are drawn; or the losses use
            batch normalisation by the statistics of the batch.
    """
    if randomness not in ("error", "different", "same"):
        raise ValueError(f"randomness is {randomness!r}; accepted: 'error', 'different', 'same'")
    gradient = vmap(jacrev(losses), in_dims=(None, 0), randomness=randomness, chunk_size=chunk_size)
    try:
        with register_module_forward_pre_hook(_refuse_batch_layer), _RefuseBatchFunction():
            jacobians = gradient(parameters, samples)
    except RuntimeError as error:
        if "random operation while in randomness error mode" not in str(error):
            raise
        raise ValueError(
            "randomness is 'error', and losses draws random numbers, as dropout in training mode does; "
            "accepted: 'different', 'same', or a model in eval mode"
        ) from error
    return torch.cat([jacobian.flatten(2) for jacobian in jacobians.values()], dim=2).transpose(0, 1).contiguous()


def _refuse_batch_layer(module: nn.Module, _: Any) -> None:  # noqa: ANN401 - the layer's inputs
    if isinstance(module, _BatchNorm) and (module.training or module.running_mean is None):
        raise _batch_statistics(f"the layer {module}")


class _RefuseBatchFunction(TorchFunctionMode):
    """Refuse batch normalisation where a model calls the function and has no layer for it."""

    def __torch_function__(
        self,
        func: Callable[..., Any],
        types: Iterable[type],
        args: tuple[Any, ...] = (),
        kwargs: Mapping[str, Any] | None = None,
    ) -> Any:  # noqa: ANN401 - whatever the function returns
        kwargs = kwargs or {}
        if func in (nn.functional.batch_norm, torch.batch_norm):
            training = args[5] if len(args) > 5 else kwargs.get("training", False)
            if training:
                raise _batch_statistics("batch_norm with training=True")
        return func(*args, **kwargs)


def _batch_statistics(what: str) -> ValueError:
    return ValueError(
        f"losses uses {what}, whose statistics are those of the batch, so that no gradient of one sample exists; "
        "accepted: batch normalisation in eval mode with running statistics, or a normalisation of single samples, "
        "such as GroupNorm"
    )


def covariance_trace(gradients: Tensor) -> Tensor:
    r"""Trace of the population covariance, :math:`\mathrm{tr}\,C = \frac1N \sum_i |\nabla l_i - g|^2` (Section 5).

    Args:
        gradients: `[..., N, P]`.

    Returns:
        `[...]`, at least 0. The divisor is :math:`N`: the data set is the population that batches are drawn from.
    """
    return (gradients - gradients.mean(-2, keepdim=True)).square().sum(-1).mean(-1)


def batch_weights(n: int, batch: int, draws: int, generator: torch.Generator, *, replacement: bool) -> Tensor:
    """Sample weights of `draws` independent mini-batches of `batch` out of `n` samples (Eq. 1).

    Returns:
        `[draws, n]` float64 on the CPU: multiplicity of each sample divided by `batch`; rows sum to 1.

    Raises:
        ValueError: `batch` is below 1, or above `n` without replacement.
    """
    if batch < 1 or (not replacement and batch > n):
        raise ValueError(f"batch is {batch}; accepted: 1 to {n} samples" + " or more" * replacement)
    if replacement:
        index = torch.randint(n, (draws, batch), generator=generator)
    else:
        index = torch.rand(draws, n, generator=generator, dtype=torch.float64).argsort(1)[:, :batch]
    counts = torch.zeros(draws, n, dtype=torch.float64)
    return counts.scatter_add_(1, index, torch.ones(draws, batch, dtype=torch.float64)) / batch


def noise_power(gradients: Tensor, weights: Tensor) -> Tensor:
    r"""Squared norm of the noise, :math:`|n|^2 = |\hat g - g|^2` (Eq. 6), of weighted sums of sample gradients.

    Args:
        gradients: `[..., N, P]`.
        weights: `[draws, N]`. Rows need not sum to 1: the noise of a weighted sum is its distance from its own
            expectation, `weights.sum() * g`.

    Returns:
        `[..., draws]`.
    """
    expected = weights.sum(-1, keepdim=True) * gradients.mean(-2, keepdim=True)
    return (weights @ gradients - expected).square().sum(-1)


def finite_population_factor(n: int, batch: int) -> float:
    r"""Noise power without replacement over that with replacement, :math:`(N-B)/(N-1)`. Not in the appendix."""
    return (n - batch) / (n - 1)


def momentum(values: Tensor, gamma: float) -> Tensor:
    r"""Exponential average :math:`m_t = \gamma m_{t-1} + (1-\gamma) x_t`, :math:`m_0 = 0` (Eq. 7).

    Args:
        values: `[steps, ...]`; gradients or, as momentum is linear, the sample weights of the batches.
        gamma: In [0, 1).

    Returns:
        `[steps, ...]`, :math:`m_1, m_2, \dots`. Divide by :math:`1-\gamma^t` for an average whose weights sum to 1.

    Raises:
        ValueError: `gamma` is out of range.
    """
    _check_gamma(gamma)
    averages = torch.empty_like(values)
    average = torch.zeros_like(values[0])
    for step, value in enumerate(values):
        average = gamma * average + (1 - gamma) * value
        averages[step] = average
    return averages


def momentum_power_factor(gamma: float, steps: int | None = None) -> float:
    r"""Noise power of :math:`m_t` over that of one gradient (Eq. 8), for independent batches at fixed parameters.

    After `steps` = :math:`t` steps it is the sum in the second line of Eq. 8,
    :math:`(1-\gamma)^2 \sum_{i=1}^t \gamma^{2(t-i)}`, which is exact; the closed form
    :math:`(1-\gamma)(1-\gamma^{2t})/(1+\gamma)` of that sum is ours. With `steps=None` it is the limit
    :math:`(1-\gamma)/(1+\gamma)`, whose square root Eq. 8 prints as the ratio of standard deviations.
    """
    _check_gamma(gamma)
    limit = (1 - gamma) / (1 + gamma)
    return limit if steps is None else limit * (1 - gamma ** (2 * steps))


def shuffled_power_factor(gamma: float, batches: int, position: int | None = None) -> float:
    r"""Noise power of momentum in shuffled epochs over the limit of Eq. 8, at fixed parameters. Not in the appendix.

    An epoch has :math:`K` batches that hold every sample once, so that their noises, each of power 1, sum to zero: any
    two of them have the correlation :math:`-1/(K-1)`. Epochs are shuffled independently. Within one epoch, weights
    :math:`c_1, c_2, \dots` of its batches leave the power :math:`(K \sum c^2 - (\sum c)^2)/(K-1)`. Summed over the
    :math:`h` batches of the current epoch, whose last weight is :math:`1-\gamma`, and over all epochs before it, and
    divided by :math:`(1-\gamma)/(1+\gamma)`, this is

    .. math:: \phi_h = \frac{1}{K-1}\left[K - \frac{1+\gamma}{1-\gamma}
        \left((1-\gamma^h)^2 + \gamma^{2h}\,\frac{1-\gamma^K}{1+\gamma^K}\right)\right],

    and its mean over the positions :math:`h = 1, \dots, K` is

    .. math:: \bar\phi = \frac{1}{K-1}\left[K - \frac{1+\gamma}{1-\gamma}
        + \frac{2\gamma\,(1-\gamma^K)}{K(1-\gamma)^2}\right].

    For epochs much longer than the memory of momentum it is about :math:`1 - 2\gamma/((1-\gamma)K)`. The unit of power
    is the noise of one batch drawn without replacement, see :func:`finite_population_factor`.

    Args:
        gamma: In [0, 1).
        batches: Batches an epoch, :math:`K`, at least 2.
        position: Batches of the current epoch that momentum has seen, :math:`h`, from 1 to `batches`; `None` for the
            mean over all positions.

    Raises:
        ValueError: An argument is out of range.
    """
    _check_gamma(gamma)
    if batches < 2:
        raise ValueError(f"batches is {batches}; accepted: 2 or more an epoch")
    memory = (1 + gamma) / (1 - gamma)
    if position is None:
        spared = memory - 2 * gamma * (1 - gamma**batches) / (batches * (1 - gamma) ** 2)
    elif 1 <= position <= batches:
        past = gamma ** (2 * position) * (1 - gamma**batches) / (1 + gamma**batches)
        spared = memory * ((1 - gamma**position) ** 2 + past)
    else:
        raise ValueError(f"position is {position}; accepted: 1 to {batches}")
    return (batches - spared) / (batches - 1)


def _check_gamma(gamma: float) -> None:
    if not 0 <= gamma < 1:
        raise ValueError(f"gamma is {gamma}; accepted: 0 <= gamma < 1")


def excess_kurtosis(values: Tensor) -> Tensor:
    r"""Fourth central moment over the squared variance, minus 3: `[K, ...]` to `[...]`; 0 for a Gaussian.

    For the mean of :math:`B` independent draws it is :math:`1/B` of that of one draw. It is at least -2.
    """
    centred = values - values.mean(0)
    return centred.pow(4).mean(0) / centred.square().mean(0).square() - 3


def noise_gramian(gradients: Tensor) -> Tensor:
    r"""Inner products of the tasks' noises in a shared batch of one, :math:`E\langle n_i, n_j\rangle`.

    Args:
        gradients: `[T, N, P]`.

    Returns:
        `[T, T]`; the diagonal holds :math:`\mathrm{tr}\,C_i`. Divide by :math:`B` for batches of :math:`B`.
    """
    centred = (gradients - gradients.mean(1, keepdim=True)).flatten(1)
    return centred @ centred.T / gradients.shape[1]


def effective_weights(combine: Callable[[Tensor], Tensor], losses: Tensor) -> Tensor:
    r"""Weights :math:`w_i = dL/dL_i` that a combination :math:`L = f(L_1, \dots, L_T)` amounts to (Eq. 3-5).

    Args:
        combine: `[T] -> scalar`, differentiable at `losses`.
        losses: `[T]`.

    Returns:
        `[T]`, by automatic differentiation.
    """
    losses = losses.detach().requires_grad_()
    (weights,) = torch.autograd.grad(combine(losses), losses)
    return weights


@dataclass(frozen=True)
class Combination:
    """A way to join losses, with the effective weights that Eq. 5 predicts for it.

    Attributes:
        name: As in the literature.
        combine: `[T] -> scalar`.
        weights: `[T] -> [T]`, the closed form of the derivative.
    """

    name: str
    combine: Callable[[Tensor], Tensor]
    weights: Callable[[Tensor], Tensor]


def combinations(sigma: Tensor, p: float) -> tuple[Combination, ...]:
    r"""Four combinations of `[T]` positive losses, not rescaled to the mean.

    Uncertainty weighting is taken with :math:`1/(2\sigma^2)` for every task; Kendall et al. derive
    :math:`1/\sigma^2` for classification.

    Args:
        sigma: `[T]`, the noise scales of uncertainty weighting (Kendall et al. 2018), positive.
        p: Exponent of the p-norm, at least 1.
    """
    return (
        Combination(
            "geometric mean (GLS)",
            lambda losses: losses.log().mean().exp(),
            lambda losses: losses.log().mean().exp() / (len(losses) * losses),
        ),
        Combination("sum of logs", lambda losses: losses.log().sum(), lambda losses: 1 / losses),
        Combination(
            "uncertainty",
            lambda losses: (losses / (2 * sigma**2) + sigma.log()).sum(),
            lambda losses: 1 / (2 * sigma**2),
        ),
        Combination(
            f"{p:g}-norm",
            lambda losses: losses.pow(p).sum().pow(1 / p),
            lambda losses: (losses / losses.pow(p).sum().pow(1 / p)) ** (p - 1),
        ),
    )


def two_batch_estimate(small: Tensor, large: Tensor, b: int, batch: int) -> tuple[Tensor, Tensor]:
    r"""Unbiased estimates of :math:`|g|^2` and :math:`\mathrm{tr}\,C` from two batch sizes (McCandlish et al. 2018).

    :math:`|g|^2 = (B|\hat g_B|^2 - b|\hat g_b|^2)/(B-b)`,
    :math:`\mathrm{tr}\,C = (|\hat g_b|^2 - |\hat g_B|^2)/(1/b - 1/B)`. Either may come out negative.

    Args:
        small: Squared norms of gradients of batches of `b`, `[...]`.
        large: Squared norms of gradients of batches of `batch`, `[...]`.
        b: The smaller batch size, at least 1.
        batch: The larger one, more than `b`.

    Raises:
        ValueError: `1 <= b < batch` does not hold.
    """
    if not 1 <= b < batch:
        raise ValueError(f"b is {b} and batch {batch}; accepted: 1 <= b < batch")
    return (batch * large - b * small) / (batch - b), (small - large) / (1 / b - 1 / batch)


def momentum_estimates(gradients: Tensor, gamma: float, rate: float) -> tuple[Tensor, Tensor]:
    r"""Running estimates of the powers of signal, :math:`|g|^2`, and noise, :math:`\mathrm{tr}\,C/B`, from momentum.

    A reconstruction: the main paper's estimator was not available. Write :math:`a^2` for the first and :math:`s^2` for
    the second. With
    :math:`\tilde m_t = m_t/(1-\gamma^t)`, which is independent of the next batch,

    .. math:: a^2 = E\langle \hat g_t, \tilde m_{t-1}\rangle, \qquad
        s^2 = \frac{E|\hat g_t - \tilde m_{t-1}|^2}{1 + \kappa_{t-1}}, \qquad
        \kappa_t = \frac{(1-\gamma)(1+\gamma^t)}{(1+\gamma)(1-\gamma^t)}.

    :math:`\kappa_t` is the noise power of :math:`\tilde m_t` in units of :math:`s^2`; for large :math:`t` the
    factor :math:`1/(1+\kappa)` is :math:`(1+\gamma)/2`. Both expectations become averages over the steps so
    far, exponential with memory `rate` and with weights that sum to 1. Unbiased while the parameters stay
    put; the signal may come out negative, so clamp it before dividing by it.

    Args:
        gradients: `[steps, P]`, mini-batch gradients of one task, `steps` at least 2.
        gamma: Momentum, in [0, 1).
        rate: Memory of the two averages, in [0, 1); 0 keeps only the last step.

    Returns:
        `(signal, noise)`, each `[steps - 1]`: the estimates after steps 2, 3, ...

    Raises:
        ValueError: `gamma` or `rate` is out of range, or there are fewer than 2 steps.
    """
    if len(gradients) < 2:
        raise ValueError(f"gradients holds {len(gradients)} steps; accepted: 2 or more")
    steps = torch.arange(1, len(gradients), dtype=gradients.dtype, device=gradients.device)
    power = gamma**steps
    average = momentum(gradients[:-1], gamma) / (1 - power)[:, None]
    kappa = (1 - gamma) / (1 + gamma) * (1 + power) / (1 - power)
    signal = (gradients[1:] * average).sum(1)
    noise = (gradients[1:] - average).square().sum(1) / (1 + kappa)
    norm = 1 - rate**steps
    return momentum(signal, rate) / norm, momentum(noise, rate) / norm


Scalarisation = Literal["maxmin", "product"]
Itgn = Literal["narrow", "broad"]


def _interference(signal: Tensor, noise: Tensor, itgn: Itgn) -> Tensor:
    """Disturbing power q `[T]`: what a task adds to the noise of the others for each unit of its squared weight."""
    if itgn not in ("narrow", "broad"):
        raise ValueError(f"itgn is {itgn!r}; accepted: 'narrow' or 'broad'")
    return noise if itgn == "narrow" else signal + noise


def gnr(weights: Tensor, signal: Tensor, noise: Tensor, *, itgn: Itgn = "narrow", own_noise: bool = False) -> Tensor:
    r"""Gradient-to-noise ratio of each task under task weights (a reconstruction from the paper's abstract).

    :math:`\mathrm{GNR}_i = w_i^2 a_i^2 / D_i(w)` with :math:`D_i = \sum_{j \ne i} w_j^2 q_j`, the power of the
    inter-task gradient noise: the disturbing power is :math:`q_j = s_j^2`, the noise of the other tasks (`narrow`), or
    :math:`a_j^2 + s_j^2`, their whole gradients (`broad`). `own_noise` adds :math:`w_i^2 s_i^2`. The sum
    over tasks takes their noises as uncorrelated, and in the broad reading their gradients as orthogonal.

    Args:
        weights: `[T]`, positive; their common scale does not matter.
        signal: `[T]`, :math:`a_i^2 = |g_i|^2`.
        noise: `[T]`, :math:`s_i^2 = \mathrm{tr}\,C_i/B`.
        itgn: Reading of inter-task gradient noise.
        own_noise: Whether a task's own noise counts.

    Returns:
        `[T]`; infinite where nothing disturbs a task.
    """
    squared = weights.square()
    contributions = squared * _interference(signal, noise, itgn)
    disturbance = contributions.sum() - contributions + own_noise * squared * noise
    return squared * signal / disturbance


def gnr_weights(
    signal: Tensor,
    noise: Tensor,
    *,
    scalarisation: Scalarisation = "maxmin",
    itgn: Itgn = "narrow",
    own_noise: bool = False,
) -> Tensor:
    r"""Task weights that maximise the gradient-to-noise ratio of each task (a reconstruction).

    The appendix does not say how T ratios become one objective. `maxmin` maximises the smallest ratio, which
    makes all of them equal; `product` maximises their product.

    * max-min: with :math:`r_i = q_i/a_i^2`, the Perron eigenvalue :math:`\rho` of the matrix
      :math:`M_{ij} = [i \ne j]\, q_j / a_i^2` solves :math:`\sum_i r_i/(\rho + r_i) = 1`, every ratio is
      :math:`1/\rho`, and :math:`w_i \propto (\rho a_i^2 + q_i)^{-1/2}`. For two tasks
      :math:`w_1/w_2 = \sqrt{a_2 \sqrt{q_2} / (a_1 \sqrt{q_1})}`. With the own noise counted,
      :math:`w_i \propto 1/a_i`: the noise drops out.
    * product: :math:`w_i \propto 1/\sqrt{q_i}`, with the own noise counted too in the narrow reading. In the broad
      one the own noise matters, and :math:`w_i^2 \propto v_i/q_i` with the shares :math:`v_i` of the sum over tasks
      that solve :math:`v_i (1 - (1 - \nu_i) v_i) = \mu`, :math:`\sum_i v_i = 1`, :math:`\nu_i = s_i^2/q_i`. For two
      tasks that is :math:`w_i \propto (s_i^2 q_i)^{-1/4}`.

    Two objectives choose no weights, both for want of the own noise: without it the product of two tasks' ratios is the
    same for all weights, and the sum of ratios grows without bound as one task takes all. With it the product of two
    has one maximum, and the sum stays below the largest :math:`a_i^2/s_i^2`, which it nears as that task takes all.

    The product has one maximum. In :math:`x = \log w^2`, :math:`\log \mathrm{GNR}_i` is :math:`x_i` plus a constant
    minus the logarithm of a sum of exponentials, so it is concave, and strictly so but for the common scale of the
    weights where the sum runs over all tasks, as it does with the own noise. With the own noise it is also at most
    :math:`\log (a_i^2/s_i^2)` and tends to minus infinity as :math:`v_i` vanishes, so that their sum attains its
    maximum.

    Powers below 1e-12 of the largest are raised to it, so that weights stay finite.

    Args:
        signal: `[T]`, :math:`a_i^2`, at least 0.
        noise: `[T]`, :math:`s_i^2`, at least 0.
        scalarisation: `maxmin` or `product`.
        itgn: `narrow` or `broad`, see :func:`gnr`.
        own_noise: Whether a task's own noise counts, see :func:`gnr`.

    Returns:
        `[T]`, positive, sum T.

    Raises:
        ValueError: The reading is unknown, or is the product of two tasks without own noise, which does not depend
            on the weights.
    """
    tasks = len(signal)
    tiny = torch.finfo(signal.dtype).tiny
    signal, noise = (power.clamp_min(POWER_FLOOR * power.max()).clamp_min(tiny) for power in (signal, noise))
    disturbance = _interference(signal, noise, itgn)
    if tasks == 1:
        return torch.ones_like(signal)
    if scalarisation == "product":
        if tasks == 2 and not own_noise:
            raise ValueError(
                "scalarisation 'product' without own noise does not depend on the weights of two tasks; "
                "accepted: 'maxmin', or own_noise"
            )
        inverse = disturbance
        if own_noise and itgn == "broad":
            inverse = disturbance / _shares(noise / disturbance)
    elif scalarisation == "maxmin":
        inverse = signal if own_noise else _perron_root(disturbance / signal) * signal + disturbance
    else:
        raise ValueError(f"scalarisation is {scalarisation!r}; accepted: 'maxmin' or 'product'")
    weights = (inverse / inverse.min()).rsqrt()
    return weights * tasks / weights.sum()


def _shares(noise: Tensor) -> Tensor:
    r"""Shares v `[T]`, T >= 2, that maximise :math:`\sum_i \log v_i - \log(1 - (1 - \nu_i) v_i)`, with sum 1.

    There :math:`v_i (1 - (1 - \nu_i) v_i)` is the same number :math:`\mu` for all tasks, at most any share. So
    :math:`1 - v_i \ge (T - 1) \mu`, hence :math:`v_i \le 1/(T - 1)`: for T >= 3 every share is the lower root of its
    quadratic equation, which falls with :math:`\nu_i` and grows with the largest share. Bisection finds the largest
    share whose companions bring the sum to 1.

    Args:
        noise: `[T]`, :math:`\nu_i = s_i^2/q_i` in (0, 1].
    """
    tasks = len(noise)
    if tasks == 2:
        shares = noise.rsqrt()
        return shares / shares.sum()
    least = noise.min()

    def shares_below(largest: Tensor) -> Tensor:
        mu = largest * (1 - largest + least * largest)
        # 1 - 4 (1 - nu_i) mu as a sum of positive terms; the first is that of the largest share.
        discriminant = (1 - 2 * largest + 2 * least * largest).square() + 4 * (noise - least) * mu
        return 2 * mu / (1 + discriminant.sqrt())

    low, high = torch.full_like(least, 1 / tasks), torch.full_like(least, 1 / (tasks - 1))
    for _ in range(54):
        middle = (low + high) / 2
        above = shares_below(middle).sum() > 1
        low, high = torch.where(above, low, middle), torch.where(above, middle, high)
    shares = shares_below((low + high) / 2)
    return shares / shares.sum()


def _perron_root(ratios: Tensor) -> Tensor:
    """Root rho of sum r_i / (rho + r_i) = 1, T >= 2, by bisection of log rho between (T - 1) times min and max r."""
    tasks = len(ratios)
    low, high = (tasks - 1) * ratios.min(), (tasks - 1) * ratios.max()
    for _ in range(64):
        middle = low.sqrt() * high.sqrt()
        above = (ratios / (middle + ratios)).sum() < 1
        low, high = torch.where(above, low, middle), torch.where(above, middle, high)
    return low.sqrt() * high.sqrt()
