"""Two small snapshots and a training run with momentum, made once."""

import pytest
import torch
from noise_cases import CHAINS, SAMPLES, SEEDS, SMALL

from mtlrepro.studies.noise import digits, training


@pytest.fixture(scope="package", autouse=True)
def one_thread():
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(threads)


@pytest.fixture(scope="package")
def snapshots(one_thread):
    return digits.snapshots(SEEDS, SAMPLES, 5, **SMALL)


@pytest.fixture(scope="package")
def moving(one_thread):
    return training.training_error(SEEDS, SAMPLES, [0.0, 0.7, 0.9], 12, chains=CHAINS, **SMALL)
