"""Which values of its parameters the chapter on gradient noise takes together, and those of a run of seconds."""

from typing import Any

from mtlrepro.pages.plan import Plan
from mtlrepro.studies.noise import digits
from mtlrepro.studies.setting import absent

SMOKE = {
    "seeds": 2,
    "samples": 64,
    "batch_size": 8,
    "batch_sizes": [1, 4, 16],
    "draws": 16,
    "steps": 3,
    "chains": 2,
    "gammas": [0.5, 0.9],
}
"""Values of parameters at the scale `smoke`."""


def plan(
    *,
    samples: int,
    batch_size: int,
    batch_sizes: list[int],
    gammas: list[float],
    device: str,
    **_: Any,  # noqa: ANN401
) -> Plan:
    """Plan the chapter, which computes all that it shows; see `pages.plan`.

    Raises:
        ValueError: See `digits.check_parameters`.
    """
    digits.check_parameters(samples, batch_size, batch_sizes, gammas)
    return Plan(obstacle=absent(device))
