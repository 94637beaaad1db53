"""Options of balancers as JSON holds them: names and types are checked before anything is made."""

import inspect
import sys
from collections.abc import Mapping
from types import NoneType, UnionType
from typing import Any, Literal, NamedTuple, Union, get_args, get_origin, get_type_hints


class Option(NamedTuple):
    """What a class takes by one name: `int`, `float`, `bool`, `Literal`, `list`, `None`, or a union of these."""

    annotation: Any
    required: bool


def options_of(method: type) -> dict[str, Option]:
    """List what a class is created with besides the number of tasks.

    Args:
        method: A class whose `__init__` has annotations; without them, every value is accepted.

    Returns:
        The options in their order, by name, without `n_tasks`.
    """
    try:
        hints = get_type_hints(method.__init__)  # type: ignore[misc]
    except NameError:  # a name that only type checkers see
        hints = {}
    return {
        name: Option(hints.get(name, Any), parameter.default is parameter.empty)
        for name, parameter in inspect.signature(method).parameters.items()
        if name != "n_tasks"
    }


def check_options(title: str, options: Mapping[str, Any], accepted: Mapping[str, Option]) -> None:
    """Refuse options with an unknown name or a value of another type, and what is missing.

    Args:
        title: What takes the options, for messages.
        options: Values by name. Ranges, and types that JSON does not have, are left to the method.
        accepted: See `options_of`.

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


def _fits(value: Any, annotation: Any) -> bool:  # noqa: ANN401
    origin, arguments = get_origin(annotation), get_args(annotation)
    if origin in (Union, UnionType):
        return any(_fits(value, argument) for argument in arguments)
    if origin is Literal:
        return isinstance(value, str) and value in arguments
    if origin is list:
        return isinstance(value, (list, tuple)) and all(_fits(item, arguments[0]) for item in value)
    if annotation is int:
        return isinstance(value, int) and not isinstance(value, bool) and -(2**63) <= value < 2**63
    if annotation is float:
        return isinstance(value, (int, float)) and not isinstance(value, bool) and abs(value) <= sys.float_info.max
    return annotation not in (bool, NoneType) or isinstance(value, annotation)


def _words(annotation: Any) -> str:  # noqa: ANN401
    origin, arguments = get_origin(annotation), get_args(annotation)
    if origin in (Union, UnionType):
        return " or ".join(map(_words, arguments))
    if origin is Literal:
        return ", ".join(map(repr, arguments))
    if origin is list:
        return f"a list, each {_words(arguments[0])}"
    words = {int: "an integer of 64 bits", float: "a finite number", bool: "True or False", NoneType: "None"}
    return words.get(annotation, "any value")
