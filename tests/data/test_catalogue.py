"""The catalogue agrees with the code and scripts that make each data set."""

import subprocess
import sys
from importlib import import_module

import pytest

from mtlrepro import files, tasks
from mtlrepro.data.catalogue import CATALOGUE, GENERATED
from mtlrepro.data.classes import BDD100K
from mtlrepro.data.datasets import load
from mtlrepro.data.scenes import cache
from mtlrepro.targets import TARGETS

REAL = [name for name in CATALOGUE if name not in GENERATED]


def test_names():
    assert list(CATALOGUE) == ["rooms", "streets", "nyuv2", "cityscapes", "taskonomy", "bdd100k"]
    assert GENERATED == ("rooms", "streets")


def test_what_final_metrics_are_measured_on():
    on_validation = {name for name, entry in CATALOGUE.items() if entry.test_split == "val"}
    assert on_validation == {"cityscapes", "bdd100k"}  # their test labels are not public
    assert {name for name, entry in CATALOGUE.items() if entry.validated} == {"rooms", "streets", "taskonomy"}


@pytest.mark.parametrize("name", GENERATED)
def test_scenes_have_the_splits_and_targets_that_the_catalogue_says(name):
    entry, generator = CATALOGUE[name], cache.generator_of(name)
    assert entry.splits == tuple(cache.COUNTS)
    needed = {target for task in entry.tasks for target in (("boxes", "labels") if task == "detection" else (task,))}
    assert needed <= set(generator.KEYS)
    assert bool(entry.box_classes) == ("boxes" in generator.KEYS)


@pytest.mark.parametrize("name", REAL)
def test_real_sets_have_a_script_splits_and_classes(name):
    entry = CATALOGUE[name]
    assert entry.prepare.split()[1] == f"data_scripts/{name}.py"
    assert (files.PROJECT / entry.prepare.split()[1]).is_file()
    official = import_module(f"mtlrepro.data.real.{name}.{'files' if name == 'nyuv2' else 'prepare'}")
    assert set(entry.splits) == set(official.OFFICIAL_COUNTS if name == "nyuv2" else official.SPLITS)
    with pytest.raises(ValueError, match=f"split is 'dev'; accepted: {', '.join(entry.splits)}"):
        load(name, "dev", root="x")


def test_every_task_of_a_data_set_can_be_made():
    for entry in CATALOGUE.values():
        tasks.create(entry.tasks, n_classes=len(entry.classes), depth_range=entry.depth_range)


def test_depth_ranges(monkeypatch, tmp_path):
    """The rooms stay inside theirs; NYUv2's Kinect sees 10 m far, and 16 bits of 1/512 m reach 128 m."""
    monkeypatch.setenv("MTLREPRO_CACHE", str(tmp_path))
    depth = load("rooms", n=3, size=(24, 32), keys=["depth"]).batch(range(3))["depth"]
    low, high = CATALOGUE["rooms"].depth_range
    assert low <= depth[depth > 0].min() < depth.max() <= high
    assert CATALOGUE["nyuv2"].depth_range[1] == 10
    assert CATALOGUE["taskonomy"].depth_range[1] == 2**16 / 512


def test_labels_of_boxes_are_those_of_bdd100k():
    assert TARGETS["labels"].high == len(BDD100K) - 1


def test_what_a_user_imports_loads_no_training_figures_or_real_data_sets():
    heavy = ["mtlrepro.training", "mtlrepro.models", "mtlrepro.data.real", "matplotlib", "h5py"]
    code = f"import sys, mtlrepro.data; assert not {{*{heavy}}} & {{*sys.modules}}"
    subprocess.run([sys.executable, "-c", code], check=True)
