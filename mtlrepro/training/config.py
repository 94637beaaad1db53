"""One run's configuration: checked before any work, one canonical JSON, one hash."""

import hashlib
import inspect
import json
import math
import warnings
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Annotated, Any, Literal, Self, get_args

from pydantic import AfterValidator, BaseModel, BeforeValidator, ConfigDict, Field, ValidationError, model_validator

from mtlrepro import balancers, files, models, tasks
from mtlrepro.balancers.mclgs import decrease
from mtlrepro.balancers.torchjd import RANDOM
from mtlrepro.data.catalogue import CATALOGUE, GENERATED
from mtlrepro.data.datasets import part_of
from mtlrepro.data.scenes import cache as scenes
from mtlrepro.data.transforms import LARGEST_ZOOM, Augmentation
from mtlrepro.tasks import Protocol
from mtlrepro.training import trials
from mtlrepro.training.controls import with_weights, without_run

ALGORITHM = 1
"""Raised whenever a change of the code alters numbers: records of another version are stale."""

LATER = {
    "evaluate_on",
    "score",
    "gradients",
    "observe",
    "pictures",
    "loss_scales",
    "momentum",
    "decay",
    "balancer_lr",
    "labels",
    "draw",
    "unlabelled",
}
"""Fields added after the first records: left out of the JSON at their default, so that old hashes stay valid."""
OBSERVED = ("classes", "method", "update", "weights")
"""Accepted by `RunConfig.observe`."""
LENGTH = 0.5
"""Length of a curriculum whose options have neither `length` nor `delta_a`; it is written into them, so it is hashed.

Our choice: on the poster the weight has become 1 by the end of training, and no number is given.
"""
REPLACED_BY_LENGTH = {"delta_a", "steps"}
"""Options of methods in whose place `length`, a share of the run, may stand."""
CLASS_COUNTS = (None, *sorted({count for entry in CATALOGUE.values() for count in entry.class_counts}))


def _dataset(name: str) -> str:
    if name not in CATALOGUE:
        raise ValueError
    return name


def _class_count(count: object) -> object:
    if count not in CLASS_COUNTS:
        raise ValueError
    return CLASS_COUNTS[CLASS_COUNTS.index(count)]  # 7 for 7.0


def _plain(number: object) -> object:
    """Refuse NumPy's numbers: 0.1 in single precision would have another hash."""
    if not isinstance(number, int | float):
        raise ValueError
    return number


def _different_tasks(names: tuple[str, ...]) -> tuple[str, ...]:
    if not names or len(set(names)) < len(names) or not set(names) <= set(tasks.NAMES):
        raise ValueError
    return names


def _json(options: dict[str, Any]) -> dict[str, Any]:
    """Copy of some options as JSON has them: tuples as lists."""
    try:
        copy: dict[str, Any] = json.loads(_canonical(options))
    except TypeError:
        raise ValueError from None
    return copy


def _pictures(asked: dict[str, list[int]]) -> dict[str, list[int]]:
    if asked and set(asked) != {"epochs", "images"}:
        raise ValueError
    for name, numbers in asked.items():
        if not numbers or numbers != sorted(set(numbers)) or numbers[0] < (1 if name == "epochs" else 0):
            raise ValueError
    return asked


def _gradients(asked: dict[str, Any]) -> dict[str, Any]:
    if not asked:
        return asked
    if set(asked) != {"epochs", "batches", "samples"} or not isinstance(asked["epochs"], list):
        raise ValueError
    epochs, batches, samples = asked["epochs"], asked["batches"], asked["samples"]
    if any(type(number) is not int for number in (*epochs, batches, samples)):
        raise ValueError
    if not epochs or epochs != sorted(set(epochs)) or epochs[0] < 1:
        raise ValueError
    if not 0 <= samples <= batches or not 1 <= batches <= LARGEST:
        raise ValueError
    return asked


def _observed(names: tuple[str, ...]) -> tuple[str, ...]:
    """Sort the names: their order says nothing, and so must not change the hash."""
    if len(set(names)) < len(names) or not set(names) <= set(OBSERVED):
        raise ValueError
    return tuple(sorted(names))


def _without_ones(scales: dict[str, float]) -> dict[str, float]:
    """Leave out what changes nothing, so that one run has one hash."""
    if not scales.keys() <= set(tasks.NAMES):
        raise ValueError
    return {name: scale for name, scale in scales.items() if scale != 1}


