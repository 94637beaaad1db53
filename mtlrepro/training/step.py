"""The training step and what belongs to it: data, network, losses, balancer, optimizer, each with its state."""

import math
from collections.abc import Callable, Iterator, Sequence
from itertools import chain, repeat
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn.utils import get_total_norm
from torch.optim import SGD, Adam, AdamW, Optimizer
from torch.optim.lr_scheduler import MultiStepLR

from mtlrepro import balancers, models, tasks
from mtlrepro.balancers import CapturedStep
from mtlrepro.data import datasets
from mtlrepro.data.catalogue import CATALOGUE
from mtlrepro.data.loading import DiskLoader, Loader, MemoryLoader
from mtlrepro.data.samples import Batch
from mtlrepro.data.transforms import Augmentation
from mtlrepro.distributed import processes, rank, synchronise, total
from mtlrepro.losses import Terms
from mtlrepro.models import MultiTaskModel
from mtlrepro.models.base import Prediction
from mtlrepro.targets import TARGETS
from mtlrepro.training.config import RunConfig
from mtlrepro.training.observations import Observations

HELD = 2 * 2**30
"""Bytes up to which a split is held in memory, on the device; larger ones are read from disk."""


def predict(model: MultiTaskModel, batch: Batch, precision: str = "float32") -> dict[str, Prediction]:
    """Run a network on a batch: channels last, under autocast if `precision` is `bf16`."""
    views = ("image", "right")[: model.views]
    images = {key: batch[key].contiguous(memory_format=torch.channels_last) for key in views}
    with torch.autocast(batch["image"].device.type, torch.bfloat16, enabled=precision == "bf16"):
        predictions: dict[str, Prediction] = model(images)
    return predictions


