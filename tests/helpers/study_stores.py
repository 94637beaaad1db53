"""Stores of runs that were never trained, for studies that read them."""

from run_cases import put

from mtlrepro import tasks
from mtlrepro.runs.store import Store


def keep(folder, *configs, **changes):
    """Store a record of each configuration, see `run_cases.put`; returns the store."""
    for config in configs:
        put(folder, config, **changes)
    return Store(folder)


def keep_evaluated(folder, *configs, **changes):
    """Store records of runs that were evaluated on both splits, where metrics do not matter; returns the store."""
    for config in configs:
        put(folder, config, validation_metrics={task: {"main": 1.0} for task in config.tasks}, **changes)
    return Store(folder)


def metrics_of(config, value):
    """Metrics of a run that are all as good as a number: the number where higher is better, else its inverse."""
    used = tasks.create(config.tasks, protocol=config.protocol)
    return {
        task.name: {name: value if higher else 1 / value for name, higher in task.metrics().higher_is_better.items()}
        for task in used
    }


def lose(folder, *configs):
    """Make runs of a store ones that broke off as their numbers were no longer finite."""
    for config in configs:
        (folder / f"{config.hash}.json").unlink(missing_ok=True)
        put(folder, config, status="failed", error="FloatingPointError: epoch 1: the loss is not finite")
