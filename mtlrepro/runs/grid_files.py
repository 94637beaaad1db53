"""Grid files: which configurations make up a grid."""

import json
from itertools import product
from pathlib import Path
from typing import Any

from mtlrepro import files
from mtlrepro.training.config import RunConfig


def read_grid(path: str | Path) -> list[RunConfig]:
    """Read the configurations of a grid from a JSON file.

    The file holds a configuration, fields that are left out having their defaults; or
    `{"base": {field: value, ...}, "vary": {field: [value, ...], ...}}`, one run for every combination, the last field
    varying fastest; or a list of both.

    Raises:
        ValueError: The file is not of that form, or a configuration is not accepted; names file, part and field.
        OSError: The file cannot be read.
    """
    path = Path(path)
    try:
        content = files.parse_json(path.read_bytes())
        values = [run for part in _parts(content) for run in _expanded(*part)]
    except ValueError as error:
        raise ValueError(f"{path}: {error}") from None
    configs = []
    for where, value in values:
        try:
            configs.append(RunConfig.from_dict(value))
        except ValueError as error:
            raise ValueError(f"{path}: {where}: {error}") from None
    return configs


def _parts(content: object) -> list[tuple[str, Any]]:
    if isinstance(content, list) and content:
        return [(f"part {number}", part) for number, part in enumerate(content, 1)]
    if isinstance(content, dict):
        return [("grid", content)]
    raise ValueError("holds neither an object nor a list of some; accepted: configurations, or base and vary")


def _expanded(where: str, part: object) -> list[tuple[str, dict[str, Any]]]:
    if not isinstance(part, dict):
        raise ValueError(f"{where} is {part!r}; accepted: a configuration, or base and vary")
    if not part.keys() & {"base", "vary"}:
        return [(where, part)]
    if unknown := part.keys() - {"base", "vary"}:
        raise ValueError(f"{where} has {min(unknown)!r} beside base and vary; accepted: base and vary alone")
    base, vary = part.get("base", {}), part.get("vary", {})
    for name, value in (("base", base), ("vary", vary)):
        if not isinstance(value, dict):
            raise ValueError(f"{where}: {name} is {value!r}; accepted: an object")
    for name, choices in vary.items():
        if name in base:
            raise ValueError(f"{where}: {name!r} is in base and in vary; accepted: one of them")
        if not isinstance(choices, list) or not choices:
            raise ValueError(f"{where}: vary: {name!r} is {choices!r}; accepted: a list of one value or more")
    runs = [dict(zip(vary, chosen, strict=True)) for chosen in product(*vary.values())]
    return [(f"{where}, {json.dumps(chosen)}" if chosen else where, base | chosen) for chosen in runs]
