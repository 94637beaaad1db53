"""A whole training step as one CUDA graph."""

from collections.abc import Callable
from typing import Generic, TypeVar

import torch

from mtlrepro.balancers.base import Balancer

_T = TypeVar("_T")


class CapturedStep(Generic[_T]):
    """Replay a training step as one CUDA graph, without launching its kernels one by one.

    Call the object as the step itself: every call is one training step. The first `warmup` calls run as they are, the
    next one is captured, and from then on the graph is replayed. `step` is one whole step::

        def step():
            optimizer.zero_grad()
            losses = ...                      # from images and labels that stay at their place
            balancer.backward(losses, shared)
            optimizer.step()
            return losses

        balancer.guard(optimizer)             # a fused optimizer; Adam also with capturable=True
        step = CapturedStep(step, balancer)
        for batch in loader:
            images.copy_(batch)
            step()

    A replay sees what is in tensors: the batch, parameters and the balancer's state, so `end_epoch` goes on as usual
    between calls, and `step` itself may add what `balancer.observed()` reports to tensors, in place. It repeats what
    was Python when captured: options, which tasks are present, a learning rate that is a number (give the optimizer a
    tensor), the T passes of mclgs after p(t) has become 0 (with equal weights: the same step). Load a state before the
    first call. For one process; captured by `torch.cuda.graph`.

    Args:
        step: The training step, without arguments.
        balancer: The balancer that it uses, with a guard.
        warmup: Calls before the capture, at least 1.

    Raises:
        ValueError: There is no CUDA device, the balancer has no guard, or its steps differ, see `Balancer.capturable`.
    """

    def __init__(self, step: Callable[[], _T], balancer: Balancer, warmup: int = 3) -> None:
        if not balancer.guarded:
            raise ValueError(
                "balancer has no guard and would ask the device; accepted: after balancer.guard(optimizer)"
            )
        if not balancer.capturable:
            raise ValueError(f"balancer is {type(balancer).__name__}, which no graph can stand for; accepted: others")
        if warmup < 1:
            raise ValueError(f"warmup is {warmup!r}; accepted: an integer of at least 1")
        if not torch.cuda.is_available():
            raise ValueError("PyTorch finds no CUDA device; accepted: a machine with one")
        self._step = step
        self._balancer = balancer
        self._left = warmup
        self._graph: torch.cuda.CUDAGraph | None = None
        self._result: _T

    def __call__(self) -> _T:
        """Take one training step.

        Returns:
            What `step` returns; tensors in it are overwritten by the next call.
        """
        if self._graph is not None:
            self._graph.replay()
            self._balancer._end_step()
            return self._result
        if self._left:
            self._left -= 1
            side = torch.cuda.Stream()  # type: ignore[no-untyped-call]
            side.wait_stream(torch.cuda.current_stream())
            with torch.cuda.stream(side):
                result = self._step()
            torch.cuda.current_stream().wait_stream(side)
            return result
        graph = torch.cuda.CUDAGraph()
        for generator in self._balancer.generators():
            graph.register_generator_state(generator)
        self._balancer._capturing = True
        try:
            with torch.cuda.graph(graph):
                self._result = self._step()
        finally:
            self._balancer._capturing = False
        self._graph = graph
        graph.replay()
        return self._result
