"""Batches for training: from a small split held in memory on the device, or read from disk by worker processes.

Both loaders give the same batches for a seed: the order of an epoch and the transforms of a sample depend on
(seed, epoch, index) alone; where batches come from several groups in turn, the number of the pass through the group
takes the place of the epoch. Transforms run on the device, a batch at a time; between devices only the last digits of
images can differ.

A batch says on the CPU which of its images have a label of each target, `labelled`, after the transforms: training
leaves out the tasks that have none without waiting for the device.
"""

from abc import ABC, abstractmethod
from collections.abc import Iterable, Iterator, Sequence
from itertools import repeat
from typing import Any, NamedTuple

import numpy as np
import torch
from torch import Tensor
from torch.utils import data

from mtlrepro.data.datasets import Dataset, to_samples
from mtlrepro.data.samples import Batch
from mtlrepro.data.transforms import Augmentation
from mtlrepro.losses import known
from mtlrepro.targets import TARGETS

_ORDER = 0
"""Last word of the seed of an epoch's order; the transforms have another."""


class Loader(ABC):
    """Batches of a split, an epoch at each iteration; what both ways to read have in common.

    An iteration goes on after the last batch that was given: it completes an epoch that was left in the middle, or
    begins the next one. `state_dict`, called between two batches, returns that position.

    Args:
        dataset: Split to load; its keys are the batches' keys.
        batch_size: Samples in a batch, at least 1.
        augmentation: Train-time transforms; default: none.
        shuffle: Whether each epoch has its own random order.
        drop_last: Whether to leave out a last batch that is short; the samples left out differ between epochs.
        seed: Seed of the order and of the transforms, at least 0.
        device: Device on which the batches lie.
        part: (k, n) gives part k, counted from 0, of every batch cut into n, for process k of n that train together.
        groups: Groups of targets, by key. A batch is drawn from the samples that have any target of a group, in which
            the targets of the other groups count as unlabelled; batches take the groups in turn. An epoch has as many
            batches as one pass through the samples that have any target of any group; a group is passed through as a
            whole, over the ends of epochs if need be, before its samples come again. Default: all samples.

    Attributes:
        epoch: Number of completed epochs.
        position: Number of batches given in the current epoch.
        size: (height, width) of the batches' images.

    Raises:
        ValueError: An argument is out of range, or the data set lacks what the transforms need.
    """

    def __init__(
        self,
        dataset: Dataset,
        batch_size: int,
        *,
        augmentation: Augmentation | None = None,
        shuffle: bool = True,
        drop_last: bool = False,
        seed: int = 0,
        device: torch.device | str = "cpu",
        part: tuple[int, int] = (0, 1),
        groups: Sequence[Sequence[str]] = (),
    ) -> None:
        if batch_size < 1:
            raise ValueError(f"batch_size is {batch_size}; accepted: 1 or more")
        if seed < 0:
            raise ValueError(f"seed is {seed}; accepted: 0 or more")
        if len(groups) > 1 and not drop_last:
            raise ValueError(f"groups is {groups}; accepted without drop_last: one at most")
        self._groups = [_Group.having(dataset, keys, groups) for keys in groups] or [_Group.everything(dataset)]
        self._samples = len(np.unique(np.concatenate([group.rows for group in self._groups])))
        smallest = min(self._groups, key=lambda group: len(group.rows))
        if drop_last and len(smallest.rows) < batch_size:
            raise ValueError(
                f"batch_size is {batch_size}; accepted with drop_last: up to {len(smallest.rows)}, {smallest.title}"
            )
        if not 0 <= part[0] < part[1] or batch_size % part[1]:
            raise ValueError(f"part is {part}; accepted: (k, n) with 0 <= k < n, a divisor of batch_size {batch_size}")
        if part[1] > 1 and not drop_last:
            raise ValueError(f"part is {part}; accepted without drop_last: (0, 1), as a short batch may have no parts")
        self.dataset = dataset
        self.batch_size = batch_size
        self.part = part
        self.augmentation = augmentation
        self.shuffle = shuffle
        self.drop_last = drop_last
        self.seed = seed
        self.device = torch.device(device)
        self.epoch = 0
        self.position = 0
        self.size = dataset.size
        self._sky = dataset.class_names.index("sky") if "sky" in dataset.class_names else None
        self._read_from = dataset
        if augmentation is not None:
            self.size = augmentation.output_size(dataset.size)
            needed = augmentation.reads(dataset.keys)
            self._read_from = dataset.reading(key for key in needed if key in dataset.store)
            augmentation.check(self._read_from.keys, dataset.keys)

    def __len__(self) -> int:
        """Batches in an epoch."""
        return self._count(self._samples)

    def _count(self, samples: int) -> int:
        """Batches in a pass through so many samples."""
        whole, rest = divmod(samples, self.batch_size)
        return whole + (rest > 0 and not self.drop_last)

    def __iter__(self) -> Iterator[Batch]:
        """Yield the batches of the current epoch that were not given yet."""
        for batch in _one_ahead(self._batches()):
            self.position += 1
            if self.position == len(self):
                self.epoch, self.position = self.epoch + 1, 0
            yield batch

    def _batches(self) -> Iterator["_Sent"]:
        """Make the batches of the current epoch from the position on, and send to the CPU what is labelled."""
        drawn = self._drawn()
        stored_batches = self._read([each.rows for each in drawn])
        for each, parameters, stored in zip(drawn, self._parameters(drawn), stored_batches, strict=True):
            batch = to_samples(stored)
            if self.augmentation is not None and parameters is not None:
                on_cpu, on_device = parameters
                batch |= self.augmentation.boxes(batch, on_cpu, self.dataset.size, self.dataset.keys)
                batch |= self.augmentation.maps(batch, on_device, self.dataset.keys, self._sky)
            for key in self.dataset.ragged:
                batch[key] = _send_ragged(batch[key], self.device)
            labelled = {key: batch["labelled"][key] for key in self.dataset.keys if key in batch["labelled"]}
            hidden = self._groups[each.group].others
            batch["labelled"] = labelled | {key: torch.zeros_like(labelled[key]) for key in hidden}
            given = {key: batch[key] for key in (*self.dataset.keys, "labelled", "index") if key in batch}
            yield _Sent(given)

    def state_dict(self) -> dict[str, int]:
        """Return the position, and the seed, batch size and number of samples for which it holds."""
        identity = {"seed": self.seed, "batch_size": self.batch_size, "samples": self._samples}
        return identity | {"epoch": self.epoch, "position": self.position}

    def load_state_dict(self, state: dict[str, int]) -> None:
        """Go to a position that `state_dict` returned; the next iteration gives the batches after it.

        Raises:
            ValueError: The position belongs to another seed, batch size or number of samples.
        """
        current = self.state_dict()
        for name in ("seed", "batch_size", "samples"):
            if state[name] != current[name]:
                raise ValueError(
                    f"{name} of the state is {state[name]}; accepted: {current[name]}, that of this loader"
                )
        self.epoch, self.position = state["epoch"], state["position"]

    @abstractmethod
    def _read(self, batches: Sequence[np.ndarray]) -> Iterable[Batch]:
        """Read the samples at given positions: stored types, maps on the device, boxes and labels on the CPU."""

    def _drawn(self) -> list["_Drawn"]:
        """Say what the batches of the current epoch are, from the position on; all follows from their number."""
        first, n = self.epoch * len(self), len(self._groups)
        part, parts = self.part
        orders: dict[tuple[int, int], np.ndarray] = {}
        drawn = []
        for number in range(first + self.position, first + len(self)):
            turn, group = divmod(number, n)
            passes, place = divmod(turn, self._count(len(self._groups[group].rows)))
            if (group, passes) not in orders:
                orders[group, passes] = self._order(group, passes)
            rows = orders[group, passes][place * self.batch_size : (place + 1) * self.batch_size]
            drawn.append(_Drawn(group, passes, np.split(rows, parts)[part]))
        return drawn

    def _order(self, group: int, passes: int) -> np.ndarray:
        """Order of a group's samples after so many passes through them."""
        rows = self._groups[group].rows
        if not self.shuffle:
            return rows
        # The first group has the order of a loader without groups.
        words = [self.seed, passes, _ORDER, *([group] if group else [])]
        return rows[np.random.default_rng(np.random.SeedSequence(words)).permutation(len(rows))]

    def _parameters(self, drawn: Sequence["_Drawn"]) -> Iterable[tuple[Tensor, Tensor] | None]:
        """Parameters of each batch on the CPU and on the device; those of an epoch are sent in one copy."""
        if self.augmentation is None:
            return repeat(None, len(drawn))
        n, size = len(self.dataset), self.dataset.size
        tables = {
            passes: self.augmentation.draw(n, size, seed=self.seed, epoch=passes)
            for passes in {each.passes for each in drawn}
        }
        rows, sizes = torch.cat([tables[each.passes][each.rows] for each in drawn]), [len(each.rows) for each in drawn]
        return zip(torch.split(rows, sizes), torch.split(send(rows, self.device), sizes), strict=True)


