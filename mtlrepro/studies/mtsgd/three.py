r"""What changes in MTSGD's rule with three tasks or more: the article states it for n tasks and tries it with two.

Of a slice that is kept, balancing never lengthens the sum if every cosine is at least :math:`-1 / (T - 1)`: the square
of the length of :math:`\sum_i r_i e_i` is convex in the lengths :math:`r_i \ge s`, and at :math:`r_i = s` its slope
along :math:`r_k` is :math:`2 s\,(1 + \sum_{j \ne k} c_{kj})`, which is then not negative. Two tasks have no other
cosines; three have from -0.5 down.
"""

from collections.abc import Sequence
from itertools import combinations, product

import numpy as np
import pandas as pd
import torch
from torch import Tensor

from mtlrepro.analysis.verdicts import Verdict, number, range_interval
from mtlrepro.pages.exhibit import Exhibit
from mtlrepro.studies.mtsgd.grids import BALANCE_ALONE
from mtlrepro.studies.mtsgd.rule import (
    AXIS,
    DRAWS,
    EXACT,
    change_by_thresholds,
    exactly,
    lengths,
    random_gradients,
    shortening,
    summed,
)

LENGTHENED = (1.0, 1.0, -2.0)
"""Gradients of three tasks by one number whose plain sum is zero."""
SAME = 1 / 3
"""Each of nine equal elements of a direction."""
EXAMPLES: dict[str, list[list[float]]] = {
    "three times the number 1": [[1], [1], [1]],
    "three times the number -1": [[-1], [-1], [-1]],
    "three times the same nine numbers": [[SAME] * 9] * 3,
    "three times the same nine numbers, negative": [[-SAME] * 9] * 3,
    "1 against -1 and -1": [[1], [-1], [-1]],
    "1 and 1 against -1 and -1": [[1], [1], [-1], [-1]],
}
"""Directions of three or four tasks in a slice."""


def similarities(directions: Sequence[Sequence[float]]) -> tuple[float, float, float]:
    """Similarity of T directions by three readings of Eq. 4.

    Args:
        directions: T of unit length.

    Returns:
        Their product element by element, summed; the smallest cosine of a pair; and the mean over the pairs.
    """
    array = np.array(directions, dtype=np.float64)
    cosines = [float(a @ b) for a, b in combinations(array, 2)]
    return float(array.prod(0).sum()), min(cosines), float(np.mean(cosines))


def similarity_exhibit() -> Exhibit:
    """Show what the product of Eq. 4 says of directions that agree, and of such that do not."""
    rows = [(name, *similarities(directions)) for name, directions in EXAMPLES.items()]
    table = pd.DataFrame(rows, columns=["directions", "product, summed", "smallest cosine", "mean cosine"])
    by_name = table.set_index("directions")["product, summed"].to_dict()
    caption = (
        "Similarity of three and four directions by three readings of Eq. 4. The product, which is the cosine of two, "
        f"is {number(by_name['three times the number -1'])} for three that are the same, and "
        f"{number(by_name['1 and 1 against -1 and -1'])} for two against two; in a 3x3 slice of equal numbers three "
        f"that are the same have {number(by_name['three times the same nine numbers'])}. Our balancer takes the "
        "smallest cosine, or the mean as an option."
    )
    return Exhibit(name="similarities", table=table, caption=caption)


def sign_patterns(n_tasks: int) -> list[Tensor]:
    """Gradients by a 1x1 kernel with a slice for every pattern of signs, of lengths 1, 2, 4, ... by task.

    Returns:
        `n_tasks` tensors `[2^T, 1, 1, 1]`, float64.
    """
    signs = torch.tensor([*product((1.0, -1.0), repeat=n_tasks)], dtype=torch.float64)
    return [(2.0**k * signs[:, k]).view(-1, 1, 1, 1) for k in range(n_tasks)]


