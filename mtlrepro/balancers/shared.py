"""The parameters that tasks share, as a training loop gives them: checked, each once."""

from collections.abc import Iterable

from torch import Tensor, nn

Shared = nn.Module | Iterable[Tensor]


def shared_parameters(shared: Shared) -> list[Tensor]:
    """List the shared parameters that require a gradient, each once.

    Args:
        shared: A module, for all of its parameters, or the parameters themselves.

    Raises:
        ValueError: It is neither; there are none, all are frozen, or one is not a leaf.
    """
    if isinstance(shared, Tensor) or not isinstance(shared, nn.Module | Iterable):
        raise ValueError(f"shared is {type(shared).__name__}; accepted: a list of parameters, or a module")
    given = list(shared.parameters() if isinstance(shared, nn.Module) else shared)
    if not given:
        raise ValueError(
            "shared is empty; accepted: the parameters that tasks share, in a list (an iterator, such as "
            "trunk.parameters(), is used up by the first step)"
        )
    for index, parameter in enumerate(given):
        if not isinstance(parameter, Tensor):
            raise ValueError(f"shared[{index}] is {type(parameter).__name__}; accepted: parameters")
        if not parameter.is_leaf:
            raise ValueError(
                f"shared[{index}] is the result of a computation, of shape {tuple(parameter.shape)}; accepted: "
                "parameters (a representation is passed as features)"
            )
    trained = list({id(parameter): parameter for parameter in given if parameter.requires_grad}.values())
    if not trained:
        raise ValueError(
            f"shared: all {len(given)} parameters are frozen, so that there is nothing to balance; accepted: at least "
            "one that requires a gradient (unfreeze it, or take a plain step on the mean of the losses)"
        )
    return trained


def refuse_unreached(reached: bool) -> None:
    """Refuse shared parameters of which no loss reaches any.

    Raises:
        ValueError: None is reached.
    """
    if not reached:
        raise ValueError(
            "shared: no present loss depends on any of these parameters; accepted: those of the network that made "
            "the losses (not those of a copy)"
        )
