"""What a run of a notebook comes to, known before it starts: values that do not go together, and runs to be trained.

A notebook may name the module that knows in its metadata: `"mtlrepro": {"plan": "mtlrepro.studies.noise.plan"}`. The
module has

- a function `plan`, which takes every parameter of the notebook by name, refuses values that are accepted one by one
  and not together by a `ValueError`, and returns a :class:`Plan`, which also says what this machine lacks for it;
- where the notebook has a parameter `scale` with the choice `smoke`, a dictionary `SMOKE`: the values that other
  parameters take at that scale in place of their defaults.

The command line asks before a kernel starts, :class:`~mtlrepro.pages.chapter.Chapter` in the cell below the
parameters, so that whoever runs a notebook gets the same answer.
"""

import math
from collections.abc import Mapping
from dataclasses import dataclass
from importlib import import_module
from pathlib import Path
from types import ModuleType

from mtlrepro.pages.notebook import NotebookError, read_notebook
from mtlrepro.pages.parameters import Value, parameters_by_name

SMOKE = "smoke"
"""Scale of runs that take seconds and show nothing but that everything works."""


@dataclass(frozen=True, kw_only=True)
class Part:
    """One grid of runs that a notebook reads.

    Attributes:
        name: What the runs are for.
        runs: How many there are that no earlier part has.
        missing: How many of these are not stored and will be trained.
        hours: What training these takes, one after another, in hours of one core or one GPU; NaN if that is not known.
        scale: What their size is called; empty if they are of several sizes.
        machine: `core` or `GPU`.
        note: What else is to be known, such as results of another size that are not shown.
        at_most: Whether there may be fewer runs, as some are chosen by results that are still missing.
    """

    name: str
    runs: int
    missing: int = 0
    hours: float = 0.0
    scale: str = ""
    machine: str = "core"
    note: str = ""
    at_most: bool = False

    def __str__(self) -> str:
        most = "at most " if self.at_most else ""
        state = f"{most}{self.missing} of {self.runs} runs missing" if self.missing else f"{self.runs} runs, all stored"
        cost = f", {_hours(self.hours, self.machine)}" if self.missing else ""
        size = f"{self.scale} scale, " if self.scale else ""
        return f"{self.name}: {size}{state}{cost}{f'; {self.note}' if self.note else ''}"


@dataclass(frozen=True, kw_only=True)
class Plan:
    """What a notebook reads and trains with some values of its parameters.

    Attributes:
        parts: Its grids of runs; none if it computes all that it shows.
        jobs: Name of the parameter that says how many runs are trained at a time; empty if there is none.
        store: Where missing runs are trained to, as text.
        obstacle: What this machine lacks for it, such as a GPU, and what is accepted here; empty if nothing.
    """

    parts: tuple[Part, ...] = ()
    jobs: str = ""
    store: str = ""
    obstacle: str = ""

    @property
    def missing(self) -> int:
        """Number of runs that will be trained."""
        return sum(part.missing for part in self.parts)

    def lines(self) -> list[str]:
        """Text of the plan: an obstacle, all parts together, then each."""
        obstacle = [f"cannot run here: {self.obstacle}"] if self.obstacle else []
        if not self.parts:
            return [*obstacle, "no runs are read or trained; all that is shown is computed"]
        total = sum(part.runs for part in self.parts)
        if not self.missing:
            return [*obstacle, f"all {total} runs are stored; nothing is trained", *map(str, self.parts)]
        costs = [
            _hours(sum(part.hours for part in own), machine)
            for machine in dict.fromkeys(part.machine for part in self.parts)
            if (own := [part for part in self.parts if part.missing and part.machine == machine])
        ]
        more = f"; -p {self.jobs} N trains N at a time" if self.jobs else ""
        most = "at most " if any(part.at_most for part in self.parts) else ""
        head = f"{most}{self.missing} of {total} runs are missing and will be trained into {self.store}"
        return [*obstacle, f"{head}: {', '.join(costs)}, one after another{more}", *map(str, self.parts)]


def _hours(hours: float, machine: str) -> str:
    if math.isnan(hours):
        return f"an unknown number of {machine}-hours"
    if hours >= 1:
        return f"about {hours:.1f} {machine}-hours"
    minutes = max(round(60 * hours), 1)
    return f"about {minutes} {machine}-minute{'s' if minutes > 1 else ''}"


def settle(path: str | Path, values: Mapping[str, Value]) -> tuple[dict[str, Value], dict[str, Value]]:
    """Give every parameter of a notebook its value.

    At the scale `smoke` the defaults are those of the module's `SMOKE`, and a parameter that has its usual default is
    taken for one that nobody has set.

    Args:
        path: The notebook.
        values: Of parameters; others take their defaults. Paths are relative to the working directory.

    Returns:
        The values of all parameters, and their defaults at this scale.

    Raises:
        NotebookError: A name or value is refused.
    """
    declared = parameters_by_name(path, list(values))
    usual = {name: parameter.default for name, parameter in declared.items()}
    settled = usual | {name: declared[name].located(declared[name].check(value)) for name, value in values.items()}
    if settled.get("scale") != SMOKE:
        return settled, usual
    small = {name: declared[name].check(value) for name, value in getattr(_module(path), "SMOKE", {}).items()}
    unset = {name: value for name, value in small.items() if settled[name] == usual[name]}
    return settled | unset, usual | small


def plan_of(path: str | Path, settled: Mapping[str, Value]) -> Plan:
    """Tell what a notebook does with its parameters, also where this machine cannot; an empty plan without a module.

    Args:
        path: The notebook.
        settled: The values of all parameters, see `settle`.

    Raises:
        NotebookError: Values are refused that are accepted one by one, or the module that is named has no plan.
    """
    module = _module(path)
    if module is None:
        return Plan()
    try:
        plan: Plan = module.plan(**settled)
    except ValueError as error:
        raise NotebookError(f"{path}: {error}") from error
    return plan


def ready(path: str | Path, settled: Mapping[str, Value]) -> Plan:
    """Plan a run of a notebook that is about to start, see `plan_of`.

    Raises:
        NotebookError: See `plan_of`; or there is an obstacle.
    """
    plan = plan_of(path, settled)
    if plan.obstacle:
        raise NotebookError(f"{path}: {plan.obstacle}")
    return plan


def _module(path: str | Path) -> ModuleType | None:
    """Module that a notebook names; None if it names none."""
    name = read_notebook(path).metadata.get("mtlrepro", {}).get("plan")
    if name is None:
        return None
    try:
        module = import_module(name)
    except ModuleNotFoundError as error:
        raise NotebookError(f"{path}: its metadata name the module {name!r}: {error}") from None
    if not hasattr(module, "plan"):
        raise NotebookError(f"{path}: its metadata name the module {name!r}, accepted: one with a function plan")
    return module