def single_numbers(n_tasks: int, similarity: str) -> tuple[int, float]:
    """What thresholds change on a 1x1 kernel whose slices have every pattern of signs.

    Returns:
        How many different results the thresholds of `rule.AXIS` have, and the share of the slices in % in which any two
        of them differ.
    """
    gradients = sign_patterns(n_tasks)
    sums = torch.stack([summed(gradients, threshold=one, similarity=similarity).flatten() for one in AXIS])
    results = {tuple(row) for row in sums.round(decimals=9).add(0.0).tolist()}
    differs = (sums - sums[0]).abs().amax(0) > EXACT
    return len(results), 100 * float(differs.double().mean())


def single_numbers_exhibit() -> Exhibit:
    """Show on how many 1x1 slices thresholds act, by the number of tasks and the similarity."""
    rows = [(n, title, *single_numbers(n, name)) for n in (2, 3, 4) for title, name in _SIMILARITIES.items()]
    columns = ["tasks", "similarity", "different results", "slices with a change, %"]
    caption = (
        "What thresholds from -1 to 1 change on 1x1 kernels, over all patterns of signs. With two tasks nothing; with "
        "three, conflicting numbers no longer cancel, so that thresholds act: by the smallest cosine only that there "
        "is one above -1, as every conflict has a cosine of -1; by the mean at the value that the conflicts have."
    )
    return Exhibit(name="single_numbers", table=pd.DataFrame(rows, columns=columns), caption=caption)


_SIMILARITIES = {"smallest cosine": "min", "mean cosine": "mean"}


def in_a_plane(n_tasks: int) -> list[Tensor]:
    """Gradients of which many conflict: slices of two numbers that are not zero in a 3x3 kernel, of many lengths."""
    gradients = random_gradients(n_tasks, 3, seed=3)
    for gradient in gradients:
        gradient.flatten(1)[:, 2:] = 0
    return gradients


def claims() -> list[Verdict]:
    """Judge what is different with three tasks."""
    three = [torch.full((1, 1, 1, 1), one, dtype=torch.float64) for one in LENGTHENED]
    balanced, plain = lengths(summed(three, threshold=BALANCE_ALONE)), lengths(torch.stack(three).sum(0))
    _, changed = single_numbers(3, "min")
    products = [similarities(directions)[0] for name, directions in EXAMPLES.items() if name.startswith("three times")]
    return [
        Verdict(
            "Balance alone never lengthens the sum, as with two tasks",
            "our question",
            0.0,
            0.0,
            exactly(float(balanced - plain)),
            below=True,
            reading="length of the balanced sum less that of the plain one, for directions 1, 1, -1 of lengths 1, 1, 2",
            case="three tasks",
            kind="ours",
        ),
        *(
            Verdict(
                "From a threshold of -1 / (T - 1) on, balance never lengthens the sum of a slice",
                "Eqs. 3 to 8",
                1.0,
                EXACT,
                range_interval(shortening(in_a_plane(n), threshold=-1 / (n - 1))),
                below=True,
                reading=f"its length over that of the plain sum, mean [range] of {DRAWS} random slices",
                case=f"{n} tasks",
                kind="identity",
            )
            for n in (2, 3, 4)
        ),
        Verdict(
            "Of three tasks all thresholds above -1 leave the same of a 1x1 kernel",
            "Eqs. 3 to 8",
            0.0,
            EXACT,
            exactly(change_by_thresholds(random_gradients(3, 1, seed=4), AXIS[1:])),
            reading="largest change of an element, smallest cosine, level channel",
            kind="identity",
        ),
        Verdict(
            "Thresholds change nothing on a 1x1 kernel, as with two tasks",
            "our question",
            0.0,
            0.0,
            exactly(changed),
            reading="share of the patterns of signs in % on which thresholds differ, smallest cosine, level channel",
            case="three tasks",
            kind="ours",
        ),
        Verdict(
            "The product of directions is 1 where all are the same",
            "Eq. 4",
            1.0,
            0.0,
            exactly(min(products)),
            reading=f"product of three directions, summed over the slice, the smallest of {len(products)} examples",
            case="three tasks",
        ),
    ]
