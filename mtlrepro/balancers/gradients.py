"""Per-task gradients as T lists of tensors: found, computed, averaged, compared and combined.

A *row* is the gradient of one task: one tensor per parameter, or `None` where the task does not reach it.
Nothing here stacks losses or copies rows into a T x P matrix, and nothing waits for the device.
"""

from collections.abc import Iterable, Iterator, Sequence

import torch
import torch.distributed as dist
from torch import Tensor
from torch.autograd.graph import Node, get_gradient_edge

from mtlrepro.distributed import processes

Row = list[Tensor | None]

BLOCK = 2**16

_SPARSE = ("_saved_sparse", "_saved_sparse_grad")
"""Where an operation's node keeps that its gradient is sparse: embeddings, and gather."""

ROUNDING = 16
"""An inner product <g_i, g_j> is taken to err by at most this many eps |g_i| |g_j|; 10 is the most seen in blocks of
2^16 random numbers of one sign, which are the worst."""

_LEAF = type(get_gradient_edge(torch.zeros((), requires_grad=True)).node)


def leaves(outputs: Iterable[Tensor], stop: Iterable[Tensor] = ()) -> list[Tensor]:
    """Find the leaf tensors (parameters) that outputs depend on, without looking past `stop`.

    One walk over the autograd graph; about 0.5 ms for MobileNetV2. It sees all that a step differentiates, before
    anything is computed, so it also refuses what no method can combine.

    Args:
        outputs: Tensors that require a gradient.
        stop: Tensors at which the walk ends; they are not returned themselves.

    Returns:
        The leaves, each once, in an order that depends on the graph only.

    Raises:
        ValueError: A leaf is complex or sparse, or an operation's gradient is sparse.
    """
    seen: set[Node] = {get_gradient_edge(tensor).node for tensor in stop}
    pending: list[Node] = [get_gradient_edge(tensor).node for tensor in outputs]
    found: list[Tensor] = []
    while pending:
        node = pending.pop()
        if node in seen:
            continue
        seen.add(node)
        if type(node) is _LEAF:
            found.append(_dense_and_real(node.variable))  # type: ignore[attr-defined]
        elif any(getattr(node, flag, False) for flag in _SPARSE):
            raise ValueError(
                f"losses: {node.name()} has a sparse gradient; accepted: dense ones (sparse=False of an embedding, "
                "sparse_grad=False of gather)"
            )
        else:
            pending.extend(child for child, _ in node.next_functions if child is not None)
    return found


def _dense_and_real(parameter: Tensor) -> Tensor:
    if parameter.layout is not torch.strided or parameter.is_complex():
        kind = "complex" if parameter.is_complex() else "sparse"
        raise ValueError(
            f"losses: a parameter of shape {tuple(parameter.shape)} is {kind}; accepted: dense, real ones "
            "(torch.view_as_complex makes complex numbers of real parameters)"
        )
    return parameter


def task_gradients(
    losses: Sequence[Tensor],
    parameters: Sequence[Tensor],
    grad_outputs: Sequence[Tensor] | None = None,
    *,
    retain_graph: bool = False,
) -> list[Row]:
    """Differentiate each loss by itself: T backward passes, nothing written to `.grad`.

    Args:
        losses: T scalar losses (or tensors, with `grad_outputs`) that may share a graph.
        parameters: P tensors to differentiate by.
        grad_outputs: What each loss's pass starts from; ones if not given.
        retain_graph: Keep the graph after the last pass.

    Returns:
        T rows of P gradients, `None` where a loss does not depend on a parameter.
    """
    starts = [torch.ones_like(loss) for loss in losses] if grad_outputs is None else grad_outputs
    last = len(losses) - 1
    return [
        list(torch.autograd.grad(loss, parameters, start, retain_graph=retain_graph or k < last, allow_unused=True))
        for k, (loss, start) in enumerate(zip(losses, starts, strict=True))
    ]


def gramian(rows: Sequence[Row]) -> Tensor:
    """Inner products of the task gradients, G_ij = <g_i, g_j>.

    Products are taken in the gradients' precision (float32 at least) over blocks of 2^16 elements, and summed in
    float64.

    Args:
        rows: T rows over the same parameters; a missing gradient counts as zero.

    Returns:
        [T, T] float64, symmetric, on the gradients' device.
    """
    n = len(rows)
    products: list[list[Tensor]] = [[] for _ in range(n * n)]
    for column in zip(*rows, strict=True):
        present = {k: at_least_float32(g).flatten() for k, g in enumerate(column) if g is not None}
        for block in blocks(list(present.values())):
            for i, (k, a) in enumerate(zip(present, block, strict=True)):
                for j, b in zip(present, block[: i + 1], strict=False):
                    products[k * n + j].append(torch.dot(a, b))
    device = next((g.device for row in rows for g in row if g is not None), None)
    zero = torch.zeros((), dtype=torch.float64, device=device)
    lower = torch.stack([torch.stack(terms).double().sum() if terms else zero for terms in products]).view(n, n)
    return lower + lower.tril(-1).T