class Trainer:
    """One run in the making: `epoch` trains for one epoch.

    Args:
        config: What to train.
        device: The device to train on.
        data_root: Folder of a prepared data set; None for scenes.
        weights: Those that the run replays, see `records.source_weights`.

    Attributes:
        model: The network.
        tasks: T tasks.
        balancer: How their losses become one gradient.
        train_loader: Training batches; of several processes each has its part.
        test_loader: What final metrics are measured on.
        validation_loader: The validation split, where the configuration asks for `both`; else None.
        step_weights: Weights of every step, a tensor [steps, T] for each epoch, where the configuration asks for them.

    Raises:
        ValueError: Data, network and tasks do not go together, or data are absent or damaged.
        FileNotFoundError: ImageNet weights are absent; names the command that fetches them.
    """

    def __init__(
        self,
        config: RunConfig,
        device: torch.device,
        data_root: str | Path | None = None,
        weights: Sequence[Sequence[Any]] | None = None,
    ) -> None:
        if config.batch_size % processes():
            raise ValueError(f"batch_size is {config.batch_size}; accepted with {processes()} processes: its multiples")
        if config.cuda_graph and processes() > 1:
            raise ValueError(f"cuda_graph is True; accepted with {processes()} processes: False")
        self.config = config
        self.device = device
        torch.manual_seed(config.seed)
        entry = CATALOGUE[config.dataset]
        reported = "val" if config.evaluate_on == "val" else entry.test_split
        train, test = (self._data(split, data_root) for split in ("train", reported))
        validation = self._data("val", data_root) if config.evaluate_on == "both" else None
        if config.pictures and config.pictures["images"][-1] >= len(test):
            raise ValueError(
                f"pictures is {config.pictures}; accepted: images below {len(test)}, those of {test.split}"
            )
        self.tasks = tasks.create(
            config.tasks,
            protocol=config.protocol,
            n_classes=train.n_classes or 13,
            depth_range=entry.depth_range,
        )
        self.model = models.create(config.model, self.tasks, **config.model_options)
        self.model.to(device, memory_format=torch.channels_last)  # type: ignore[call-overload]
        if processes() > 1 and device.type == "cuda":
            self.model = nn.SyncBatchNorm.convert_sync_batchnorm(self.model)  # type: ignore[no-untyped-call]
        synchronise(self.model)
        if self.model.views == 2:
            train, test = (split.reading([*split.keys, "right"]) for split in (train, test))
            validation = validation and validation.reading([*validation.keys, "right"])
        self._train = train
        self._targets = targets = [tasks.target_of(name) for name in config.tasks]
        self.train_loader = self._loader(
            self._labelled(train),
            augmentation=_augmentation(config),
            drop_last=True,
            seed=config.seed,
            part=(rank(), processes()),
            groups=[[target] for target in targets] if config.draw == "alternating" else [targets],
        )
        options = config.balancer_options(len(self.train_loader), weights)
        self.balancer = balancers.create(config.method, len(self.tasks), **options).to(device)
        self.optimizer = _optimizer(config, self.model, self.balancer, device)
        self.scheduler = MultiStepLR(self.optimizer, config.milestones, config.factor)
        self.balancer.guard(self.optimizer)
        if config.decay == "decoupled":
            decouple_decay(self.optimizer, config.weight_decay)
        self.test_loader = self._loader(test, shuffle=False)
        self.validation_loader = self._loader(validation, shuffle=False) if validation else None
        self._shared = self.model.shared_parameters()
        self._observations = Observations(self.balancer, len(self.train_loader), config.observe)
        self.step_weights: list[Tensor] = []
        self._losses = torch.zeros(2, len(self.tasks), dtype=torch.float64, device=device)
        self._weights = torch.zeros(len(self.tasks), dtype=torch.float64, device=device)
        if config.compile:
            _compile([self.model.shared, *self.model.heads.values()])
        self._captured = _Captured(self) if config.cuda_graph else None

    def present(self, batch: Batch) -> list[bool]:
        """Whether each task has a label in the batch; of several processes, in the part of any of them."""
        flags = [bool(batch["labelled"][tasks.target_of(task.name)].any()) for task in self.tasks]
        if processes() == 1:
            return flags
        return [count > 0 for count in total(torch.tensor(flags, dtype=torch.int64, device=self.device)).tolist()]

    def step(self, batch: Batch, present: Sequence[bool] | None = None) -> None:
        """Take one training step; nothing in it waits for the device.

        Args:
            batch: Of the training loader.
            present: What `present` says of the batch; default: ask it.
        """
        present = self.present(batch) if present is None else present
        self.optimizer.zero_grad()
        terms, losses = self.losses(batch, present)
        weights = self.balancer.backward(losses, self._shared, features=self.model.features)
        self.optimizer.step()
        self.model.features = None  # they hold the step's graph
        self._add(terms, weights)
        self._observations.add()

    def losses(self, batch: Batch, present: Sequence[bool]) -> tuple[list[Terms | None], dict[str, Tensor | None]]:
        """Predict a batch and compare it with its labels.

        Args:
            batch: B samples.
            present: Whether each task has a label in it.

        Returns:
            Each task's terms, and by name its loss as the balancer takes it; None for an absent task.
        """
        predictions = predict(self.model, batch, self.config.precision)
        terms = [
            task.loss(predictions[task.name], batch) if there else None
            for task, there in zip(self.tasks, present, strict=True)
        ]
        return terms, self._means(terms)

    def epoch(self, after_step: Callable[[], object] = lambda: None) -> dict[str, Any]:
        """Train for one epoch.

        A task without a label in a batch is absent from its step, or has a loss of 0 in it where the configuration says
        so; a batch without any label is left out.

        Args:
            after_step: Called after every step.

        Returns:
            `losses`: raw mean losses of the epoch by task, over what was labelled; `weights`: mean of its weights over
            the steps in which the balancer had the task's loss, or None where the method has none; `loss_scales`: their
            product, times the configuration's factor on the loss; `lr`: the network's learning rate. NaN stands for a
            task that had no label. If some batch had no label of a task, or the configuration says which have,
            `absent`: the share of the epoch's batches without one by task. With `method` in the configuration's
            `observe`, `observed`: means of the balancer's quantities over the steps that had them, NaN for one that no
            step had.

        Raises:
            FloatingPointError: A loss or gradient was not finite; names epoch, step and task. Or a parameter or running
                statistic of the network is not finite at the end; names it.
        """
        epoch = self.train_loader.epoch + 1
        lr = float(self.optimizer.param_groups[0]["lr"])
        for sums in (self._losses, self._weights):
            sums.zero_()
        self._observations.start()
        take_step = self.step if self._captured is None else self._captured
        steps, lacking = [0] * len(self.tasks), [0] * len(self.tasks)
        for batch in self.train_loader:
            present = labelled = self.present(batch)
            if any(labelled):
                if self.config.unlabelled == "zero":
                    present = [True] * len(self.tasks)
                take_step(batch, present)
                steps = [n + there for n, there in zip(steps, present, strict=True)]
            lacking = [n + (not there) for n, there in zip(lacking, labelled, strict=True)]
            after_step()
        try:
            self.balancer.check()
        except FloatingPointError as error:
            raise FloatingPointError(f"epoch {epoch}: {error}") from None
        self._check_network(epoch)
        values, counts = total(self._losses)
        losses = values / counts  # 0 / 0 is NaN, a task without a label
        scaled = losses * losses.new_tensor([self._scale(task.name) for task in self.tasks])
        # Methods without weights add NaN, see `_add`.
        has_weights = any(steps) and not bool(self._weights.isnan().any())
        weights = self._weights / torch.tensor(steps, dtype=torch.float64, device=self.device)
        means = self._per_task(scaled)
        self.balancer.end_epoch({name: None if math.isnan(mean) else mean for name, mean in means.items()})
        self.scheduler.step()
        if "weights" in self.config.observe:
            self.step_weights.append(self._observations.weights())
        batches = len(self.train_loader)
        entry = {
            "losses": self._per_task(losses),
            "weights": self._per_task(weights) if has_weights else None,
            "loss_scales": self._per_task(weights * scaled) if has_weights else None,
            "lr": lr,
            **({"observed": self._observations.means()} if "method" in self.config.observe else {}),
        }
        if self.config.labels or any(lacking):
            entry["absent"] = {task.name: n / batches for task, n in zip(self.tasks, lacking, strict=True)}
        return entry

    def _check_network(self, epoch: int) -> None:
        """Refuse a network with numbers that are not finite, which a finite loss does not exclude."""
        tensors = {name: tensor for name, tensor in self.model.state_dict().items() if tensor.is_floating_point()}
        if not get_total_norm(tensors.values(), math.inf).isfinite():  # of all at once, for tensors may be many
            name = next(name for name, tensor in tensors.items() if not tensor.isfinite().all())
            raise FloatingPointError(f"epoch {epoch}: {name} of the network is not finite; remedy: a smaller lr")

    def probe_batch(self) -> Batch:
        """First training images as they are stored, with labels that the configuration hides from training too."""
        return self._on_device(self._train.batch(range(self.config.batch_size)))

    def further_batches(self, seed: int) -> Iterator[Batch]:
        """Batches like those of training, without end, in an order of their own; with all labels, as the probe's."""
        loader = DiskLoader(
            self._train,
            self.config.batch_size,
            workers=0,
            augmentation=self.train_loader.augmentation,
            drop_last=True,
            seed=seed,
            device=self.device,
            groups=[self._targets],
        )
        return chain.from_iterable(repeat(loader))

    def pictured_batch(self) -> Batch:
        """Images of the evaluated split whose predictions are kept."""
        return self._on_device(self.test_loader.dataset.batch(self.config.pictures["images"]))

    def _on_device(self, batch: Batch) -> Batch:
        return {
            key: value
            if key == "labelled"
            else value.to(self.device)
            if isinstance(value, Tensor)
            else [part.to(self.device) for part in value]
            for key, value in batch.items()
        }

    def state_dict(self) -> dict[str, Any]:
        """Everything that later steps depend on, and the weights of the steps so far."""
        state = {name: part.state_dict() for name, part in self._parts().items()}
        generators = [generator.get_state() for generator in self._generators()]
        return state | {"generators": generators, "step_weights": self.step_weights}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Go on from a state that `state_dict` gave."""
        for name, part in self._parts().items():
            part.load_state_dict(state[name])
        for group in self.optimizer.param_groups:
            if isinstance(group["lr"], Tensor):  # on the CPU, as checkpoints are read there
                group["lr"] = group["lr"].to(self.device)
        for generator, position in zip(self._generators(), state["generators"], strict=True):
            generator.set_state(position)
        self.step_weights = list(state.get("step_weights", ()))  # states of earlier versions have none

    def _parts(self) -> dict[str, Any]:
        return {
            "model": self.model,
            "balancer": self.balancer,
            "optimizer": self.optimizer,
            "scheduler": self.scheduler,
            "loader": self.train_loader,
        }

    def _generators(self) -> list[torch.Generator]:
        """Torch's own streams, from which dropout draws; the loader's draws depend on its position alone."""
        cuda = [torch.cuda.default_generators[self.device.index or 0]] if self.device.type == "cuda" else []
        return [torch.default_generator, *cuda]

    def _means(self, terms: list[Terms | None]) -> dict[str, Tensor | None]:
        """Mean losses of the batch, each times its factor in `loss_scales`.

        Of several processes, those of this one's part, by the counts of the whole batch. A process without a label of a
        task that another one has gives a zero, whose gradient is zero.
        """
        n = processes()
        counts: list[Tensor | None] = [None] * len(terms)
        if n > 1:
            own = [torch.zeros((), device=self.device) if term is None else term.weights.sum() for term in terms]
            counts = list((total(torch.stack(own)) / n).unbind())
        quotient = Terms.samples if self.balancer.per_sample else Terms.mean
        return {
            task.name: None if term is None else self._scale(task.name) * quotient(term, count)
            for task, term, count in zip(self.tasks, terms, counts, strict=True)
        }

    def _scale(self, task: str) -> float:
        """Factor on the loss of a task."""
        return self.config.loss_scales.get(task, 1.0)

    def _per_task(self, values: Tensor) -> dict[str, float]:
        return dict(zip([task.name for task in self.tasks], values.tolist(), strict=True))

    @torch.no_grad()
    def _add(self, terms: list[Terms | None], weights: Tensor | None) -> None:
        zero = self._losses.new_zeros(())
        sums = [[zero if term is None else term[i].sum(dtype=torch.float64) for term in terms] for i in range(2)]
        self._losses += torch.stack([torch.stack(part) for part in sums])
        self._weights += torch.nan if weights is None else weights

    def _data(self, split: str, root: str | Path | None) -> datasets.Dataset:
        config = self.config
        entry = CATALOGUE[config.dataset]
        if not entry.generated and root is None:
            raise ValueError(f"data_root is None; accepted for {config.dataset}: the TARGET of `{entry.prepare}`")
        keys = [tasks.target_of(name) for name in config.tasks]
        keys += ["valid"] if any(TARGETS[key].known == "mask" for key in keys) else []
        count = config.n_train if split == "train" else config.n_test
        return datasets.load(
            config.dataset, split, root=root, keys=keys, classes=config.classes, n=count, size=config.size
        )

    def _labelled(self, train: datasets.Dataset) -> datasets.Dataset:
        """Training images with the labels that the configuration leaves them."""
        shares = self.config.labels
        shown = train.showing({tasks.target_of(name): share for name, share in shares.items()})
        for name in self.config.tasks:
            if not shown.has(tasks.target_of(name), range(len(shown))).any():
                raise ValueError(f"labels is {shares}; accepted: shares that leave {name!r} a training image")
        return shown

    def _loader(self, dataset: datasets.Dataset, **options: Any) -> Loader:  # noqa: ANN401
        if dataset.nbytes <= HELD:
            return MemoryLoader(dataset, self.config.batch_size, device=self.device, **options)
        return DiskLoader(dataset, self.config.batch_size, device=self.device, **options)


def _compile(parts: Sequence[nn.Module]) -> None:
    """Compile modules one by one: gradient balancers go T times through the shared part, and once through each head."""
    torch._functorch.config.donated_buffer = False  # several backward passes through one graph
    torch._dynamo.config.recompile_limit = 8 * len(parts)  # they count as one function: training, evaluation, sizes
    for part in parts:
        part.compile()


class _Captured:
    """Steps as replays of one CUDA graph: it reads the same memory every time, so each batch is copied there."""

    def __init__(self, trainer: Trainer) -> None:
        self._batch: Batch = {}
        self._names = [task.name for task in trainer.tasks]
        self._step = CapturedStep(lambda: trainer.step(self._batch, [True] * len(self._names)), trainer.balancer)

    def __call__(self, batch: Batch, present: Sequence[bool]) -> None:
        if not all(present):
            absent = ", ".join(name for name, there in zip(self._names, present, strict=True) if not there)
            raise ValueError(
                f"cuda_graph is True, and a batch has no label of {absent}; accepted: False, since a graph has one form"
            )
        tensors = {key: value for key, value in batch.items() if isinstance(value, Tensor)}
        if not self._batch:
            self._batch = {key: value.clone() for key, value in tensors.items()}
        for key, value in tensors.items():
            self._batch[key].copy_(value)
        self._step()


def _augmentation(config: RunConfig) -> Augmentation | None:
    plain = config.flip == 0 and config.scales == (1.0,) and config.crop is None
    return None if plain else Augmentation(config.flip, config.scales, config.crop)


def _optimizer(config: RunConfig, model: nn.Module, balancer: nn.Module, device: torch.device) -> Optimizer:
    """Make the optimizer; its kernels are fused, so that a bad step is skipped without asking the device."""
    rates = (config.lr, config.lr if config.balancer_lr is None else config.balancer_lr)
    lr, balancer_lr = (torch.tensor(rate, device=device) if config.cuda_graph else rate for rate in rates)
    decay = config.weight_decay if config.decay == "torch" else 0.0
    groups: list[dict[str, Any]] = [{"params": model.parameters(), "lr": lr, "weight_decay": decay}]
    groups += [{"params": balancer.parameters(), "lr": balancer_lr, "weight_decay": 0.0}]
    if config.optimizer == "sgd":
        return SGD(groups, lr=lr, momentum=config.momentum, fused=True)
    kind = Adam if config.optimizer == "adam" else AdamW
    return kind(groups, lr=lr, fused=True, capturable=config.cuda_graph)


def decouple_decay(optimizer: Optimizer, decay: float) -> None:
    """Make an optimizer's steps shrink the parameters of its first group, MTSGD's Eq. 1: w <- w - lr v - decay w.

    A step that the guard skips shrinks nothing, and neither does a step a parameter that has no gradient in it, as with
    torch's own decay. Nothing waits for the device.

    Args:
        optimizer: A fused one without a weight decay of its own in its first group, already under the guard.
        decay: In [0, 1), not scaled by the learning rate.
    """

    @torch.no_grad()
    def shrink(optimizer: Any, *_: object) -> None:  # noqa: ANN401
        parameters = [p for p in optimizer.param_groups[0]["params"] if p.grad is not None]
        if parameters:
            kept = 1 - decay * (1 - optimizer.found_inf.double())  # 1 where the guard skips the step
            torch._foreach_mul_(parameters, kept.to(parameters[0].dtype))

    optimizer.register_step_pre_hook(shrink)
