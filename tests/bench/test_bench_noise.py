"""The variants of the noise benchmark against each other."""

import json

import numpy as np
import pytest
import torch

from mtlrepro.bench import noise
from mtlrepro.cli import main
from mtlrepro.data.digits import two_digits
from mtlrepro.models.digits import DigitNet

COLUMNS = ["arm", "seconds", "lower", "upper", "ratio"]
VARIANTS = ["loop of backward passes", "vmap, chunk 64", "vmap, chunk 256"]


def test_noise_is_one_row_per_variant_the_loop_first():
    table = noise.noise(images=3, rounds=2)
    assert table.columns.tolist() == [*COLUMNS, "images_per_second"]
    assert table["arm"].tolist() == VARIANTS
    assert (table[COLUMNS[1:]] > 0).all(axis=None)
    assert ((table["lower"] <= table["seconds"]) & (table["seconds"] <= table["upper"])).all()
    assert table["ratio"][0] == 1
    np.testing.assert_allclose(table["images_per_second"], 3 / table["seconds"])


def test_noise_measures_the_same_network_whatever_was_drawn_before_and_draws_nothing(monkeypatch):
    seen = []
    monkeypatch.setattr(noise, "gradient_variants", lambda model, data: seen.append(model) or {"a": int})
    torch.manual_seed(5)
    noise.noise(images=1, rounds=1)
    after = torch.rand(3)
    torch.manual_seed(5)
    assert torch.equal(after, torch.rand(3))
    noise.noise(images=1, rounds=1)
    first, second = (torch.cat([p.flatten() for p in model.parameters()]) for model in seen)
    assert first.dtype == torch.float64
    assert torch.equal(first, second)


@pytest.mark.parametrize("images", [1, 5, 70])
def test_the_variants_compute_the_same_gradients(images):
    """70 images are more than one chunk of 64, and no multiple of it."""
    model = DigitNet().double()
    variants = noise.gradient_variants(model, two_digits(images).to("cpu", torch.float64))
    assert list(variants) == VARIANTS
    loop, *others = (variant() for variant in variants.values())
    assert loop.shape == (3, images, 2700)
    for other in others:
        torch.testing.assert_close(other, loop, rtol=1e-10, atol=1e-12)


@pytest.mark.parametrize(("options", "message"), [({"images": 0}, "n is 0"), ({"rounds": 0}, "rounds is 0")])
def test_noise_refuses_empty_benchmarks(options, message):
    with pytest.raises(ValueError, match=message):
        noise.noise(**{"images": 1, "rounds": 1, **options})


@pytest.mark.skipif(torch.cuda.is_available(), reason="there is a CUDA device")
def test_noise_refuses_a_device_that_is_not_there():
    with pytest.raises(ValueError, match="device is 'cuda', but PyTorch finds no CUDA device; accepted here: 'cpu'"):
        noise.noise("cuda")


def test_the_command_line_prints_and_stores_the_benchmark(tmp_path, monkeypatch, capsys):
    monkeypatch.setattr(noise.noise, "__kwdefaults__", {"images": 2, "rounds": 1})
    target = tmp_path / "rows.json"
    assert main(["bench", "noise", "--json", str(target)]) == 0
    printed = capsys.readouterr().out
    rows = json.loads(target.read_text())["rows"]
    assert [row["arm"] for row in rows] == VARIANTS
    assert all(name in printed for name in VARIANTS)
    assert all(row["images_per_second"] > 0 for row in rows)
