import numpy as np
import pytest
from noise_cases import BATCH, SEEDS, TASKS, check

from mtlrepro.analysis import summaries
from mtlrepro.studies.noise import sampling


def test_an_epoch_averages_to_the_full_loss_and_gradient_up_to_rounding(snapshots):
    table = sampling.epoch_identity(snapshots, BATCH)
    check(table, ["seed", "task", "loss", "gradient"], SEEDS * 3)
    assert table["task"].tolist() == TASKS * SEEDS
    assert (table[["loss", "gradient"]] < 1e-12).all(axis=None)


def test_the_epoch_identity_fails_for_batches_of_unequal_size(snapshots):
    """The check can fail: 64 samples in batches of 60 and 4 do not average to the full gradient."""
    table = sampling.epoch_identity(snapshots, 60)
    assert (table[["loss", "gradient"]] > 1e-3).all(axis=None)


def test_monte_carlo(snapshots):
    table = sampling.monte_carlo(snapshots, BATCH, [1, 4, 16], 300)
    check(table, ["seed", "task", "batches", "error", "expected"], SEEDS * 3 * 3)
    np.testing.assert_allclose(table["expected"], table["batches"] ** -0.5, rtol=1e-15)
    np.testing.assert_allclose(table["error"], table["expected"], rtol=0.1)
    slopes = summaries.slopes(table, "batches", "error", ["seed"])["slope"]
    np.testing.assert_allclose(slopes, -0.5, atol=0.03)


def test_noise_by_batch_size(snapshots):
    table = sampling.noise_by_batch_size(snapshots, [2, 8, 32], 1500)
    columns = ["seed", "task", "sampling", "batch", "power", "appendix", "factor", "ratio", "ratio_exact"]
    check(table, columns, SEEDS * 2 * 3 * 3)
    replaced = table["sampling"] == "with replacement"
    assert (table.loc[replaced, "factor"] == 1).all()
    np.testing.assert_allclose(table.loc[~replaced, "factor"], (64 - table.loc[~replaced, "batch"]) / 63, rtol=1e-15)
    np.testing.assert_allclose(table["ratio"], table["power"] / table["appendix"])
    np.testing.assert_allclose(table["ratio_exact"], table["ratio"] / table["factor"])
    np.testing.assert_allclose(
        table["appendix"], table.groupby(["seed", "task"])["appendix"].transform("max") * 2 / table["batch"]
    )
    np.testing.assert_allclose(table["ratio_exact"], 1, atol=0.1)
    # Half of all samples without replacement: half the noise that the appendix says.
    assert (table.loc[~replaced & (table["batch"] == 32), "ratio"] < 0.6).all()


@pytest.mark.parametrize(
    ("sizes", "message"),
    [
        ([2, 64], "sizes go up to 64; accepted: below the number of samples, 64"),
        ([2, 100], "sizes go up to 100; accepted: below the number of samples, 64"),
        ([4], "sizes is [4]; accepted: two or more batch sizes"),
        ([4, 4], "sizes is [4, 4]; accepted: two or more batch sizes"),
        ([], "sizes is []; accepted: two or more batch sizes"),
    ],
)
def test_sizes_that_cannot_be_compared_are_refused(snapshots, sizes, message):
    with pytest.raises(ValueError) as refusal:
        sampling.noise_by_batch_size(snapshots, sizes, 3)
    assert str(refusal.value) == message
