"""Variants of one configuration: named changes of any of its fields, compared with a default in runs of the same seed.

Runs of one seed share initial weights and the order of images, so differences are paired.
"""

from collections.abc import Iterable, Mapping
from typing import Any

import pandas as pd

from mtlrepro.analysis.significance import permutation_test
from mtlrepro.analysis.verdicts import mean_interval
from mtlrepro.studies.scores import Scores
from mtlrepro.studies.setting import Setting
from mtlrepro.training.config import RunConfig

Variants = Mapping[str, Mapping[str, Any]]
"""Name of a variant to the fields of `RunConfig` that it changes; the default changes what it likes, or nothing."""


def grid(setting: Setting, variants: Variants, seeds: Iterable[int]) -> dict[str, list[RunConfig]]:
    """Configure the runs of every variant.

    Args:
        setting: What all runs share.
        variants: Name to changed fields, of which `network` names the network.
        seeds: Seeds of each variant.

    Returns:
        Name of a variant to its configurations, in the order of the seeds.
    """
    seeds = list(seeds)
    return {name: [setting.run(**{**changes, "seed": seed}) for seed in seeds] for name, changes in variants.items()}


def scored(runs: Mapping[str, pd.DataFrame], default: str, scores: Scores) -> pd.DataFrame:
    """Delta_m of each run against the mean of the default, in per cent.

    Args:
        runs: Variant to what `runs.grid` gives for it.
        default: Variant that is the baseline.
        scores: Metrics, and the convention of Delta_m.

    Returns:
        One row a run: `variant`, `seed`, `score`.

    Raises:
        ValueError: There is no such default.
    """
    if default not in runs:
        raise ValueError(f"default is {default!r}; accepted: {', '.join(map(repr, runs))}")
    baseline = runs[default][scores.names].mean()
    parts = [own[["seed"]].assign(variant=name, score=scores.delta_m(own, baseline)) for name, own in runs.items()]
    return pd.concat(parts, ignore_index=True)[["variant", "seed", "score"]]


def paired_differences(scored: pd.DataFrame, default: str, sign: int = 1) -> pd.DataFrame:
    """Compare every variant with the default in runs of the same seed.

    Args:
        scored: One row a run: `variant`, `seed` and `score`, as `scored` gives it.
        default: Variant that the others are compared with.
        sign: 1 if a higher score is better, else -1.

    Returns:
        One row a variant: `variant`; `difference`, the mean over seeds, positive where the variant is better, with
        `low` and `high` of the paired Student interval, 95 %; two-sided exact `p` of the signs of the
        differences, and the smallest `p_reachable` with so few seeds.

    Raises:
        ValueError: There is no such default, or a variant has other seeds than it.
    """
    wide = scored.pivot(index="seed", columns="variant", values="score")[list(dict.fromkeys(scored["variant"]))]
    if default not in wide:
        raise ValueError(f"default is {default!r}; accepted: {', '.join(map(repr, wide))}")
    uneven = [str(name) for name in wide if wide[name].isna().any()]
    if uneven:
        raise ValueError(f"a seed of {', '.join(uneven)} is missing; accepted: the same seeds for every variant")
    rows = []
    for name in wide.columns.drop(default):
        gains = sign * (wide[name] - wide[default])
        change, test = mean_interval(gains), permutation_test(gains, 0 * gains, paired=True)
        rows.append((name, change.value, change.low, change.high, test.p_value, test.smallest_p_value))
    return pd.DataFrame(rows, columns=["variant", "difference", "low", "high", "p", "p_reachable"])
