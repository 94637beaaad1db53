"""Speed of training: against a bare loop of the same network and losses, waiting for data, and several runs at once."""

import multiprocessing
import time
from collections.abc import Callable, Sequence
from functools import partial
from multiprocessing.queues import Queue
from multiprocessing.synchronize import Barrier
from typing import Any

import pandas as pd
import torch

from mtlrepro.bench.timing import check_device, keep_freed_memory, timings
from mtlrepro.data.catalogue import CATALOGUE
from mtlrepro.training.config import RunConfig
from mtlrepro.training.run import settings
from mtlrepro.training.scales import PAIRS, Scale, config
from mtlrepro.training.step import Trainer

NETWORKS = {
    network: next(dataset for dataset in datasets if CATALOGUE[dataset].generated)
    for network, datasets in PAIRS.items()
}
"""All networks, each with the data set on which it is measured: the first that is generated here."""
BATCHES = 4


def train(
    device: str = "cpu",
    *,
    scale: Scale | None = None,
    networks: Sequence[str] = tuple(NETWORKS),
    rounds: int = 7,
    at_once: Sequence[int] | None = None,
) -> pd.DataFrame:
    """Time epochs of four batches, data loading with mirror images included, one CPU thread each.

    The variants of a network: `bare loop`, written out by hand with the mean of the losses in the place of a balancer;
    `training`, what `mtlrepro train` does, with loss scale balancing and without a CUDA graph; on CUDA also
    `training, CUDA graph`, for dense tasks; `steps alone`, training steps on a batch that is there already. Last,
    several runs of the multi-decoder network at once, each in its own process, with a graph where the scale has one.
    Encoders start at random, which costs the same.

    Args:
        device: A torch device.
        scale: Of `scales`; default: `cpu` on CPUs, else `gpu`.
        networks: Of `NETWORKS`.
        rounds: Rounds that count, see `timings`.
        at_once: Numbers of runs at once; default: 1 and 2 on CPUs, else 1, 2, 4 and 8.

    Returns:
        One row a variant: `network`, `arm`, its name, `seconds` of an epoch with quartiles, `images/s`, `speed` in
        relation to the bare loop, for several runs to one; `waiting`, the share of the time of `training` that is
        not spent on steps; `run`, the hash of the network's `configuration`.

    Raises:
        ValueError: CUDA is asked for and absent, or a network is unknown.
    """
    check_device(device)
    unknown = [name for name in networks if name not in NETWORKS]
    if unknown:
        raise ValueError(f"networks has {unknown}; accepted: {', '.join(NETWORKS)}")
    cpu = device == "cpu"
    scale = scale or ("cpu" if cpu else "gpu")
    keep_freed_memory()
    tables = []
    for name in networks:
        run = configuration(name, scale, device)
        with settings(run, torch.device(device)):
            tables.append(_network(run, device, rounds))
    counts = at_once if at_once is not None else ((1, 2) if cpu else (1, 2, 4, 8))
    if counts:
        tables.append(together(configuration("multi_decoder", scale, device), device, counts))
    columns = ["network", "arm", "seconds", "lower", "upper", "images/s", "speed", "waiting", "run"]
    return pd.concat(tables, ignore_index=True).reindex(columns=columns)


def configuration(network: str, scale: Scale, device: str) -> RunConfig:
    """Configure what is measured: a run of the scale with few images, without a checkpoint.

    Args:
        network: Of `NETWORKS`.
        scale: Of `scales`.
        device: A torch device.
    """
    run = config(scale, dataset=NETWORKS[network], network=network)
    cuda = device != "cpu"
    return run.replace(
        n_train=BATCHES * run.batch_size,
        n_test=1,
        method="lsb",
        model_options={key: value for key, value in run.model_options.items() if key != "weights"},
        device="cuda" if cuda else "cpu",
        cuda_graph=cuda and run.cuda_graph,
    )


