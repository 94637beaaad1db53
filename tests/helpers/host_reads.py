"""Checks that code asks nothing of the device it runs on: one that needs no device, and CUDA's own."""

import warnings
from contextlib import contextmanager

import torch
from torch.utils._python_dispatch import TorchDispatchMode

READS = ("_local_scalar_dense", "nonzero", "masked_select", "equal", "unique", "is_nonzero", "repeat_interleave")
"""Operators whose result, or its shape, has to be known on the host."""


class NoHost(TorchDispatchMode):
    """Refuse operators that wait for a device, or copy to or from the host, were the tensors on one."""

    def __torch_dispatch__(self, func, types, args=(), kwargs=None):
        name = func.overloadpacket.__name__
        if any(read in name for read in READS):
            raise AssertionError(f"{name} reads the device")
        if name == "lift_fresh":
            raise AssertionError("a tensor is made from host data")
        masks = args[1] if name in ("index", "index_put", "index_put_") else ()
        if any(m is not None and m.dtype == torch.bool for m in masks):
            raise AssertionError(f"{name} by a mask reads the device")
        if (kwargs or {}).get("pin_memory") or (name == "_to_copy" and (kwargs or {}).get("device") is not None):
            raise AssertionError(f"{name} copies between devices")
        return func(*args, **(kwargs or {}))


@contextmanager
def errors_on_synchronisation():
    """Refuse operators that wait for a CUDA device."""
    try:
        with warnings.catch_warnings():
            warnings.filterwarnings("ignore", "Synchronization debug mode is a prototype", UserWarning)
            torch.cuda.set_sync_debug_mode("error")
        yield
    finally:
        torch.cuda.set_sync_debug_mode("default")
