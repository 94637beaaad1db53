"""One run: a configuration is trained, resumed where it was stopped, and leaves one record."""

import copy
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Any

import torch
from filelock import FileLock
from tqdm import tqdm

from mtlrepro.distributed import from_first, join, local_rank, processes, rank
from mtlrepro.training import checkpoints, gradients, observations, predictions, records
from mtlrepro.training.config import RunConfig
from mtlrepro.training.evaluation import evaluate, mean, probe, update_change
from mtlrepro.training.provenance import date, origin
from mtlrepro.training.records import Record
from mtlrepro.training.step import Trainer

Kept = dict[str, dict[int, dict[str, Any]]]
"""What checkpoints keep beside the history: by number of epochs `pictures` and `gradients`, which will stand beside the
record, and by its first epoch each of the `legs`, where and when a process trained."""


def train(
    config: RunConfig,
    *,
    store: str | Path,
    data_root: str | Path | None = None,
    progress: bool = True,
    device: str | torch.device | None = None,
    after_epoch: Callable[[dict[str, Any]], object] | None = None,
    resumable: bool = True,
) -> Record:
    """Train a configuration, or go on with it, or read its record if it is complete.

    Data, model, losses, balancer and optimizer follow one another in `step.Trainer.step`; this function adds what
    surrounds the steps. After each epoch `STORE/checkpoints/HASH-EPOCH.pt` holds the state, so a run that was stopped
    at any moment ends with the numbers of one that was not: bit for bit on the CPU, see `records.numbers`. A second
    call for the same configuration waits for the first and reads its record; of a complete run nothing is written.

    Under torchrun all processes train together, each on its part of every batch. The result equals a single process's
    up to rounding, except with batch norm on the CPU, which sees only its own images, and with detection where a
    process has no positive location. All processes have to see the folder.

    The record, `STORE/HASH.json`, is a dictionary:

    - `config`, `hash`, `algorithm`, `status`: `complete`, or `failed`, then in `HASH.failed.json` with `error`;
    - `history`: for each epoch `epoch`, `losses` (raw mean training losses by task), `weights` (mean over its
      steps, None where the method has none), `loss_scales` (weights times losses, times the factors of
      `config.loss_scales`), `lr`, `metrics` and `probe` (None in epochs without), `seconds` of training with its data,
      `evaluation_seconds`; and, where batches lack labels, `absent`, the share of the batches without a task's;
    - `metrics`: final ones by task and name, and `metrics_from`, the split and the epochs over whose evaluations
      they are means;
    - with `evaluate_on="both"`, `validation_metrics`: those on the validation split, over the same epochs, here and
      in each entry of `history`;
    - what `config.observe` asks for: `observed` in the entries of `history`, means over the epoch's steps of what the
      balancer reports; `update_change` in `probe`; `per_class` (and `validation_per_class`) beside `metrics`;
    - `weights_source`: what the network started from;
    - `provenance`: commit, versions, device, processor, threads, processes, date, seconds, images per second; of a
      run that several processes trained one after another those of the last one, and in `legs` those of each, with
      `first_epoch`.

    A run that replays another one's weights, see `controls`, first reads that one's record from the store.

    Predictions that `config.pictures` asks for stand beside it, see `predictions`, and so do what `config.gradients`
    asks for, see `gradients`, and the weights of every step, see `observations`. No epoch is chosen by its metrics.
    Numbers that are not finite are None.

    Args:
        config: What to train.
        store: Folder of records and checkpoints; made if it is absent.
        data_root: Folder of the prepared data set; needed for real ones, not for scenes.
        progress: Show a bar on stderr, if that is a terminal.
        device: Which device of the configured kind, such as `cuda:1`.
        after_epoch: Called after each epoch that is trained, once its checkpoint is written, with a copy of its entry
            of `history`; in the first process only. Neither it nor random numbers that it draws from torch change the
            run's numbers. What it raises ends the run as any failure does, and the next call goes on after that epoch.
        resumable: Whether epochs leave checkpoints, which for runs of a second take as long as to train.

    Returns:
        The record.

    Raises:
        ValueError: The device is absent or of another kind, or data, network and tasks do not go together, or a file
            that is not this run's record has its name, or the run whose weights are replayed cannot be.
        FileNotFoundError: ImageNet weights are absent.
        FloatingPointError: A loss or gradient was not finite; names epoch, step and task. Or the network was not, after
            an epoch; names the parameter.
        torch.OutOfMemoryError: The device's memory did not suffice.
        OSError: A file cannot be written. Failures in training are recorded, and the last checkpoint stays.
    """
    store = Path(store)
    folder = store / "checkpoints"
    join(config.device)
    if (record := _read(store, config)) is not None:  # nothing is written, not even a lock, and no device is needed
        return record
    chosen = _device(config, device)
    folder.mkdir(parents=True, exist_ok=True)
    with ExitStack() as stack:
        stack.enter_context(settings(config, chosen))
        if rank() == 0:  # whoever else trains this run waits here, and then finds its record
            stack.enter_context(FileLock(folder / f"{config.hash}.lock"))
        if (record := _read(store, config)) is not None:
            return record
        if rank() == 0:
            _clean(store, config.hash)
        history: list[dict[str, Any]] = []
        kept: Kept = {"legs": {}, "pictures": {}, "gradients": {}}
        try:
            trainer = Trainer(config, chosen, data_root, records.source_weights(store, config))
            _train_epochs(trainer, history, kept, folder, progress, config.epochs, after_epoch, resumable)
            record = from_first(_complete(trainer, history, kept["legs"]) if rank() == 0 else {})
            if rank() == 0:
                _store(store, config, record, kept, trainer.step_weights)
        except Exception as error:
            _fail(store, config, chosen, history, error)
            raise
        return record