class MemoryLoader(Loader):
    """Holds the whole split on the device, in the types in which it is stored.

    Args:
        dataset: Split to load.
        batch_size: Samples in a batch.
        **options: See `Loader`.
    """

    def __init__(self, dataset: Dataset, batch_size: int, **options: Any) -> None:  # noqa: ANN401
        super().__init__(dataset, batch_size, **options)
        held = self._read_from.stored(np.arange(len(dataset)))
        self._ragged = {key: held.pop(key) for key in self._read_from.ragged}
        self._labelled: dict[str, Tensor] = held.pop("labelled")
        self._maps: dict[str, Tensor] = {key: values.to(self.device) for key, values in held.items()}

    def _read(self, batches: Sequence[np.ndarray]) -> Iterable[Batch]:
        all_rows = send(torch.from_numpy(np.concatenate(batches)), self.device)
        for rows, on_device in zip(batches, torch.split(all_rows, [len(rows) for rows in batches]), strict=True):
            batch: Batch = {key: values.index_select(0, on_device) for key, values in self._maps.items()}
            batch["labelled"] = {key: values[torch.from_numpy(rows)] for key, values in self._labelled.items()}
            yield batch | {key: [values[row] for row in rows] for key, values in self._ragged.items()}


class DiskLoader(Loader):
    """Reads from memory maps, in worker processes that stay between epochs, through torch's `DataLoader`.

    Args:
        dataset: Split to load.
        batch_size: Samples in a batch.
        workers: Number of processes; with 0 this process reads, and training waits for it.
        **options: See `Loader`.

    Raises:
        ValueError: `workers` is negative.
    """

    def __init__(self, dataset: Dataset, batch_size: int, *, workers: int = 2, **options: Any) -> None:  # noqa: ANN401
        super().__init__(dataset, batch_size, **options)
        if workers < 0:
            raise ValueError(f"workers is {workers}; accepted: 0 or more")
        self._plan: list[np.ndarray] = []
        self._reader = data.DataLoader(
            _Stored(self._read_from),
            sampler=_Plan(self._plan),
            batch_size=None,
            num_workers=workers,
            persistent_workers=workers > 0,
            pin_memory=self.device.type == "cuda",
        )

    def _read(self, batches: Sequence[np.ndarray]) -> Iterable[Batch]:
        self._plan[:] = batches
        for batch in self._reader:
            yield {
                key: values.to(self.device, non_blocking=True) if isinstance(values, Tensor) else values
                for key, values in batch.items()
            }


