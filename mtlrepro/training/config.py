"""One run's configuration: checked before any work, one canonical JSON, one hash."""

import hashlib
import json
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field, fields
from functools import lru_cache
from math import isfinite
from pathlib import Path
from typing import Any, Literal, Self, get_args

import torch

from mtlrepro import balancers, models, tasks
from mtlrepro.data.catalogue import CATALOGUE, GENERATED
from mtlrepro.data.scenes import cache as scenes
from mtlrepro.data.transforms import Augmentation
from mtlrepro.tasks import Protocol

ALGORITHM = 1
"""Raised whenever a change of the code alters numbers: records of another version are stale."""

OptimizerName = Literal["adamw", "adam", "sgd"]
Schedule = Literal["constant", "steps"]
Device = Literal["cpu", "cuda"]
Precision = Literal["float32", "bf16"]
EvaluateOn = Literal["test", "val", "both"]

LATER = {"evaluate_on": "test", "pictures": {}}
"""Fields that records without them can do without: at these defaults the canonical JSON leaves them out."""


@dataclass(frozen=True, kw_only=True)
class RunConfig:
    """Everything that a run's numbers depend on, except the files of a real data set.

    Attributes:
        dataset: ``rooms``, ``streets``, ``nyuv2``, ``cityscapes``, ``taskonomy`` or ``bdd100k``.
        n_train: number of training scenes; default: the generator's own. Real data sets have what they have.
        n_test: number of test scenes.
        size: (height, width) of scenes in pixels; default: the generator's own.
        classes: 7 or 19 for Cityscapes and streets; default: as stored.
        tasks: one task or more, in the order of losses and weights; one is a single-task baseline.
        protocol: losses and metrics of LSB (``lsb``) or of the public benchmark (``benchmark``).
        model: name of a network, see ``models.create``.
        model_options: its options, JSON values.
        method: name of a balancer, see ``balancers.create``.
        method_options: its options, JSON values.
        optimizer: ``adamw``, ``adam`` (betas 0.9, 0.999, eps 1e-8) or ``sgd`` (momentum 0.9).
        lr: learning rate, above 0.
        weight_decay: of the network's parameters, never of the balancer's own.
        schedule: ``constant``, or ``steps``: the rate is multiplied by ``factor`` after each epoch of ``milestones``.
        milestones: numbers of epochs, increasing, each below ``epochs``.
        factor: in (0, 1) with ``steps``, else 1.
        epochs: passes over the training set.
        batch_size: images in a step, over all processes; samples left over at the end of an epoch wait for the next.
        flip: probability of a mirror image.
        scales: zoom factors of the training images.
        crop: (height, width) of training images; default: not cropped.
        evaluate_every: epochs between two evaluations; the last ``average_last`` epochs are always evaluated.
        evaluate_on: ``test``, which is the validation split where test labels are not public; or, for data sets that
            have both splits, ``val``, or ``both``: final metrics are those on the test split, and those on the
            validation split stand beside them, so that one run serves the choice of settings and the report.
        average_last: final metrics are the mean over the evaluations after the last so many epochs (the public
            benchmark: 10); with 1 they are those of the last epoch.
        probe_every: epochs between two looks at the task gradients on a fixed batch; 0 for none.
        pictures: ``{"epochs": [...], "images": [...]}``: after which epochs, and for which images of the evaluated
            split, predictions are kept beside the record; not for detection.
        seed: of initialisation, order, transforms and the method's own draws, where it has such.
        device: kind of device.
        threads: CPU threads.
        precision: ``bf16`` runs the network under autocast; losses and balancer stay in float32 or more.
        compile: whether ``torch.compile`` compiles the shared part and each head.
        cuda_graph: whether steps are replayed as one CUDA graph; one process, dense tasks.

    Raises:
        TypeError: an unknown field.
        ValueError: a field is not accepted; names field, value and what is accepted.
    """

    dataset: str = "rooms"
    n_train: int | None = None
    n_test: int | None = None
    size: tuple[int, int] | None = None
    classes: int | None = None
    tasks: tuple[str, ...] = ("segmentation", "depth", "normal")
    protocol: Protocol = "lsb"
    model: str = "multi_decoder"
    model_options: Mapping[str, Any] = field(default_factory=dict)
    method: str = "equal"
    method_options: Mapping[str, Any] = field(default_factory=dict)
    optimizer: OptimizerName = "adamw"
    lr: float = 1e-4
    weight_decay: float = 0.01
    schedule: Schedule = "constant"
    milestones: tuple[int, ...] = ()
    factor: float = 1.0
    epochs: int = 20
    batch_size: int = 8
    flip: float = 0.5
    scales: tuple[float, ...] = (1.0,)
    crop: tuple[int, int] | None = None
    evaluate_every: int = 1
    evaluate_on: EvaluateOn = "test"
    average_last: int = 1
    probe_every: int = 0
    pictures: Mapping[str, Any] = field(default_factory=dict)
    seed: int = 0
    device: Device = "cpu"
    threads: int = 1
    precision: Precision = "float32"
    compile: bool = False
    cuda_graph: bool = False

    def __post_init__(self) -> None:
        for name, (convert, accepted) in _FIELDS.items():
            value = getattr(self, name)
            try:
                object.__setattr__(self, name, convert(value))
            except (TypeError, ValueError) as error:
                raise ValueError(f"{name} is {value!r}; accepted: {accepted}") from error
        self._check_data()
        self._check_epochs()
        self._check_parts()

    @classmethod
    def from_json(cls, source: str | Path) -> Self:
        """Read a configuration from JSON text, or from a file if ``source`` is a path.

        Raises:
            ValueError: it is no JSON object, a field is unknown, or a value is not accepted.
            OSError: the file cannot be read.
        """
        text = source.read_text(encoding="utf-8") if isinstance(source, Path) else source
        try:
            values = json.loads(text)
        except json.JSONDecodeError as error:
            where = f"{source}: " if isinstance(source, Path) else ""
            raise ValueError(f"{where}no JSON: {error}") from None
        return cls.from_dict(values)

    @classmethod
    def from_dict(cls, values: Mapping[str, Any]) -> Self:
        """Make a configuration of what ``to_dict`` gave, or of a part of it; the rest has its defaults.

        Raises:
            ValueError: a field is unknown, or a value is not accepted.
        """
        if not isinstance(values, Mapping):
            raise ValueError(f"the configuration is {values!r}; accepted: fields and their values")
        known = [entry.name for entry in fields(cls)]
        for name in values:
            if name not in known:
                raise ValueError(f"field {name!r} is unknown; accepted: {', '.join(known)}")
        return cls(**values)

    def to_dict(self) -> dict[str, Any]:
        """Fields as JSON values, as in ``to_json``."""
        values: dict[str, Any] = json.loads(self.to_json())
        return values

    def to_json(self) -> str:
        """Canonical JSON: every field but those of ``LATER`` at their defaults, sorted keys, no spaces."""
        values = {entry.name: getattr(self, entry.name) for entry in fields(self)}
        return _canonical({name: value for name, value in values.items() if LATER.get(name, ...) != value})

    @property
    def hash(self) -> str:
        """12 hexadecimal digits of the sha256 of the algorithm's version and the canonical JSON."""
        return hashlib.sha256(f"{ALGORITHM}:{self.to_json()}".encode()).hexdigest()[:12]

    def __hash__(self) -> int:
        return hash(self.to_json())

    def _check_data(self) -> None:
        for name in ("n_train", "n_test", "size"):
            if self.dataset not in GENERATED and getattr(self, name) is not None:
                raise ValueError(f"{name} is {getattr(self, name)!r}; accepted with dataset {self.dataset!r}: None")
        if self.classes is not None and self.classes not in CATALOGUE[self.dataset].class_counts:
            raise ValueError(f"classes is {self.classes}; accepted with dataset {self.dataset!r}: None")
        if self.evaluate_on != "test" and not CATALOGUE[self.dataset].validated:
            raise ValueError(f"evaluate_on is {self.evaluate_on!r}; accepted with dataset {self.dataset!r}: 'test'")
        Augmentation(self.flip, self.scales, self.crop)
        n_train = scenes.COUNTS["train"] if self.n_train is None else self.n_train
        if self.dataset in GENERATED and n_train < self.batch_size:
            raise ValueError(f"batch_size is {self.batch_size}; accepted: up to {n_train}, the training scenes")

    def _check_epochs(self) -> None:
        steps = self.schedule == "steps"
        if not steps and (self.milestones or self.factor != 1):
            name, accepted = ("milestones", "()") if self.milestones else ("factor", "1.0")
            value = getattr(self, name)
            raise ValueError(f"{name} is {value!r}; accepted with schedule {self.schedule!r}: {accepted}")
        if steps and not (
            self.milestones
            and list(self.milestones) == sorted(set(self.milestones))
            and self.milestones[-1] < self.epochs
        ):
            raise ValueError(f"milestones is {self.milestones}; accepted: increasing numbers below {self.epochs}")
        if steps and not 0 < self.factor < 1:
            raise ValueError(f"factor is {self.factor}; accepted with schedule 'steps': a number in (0, 1)")
        if self.average_last > self.epochs:
            raise ValueError(f"average_last is {self.average_last}; accepted: 1 to {self.epochs}, the epochs")
        if self.pictures and self.pictures["epochs"][-1] > self.epochs:
            raise ValueError(f"pictures is {self.pictures}; accepted: epochs up to {self.epochs}")

    def _check_parts(self) -> None:
        if self.pictures and "detection" in self.tasks:
            raise ValueError(f"pictures is {self.pictures}; accepted with detection: {{}}")
        if self.cuda_graph and (self.device != "cuda" or "detection" in self.tasks):
            raise ValueError("cuda_graph is True; accepted with device 'cuda' and without detection")
        try:
            tasks.create(self.tasks, protocol=self.protocol)
        except ValueError as error:
            raise ValueError(f"tasks is {self.tasks!r}; {error}") from None
        if self.model not in models.MODELS:
            raise ValueError(f"model is {self.model!r}; accepted: {', '.join(models.MODELS)}")
        if self.method not in balancers.METHODS and not self.method.startswith("torchjd:"):
            raise ValueError(
                f"method is {self.method!r}; accepted: {', '.join(balancers.METHODS)}, torchjd:<Weighting>"
            )
        with _naming("model_options", self.model_options):
            _try_model(self.model, _canonical(self.model_options), self.tasks, self.protocol)
        with _naming("method_options", self.method_options):
            _try_method(self.method, _canonical(self.method_options), len(self.tasks))


