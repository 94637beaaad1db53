import pandas as pd
import pytest
import torch
from noise_cases import BATCH, SAMPLES, SMALL

from mtlrepro.studies.noise import (
    combinations,
    digits,
    estimators,
    gaussian,
    intuition,
    momentum,
    sampling,
    training,
    weights,
)

CALLS = {
    "clouds": lambda snapshots: intuition.clouds(snapshots[0], "left", BATCH, 0.5, 5),
    "overview": lambda snapshots: digits.overview(snapshots, BATCH).table,
    "epoch_identity": lambda snapshots: sampling.epoch_identity(snapshots, BATCH),
    "monte_carlo": lambda snapshots: sampling.monte_carlo(snapshots, BATCH, [1, 2], 5),
    "noise_by_batch_size": lambda snapshots: sampling.noise_by_batch_size(snapshots, [1, 4], 5),
    "momentum_noise": lambda snapshots: momentum.frozen_noise(snapshots, [0.5], BATCH, 3),
    "momentum_shuffled": lambda snapshots: momentum.shuffled_noise(snapshots, [0.5], [BATCH], 3),
    "momentum_while_training": lambda snapshots: training.training_error(1, SAMPLES, [0.9], 3, chains=2, **SMALL),
    "gaussianity": lambda snapshots: gaussian.gaussianity(snapshots, [2], 20, directions=2)[0],
    "quantiles": lambda snapshots: gaussian.gaussianity(snapshots, [2], 20, directions=2)[1],
    "universality": lambda snapshots: combinations.universality(snapshots, [1.0, 1.0, 1.0], 2.0),
    "span_residual": combinations.span_residual,
    "estimators": lambda snapshots: estimators.estimators(snapshots, BATCH, 0.9, 5, rate=0.9, chains=2),
    "closed_forms": lambda snapshots: weights.closed_forms(snapshots[:1], BATCH),
    "label_noise": lambda snapshots: weights.label_noise(snapshots[:1], [0.0, 1.0], BATCH),
    "cross_terms": lambda snapshots: weights.cross_terms(snapshots, BATCH),
}


@pytest.mark.parametrize("name", CALLS)
def test_equal_calls_give_equal_tables_whatever_was_drawn_before(snapshots, name):
    torch.manual_seed(1)
    first = CALLS[name](snapshots)
    torch.rand(3)
    pd.testing.assert_frame_equal(first, CALLS[name](snapshots), check_exact=True)


def test_rows_of_a_seed_do_not_depend_on_the_other_seeds(snapshots):
    both = sampling.monte_carlo(snapshots, BATCH, [1, 2], 5)
    alone = sampling.monte_carlo(snapshots[1:], BATCH, [1, 2], 5)
    pd.testing.assert_frame_equal(both[both["seed"] == 1].reset_index(drop=True), alone, check_exact=True)