def _shares(labels: dict[str, tuple[float, float]]) -> dict[str, tuple[float, float]]:
    if not labels.keys() <= set(tasks.NAMES) or not all(0 <= start < end <= 1 for start, end in labels.values()):
        raise ValueError
    return {name: share for name, share in labels.items() if share != (0, 1)}


def _ordered(value: object) -> object:
    if isinstance(value, set | frozenset):  # its order, and with it the hash, would differ from process to process
        raise ValueError
    return value


# Types of fields. The description is what an error message says is accepted; for a Literal, its values are.
LARGEST = 2**31 - 1
"""Largest count, of scenes, epochs, pixels and the like."""
_COUNT = f"a whole number from 1 to {LARGEST}"
Count = Annotated[int, Field(ge=1, le=LARGEST, description=_COUNT)]
Natural = Annotated[int, Field(ge=0, le=LARGEST, description=f"a whole number from 0 to {LARGEST}")]
Number = Annotated[
    float, BeforeValidator(_plain), Field(ge=0, allow_inf_nan=False, description="a number of at least 0")
]
Positive = Annotated[Number, Field(gt=0, description="a number above 0")]
Size = Annotated[tuple[Count, Count], BeforeValidator(_ordered), Field(strict=False)]
Flag = Annotated[bool, Field(description="true or false")]
Options = Annotated[
    dict[str, Any], AfterValidator(_json), Field(strict=False, description="an object of names and JSON values")
]
TaskNames = Annotated[
    tuple[str, ...],
    BeforeValidator(_ordered),
    AfterValidator(_different_tasks),
    Field(strict=False, description=f"one or more of {', '.join(tasks.NAMES)}, all different"),
]
OptionalCount = Annotated[Count | None, Field(description=f"{_COUNT}, or null")]
OptionalSize = Annotated[Size | None, Field(description="[height, width] in pixels, or null")]


