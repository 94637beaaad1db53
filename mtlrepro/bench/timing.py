"""Time and memory on this machine; variants are interleaved, so that a busy moment slows all of them."""

import ctypes
import gc
import sys
import time
from collections.abc import Callable, Mapping
from typing import Any

import numpy as np
import pandas as pd
import torch
from tqdm import tqdm


def check_device(device: str) -> None:
    """Refuse a device on which nothing is measured, and a CUDA device where there is none.

    Raises:
        ValueError: There is no such device.
    """
    if device.partition(":")[0] not in ("cpu", "cuda"):
        raise ValueError(f"device is {device!r}; accepted: 'cpu', 'cuda', 'cuda:N'")
    if device.startswith("cuda") and not torch.cuda.is_available():
        raise ValueError(f"device is {device!r}, but PyTorch finds no CUDA device; accepted here: 'cpu'")


def interleave(variants: Mapping[str, Callable[[], object]], rounds: int) -> np.ndarray:
    """Time functions in turn: every round runs each once, in order, after a first round that does not count.

    A bar on stderr shows the progress, if that is a terminal. Where this process has used CUDA, a time includes the
    work that the function leaves running on the device.

    Args:
        variants: Name to function, one or more.
        rounds: Rounds that count, at least 1.

    Returns:
        `[rounds, variants]` seconds.

    Raises:
        ValueError: There are no variants or no rounds.
    """
    if not variants:
        raise ValueError("variants is empty; accepted: one or more functions")
    if rounds < 1:
        raise ValueError(f"rounds is {rounds}; accepted: 1 or more")
    with tqdm(total=(rounds + 1) * len(variants), unit=" runs", leave=False, disable=None) as bar:

        def seconds(name: str) -> float:
            bar.set_postfix_str(name)
            elapsed = _seconds(variants[name])
            bar.update()
            return elapsed

        return np.array([[seconds(name) for name in variants] for _ in range(rounds + 1)])[1:]


def timings(variants: Mapping[str, Callable[[], object]], rounds: int = 11) -> pd.DataFrame:
    """Time functions as `interleave` does, with the same arguments and errors, and summarise each.

    Returns:
        Columns `arm`, the name of the variant (stored benchmarks call it so); `seconds`, the median; `lower` and
        `upper`, its quartiles; `ratio`, the median over rounds of the time over that of the first variant in the same
        round.
    """
    times = interleave(variants, rounds)
    lower, median, upper = np.quantile(times, [0.25, 0.5, 0.75], axis=0)
    ratio = np.median(times / times[:, :1], axis=0)
    return pd.DataFrame({"arm": list(variants), "seconds": median, "lower": lower, "upper": upper, "ratio": ratio})


def keep_freed_memory() -> None:
    """Ask glibc to keep freed memory, for the whole process; does nothing elsewhere.

    By default it goes back to the system after each step, and the page faults of the next step's T gradients
    cost a tenth of it on CPUs (ResNet-18, T = 3); the floor, which frees each gradient at once, has none.
    """
    mallopt = getattr(ctypes.CDLL(None), "mallopt", None) if sys.platform == "linux" else None
    if mallopt is not None:
        trim_threshold, top_pad, mmap_threshold = -1, -2, -3
        mallopt(trim_threshold, 2**31 - 1)
        mallopt(top_pad, 2**26)
        mallopt(mmap_threshold, 2**25)


def peak_memory(run: Callable[[], None], device: str) -> int:
    """Measure the peak of tensor memory that a run adds to what was allocated before it, in bytes."""
    gc.collect()
    if device.startswith("cuda"):
        torch.cuda.synchronize()
        before = torch.cuda.memory_allocated()
        torch.cuda.reset_peak_memory_stats()
        run()
        torch.cuda.synchronize()
        return torch.cuda.max_memory_allocated() - before
    with torch.profiler.profile(activities=[torch.profiler.ProfilerActivity.CPU], profile_memory=True) as profile:
        run()
    now = peak = 0
    kineto: Any = profile.profiler
    events = [e for e in kineto.kineto_results.events() if e.name() == "[memory]"]
    for event in sorted(events, key=lambda e: e.start_ns()):
        now += event.nbytes()
        peak = max(peak, now)
    return peak


def _seconds(variant: Callable[[], object]) -> float:
    _synchronise()
    started = time.perf_counter()
    variant()
    _synchronise()
    return time.perf_counter() - started


def _synchronise() -> None:
    if torch.cuda.is_initialized():  # type: ignore[no-untyped-call]
        torch.cuda.synchronize()
