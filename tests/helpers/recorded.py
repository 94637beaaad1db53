"""A stand-in for a CUDA graph that needs no device: operators are recorded with the tensors they used, and replayed."""

import torch
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves


def storages(values):
    return {value.untyped_storage().data_ptr() for value in tree_leaves(values) if isinstance(value, torch.Tensor)}


class Recorded(TorchDispatchMode):
    """Record all operators of a block of code, which runs as it is; `replay` repeats them and no line of Python.

    As in a CUDA graph, a replay reads its inputs where they were, writes every result where it was, and repeats numbers
    that were Python's.
    """

    def __init__(self):
        super().__init__()
        self.operators = []

    def __torch_dispatch__(self, func, types, args=(), kwargs=None):
        result = func(*args, **(kwargs or {}))
        self.operators.append((func, args, kwargs or {}, result))
        return result

    def replay(self):
        with torch.no_grad():
            for func, args, kwargs, result in self.operators:
                again = func(*args, **kwargs)
                inside = storages([args, kwargs])
                for old, new in zip(tree_leaves(result), tree_leaves(again), strict=True):
                    if isinstance(old, torch.Tensor) and not storages([old]) & inside:  # neither in place nor a view
                        old.copy_(new)
