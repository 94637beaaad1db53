import numpy as np
import pandas as pd
from noise_cases import SEEDS, check

from mtlrepro.studies.noise import estimators


def test_estimators_are_centred_on_the_exact_values(snapshots):
    table = estimators.estimators(snapshots, 32, 0.9, 150, rate=0.99, chains=6)
    check(table, ["seed", "task", "estimator", "quantity", "ratio"], SEEDS * 3 * 2 * 2)
    by = table.set_index("quantity")["ratio"]
    np.testing.assert_allclose(by["noise"], 1, atol=0.06)
    np.testing.assert_allclose(by["signal"], 1, atol=0.3)
    means = table.groupby(["estimator", "quantity"])["ratio"].mean()
    assert len(means) == 4
    np.testing.assert_allclose(means, 1, atol=0.12)


def test_the_estimator_caption_counts_intervals_around_the_exact_value():
    bars = pd.DataFrame({"quantity": ["noise", "noise", "signal"], "low": [0.98, 1.01, 0.5], "high": [1.02, 1.02, 1.7]})
    assert estimators.estimator_finding(bars) == (
        "2 of 3 intervals contain the exact value. The widest reaches 2.0% to either side for the noise and 60% for the"
        " signal."
    )
