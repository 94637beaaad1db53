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
        if scale == "smoke" or network.startswith("segnet"):
            assert weights == "none"
        elif scale == "paper":
            assert weights == "imagenet"
        else:
            assert weights == ("none" if "resnet" in run.model_options["encoder"] else "imagenet")


@pytest.mark.parametrize(
    ("entry", "fields"),
    [
        (("nyuv2", "multi_decoder"), {"optimizer": "adamw", "lr": 1e-4, "weight_decay": 0.01, "epochs": 1000}),
        (("taskonomy", "multi_column"), {"optimizer": "adamw", "lr": 1e-4, "epochs": 200}),
        (
            ("nyuv2", "segnet_mtan"),
            {"optimizer": "adam", "lr": 1e-4, "milestones": (100,), "factor": 0.5, "epochs": 200, "batch_size": 2}
            | {"average_last": 10, "scales": (1.0, 1.2, 1.5), "protocol": "benchmark", "weight_decay": 0.0},
        ),
        (("cityscapes", "segnet_mtan"), {"classes": 7, "batch_size": 8, "average_last": 10}),
        (
            ("cityscapes", "mtsgd"),
            {"optimizer": "sgd", "lr": 0.01, "weight_decay": 1e-4, "milestones": (100, 150), "factor": 0.1}
            | {"epochs": 200, "batch_size": 16, "crop": (512, 512)},
        ),
    ],
)
def test_paper_is_what_the_papers_print(entry, fields):
    dataset, network = entry
    run = config("paper", dataset=dataset, network=network)
    assert {name: getattr(run, name) for name in fields} == fields


def test_cross_stitch_starts_as_the_paper_says():
    assert config("paper", dataset="taskonomy", network="multi_column").model_options["stitch"] == "uniform"
    assert "stitch" not in config("paper", dataset="nyuv2", network="multi_column").model_options


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