class _Group(NamedTuple):
    """Samples that are drawn together: their indices, and the targets that count as unlabelled in them."""

    title: str
    rows: np.ndarray
    others: list[str]

    @classmethod
    def everything(cls, dataset: Dataset) -> "_Group":
        """Group all samples, whatever they have."""
        return cls("all samples", np.arange(len(dataset)), [])

    @classmethod
    def having(cls, dataset: Dataset, keys: Sequence[str], groups: Sequence[Sequence[str]]) -> "_Group":
        """Group the samples that have any target of `keys`, one of the `groups`."""
        if not keys or not set(keys) <= set(dataset.keys):
            raise ValueError(f"groups is {groups}; accepted: one or more of {', '.join(dataset.keys)} in each")
        everything = np.arange(len(dataset))
        rows = np.flatnonzero(np.any([dataset.has(key, everything) for key in keys], axis=0))
        others = sorted({key for group in groups for key in group} - set(keys))
        return cls(f"the samples with {' or '.join(keys)}", rows, others)


class _Drawn(NamedTuple):
    """What a batch is made of: its group, the passes through the group before, and the indices of its samples."""

    group: int
    passes: int
    rows: np.ndarray


class _Sent:
    """A batch of which the CPU is being told which images are labelled, after the transforms.

    Args:
        batch: With `labelled` as it is stored, before a crop may have cut off all labels of an image.
    """

    def __init__(self, batch: Batch) -> None:
        self._batch = batch
        rules = {"class", "positive", "nonzero"} | ({"mask"} if "valid" in batch else set())
        labelled = batch["labelled"]
        self._keys = [key for key in labelled if TARGETS[key].known in rules and any(labelled[key].tolist())]
        self._sent: torch.cuda.Event | None = None
        if not self._keys:
            return
        found = torch.stack([known(batch, key).flatten(1).any(1) for key in self._keys])
        self._found = found.to("cpu", non_blocking=True)
        if found.is_cuda:
            self._sent = torch.cuda.Event()  # type: ignore[no-untyped-call]
            self._sent.record()

    def batch(self) -> Batch:
        """Wait until the CPU knows, and return the batch."""
        if self._keys:
            if self._sent is not None:
                self._sent.synchronize()
            self._batch["labelled"] |= dict(zip(self._keys, self._found.unbind(), strict=True))
        return self._batch