def precision(rows: Sequence[Row]) -> torch.dtype:
    """Type in which `gramian` takes the products of these rows, the coarsest if parameters differ.

    Args:
        rows: T rows over the same parameters.

    Returns:
        float32 or float64; float64 where there is no gradient.
    """
    types = {torch.promote_types(g.dtype, torch.float32) for row in rows for g in row if g is not None}
    return max(types, key=lambda dtype: torch.finfo(dtype).eps, default=torch.float64)


def combine(rows: Sequence[Row], coefficients: Tensor) -> Row:
    """Weighted sum of rows, sum_k c_k g_k, parameter by parameter; `rows` is emptied on the way.

    Args:
        rows: T rows of P gradients. Each entry is dropped once used, which keeps the peak at T rows.
        coefficients: [T] on the gradients' device.

    Returns:
        P new tensors, `None` where no task reaches the parameter.
    """
    scalars: dict[torch.dtype, tuple[Tensor, ...]] = {}
    result: Row = []
    for i in range(len(rows[0])):
        total: Tensor | None = None
        dtype: torch.dtype | None = None
        for k, row in enumerate(rows):
            gradient, row[i] = row[i], None
            if gradient is None:
                continue
            dtype, gradient = gradient.dtype, at_least_float32(gradient)
            if gradient.dtype not in scalars:
                scalars[gradient.dtype] = coefficients.to(gradient.dtype).unbind()
            scalar = scalars[gradient.dtype][k]
            total = gradient * scalar if total is None else total.addcmul_(gradient, scalar)
        result.append(None if total is None else total.to(dtype))
    return result


def accumulate(parameters: Sequence[Tensor], gradients: Row) -> None:
    """Add gradients to `.grad`, as autograd does; an existing `.grad` is never lost.

    A new `.grad` has the memory format of its parameter, also as autograd does: fused optimizers walk through
    memory, and would pair wrong elements otherwise.

    Args:
        parameters: P leaf tensors.
        gradients: P tensors of the same shapes that nothing else uses, or `None` to leave `.grad` as it
            is.
    """
    for parameter, gradient in zip(parameters, gradients, strict=True):
        if gradient is None:
            continue
        if parameter.grad is not None:
            parameter.grad += gradient
        elif gradient.stride() == parameter.stride():
            parameter.grad = gradient
        else:
            parameter.grad = torch.empty_like(parameter, dtype=gradient.dtype).copy_(gradient)


def blocks(tensors: Sequence[Tensor], size: int = BLOCK) -> Iterator[tuple[Tensor, ...]]:
    """Cut tensors of the same shape along their first dimension into parts that stay in a CPU's cache.

    Args:
        tensors: [S, ...] each, any number of them.
        size: Elements of a part, about.

    Yields:
        The same part of each tensor; everything at once on other devices than CPUs.
    """
    if tensors and tensors[0].is_cpu and tensors[0].numel() > size:
        rows = max(size * len(tensors[0]) // tensors[0].numel(), 1)
        yield from zip(*(torch.split(tensor, rows) for tensor in tensors), strict=True)
    elif tensors:
        yield tuple(tensors)


def average(row: Row) -> Row:
    """Average one row over all processes, in one message per data type; no-op in a single process.

    Args:
        row: Gradients with `None` in the same places on every process.

    Returns:
        The averaged row.
    """
    world = processes()
    if world == 1:
        return row
    result = list(row)
    for dtype in {g.dtype for g in row if g is not None}:
        places = [i for i, g in enumerate(row) if g is not None and g.dtype == dtype]
        tensors = [g for g in row if g is not None and g.dtype == dtype]
        flat = torch.cat([g.flatten() for g in tensors])
        dist.all_reduce(flat)
        parts = torch.split(flat / world, [g.numel() for g in tensors])
        for i, part, g in zip(places, parts, tensors, strict=True):
            result[i] = part.view(g.shape)
    return result


def at_least_float32(tensor: Tensor) -> Tensor:
    """Return float16 and bfloat16 tensors as float32, others as they are."""
    return tensor.float() if tensor.dtype in (torch.float16, torch.bfloat16) else tensor
