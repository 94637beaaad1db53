"""Several processes that train one network, each on its part of every batch; started by torchrun."""

import atexit
import os
from datetime import timedelta
from typing import TypeVar

import torch
import torch.distributed as dist
from torch import Tensor, nn

_T = TypeVar("_T")

TIMEOUT = timedelta(hours=6)
"""How long a process waits for the others, while the first one evaluates or waits for another run of the same name."""


def join(kind: str) -> None:
    """Join the processes that torchrun has started, until this one ends; nothing happens in a process by itself.

    Args:
        kind: `cuda` for nccl, each process with its own device; else gloo.

    Raises:
        ValueError: There is no CUDA device for this process.
    """
    if int(os.environ.get("WORLD_SIZE", "1")) == 1 or dist.is_initialized():
        return
    if kind == "cuda":
        if local_rank() >= (n := torch.cuda.device_count()):
            raise ValueError(f"device is 'cuda', for process {local_rank()} of this machine; it has {n} CUDA devices")
        torch.cuda.set_device(local_rank())
    dist.init_process_group("nccl" if kind == "cuda" else "gloo", timeout=TIMEOUT)
    atexit.register(dist.destroy_process_group)


def processes() -> int:
    """Count the processes that train together: 1 unless `torch.distributed` is initialised."""
    return dist.get_world_size() if dist.is_available() and dist.is_initialized() else 1


def rank() -> int:
    """Rank of this process; 0 where it is alone."""
    return dist.get_rank() if processes() > 1 else 0


def local_rank() -> int:
    """Rank of this process on its machine."""
    return int(os.environ.get("LOCAL_RANK", "0"))


def from_first(value: _T) -> _T:
    """Give all processes what the first one has."""
    if processes() == 1:
        return value
    values = [value]
    dist.broadcast_object_list(values)
    return values[0]


def total(values: Tensor) -> Tensor:
    """Sum a tensor over all processes."""
    if processes() > 1:
        values = values.clone()
        dist.all_reduce(values)
    return values


def synchronise(module: nn.Module) -> None:
    """Give all processes the first one's parameters and buffers."""
    if processes() > 1:
        for tensor in module.state_dict().values():
            if isinstance(tensor, Tensor):
                dist.broadcast(tensor, 0)