def _one_ahead(batches: Iterable[_Sent]) -> Iterator[Batch]:
    """Yield batches, each after the next one is under way.

    What the CPU waits for was then put into the device's queue before the step that came in between, so that the
    device has that step to work on and never waits for the CPU.
    """
    current: _Sent | None = None
    for following in batches:
        if current is not None:
            yield current.batch()
        current = following
    if current is not None:
        yield current.batch()


class _Stored(data.Dataset[Batch]):
    """Whole batches by the indices of their samples, so that a worker reads one batch at a time."""

    def __init__(self, dataset: Dataset) -> None:
        self._dataset = dataset

    def __getitem__(self, rows: np.ndarray) -> Batch:
        return self._dataset.stored(rows)


class _Plan(data.Sampler[np.ndarray]):
    """Indices of the batches to come; the list changes between epochs, so that the workers can stay."""

    def __init__(self, batches: list[np.ndarray]) -> None:
        self._batches = batches

    def __iter__(self) -> Iterator[np.ndarray]:
        return iter(list(self._batches))


def send(values: Tensor, device: torch.device) -> Tensor:
    """Copy a CPU tensor to a device without waiting for what the device is doing."""
    if device.type != "cuda":
        return values.to(device)
    return values.pin_memory().to(device, non_blocking=True)


def _send_ragged(parts: list[Tensor], device: torch.device) -> list[Tensor]:
    return list(torch.split(send(torch.cat(parts), device), [len(part) for part in parts]))
