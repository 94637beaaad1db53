"""Speed on this machine, as ratios: the ways to do one thing take turns, so that a busy moment slows all of them."""

import time
from collections.abc import Callable, Mapping

import numpy as np
import pandas as pd
import torch
from tqdm import tqdm


def turns(arms: Mapping[str, Callable[[], object]], rounds: int) -> np.ndarray:
    """Time functions that take turns: every round runs each once, in order, after a first round that does not count.

    A bar on stderr shows how far it is, if that is a terminal.

    Where this process has used CUDA, a time includes the work that the function leaves running on the device.

    Args:
        arms: name to function, one or more.
        rounds: rounds that count, at least 1.

    Returns:
        ``[rounds, arms]`` seconds.

    Raises:
        ValueError: if there are no arms or no rounds.
    """
    if not arms:
        raise ValueError("arms is empty; accepted: one or more functions")
    if rounds < 1:
        raise ValueError(f"rounds is {rounds}; accepted: 1 or more")
    with tqdm(total=(rounds + 1) * len(arms), unit=" runs", leave=False, disable=None) as bar:

        def seconds(name: str) -> float:
            bar.set_postfix_str(name)
            taken = _seconds(arms[name])
            bar.update()
            return taken

        return np.array([[seconds(name) for name in arms] for _ in range(rounds + 1)])[1:]


def interleaved(arms: Mapping[str, Callable[[], object]], rounds: int = 11) -> pd.DataFrame:
    """Summarise the times of functions that take turns; arguments and errors as for :func:`turns`.

    Returns:
        Columns ``arm``; ``seconds``, the median; ``lower`` and ``upper``, its quartiles; ``ratio``, the median over
        rounds of the time over that of the first arm in the same round.
    """
    times = turns(arms, rounds)
    lower, median, upper = np.quantile(times, [0.25, 0.5, 0.75], axis=0)
    ratio = np.median(times / times[:, :1], axis=0)
    return pd.DataFrame({"arm": list(arms), "seconds": median, "lower": lower, "upper": upper, "ratio": ratio})


def _seconds(arm: Callable[[], object]) -> float:
    _synchronise()
    started = time.perf_counter()
    arm()
    _synchronise()
    return time.perf_counter() - started


def _synchronise() -> None:
    if torch.cuda.is_initialized():  # type: ignore[no-untyped-call]
        torch.cuda.synchronize()
