import math

import numpy as np
import pandas as pd
import torch
from noise_cases import SEEDS, check

from mtlrepro.analysis.verdicts import mean_interval
from mtlrepro.studies.noise import gaussian


def test_gaussianity(snapshots):
    kurtosis, quantiles = gaussian.gaussianity(snapshots, [1, 4], 20_000, directions=3)
    check(kurtosis, ["seed", "task", "direction", "batch", "kurtosis", "expected", "skewness"], SEEDS * 3 * 2 * 2)
    check(quantiles, ["direction", "batch", "normal", "noise"], 2 * 2 * 25)
    single, four = (kurtosis.loc[kurtosis["batch"] == size, "expected"].to_numpy() for size in (1, 4))
    np.testing.assert_allclose(four, single / 4, rtol=1e-12)
    assert np.abs(single).max() > 0.3  # or the next line would say nothing
    np.testing.assert_allclose(kurtosis["kurtosis"], kurtosis["expected"], atol=0.2)
    for _, rows in quantiles.groupby(["direction", "batch"]):
        np.testing.assert_allclose(rows["normal"], np.linspace(-3, 3, 25), atol=1e-12)
        assert rows["noise"].is_monotonic_increasing
        # Standardised: the quartiles of what is near a Gaussian are near -0.67 and 0.67.
        middle = np.interp([-0.6745, 0.6745], rows["normal"], rows["noise"])
        np.testing.assert_allclose(middle, [-0.6745, 0.6745], atol=0.25)


def test_the_expected_kurtosis_in_the_direction_of_most_noise(snapshots):
    kurtosis, _ = gaussian.gaussianity(snapshots, [1], 10, directions=1)
    found = kurtosis.query("seed == 0 and task == 'sum' and direction == 'most noise'")["expected"].item()
    centred = snapshots[0].gradients[2] - snapshots[0].gradients[2].mean(0)
    leading = torch.linalg.svd(centred, full_matrices=False)[2][0]
    values = (centred @ leading).numpy()
    assert math.isclose(found, np.mean(values**4) / np.mean(values**2) ** 2 - 3, rel_tol=1e-6)


def test_skewness_falls_as_one_over_the_root_of_the_batch_size(snapshots):
    kurtosis, _ = gaussian.gaussianity(snapshots, [1, 4], 10, directions=1)
    sizes = kurtosis.query("seed == 0 and task == 'sum' and direction == 'most noise'").set_index("batch")["skewness"]
    centred = snapshots[0].gradients[2] - snapshots[0].gradients[2].mean(0)
    values = (centred @ torch.linalg.svd(centred, full_matrices=False)[2][0]).numpy()
    skewness = abs(np.mean(values**3)) / np.mean(values**2) ** 1.5
    np.testing.assert_allclose(sizes.loc[[1, 4]], [skewness, skewness / 2], rtol=1e-6)


def test_quantiles_do_not_depend_on_the_sign_of_an_eigenvector(snapshots, monkeypatch):
    before = gaussian.gaussianity(snapshots, [1, 4], 20, directions=2)[1]
    eigh = torch.linalg.eigh
    monkeypatch.setattr(torch.linalg, "eigh", lambda matrix: (eigh(matrix)[0], -eigh(matrix)[1]))
    after = gaussian.gaussianity(snapshots, [1, 4], 20, directions=2)[1]
    pd.testing.assert_frame_equal(before, after)


def test_the_alternative_text_of_quantiles_states_the_numbers_of_its_table():
    ends = pd.DataFrame({"direction": list("aabb"), "normal": [-3.0, 3.0] * 2, "noise": [-2.0, 4.26, -3.0, 3.0]})
    assert gaussian.quantile_alt(8, ends).endswith("reaches 4.3 in the direction of a, 3.0 in the direction of b.")


def test_the_interval_of_kurtosis_never_falls_below_that_of_any_distribution():
    values = pd.Series([-1.99, 0.0, 9.0])
    found = gaussian.kurtosis_interval(values)
    assert mean_interval(values).low < -2 < found.low < found.value < found.high
    same = gaussian.kurtosis_interval(pd.Series([0.5, 0.5]))
    np.testing.assert_allclose([same.value, same.low, same.high], 0.5)
