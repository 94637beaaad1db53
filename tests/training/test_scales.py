import pytest

from mtlrepro.training.run import train
from mtlrepro.training.scales import DATA, NETWORKS, PAIRS, config

ENTRIES = [(scale, dataset, network) for network, sets in PAIRS.items() for dataset in sets for scale in DATA[dataset]]


@pytest.mark.parametrize(("scale", "dataset", "network"), ENTRIES)
def test_every_entry_is_a_configuration(scale, dataset, network):
    run = config(scale, dataset=dataset, network=network)
    assert (run.dataset, run.model) == (dataset, network)
    assert run.device == ("cpu" if scale in ("smoke", "cpu") else "cuda")
    assert run.precision == ("float32" if run.device == "cpu" else "bf16")
    assert (run.n_train is None) == (scale == "paper")


def test_all_networks_and_data_sets_are_in_the_table():
    assert set(PAIRS) == set(NETWORKS)
    assert {dataset for sets in PAIRS.values() for dataset in sets} == set(DATA)


def test_weights_are_imagenet_for_mobilenet_and_on_real_data_and_random_for_resnets_and_smoke():
    for scale, dataset, network in ENTRIES:
        run = config(scale, dataset=dataset, network=network)
        weights = run.model_options.get("weights", "none")
        if scale == "smoke" or network.startswith(("segnet", "small_unet")):
            assert weights == "none"
        elif scale == "paper":
            assert weights == "imagenet"
        else:
            assert weights == ("none" if "resnet" in run.model_options["encoder"] else "imagenet")


def test_cross_stitch_starts_as_the_paper_says():
    assert config("paper", dataset="taskonomy", network="multi_column").model_options["stitch"] == "uniform"
    assert "stitch" not in config("paper", dataset="nyuv2", network="multi_column").model_options


def test_stereo_at_cpu_follows_the_papers_schedule_at_the_same_shares():
    paper = config("paper", dataset="cityscapes", network="mtsgd")
    for scale in ("cpu", "gpu"):
        run = config(scale, dataset="streets", network="mtsgd")
        assert run.tasks == ("segmentation", "disparity")
        for name in ("optimizer", "weight_decay", "schedule", "factor"):
            assert getattr(run, name) == getattr(paper, name)
        assert run.milestones == tuple(epoch * run.epochs // paper.epochs for epoch in paper.milestones)
    assert (config("cpu", dataset="streets", network="mtsgd").milestones, run.milestones) == ((10, 15), (15, 22))


def test_detection_at_cpu_has_larger_images_and_fewer_epochs():
    run = config("cpu", dataset="streets", network="detection")
    assert (run.size, run.n_train, run.epochs, run.milestones) == ((96, 192), 400, 12, (6, 9))
    assert config("cpu", dataset="streets", network="mtsgd").size == (64, 128)


def test_changes_take_the_place_of_the_table():
    run = config("smoke", method="lsb", seed=3, epochs=5, tasks=("depth",))
    assert (run.method, run.seed, run.epochs, run.tasks) == ("lsb", 3, 5, ("depth",))


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"scale": "large"}, "scale is 'large'; accepted: smoke, cpu, gpu, paper"),
        ({"scale": "paper"}, "scale is 'paper'; accepted with dataset 'rooms': smoke, cpu, gpu"),
        ({"scale": "cpu", "network": "unet"}, "network is 'unet'; accepted: full_sharing"),
        ({"scale": "cpu", "dataset": "bdd100k"}, "dataset is 'bdd100k'; accepted with network 'multi_decoder': rooms"),
    ],
)
def test_unknown_entries_are_named(arguments, message):
    with pytest.raises(ValueError, match=message):
        config(arguments.pop("scale"), **arguments)


@pytest.mark.parametrize(
    ("dataset", "network"), [(dataset, network) for scale, dataset, network in ENTRIES if scale == "smoke"]
)
def test_smoke_takes_seconds(dataset, network, tmp_path):
    record = train(config("smoke", dataset=dataset, network=network, epochs=1), store=tmp_path, progress=False)
    assert record["provenance"]["seconds"] < 20
    assert set(record["metrics"]) == set(config("smoke", dataset=dataset, network=network).tasks)
