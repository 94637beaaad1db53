"""Options of the controls that take the weights of a stored run: `run` and what to make of it.

`replay` takes `run`, the hash of a complete run in the same store, and `mode`:

- `mean`: the mean of its weights over all epochs, `last`: those of its last epoch, in all epochs;
- `sequence`: those of each epoch in the epoch of the same number; `shuffled`: the same epochs in an order that the
  `seed` draws. The stored run then needs as many epochs as this one, and if it has more, the first ones are taken;
- `random`: those of an epoch that each step draws by itself, from all epochs;
- `steps`: those of single steps, the steps of each epoch in an order that the `seed` draws. The stored run then needs
  as many epochs and steps as this one, and `weights` in its `observe`.

With `gate: true` each task has the mean of the tasks' weights in place of its own, so that the plain mean step is
multiplied by their sum, the gate. For mclgs, `mean` is then the constant gate of the same mean, `random` a random gate
with the distribution of its epochs, and `steps` one with the distribution of the steps of each epoch.

`warmup` takes `run` too: its ramp ends where the mean of its factor over the whole run is the mean gate of that run. It
comes from 0, or from 2, the largest gate of mclgs, where that mean is above 1.

Records hold the means of epochs. Where a method weights each step differently, as mclgs does, the weights of steps
spread more than these means, and a replay has the spread of the means, but for `steps`.
"""

from collections.abc import Mapping, Sequence
from typing import Any

import torch

MODES = ("mean", "last", "sequence", "shuffled", "random", "steps")

_OWN = {"replay": ("run", "mode", "gate"), "warmup": ("run",)}
_REPLACED = {"replay": ("weights", "draw", "step"), "warmup": ("length", "steps", "start")}
"""Method to its options that a stored run stands for."""


def without_run(method: str, options: Mapping[str, Any]) -> dict[str, Any]:
    """Check the options that stand for a stored run's weights, and take them out: the method does not know them.

    Raises:
        ValueError: One is not accepted, or does not go with another.
    """
    own = _OWN.get(method, ())
    if not options.keys() & set(own):
        return dict(options)
    run, mode, gate = options.get("run"), options.get("mode"), options.get("gate", False)
    if not isinstance(run, str) or len(run) != 12 or set(run) - set("0123456789abcdef"):
        raise ValueError(f"run is {run!r}; accepted: the hash of a stored run, 12 hexadecimal digits")
    if method == "replay" and mode not in MODES:
        raise ValueError(f"mode is {mode!r}; accepted: {', '.join(map(repr, MODES))}")
    if not isinstance(gate, bool):
        raise ValueError(f"gate is {gate!r}; accepted: true, false")
    for name in _REPLACED[method]:
        if name in options:
            raise ValueError(f"it has 'run' and {name!r}; accepted: one of them")
    return {name: value for name, value in options.items() if name not in own}


def epochs_needed(options: Mapping[str, Any], epochs: int) -> int:
    """How many epochs of weights a run of some epochs needs of the stored run that its options name."""
    return epochs if options.get("mode") in ("sequence", "shuffled", "steps") else 1


def with_weights(
    options: Mapping[str, Any], weights: Sequence[Sequence[Any]], *, seed: int, epochs: int, steps: int
) -> dict[str, Any]:
    """Put the weights of a stored run in the place of the options that name it.

    Args:
        options: Of `replay` or `warmup`, with `run`.
        weights: A row for each epoch of the stored run; with `steps` a row for each step of each epoch.
        seed: Of the order of `shuffled` and `steps`.
        epochs: Epochs of the run that replays them.
        steps: Its training steps in an epoch.

    Returns:
        Options that the method itself has.

    Raises:
        ValueError: The mean gate is none that a ramp can have, or the epochs of the stored run have other steps.
    """
    rows = torch.tensor(weights, dtype=torch.float64)
    rest = {name: value for name, value in options.items() if name not in _OWN["replay"]}
    mode = options.get("mode")
    if mode is None:
        return rest | ramp(rows.sum(1).mean().item(), epochs * steps)
    if mode == "mean":
        rows = rows.mean(0, keepdim=True)
    elif mode == "last":
        rows = rows[-1:]
    elif mode != "random":
        rows = rows[:epochs]
    generator = torch.Generator().manual_seed(seed)
    if mode == "shuffled":
        rows = rows[torch.randperm(len(rows), generator=generator)]
    if mode == "steps":
        if rows.shape[1] != steps:
            raise ValueError(f"the stored run has {rows.shape[1]} steps in an epoch; accepted: {steps}")
        rows = torch.cat([epoch[torch.randperm(steps, generator=generator)] for epoch in rows])
        rest["step"] = "iteration"
    if options.get("gate", False):
        rows = rows.mean(1, keepdim=True).expand_as(rows)
    return rest | {"weights": rows.tolist(), "draw": mode == "random"}


def ramp(gate: float, steps: int) -> dict[str, Any]:
    """Make options of `warmup` whose mean factor over a run is nearest to a gate: `steps` n, and `start` above 1.

    A ramp from s to 1 has the mean 1 - (1 - s) (n - 1) / (2 steps); s is 0 for gates up to 1, and 2 above.

    Raises:
        ValueError: No ramp within the run has that mean.
    """
    n = round(1 + 2 * steps * abs(1 - gate))
    if not 1 <= n <= steps:
        raise ValueError(
            f"the mean gate of the stored run is {gate:g}; accepted for a ramp within {steps} steps: "
            f"{0.5 + 0.5 / steps:g} to {1.5 - 0.5 / steps:g}"
        )
    return {"steps": n, "start": 2.0} if gate > 1 else {"steps": n}
