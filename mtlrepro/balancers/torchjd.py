"""TorchJD's weightings as balancers (optional: `pip install mtlrepro[oracle]`)."""

import inspect
import warnings
from collections.abc import Mapping
from typing import Any, Literal, Union, get_args, get_origin

import torch
from torch import Tensor, nn

from mtlrepro.balancers.base import Step
from mtlrepro.balancers.gradient_balancing import GramianWeighting
from mtlrepro.balancers.random_state import RandomState
from mtlrepro.options import Option, check_options, options_of

OF_JACOBIAN = ("Constant", "Mean", "NashMTL", "Random", "Sum")
"""Weightings of a Jacobian that depend on no more of it than its Gramian."""

RANDOM = ("GradVac", "PCGrad", "Random")
"""Weightings that draw random numbers."""

STATE = {"GradVac": ("_phi_t",), "NashMTL": ("prvs_alpha", "step"), "PCD": ("_sq_norm_ema", "_n_steps")}
"""What weightings keep from step to step, by attribute, a floating-point tensor or array first."""

REFUSED = {
    "ConFIG": "it has no weighting, and combines the elements of the Jacobian",
    "CRMOGM": "it wraps another weighting, which no option can be",
    "ExcessMTL": "it takes the elements of the Jacobian, which a Gramian does not hold",
    "GradDrop": "it has no weighting, and combines the elements of the Jacobian; 'graddrop' is that method",
    "MoDo": "it takes the products of two independent batches' Jacobians, and a step has one batch",
    "SDMGrad": "it takes the products of two independent batches' Jacobians, and a step has one batch",
    "TrimmedMean": "it has no weighting, and combines the elements of the Jacobian",
}
"""Why the rest of TorchJD's aggregators and weightings is not offered."""


class TorchJD(RandomState, GramianWeighting):
    """A weighting of TorchJD, `torchjd:UPGrad` or `torchjd:UPGradWeighting`, on this library's gradients.

    Scale: passed through as TorchJD defines it, which is not the mean for all of them (PCGrad sums). Heads
    receive grad L_k / T. The weighting works on the host, in the type in which the inner products were taken, as
    TorchJD does on a Jacobian: a step waits for the device, and cannot be part of a CUDA graph. Random numbers
    come from the balancer's own stream, which starts as torch's global one does after `torch.manual_seed(seed)`;
    the stream and what a weighting keeps from step to step are part of `state_dict`. A bad step leaves a weighting
    as it is. NashMTL needs the package `ecos` besides.

    Args:
        n_tasks: Number of tasks T.
        weighting: Name of an aggregator of `torchjd.aggregation`, or of its weighting.
        **options: Its own options, vectors as lists of numbers. `seed`, an integer, for those that draw numbers.

    Raises:
        ImportError: TorchJD, or what this weighting needs besides, is not installed.
        ValueError: There is no such weighting or option, a value is refused, or the weighting does not take T
            tasks. In a step: a task is absent, and the weighting keeps or was given one number per task.
    """

    capturable = False

    def __init__(self, n_tasks: int, weighting: str, **options: Any) -> None:  # noqa: ANN401
        name = weighting.removesuffix("Weighting")
        offered = _aggregators()
        if name not in offered:
            reason = f" ({REFUSED[name]})" if name in REFUSED else ""
            raise ValueError(f"name is 'torchjd:{weighting}'{reason}; accepted after 'torchjd:': {', '.join(offered)}")
        title = f"torchjd:{name}"
        options = check_options(title, options, _options(name, offered[name]))
        _check_vectors(options, n_tasks)
        super().__init__(n_tasks)
        self.name = name
        self.seed = options.pop("seed", 0)
        self._vectors = {
            option: torch.tensor(value, dtype=torch.float64)
            for option, value in options.items()
            if isinstance(value, (list, tuple))
        }
        try:
            made = _make(offered[name], n_tasks, {**options, **self._vectors})
            # A tuple hides the weighting's buffers, which appear only with its first call, from this module's state.
            self._held = (made,)
            self._weigh(torch.eye(n_tasks, dtype=torch.float64))  # refuses what it cannot do with T tasks
        except ImportError as error:
            raise ImportError(f"{title}: {error}") from error  # names the packages and how to install them
        except Exception as error:
            raise ValueError(f"{title} with {n_tasks} tasks: {error}") from error
        self._restart()

    def forward(self, gramian: Tensor) -> Tensor:
        """Map the Gramian [t, t] to TorchJD's weights [t]."""
        return self.coefficients(gramian, gramian.dtype)

    def coefficients(self, gramian: Tensor, precision: torch.dtype) -> Tensor:
        """Map the Gramian [t, t] of products taken in `precision` to TorchJD's weights [t]."""
        weights = self._weigh(gramian.detach().to("cpu", precision))
        return weights.to(gramian.device, torch.float64)

    def _weigh(self, gramian: Tensor) -> Tensor:
        (weighting,) = self._held
        for option, vector in self._vectors.items():
            setattr(weighting, option, vector.to(gramian.dtype))
        matrix = _root(gramian) if self.name in OF_JACOBIAN else gramian
        stream = self.generator(gramian.device)
        with torch.random.fork_rng(devices=[]), warnings.catch_warnings():
            warnings.filterwarnings("ignore", "You are solving a parameterized problem", UserWarning)  # NashMTL's
            torch.set_rng_state(stream.get_state())
            weights: Tensor = weighting(matrix)
            stream.set_state(torch.get_rng_state())
        return weights

    def _restart(self) -> None:
        self._generator = None
        if self.name in STATE:
            self._held[0].reset()

    def _step(self, step: Step) -> Tensor | None:
        if len(step.tasks) < self.n_tasks and (self.name in STATE or self._vectors):
            absent = next(k for k in range(self.n_tasks) if k not in step.tasks)
            raise ValueError(f"losses: {self._who(absent)} is absent; accepted by torchjd:{self.name}: all tasks")
        return super()._step(step)

    def _solve(self, step: Step, products: Tensor, valid: Tensor) -> tuple[Tensor, Tensor]:
        if step.certain or bool(valid):
            return super()._solve(step, products, valid)
        nothing = torch.full_like(products[0], torch.nan)
        return nothing, nothing

    def get_extra_state(self) -> dict[str, Any]:
        """Add what the weighting keeps, by attribute; nothing before its first step."""
        kept = {name: getattr(self._held[0], name) for name in STATE.get(self.name, ())}
        started = all(value is not None for value in kept.values())
        return {
            **super().get_extra_state(),
            "weighting": {name: _pack(value) for name, value in kept.items()} if started else {},
        }

    def set_extra_state(self, state: dict[str, Any]) -> None:
        """Restore what the weighting keeps."""
        self._restart()
        saved: dict[str, Tensor] = {name: value.cpu() for name, value in state["weighting"].items()}
        if saved:
            (weighting,) = self._held
            kind = next(iter(saved.values())).dtype
            self._weigh(torch.eye(self.n_tasks, dtype=kind))  # makes what is made at a first call
            for name, value in saved.items():
                setattr(weighting, name, _unpack(value, getattr(weighting, name)))
        super().set_extra_state(state)