@contextmanager
def _naming(field: str, options: Mapping[str, Any]) -> Iterator[None]:
    try:
        yield
    except ImportError:
        pass  # an extra that reading a record does not need; training says so
    except (TypeError, ValueError) as error:
        raise ValueError(f"{field} is {options!r}; {error}") from error


def _canonical(value: Any) -> str:  # noqa: ANN401
    return json.dumps(value, sort_keys=True, separators=(",", ":"), allow_nan=False)


@lru_cache(maxsize=256)
def _try_model(name: str, options: str, names: tuple[str, ...], protocol: Protocol) -> None:
    """Make the network without memory or random numbers; checkpoints are looked for when training starts."""
    chosen = json.loads(options)
    if chosen.get("weights") == "imagenet":
        if chosen.get("width", 1) != 1:
            raise ValueError(f"width is {chosen['width']!r}; accepted with weights='imagenet': 1")
        chosen["weights"] = "none"
    with torch.random.fork_rng(devices=[]), torch.device("meta"):
        models.create(name, tasks.create(names, protocol=protocol), **chosen)


@lru_cache(maxsize=256)
def _try_method(name: str, options: str, n_tasks: int) -> None:
    balancers.create(name, n_tasks, **json.loads(options))


def _whole(value: object, least: int = 1) -> int:
    if not isinstance(value, int) or isinstance(value, bool) or value < least:
        raise ValueError
    return value