def first_epochs(
    config: RunConfig,
    epochs: int,
    *,
    data_root: str | Path | None = None,
    progress: bool = True,
    store: Path | None = None,
) -> list[dict[str, Any]]:
    """Train the first epochs of a run anew and keep nothing but their `history`.

    Args:
        config: The run.
        epochs: How many, up to those of the run.
        data_root: See `train`.
        progress: See `train`.
        store: Where the run is whose weights it replays, if it does.

    Returns:
        One entry for each epoch.

    Raises:
        ValueError, FileNotFoundError, FloatingPointError, torch.OutOfMemoryError: See `train`.
    """
    device = _device(config, None)
    history: list[dict[str, Any]] = []
    weights = records.source_weights(store, config)
    with tempfile.TemporaryDirectory() as folder, settings(config, device):
        trainer = Trainer(config, device, data_root, weights)
        kept: Kept = {"legs": {}, "pictures": {}, "gradients": {}}
        _train_epochs(trainer, history, kept, Path(folder), progress, epochs)
    return history


def out_of_memory(error: Exception) -> bool:
    """Whether an error says that memory did not suffice; PyTorch has no class of its own for that on the CPU."""
    return isinstance(error, torch.OutOfMemoryError | MemoryError) or "DefaultCPUAllocator" in str(error)


def _train_epochs(
    trainer: Trainer,
    history: list[dict[str, Any]],
    kept: Kept,
    folder: Path,
    progress: bool,
    epochs: int,
    after_epoch: Callable[[dict[str, Any]], object] | None = None,
    resumable: bool = True,
) -> None:
    """Train the epochs that are left; append them to the history, and add what is to stand beside the record."""
    config = trainer.config

    def take(state: dict[str, Any]) -> None:
        _go_on(trainer, state)
        history.extend(state["history"])
        for name, epochs_kept in kept.items():
            epochs_kept |= state[name]

    checkpoints.load(folder, config.hash, take)
    first = len(history) + 1
    here = origin(str(trainer.device))
    steps = len(trainer.train_loader)
    with tqdm(
        desc=config.hash,
        total=epochs * steps,
        initial=len(history) * steps,
        unit=" steps",
        disable=None if progress and rank() == 0 else True,
    ) as bar:
        for epoch in range(first, epochs + 1):
            started = time.perf_counter()
            entry = {"epoch": epoch, **trainer.epoch(bar.update)}
            kept["legs"][first] = here | {"date": date()}
            trained = time.perf_counter()
            entry |= _evaluate(trainer, epoch)
            if rank() == 0 and epoch in config.pictures.get("epochs", ()):
                images = trainer.pictured_batch()
                kept["pictures"][epoch] = predictions.predict_maps(
                    trainer.model, trainer.tasks, images, config.precision
                )
            if epoch in config.gradients.get("epochs", ()):
                kept["gradients"][epoch] = gradients.measure(trainer)
            seconds = {"seconds": trained - started, "evaluation_seconds": time.perf_counter() - trained}
            history.append(records.finite(entry) | seconds)
            if rank() == 0:
                if resumable:
                    state = {"config": config.to_json(), "trainer": trainer.state_dict(), "history": history, **kept}
                    checkpoints.save(folder, config.hash, epoch, state)
                if after_epoch is not None:
                    with torch.random.fork_rng([trainer.device] if trainer.device.type == "cuda" else []):
                        after_epoch(copy.deepcopy(history[-1]))
            bar.set_postfix_str(f"epoch {epoch}, " + ", ".join(f"{k} {v:.4g}" for k, v in entry["losses"].items()))


def _go_on(trainer: Trainer, state: dict[str, Any]) -> None:
    """Give a new trainer the state of a checkpoint.

    Raises:
        ValueError: It is another configuration's, or does not fit; the trainer is as before.
    """
    if state.get("config") != trainer.config.to_json():
        raise ValueError("it is of another configuration")
    new = copy.deepcopy(trainer.state_dict())
    try:
        trainer.load_state_dict(state["trainer"])
    except (AttributeError, IndexError, KeyError, RuntimeError, TypeError, ValueError) as error:
        trainer.load_state_dict(new)
        raise ValueError(f"it does not fit this version of the code ({' '.join(str(error).split())})") from None


