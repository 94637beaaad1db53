"""Parameters of a notebook as YAML text."""

from typing import Any

import yaml


def parse_yaml(text: str) -> Any:  # noqa: ANN401 (what YAML holds)
    """Read YAML of plain values.

    Raises:
        ValueError: It is none, it is nested too deep, or a mapping has a name twice.
    """
    try:
        return yaml.load(text, _Unique)
    except yaml.YAMLError as error:
        raise ValueError(f"not readable as YAML: {' '.join(str(error).split())}") from None
    except RecursionError:
        raise ValueError("not readable as YAML: brackets are nested too deep") from None


class _Unique(yaml.SafeLoader):
    """PyYAML's loader of plain values keeps the last of equal names; this one refuses them."""

    def construct_mapping(self, node: yaml.MappingNode, deep: bool = False) -> dict[Any, Any]:
        values: dict[Any, Any] = super().construct_mapping(node, deep)  # refuses names that cannot be one
        names = [self.construct_object(name, deep=True) for name, _ in node.value]
        if twice := [name for name in names if names.count(name) > 1]:
            raise yaml.constructor.ConstructorError(problem=f"{twice[0]!r} is given twice")
        return values