def _number(value: object, least: float = 0) -> float:
    if isinstance(value, bool) or not isinstance(value, int | float) or not isfinite(value) or value < least:
        raise ValueError
    return float(value)


def _positive(value: object) -> float:
    if (number := _number(value)) == 0:
        raise ValueError
    return number


def _flag(value: object) -> bool:
    if not isinstance(value, bool):
        raise ValueError
    return value


def _text(value: object) -> str:
    if not isinstance(value, str):
        raise ValueError
    return value


def _size(value: Any) -> tuple[int, int] | None:  # noqa: ANN401
    if value is None:
        return None
    height, width = value
    return _whole(height), _whole(width)


def _names(value: Any) -> tuple[str, ...]:  # noqa: ANN401
    names = tuple(value)
    if isinstance(value, str) or not names or len(set(names)) < len(names) or not set(names) <= set(tasks.NAMES):
        raise ValueError
    return names


def _options(value: Any) -> dict[str, Any]:  # noqa: ANN401
    if not isinstance(value, Mapping) or not all(isinstance(key, str) for key in value):
        raise ValueError
    options: dict[str, Any] = json.loads(_canonical(dict(value)))
    return options


def _pictures(value: Any) -> dict[str, list[int]]:  # noqa: ANN401
    if value == {}:
        return {}
    if not isinstance(value, Mapping) or set(value) != {"epochs", "images"}:
        raise ValueError
    found = {name: [_whole(number, least) for number in value[name]] for name, least in (("epochs", 1), ("images", 0))}
    if not all(found.values()) or any(numbers != sorted(set(numbers)) for numbers in found.values()):
        raise ValueError
    return found