class RunConfig(BaseModel):
    """Everything that a run's numbers depend on, except the files of a real data set.

    Attributes:
        dataset: `rooms`, `streets`, `nyuv2`, `cityscapes`, `taskonomy` or `bdd100k`.
        n_train: Number of training scenes; default: the generator's own. Not used for real data sets.
        n_test: Number of test scenes. Not used for real data sets.
        size: (height, width) of scenes in pixels; default: the generator's own. Not used for real data sets.
        classes: 7 or 19 for Cityscapes and streets; default: as stored.
        tasks: One task or more, in the order of losses and weights; one is a single-task baseline.
        protocol: Losses and metrics of LSB (`lsb`) or of the public benchmark (`benchmark`).
        loss_scales: Factor on the loss of a task, by name; 1 for the others. The balancer sees the scaled losses, in
            `backward` and in `end_epoch`, and so do the probe and whatever else looks at gradients. In the history,
            `losses` are not scaled, `weights` are those of the scaled losses, and `loss_scales` is weight times scaled
            loss.
        model: Name of a network, see `models.create`.
        model_options: Its options, JSON values.
        method: Name of a balancer, see `balancers.create`.
        method_options: Its options, JSON values. `mclgs` and `cagrad+mclgs` also take `length` in the place of
            `delta_a`: the share of the run, in (0, 1], after which p is 0; 0.5 unless either is given. So does
            `warmup` in the place of `steps`. `replay` and `warmup` also take a stored run's weights, see `controls`.
        optimizer: `adamw`, `adam` (betas 0.9, 0.999, eps 1e-8) or `sgd`.
        lr: Learning rate, above 0.
        balancer_lr: Learning rate of the method's own parameters (`uncertainty` and `gradnorm` have such); default:
            `lr`. The schedule multiplies both.
        momentum: Of `sgd`, in [0, 1).
        weight_decay: Of the network's parameters, never of the balancer's own.
        decay: How weights decay. `torch`: as in torch's optimizer, `weight_decay * w` is a part of the gradient with
            `sgd` and `adam`, which is coupled (MTSGD, Eq. 11), and `lr * weight_decay * w` is taken off beside the step
            with `adamw`. `decoupled`, for `sgd`: MTSGD's Eq. 1, w <- w - lr v - weight_decay w, in which `lr` and its
            schedule do not scale the decay. The factor 1 - momentum that Eq. 1 has before the gradient is no part of
            it: it makes steps of an `lr` that is so much smaller.
        schedule: `constant`, or `steps`: the rate is multiplied by `factor` after each epoch of `milestones`.
        milestones: Numbers of epochs, increasing, each below `epochs`.
        factor: In (0, 1) with `steps`, else 1.
        epochs: Passes over the training set.
        batch_size: Images in a step, over all processes; samples left over at the end of an epoch wait for the next.
        labels: Which part of the training images has labels of a task: `{"TASK": [start, end]}`, places in one random
            order of the images, 0 before the first and 1 after the last. `[0, 0.1]` is a tenth, which lies within
            `[0, 0.5]` and has no image in common with `[0.1, 1]`, as masks and boxes of BDD100K are on different
            images. The order depends on the number of images alone: all methods and seeds have the same labels, so that
            runs stay paired. Default: all labels of the data set. Evaluation, probe and `gradients` see all of them.
        draw: How training batches are drawn. `union`: from all images that have a label of any of the tasks; an epoch
            is one pass through them. `alternating`: from the images of each task in turn, in the order of `tasks`, and
            only that task is present in the step, so that no step compares two of them. An epoch has as many steps as
            with `union`, so that both cost the same; each task's images are passed through as a whole, in an order of
            their own that goes on over the ends of epochs. The history has `absent` where labels are lacking.
        unlabelled: What the balancer is given for a task without a label in a batch: `absent`, nothing, or `zero`, a
            loss of 0, whose gradient is 0, in the place of a loop that adds up whatever its losses return. The latter
            is there to show what it does: a method that compares tasks takes it for a task that is learned perfectly.
        flip: Probability of a mirror image.
        scales: Zoom factors of the training images.
        crop: (height, width) of training images; default: not cropped.
        evaluate_every: Epochs between two evaluations; the last `average_last` epochs are always evaluated.
        evaluate_on: `test`, which is the validation split where test labels are not public; or, for data sets that
            have both splits, `val`, or `both`: final metrics are those on the test split, and those on the
            validation split stand beside them, so that one run serves the choice of settings and the report.
        score: What metrics are measured on: the whole `image`, or, for `nyuv2`, what lies inside the white `frame` of
            its images, see `evaluation.FRAME`.
        average_last: Final metrics are the mean over the evaluations after the last so many epochs (the public
            benchmark: 10); with 1 they are those of the last epoch.
        probe_every: Epochs between two looks at the task gradients on a fixed batch; 0 for none.
        pictures: `{"epochs": [...], "images": [...]}`: after which epochs, and for which images of the evaluated
            split, predictions are kept beside the record; not for detection.
        gradients: `{"epochs": [...], "batches": n, "samples": m}`: after which epochs the tasks' gradients are compared
            slice by slice on n training batches, and sample by sample on the first m of them, 0 to n; see
            `training.gradients`. For two tasks or more, and a batch size of at least 4.
        observe: What is kept besides; it changes no number of the run. `method`: means over each epoch's steps of what
            the balancer reports, see `Balancer.observed`. `weights`: those of every step, in a file beside the record,
            see `observations.step_weights`. `update`: with each probe, the part of the optimizer's update that the
            method changed, see `evaluation.update_change`. `classes`: with metrics, the IoU of each class.
        seed: Of initialisation, order, transforms and the method's own draws, where it has such.
        device: Kind of device.
        threads: CPU threads.
        precision: `bf16` runs the network under autocast; losses and balancer stay in float32 or more.
        compile: Whether `torch.compile` compiles the shared part and each head.
        cuda_graph: Whether steps are replayed as one CUDA graph; one process, dense tasks.

    Raises:
        ValueError: A field is unknown or its value is not accepted; names field, value and what is accepted.
    """

    model_config = ConfigDict(frozen=True, extra="forbid", strict=True, protected_namespaces=())

    dataset: Annotated[str, AfterValidator(_dataset), Field(description=", ".join(map(repr, CATALOGUE)))] = "rooms"
    n_train: OptionalCount = None
    n_test: OptionalCount = None
    size: OptionalSize = None
    classes: Annotated[
        int | None, BeforeValidator(_class_count), Field(description=", ".join(map(repr, CLASS_COUNTS)))
    ] = None
    tasks: TaskNames = ("segmentation", "depth", "normal")
    protocol: Protocol = "lsb"
    loss_scales: Annotated[
        dict[str, Positive], AfterValidator(_without_ones), Field(description="an object of tasks and numbers above 0")
    ] = {}
    model: Annotated[str, Field(description="a network's name")] = "multi_decoder"
    model_options: Options = {}
    method: Annotated[str, Field(description="a balancer's name")] = "equal"
    method_options: Options = {}
    optimizer: Literal["adamw", "adam", "sgd"] = "adamw"
    lr: Positive = 1e-4
    balancer_lr: Annotated[Positive | None, Field(description="a number above 0, or null")] = None
    momentum: Annotated[Number, Field(lt=1, description="a number in [0, 1)")] = 0.9
    weight_decay: Number = 0.01
    decay: Literal["torch", "decoupled"] = "torch"
    schedule: Literal["constant", "steps"] = "constant"
    milestones: Annotated[
        tuple[Count, ...],
        BeforeValidator(_ordered),
        Field(strict=False, description="a list of whole numbers of at least 1"),
    ] = ()
    factor: Annotated[Positive, Field(description="a number in (0, 1]")] = 1.0
    epochs: Count = 20
    batch_size: Count = 8
    labels: Annotated[
        dict[str, Annotated[tuple[Number, Number], Field(strict=False)]],
        AfterValidator(_shares),
        Field(strict=False, description="an object of tasks and shares [start, end], 0 <= start < end <= 1"),
    ] = {}
    draw: Literal["union", "alternating"] = "union"
    unlabelled: Literal["absent", "zero"] = "absent"
    flip: Annotated[Number, Field(description="a probability in [0, 1]")] = 0.5
    scales: Annotated[
        tuple[Positive, ...], Field(strict=False, description=f"a list of numbers from 1 to {LARGEST_ZOOM}")
    ] = (1.0,)
    crop: OptionalSize = None
    evaluate_every: Count = 1
    evaluate_on: Literal["test", "val", "both"] = "test"
    score: Literal["image", "frame"] = "image"
    average_last: Count = 1
    probe_every: Natural = 0
    pictures: Annotated[
        dict[str, Annotated[list[Natural], Field(strict=False)]],
        AfterValidator(_pictures),
        Field(
            strict=False,
            description='{}, or {"epochs": [...], "images": [...]}, increasing whole numbers, epochs from 1',
        ),
    ] = {}
    gradients: Annotated[
        Options,
        AfterValidator(_gradients),
        Field(
            strict=False,
            description='{}, or {"epochs": [...], "batches": n, "samples": m}, increasing whole numbers from 1, n at '
            "least 1, m up to n",
        ),
    ] = {}
    observe: Annotated[
        tuple[str, ...],
        BeforeValidator(_ordered),
        AfterValidator(_observed),
        Field(strict=False, description=f"any of {', '.join(OBSERVED)}, all different"),
    ] = ()
    seed: Annotated[int, Field(ge=0, lt=2**63, description="a whole number of at least 0 and below 2^63")] = 0
    device: Literal["cpu", "cuda"] = "cpu"
    threads: Annotated[int, Field(ge=1, le=1024, description="a whole number from 1 to 1024")] = 1
    precision: Literal["float32", "bf16"] = "float32"
    compile: Flag = False
    cuda_graph: Flag = False

    def __init__(self, **values: Any) -> None:  # noqa: ANN401
        try:
            super().__init__(**values)
        except ValidationError as error:  # one line in the place of Pydantic's report
            raise _refusal(values, error) from None

    @model_validator(mode="before")
    @classmethod
    def _give_length(cls, values: dict[str, Any]) -> dict[str, Any]:
        """Write the default length of a curriculum into the options."""
        options = values.get("method_options", {})
        replaced = REPLACED_BY_LENGTH & _parameters(values.get("method")).keys()
        if (
            replaced
            and isinstance(options, Mapping)
            and type(options.get("length")) is int
            and options["length"] < 2**63
        ):
            options = {**options, "length": float(options["length"])}  # 1 and 1.0 are one run
            return {**values, "method_options": options}
        if replaced and isinstance(options, Mapping) and not ({"length", "run"} | replaced) & options.keys():
            return {**values, "method_options": {**options, "length": LENGTH}}
        return values

    def model_post_init(self, context: object) -> None:
        """Check what fields have to do with each other."""
        self._check_data()
        self._check_labels()
        self._check_optimizer()
        self._check_epochs()
        self._check_parts()

    @classmethod
    def from_json(cls, source: str | Path) -> Self:
        """Read a configuration from JSON text, or from a file if `source` is a path.

        Raises:
            ValueError: It is no JSON object, a field is unknown, or a value is not accepted.
            OSError: The file cannot be read.
        """
        if isinstance(source, str):
            return cls.from_dict(files.parse_json(source))
        try:
            return cls.from_dict(files.parse_json(source.read_bytes()))
        except ValueError as error:
            raise ValueError(f"{source}: {error}") from None

    @classmethod
    def from_dict(cls, values: Mapping[str, Any]) -> Self:
        """Make a configuration of what `to_dict` gave, or of a part of it; the rest has its defaults.

        Raises:
            ValueError: A field is unknown, or a value is not accepted.
        """
        if not isinstance(values, Mapping):
            raise ValueError(f"the configuration is {values!r}; accepted: fields and their values")
        return cls(**values)

    def to_dict(self) -> dict[str, Any]:
        """Fields as JSON values, as in `to_json`."""
        values: dict[str, Any] = json.loads(self.to_json())
        return values

    def to_json(self) -> str:
        """Canonical JSON, of which the hash is made: sorted keys, no spaces; see `LATER`."""
        fields = type(self).model_fields
        values = {name: value for name, value in self if name not in LATER or value != fields[name].default}
        return _canonical(values)

    def replace(self, **changes: Any) -> Self:  # noqa: ANN401
        """Make the same configuration but for some fields, checked like any other.

        With another method the default `length`, which the options were given, is left out, as if never written.
        """
        fields = dict(self)
        if changes.get("method", self.method) != self.method and fields["method_options"].get("length") == LENGTH:
            fields["method_options"] = {k: v for k, v in fields["method_options"].items() if k != "length"}
        return type(self)(**{**fields, **changes})

    @property
    def source(self) -> str | None:
        """Hash of the stored run whose weights the options of the method name; None if they name none."""
        return self.method_options.get("run")

    def balancer_options(self, steps: int, weights: Sequence[Sequence[Any]] | None = None) -> dict[str, Any]:
        """Complete the options of the method for `balancers.create`.

        A method that draws numbers has the run's seed unless the options have one. The `length` of a curriculum becomes
        `delta_a`: p falls by the same amount in each epoch or iteration of that share of the run, rounded up to whole
        ones, and is 0 from its end on. Warns where p is still above 0 when the run ends. The `length` of a warm-up
        becomes its `steps`.

        Args:
            steps: Training steps in an epoch.
            weights: Those of `source`, as `records.source_weights` gives them.

        Returns:
            Options that the method itself has.

        Raises:
            ValueError: There is a source, but no weights, or weights that the method cannot take.
        """
        parameters, options = _parameters(self.method), dict(self.method_options)
        if "seed" in parameters or self.method.removeprefix("torchjd:").removesuffix("Weighting") in RANDOM:
            options = {"seed": self.seed} | options
        if self.source is not None:
            if weights is None:
                raise ValueError(f"weights is None; accepted: those of run {self.source}, which the method replays")
            seed = options.get("seed", self.seed)
            options = with_weights(options, weights, seed=seed, epochs=self.epochs, steps=steps)
        if "steps" in parameters and "length" in options:
            options["steps"] = _share(options.pop("length"), self.epochs * steps)
        if "delta_a" in parameters:
            given = {name: parameter.default for name, parameter in parameters.items()} | options
            run = self.epochs if given["step"] == "epoch" else self.epochs * steps
            if "length" in options:
                options["delta_a"] = decrease(given["a0"], _share(options.pop("length"), run))
            elif (p := given["a0"] - run * given["delta_a"]) > 0:
                warnings.warn(
                    f"{self.method}: p is {p:g} when the run ends, so that its weights never become 1; for a "
                    "curriculum that ends, give method_options 'length', a share of the run, in the place of 'delta_a'",
                    stacklevel=2,
                )
        return options

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
        if self.score != "image" and self.dataset != "nyuv2":
            raise ValueError(f"score is {self.score!r}; accepted with dataset {self.dataset!r}: 'image'")
        if self.evaluate_on != "test" and not CATALOGUE[self.dataset].validated:
            raise ValueError(f"evaluate_on is {self.evaluate_on!r}; accepted with dataset {self.dataset!r}: 'test'")
        if self.size is not None:
            scenes.check_size(self.size)
        self._image_size()
        for name in self.tasks:
            if not _has(self.dataset, tasks.target_of(name)):
                learned = [other for other in tasks.NAMES if _has(self.dataset, tasks.target_of(other))]
                raise ValueError(
                    f"tasks is {self.tasks!r}; accepted with dataset {self.dataset!r}: {', '.join(learned)}"
                )
        if self.pictures and self.dataset in GENERATED:
            n_test = scenes.COUNTS["test"] if self.n_test is None else self.n_test
            if self.pictures["images"][-1] >= n_test:
                raise ValueError(f"pictures is {self.pictures}; accepted: images below {n_test}, the test scenes")
        n_train = scenes.COUNTS["train"] if self.n_train is None else self.n_train
        if self.dataset in GENERATED and n_train < self.batch_size:
            raise ValueError(f"batch_size is {self.batch_size}; accepted: up to {n_train}, the training scenes")

    def _image_size(self) -> tuple[int, int] | None:
        """Height and width of training images, pixels; None for a real data set, whose files tell them, without crop.

        Raises:
            ValueError: A field of the transforms is out of range, or the scenes are smaller than `crop`.
        """
        augmentation = Augmentation(self.flip, self.scales, self.crop)
        return augmentation.output_size(self.size or scenes.SIZE) if self.dataset in GENERATED else self.crop

    def _check_labels(self) -> None:
        for name in ("loss_scales", "labels"):
            if not set(getattr(self, name)) <= set(self.tasks):
                raise ValueError(f"{name} is {getattr(self, name)!r}; accepted: tasks of the run, {self.tasks!r}")
        if self.draw == "alternating" and len(self.tasks) == 1:
            raise ValueError("draw is 'alternating'; accepted with one task: 'union'")
        for name, plain in (("labels", {}), ("draw", "union"), ("unlabelled", "absent")):
            if self.cuda_graph and getattr(self, name) != plain:
                raise ValueError(f"{name} is {getattr(self, name)!r}; accepted with cuda_graph: {plain!r}")
        if self.labels and self.dataset in GENERATED:
            n = scenes.COUNTS["train"] if self.n_train is None else self.n_train
            images = {name: set(part_of(n, self.labels.get(name, (0, 1)))) for name in self.tasks}
            fewest = min(images, key=lambda name: len(images[name]))
            least = self.batch_size if self.draw == "alternating" else 1
            if len(images[fewest]) < least:
                raise ValueError(
                    f"labels is {self.labels!r}, {len(images[fewest])} of {n} images for {fewest!r}; "
                    f"accepted with draw {self.draw!r}: {least} or more for each task"
                )
            if (drawn := len(set().union(*images.values()))) < self.batch_size:
                raise ValueError(f"batch_size is {self.batch_size}; accepted: up to {drawn}, the images with labels")

    def _check_optimizer(self) -> None:
        for name, plain in (("momentum", 0.9), ("decay", "torch")):
            if self.optimizer != "sgd" and getattr(self, name) != plain:
                value = getattr(self, name)
                raise ValueError(f"{name} is {value!r}; accepted with optimizer {self.optimizer!r}: {plain!r}")
        if self.decay == "decoupled" and self.weight_decay >= 1:
            raise ValueError(f"weight_decay is {self.weight_decay}; accepted with decay 'decoupled': below 1")

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
        for name, asked in (("pictures", self.pictures), ("gradients", self.gradients)):
            if asked and asked["epochs"][-1] > self.epochs:
                raise ValueError(f"{name} is {asked}; accepted: epochs up to {self.epochs}")
        if "update" in self.observe and not self.probe_every:
            raise ValueError(f"observe is {self.observe}; accepted with probe_every 0: without 'update'")

    def _check_parts(self) -> None:
        if self.pictures and "detection" in self.tasks:
            raise ValueError(f"pictures is {self.pictures}; accepted with detection: {{}}")
        if self.gradients and len(self.tasks) == 1:
            raise ValueError(f"gradients is {self.gradients}; accepted with one task: {{}}")
        if self.gradients and self.batch_size < 4:  # half of it has to be a batch itself
            raise ValueError(f"gradients is {self.gradients}; accepted with a batch_size below 4: {{}}")
        if "classes" in self.observe and "segmentation" not in self.tasks:
            raise ValueError(f"observe is {self.observe}; accepted without segmentation: without 'classes'")
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
        network = (self.model, _canonical(self.model_options), self.tasks, self.protocol)
        with _naming("model_options", self.model_options):
            self._check_images(network, trials.network(*network).views)
        capturable, learns = True, False
        with _naming("method_options", self.method_options):
            options = _without_length(self.method, without_run(self.method, self.method_options))
            capturable, learns = trials.method(self.method, _canonical(options), len(self.tasks))
        if self.cuda_graph and not capturable:
            raise ValueError(f"cuda_graph is True; accepted with {self.method} and these options: False")
        if self.balancer_lr is not None and not learns:
            raise ValueError(
                f"balancer_lr is {self.balancer_lr}; accepted with method {self.method!r}, without parameters: None"
            )

    def _check_images(self, network: tuple[str, str, tuple[str, ...], Protocol], views: int) -> None:
        """Refuse images that the data set lacks, or of which a network cannot take a training step."""
        if views == 2 and not _has(self.dataset, "right"):
            raise ValueError(f"views is 2; accepted with dataset {self.dataset!r}: 1")
        if (size := self._image_size()) is not None:
            try:
                trials.batch(*network, self.batch_size, size)
            except (ValueError, RuntimeError) as error:
                found = f"batch_size is {self.batch_size}, images have {size[0]} x {size[1]} pixels"
                raise ValueError(
                    f"{found}; accepted by model {self.model!r}: what it can be trained on, {error}"
                ) from None