def _evaluate(trainer: Trainer, epoch: int) -> dict[str, Any]:
    """Score the network, in the first process, and compare its tasks' gradients, in all, in the epochs that have it."""
    config = trainer.config
    model, tasks, precision = trainer.model, trainer.tasks, config.precision
    scored = epoch % config.evaluate_every == 0 or epoch > config.epochs - config.average_last
    probed = config.probe_every and epoch % config.probe_every == 0
    loaders = {"": trainer.test_loader}
    if trainer.validation_loader is not None:
        loaders["validation_"] = trainer.validation_loader
    found: dict[str, Any] = {}
    for prefix, loader in loaders.items():
        scores = evaluate(model, tasks, loader, precision, config.score) if scored and rank() == 0 else (None, None)
        found[f"{prefix}metrics"] = scores[0]
        if "classes" in config.observe:
            found[f"{prefix}per_class"] = scores[1]
    found["probe"] = probe(model, tasks, trainer.probe_batch(), precision, config.loss_scales) if probed else None
    if probed and "update" in config.observe:
        found["probe"]["update_change"] = update_change(trainer, trainer.probe_batch())
    return found


def _complete(trainer: Trainer, history: list[dict[str, Any]], legs: dict[int, dict[str, Any]]) -> Record:
    config = trainer.config
    last = history[-config.average_last :]
    seconds = sum(entry["seconds"] for entry in history)
    images = len(trainer.train_loader) * config.batch_size * config.epochs
    return records.new(
        config,
        "complete",
        history=history,
        **{
            name: mean([entry[name] for entry in last])
            for name in ("metrics", "validation_metrics", "per_class", "validation_per_class")
            if name in last[0]
        },
        metrics_from={"split": trainer.test_loader.dataset.split, "epochs": [entry["epoch"] for entry in last]},
        weights_source=trainer.model.weights_source,
        provenance={
            **legs[max(legs)],
            "seconds": seconds + sum(entry["evaluation_seconds"] for entry in history),
            "images_per_second": images / seconds,
            **({"legs": [{"first_epoch": first, **legs[first]} for first in sorted(legs)]} if len(legs) > 1 else {}),
        },
    )


def _read(store: Path, config: RunConfig) -> Record | None:
    """Record of a complete run, in all processes; None if there is none."""
    return from_first(records.completed(store, config) if rank() == 0 else None)


def _clean(store: Path, run: str) -> None:
    """Remove what processes that were killed while they wrote a file of this run have left."""
    for folder in (store, store / "checkpoints"):
        for path in folder.glob(f".{run}*.partial.*"):
            path.unlink(missing_ok=True)


def _store(store: Path, config: RunConfig, record: Record, kept: Kept, weights: list[torch.Tensor]) -> None:
    """Write what a complete run leaves.

    The order lets a process die anywhere in between: the record, which says that the run is complete, comes after the
    files that belong to it, and checkpoints, from which all could be made again, go last.
    """
    if weights:
        observations.write_weights(store, config.hash, weights)
    if kept["pictures"]:
        predictions.write(store / f"{config.hash}.npz", kept["pictures"])
    if kept["gradients"]:
        gradients.write(gradients.path_of(store, config.hash), kept["gradients"])
    records.write(store, record)
    records.path_of(store, config.hash, "failed").unlink(missing_ok=True)
    checkpoints.remove(store / "checkpoints", config.hash)


def _fail(
    store: Path, config: RunConfig, device: torch.device, history: list[dict[str, Any]], error: Exception
) -> None:
    """Record what stopped a run; the error goes on, with a remedy where there is one."""
    message = f"{type(error).__name__}: {error}"
    if out_of_memory(error):
        error.add_note(f"out of memory in epoch {len(history) + 1}; remedy: a smaller batch_size, size or network")
    for note in getattr(error, "__notes__", ()):
        message += f"; {note}"
    path = records.path_of(store, config.hash, "failed")
    record = records.new(config, "failed", error=message, history=history, provenance=origin(str(device)))
    try:
        records.write(store, record)
    except OSError as second:
        error.add_note(f"{path} cannot be written either: {second}")
    else:
        error.add_note(f"recorded in {path}")


def _device(config: RunConfig, device: str | torch.device | None) -> torch.device:
    chosen = torch.device(config.device if device is None else device)
    if chosen.type != config.device:
        raise ValueError(f"device is {str(chosen)!r}; accepted: {config.device!r}, as the configuration says")
    if config.device == "cuda":
        if not torch.cuda.is_available():
            raise ValueError("device is 'cuda', but PyTorch finds no CUDA device; accepted here: 'cpu'")
        if str(chosen) == "cuda":
            chosen = torch.device("cuda", local_rank() if processes() > 1 else torch.cuda.current_device())
    return chosen


@contextmanager
def settings(config: RunConfig, device: torch.device) -> Iterator[None]:
    """Set threads, device and random streams for a run, and put all of them back."""
    threads = torch.get_num_threads()
    torch.set_num_threads(config.threads)
    devices = [device] if device.type == "cuda" else []
    try:
        with torch.random.fork_rng(devices), ExitStack() as stack:
            for each in devices:
                stack.enter_context(torch.cuda.device(each))
            yield
    finally:
        torch.set_num_threads(threads)
