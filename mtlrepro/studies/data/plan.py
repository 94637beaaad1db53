"""Which values of its parameters the chapter on the data sets takes together, and which runs it reads."""

from typing import Any, Literal

from mtlrepro.pages.plan import Plan
from mtlrepro.studies import plans
from mtlrepro.studies.data import learnability
from mtlrepro.studies.setting import absent, check_prepared

SMOKE = {"scenes": 8, "shown": 2, "seeds": 2, "images": 40, "epochs": 4}
"""Values of parameters at the scale `smoke`."""


def plan(
    *,
    dataset: str,
    data_root: str,
    split: str,
    seeds: int,
    images: int,
    epochs: int,
    device: Literal["cpu", "cuda"],
    scale: str,
    **_: Any,  # noqa: ANN401
) -> Plan:
    """Plan the chapter; see `pages.plan`.

    Raises:
        ValueError: See `setting.check_prepared` and `learnability.configs`.
    """
    check_prepared(dataset, data_root, [split])
    stores = learnability.stores()
    parts = [
        plans.part(
            f"4, {name}",
            learnability.configs(name, seeds=seeds, images=images, epochs=epochs, device=device),
            stores,
            scale,
        )
        for name in learnability.DISTANCES
    ]
    return Plan(parts=tuple(parts), store=str(stores[-1].folder), obstacle=absent(device))
