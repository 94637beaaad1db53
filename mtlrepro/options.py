"""Options as JSON holds them, of balancers and of networks: names and types are checked before anything is made."""

import inspect
import sys
from collections.abc import Callable, Mapping, Sequence
from types import NoneType, UnionType
from typing import Any, Literal, NamedTuple, Union, get_args, get_origin, get_type_hints

GIVEN = {"n_tasks", "tasks"}
"""Arguments that are no options: the package gives them itself."""


class Option(NamedTuple):
    """What is taken by one name: `int`, `float`, `bool`, `str`, `Literal`, `list`, `Sequence`, `None`, or a union."""

    annotation: Any
    required: bool


def options_of(maker: Callable[..., Any]) -> dict[str, Option]:
    """List what a class or function is called with besides the tasks.

    Args:
        maker: It has annotations; an argument without one accepts every value. `**name: Unpack[Options]` stands for
            the entries of the typed dictionary `Options`.

    Returns:
        The options by name: those that are handed on first, then its own in their order.
    """
    try:
        hints = get_type_hints(maker.__init__ if isinstance(maker, type) else maker)  # type: ignore[misc]
    except NameError:  # a name that only type checkers see
        hints = {}
    own, handed_on = {}, {}
    for name, parameter in inspect.signature(maker).parameters.items():
        if parameter.kind is parameter.VAR_KEYWORD:
            (options,) = get_args(hints[name])
            handed_on = {key: Option(hint, False) for key, hint in get_type_hints(options).items()}
        elif name not in GIVEN:
            own[name] = Option(hints.get(name, Any), parameter.default is parameter.empty)
    return handed_on | own


def check_options(title: str, options: Mapping[str, Any], accepted: Mapping[str, Option]) -> dict[str, Any]:
    """Refuse options with an unknown name or a value of another type, and what is missing.

    Args:
        title: What takes the options, for messages.
        options: Values by name. Ranges, and types that JSON does not have, are left to what takes them.
        accepted: See `options_of`.

    Returns:
        The options, with whole numbers as floating-point ones where these are taken.

    Raises:
        ValueError: Names the option, its value and what is accepted.
    """
    for name, value in options.items():
        if name not in accepted:
            raise ValueError(f"{title}: option {name!r} is unknown; accepted: {', '.join(accepted) or 'none'}")
        if not _fits(value, accepted[name].annotation):
            raise ValueError(f"{name} is {value!r}; accepted: {_words(accepted[name].annotation)}")
    for name, option in accepted.items():
        if option.required and name not in options:
            raise ValueError(f"{title}: option {name!r} is missing; accepted: {_words(option.annotation)}")
    return {name: _typed(value, accepted[name].annotation) for name, value in options.items()}


def _typed(value: Any, annotation: Any) -> Any:  # noqa: ANN401
    """Value that fits an annotation, in its type: JSON has one type of numbers."""
    origin, arguments = get_origin(annotation), get_args(annotation)
    if origin in (Union, UnionType):
        return _typed(value, next(argument for argument in arguments if _fits(value, argument)))
    if origin in (list, Sequence):
        return [_typed(item, arguments[0]) for item in value]
    return float(value) if annotation is float else value


def _fits(value: Any, annotation: Any) -> bool:  # noqa: ANN401
    origin, arguments = get_origin(annotation), get_args(annotation)
    if origin in (Union, UnionType):
        return any(_fits(value, argument) for argument in arguments)
    if origin is Literal:
        return any(type(value) is type(argument) and value == argument for argument in arguments)
    if origin in (list, Sequence):
        return isinstance(value, (list, tuple)) and all(_fits(item, arguments[0]) for item in value)
    if annotation is int:
        return isinstance(value, int) and not isinstance(value, bool) and -(2**63) <= value < 2**63
    if annotation is float:
        return isinstance(value, (int, float)) and not isinstance(value, bool) and abs(value) <= sys.float_info.max
    return annotation not in (bool, str, NoneType) or isinstance(value, annotation)


def _words(annotation: Any) -> str:  # noqa: ANN401
    origin, arguments = get_origin(annotation), get_args(annotation)
    if origin in (Union, UnionType):
        return " or ".join(map(_words, arguments))
    if origin is Literal:
        return ", ".join(map(repr, arguments))
    if origin in (list, Sequence):
        return f"a list, each {_words(arguments[0])}"
    words = {int: "an integer of 64 bits", float: "a finite number", bool: "True or False", str: "text"}
    return (words | {NoneType: "None"}).get(annotation, "any value")