def _refusal(values: Mapping[str, Any], error: ValidationError) -> ValueError:
    """Say what is wrong with the first field that is refused, unknown ones before others."""
    fields, errors = RunConfig.model_fields, error.errors(include_url=False)
    for name in values:
        if name not in fields:
            return ValueError(f"field {name!r} is unknown; accepted: {', '.join(fields)}")
    if not errors[0]["loc"]:  # the fields by themselves are right
        cause: ValueError = errors[0]["ctx"]["error"]
        return cause
    name = str(errors[0]["loc"][0])
    accepted = fields[name].description or ", ".join(map(repr, get_args(fields[name].annotation)))
    return ValueError(f"{name} is {values[name]!r}; accepted: {accepted}")


@contextmanager
def _naming(field: str, value: object) -> Iterator[None]:
    try:
        yield
    except ImportError:
        pass  # an extra that reading a record does not need; training says so
    except (TypeError, ValueError, RuntimeError, OverflowError) as error:
        raise ValueError(f"{field} is {value!r}; {error}") from error


def _canonical(value: Any) -> str:  # noqa: ANN401
    return json.dumps(value, sort_keys=True, separators=(",", ":"), allow_nan=False)


def _has(dataset: str, key: str) -> bool:
    """Whether a data set has a target, as far as is known before it is opened: real ones tell it then."""
    return dataset not in GENERATED or key in scenes.generator_of(dataset).KEYS


def _parameters(method: object) -> Mapping[str, inspect.Parameter]:
    """Parameters of a method by name; none where it is unknown, or TorchJD's."""
    if not isinstance(method, str) or method not in balancers.METHODS:
        return {}
    return inspect.signature(balancers.METHODS[method]).parameters


def _without_length(method: str, options: dict[str, Any]) -> dict[str, Any]:
    """Check the length of a curriculum, and take it out: the method itself does not know it."""
    replaced = REPLACED_BY_LENGTH & _parameters(method).keys()
    if "length" not in options or not replaced:
        return options
    length = options["length"]
    if both := replaced & options.keys():
        raise ValueError(f"it has 'length' and {both.pop()!r}; accepted: one of them")
    if type(length) not in (int, float) or not 0 < length <= 1:
        raise ValueError(f"length is {length!r}; accepted: a number in (0, 1]")
    return {name: value for name, value in options.items() if name != "length"}


def _share(length: float, run: int) -> int:
    """Epochs or iterations in a share of a run, rounded up."""
    return max(1, math.ceil(round(length * run, 6)))  # 0.1 * 30 is a little more than 3