def _network(measured: RunConfig, device: str, rounds: int) -> pd.DataFrame:
    place = torch.device(device)
    run = measured.replace(cuda_graph=False)
    trainer = Trainer(run, place)
    batch = next(iter(trainer.train_loader))
    trainer.train_loader.position = 0
    variants: dict[str, Callable[[], object]] = {"bare loop": bare_loop(Trainer(run, place)), "training": trainer.epoch}
    if device != "cpu" and "detection" not in run.tasks:
        variants["training, CUDA graph"] = Trainer(run.replace(cuda_graph=True), place).epoch
    variants["steps alone"] = partial(_steps, Trainer(run, place), batch)
    table = timings(variants, rounds)
    table["images/s"] = BATCHES * run.batch_size / table["seconds"]
    table["speed"] = 1 / table["ratio"]
    alone = table["ratio"].iloc[-1]
    trained = table["arm"].str.startswith("training")
    table["waiting"] = (1 - alone / table["ratio"]).where(trained & ~table["arm"].str.contains("graph")).clip(lower=0)
    return table.assign(network=run.model, run=measured.hash)


def bare_loop(trainer: Trainer) -> Callable[[], None]:
    """Write training out by hand: the trainer's network, losses, data and optimizer, nothing else of it."""
    model, tasks, loader, bf16 = trainer.model, trainer.tasks, trainer.train_loader, trainer.config.precision == "bf16"
    optimizer = torch.optim.AdamW(model.parameters(), lr=trainer.config.lr, fused=True)
    views = ("image", "right")[: model.views]

    def epoch() -> None:
        for batch in loader:
            optimizer.zero_grad()
            images = torch.cat([batch[view] for view in views], 1).contiguous(memory_format=torch.channels_last)
            with torch.autocast(trainer.device.type, torch.bfloat16, enabled=bf16):
                predictions = model(images)
            losses = [task.loss(predictions[task.name], batch).mean() for task in tasks]
            torch.stack(losses).mean().backward()  # type: ignore[no-untyped-call]
            optimizer.step()

    return epoch


def _steps(trainer: Trainer, batch: Any) -> None:  # noqa: ANN401
    for _ in range(BATCHES):
        trainer.step(batch)


def together(run: RunConfig, device: str, counts: Sequence[int], epochs: int = 3) -> pd.DataFrame:
    """Time several runs at once, each in a process of its own; `speed` is that of all of them, in runs of the first.

    Args:
        run: What each trains, with seeds of its own.
        device: A torch device.
        counts: Numbers of runs.
        epochs: Epochs that count, after one that does not.
    """
    rows = []
    for count in counts:
        seconds = _at_once(run, device, count, epochs) / epochs
        images = count * BATCHES * run.batch_size
        rows.append({"network": run.model, "arm": f"{count} at once", "seconds": seconds, "images/s": images / seconds})
    table = pd.DataFrame(rows)
    return table.assign(speed=table["images/s"] / table["images/s"].iloc[0], run=run.hash)


def _at_once(run: RunConfig, device: str, count: int, epochs: int) -> float:
    """Seconds until the last of the runs is through, from a common start."""
    context = multiprocessing.get_context("spawn")
    start, results = context.Barrier(count), context.Queue()
    work = [context.Process(target=_work, args=(run, device, i, epochs, start, results)) for i in range(count)]
    for process in work:
        process.start()
    for process in work:
        process.join()
    if any(process.exitcode for process in work):
        raise RuntimeError("a run of the benchmark failed; its message stands above")
    times: list[tuple[float, float]] = [results.get() for _ in work]
    return max(end for _, end in times) - min(begin for begin, _ in times)


def _work(run: RunConfig, device: str, seed: int, epochs: int, start: Barrier, results: "Queue[Any]") -> None:
    keep_freed_memory()
    place = torch.device(device)
    with settings(run, place):
        try:
            trainer = Trainer(RunConfig.from_dict({**run.to_dict(), "seed": seed}), place)
            trainer.epoch()
            start.wait()
        except Exception:
            start.abort()
            raise
        begin = time.time()
        for _ in range(epochs):
            trainer.epoch()
        if device != "cpu":
            torch.cuda.synchronize()
        results.put((begin, time.time()))