def _optional(convert: Callable[[Any], Any]) -> Callable[[Any], Any]:
    return lambda value: None if value is None else convert(value)


def _one_of(*accepted: str | int | None) -> tuple[Callable[[Any], Any], str]:
    def convert(value: Any) -> Any:  # noqa: ANN401
        if isinstance(value, bool) or value not in accepted:
            raise ValueError
        return accepted[accepted.index(value)]  # 7 for 7.0

    return convert, ", ".join(map(repr, accepted))


_COUNT = "a whole number of at least 1"
_SIZE = "[height, width] in pixels, or null"
_FIELDS: dict[str, tuple[Callable[[Any], Any], str]] = {
    "dataset": _one_of(*CATALOGUE),
    "n_train": (_optional(_whole), f"{_COUNT}, or null"),
    "n_test": (_optional(_whole), f"{_COUNT}, or null"),
    "size": (_size, _SIZE),
    "classes": _one_of(None, *sorted({n for entry in CATALOGUE.values() for n in entry.class_counts})),
    "tasks": (_names, f"one or more of {', '.join(tasks.NAMES)}, all different"),
    "protocol": _one_of(*get_args(Protocol)),
    "model": (_text, "a network's name"),
    "model_options": (_options, "an object of names and JSON values"),
    "method": (_text, "a balancer's name"),
    "method_options": (_options, "an object of names and JSON values"),
    "optimizer": _one_of(*get_args(OptimizerName)),
    "lr": (_positive, "a number above 0"),
    "weight_decay": (_number, "a number of at least 0"),
    "schedule": _one_of(*get_args(Schedule)),
    "milestones": (lambda value: tuple(map(_whole, value)), "a list of whole numbers of at least 1"),
    "factor": (_positive, "a number in (0, 1]"),
    "epochs": (_whole, _COUNT),
    "batch_size": (_whole, _COUNT),
    "flip": (_number, "a probability in [0, 1]"),
    "scales": (lambda value: tuple(map(_positive, value)), "a list of numbers of at least 1"),
    "crop": (_size, _SIZE),
    "evaluate_every": (_whole, _COUNT),
    "evaluate_on": _one_of(*get_args(EvaluateOn)),
    "average_last": (_whole, _COUNT),
    "probe_every": (lambda value: _whole(value, 0), "a whole number of at least 0"),
    "pictures": (_pictures, '{}, or {"epochs": [...], "images": [...]}, increasing whole numbers, epochs from 1'),
    "seed": (lambda value: _whole(value, 0), "a whole number of at least 0"),
    "device": _one_of(*get_args(Device)),
    "threads": (_whole, _COUNT),
    "precision": _one_of(*get_args(Precision)),
    "compile": (_flag, "true or false"),
    "cuda_graph": (_flag, "true or false"),
}