def _aggregators() -> dict[str, type[nn.Module]]:
    """Find what is offered by name: aggregators whose weights depend on the Gramian alone."""
    try:
        from torchjd import aggregation
    except ImportError as error:
        raise ImportError("torchjd: weightings need TorchJD; install mtlrepro[oracle]") from error
    base = aggregation.GramianWeightedAggregator
    classes = {name: getattr(aggregation, name) for name in sorted(aggregation.__all__)}
    return {
        name: item
        for name, item in classes.items()
        if name in OF_JACOBIAN or (issubclass(item, base) and item is not base)
    }


def _options(name: str, aggregator: type[nn.Module]) -> dict[str, Option]:
    """List the options that JSON can hold; a vector is a list there, and a projector nothing."""
    options = {
        option: Option(_as_json(annotation), required)
        for option, (annotation, required) in options_of(aggregator).items()
        if option != "projector"
    }
    return {**options, "seed": Option(int, False)} if name in RANDOM else options


def _check_vectors(options: Mapping[str, Any], n_tasks: int) -> None:
    """Refuse weights and preferences that are not a number a task, and preferences for nothing.

    Raises:
        ValueError: Names the option.
    """
    for option in ("pref_vector", "weights"):
        vector = options.get(option)
        if vector is None:
            continue
        if len(vector) != n_tasks:
            raise ValueError(f"{option} is {vector!r}; accepted: {n_tasks} numbers, one for each task")
        if option == "pref_vector" and (min(vector) < 0 or max(vector) <= 0):
            raise ValueError(f"{option} is {vector!r}; accepted: {n_tasks} numbers of at least 0, not all of them 0")


def _as_json(annotation: Any) -> Any:  # noqa: ANN401
    if annotation is Tensor:
        return list[float]
    if get_origin(annotation) in (None, Literal):
        return annotation
    return Union[tuple(map(_as_json, get_args(annotation)))]  # noqa: UP007


def _make(aggregator: type[nn.Module], n_tasks: int, options: Mapping[str, Any]) -> Any:  # noqa: ANN401
    """Create an aggregator and take its weighting of the Gramian, or of the Jacobian if it has no such."""
    if "n_tasks" in inspect.signature(aggregator).parameters:
        options = {"n_tasks": n_tasks, **options}
    made = aggregator(**options)
    return getattr(made, "gramian_weighting", None) or made.weighting


def _root(gramian: Tensor) -> Tensor:
    """Find a matrix R [t, t] with R R' = `gramian`: a Jacobian of the same inner products."""
    values, vectors = torch.linalg.eigh(gramian.double())
    root: Tensor = vectors * values.clamp_min(0).sqrt()
    return root.to(gramian.dtype)


def _pack(value: Any) -> Tensor:  # noqa: ANN401
    """Make a tensor of its own of a tensor, an array or a number."""
    return torch.tensor(value, dtype=torch.float64) if isinstance(value, float) else torch.as_tensor(value).clone()


def _unpack(saved: Tensor, like: Any) -> Any:  # noqa: ANN401
    """Undo `_pack`, for a value of the kind of `like`."""
    if isinstance(like, Tensor):
        return saved.clone()
    return saved.item() if isinstance(like, float) else saved.clone().numpy()
