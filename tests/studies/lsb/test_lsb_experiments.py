"""Networks, losses and runs beside the supplement's, and Section 8."""

import pytest
from compared_methods import LADDER, METHODS, comparison, runs_of

from mtlrepro.studies import sizes
from mtlrepro.studies.lsb import experiments
from mtlrepro.studies.setting import Setting


def test_the_printed_size_of_the_encoders_output_is_pnasnets_on_nyuv2():
    """Stride 32 rounds up: 288 x 384 gives 9 x 12, 256 x 256 gives 8 x 8; MobileNetV2 has 1280 channels."""
    table = experiments.encoder_outputs()
    assert table["computed"].tolist() == ["9 x 12 x 1280", "8 x 8 at stride 32"]
    assert table["encoder"].tolist() == ["MobileNetV2", "not named"]
    assert set(table["printed"]) == {"9 x 12 x 4320"}
    assert "an encoder at stride 32 makes 8 x 8, whatever its channels, and none makes 9 x 12" in (
        experiments.encoders_exhibit().caption
    )
    assert experiments._output("pnasnet5", experiments.SIZES["NYUv2"]) == experiments.PRINTED
    assert experiments._output("pnasnet5", experiments.SIZES["Taskonomy"]) == (8, 8, 4320)


def test_networks_are_those_of_section_1():
    assert experiments.decoder_parts(experiments._paper("multi_decoder")) == {"convolutions": 12, "upsamplings": 5}
    assert experiments.shared_channels() == 17
    assert experiments.head_channels()["full sharing"].tolist() == [17, 7, 11]
    assert [one.status for one in experiments.claims()] == ["holds"] * 3 + ["does not hold"]
    assert [one.kind for one in experiments.claims()] == ["identity"] * 3 + ["paper"]
    assert all("in the paper's configuration" in one.reading for one in experiments.claims()[:3])
    assert (experiments.claims()[-1].claimed, experiments.claims()[-1].measured.value) == (3, 2)


def test_the_slip_of_equation_4_makes_the_regulariser_a_constant():
    assert experiments.upper_regulariser() == pytest.approx({"estimate": 1, "printed": 0}, abs=1e-6)
    assert "it is 0: the regulariser is a constant" in experiments.slope_exhibit().caption


def test_a_run_is_described_by_its_configuration():
    setting, larger = Setting(), Setting(scale="gpu")
    exhibit = experiments.runs_exhibit([setting, larger])
    every = exhibit.table.set_index("item")
    table = every["here, cpu"]
    assert table["images"] == "400 to train, 200 to test"
    assert every.loc["images", "here, gpu"] == "800 to train, 200 to test"
    assert every.loc["images", "supplement, NYUv2"].startswith("not stated; the usual split")
    assert table["learning rate"] == "0.001"
    assert table["growth of β per epoch"] == "0.02 with three tasks, 0.5 with four tasks, 0.5 with eight tasks"
    assert table[["stride of the encoder", "convolutions of a decoder", "upsamplings of a decoder"]].tolist() == [
        "16",
        "10",
        "4",
    ]
    assert "stop at stride 16, and a decoder has 10 convolutions and 4 upsamplings" in exhibit.caption
    assert int(table["parameters"].replace(",", "")) == sizes.parameters(setting.run())
    apart = sizes.parameters(setting.run("multi_column"))
    assert apart > 2 * sizes.parameters(setting.run("full_sharing"))


def test_sizes_are_those_that_parts_of_the_chapter_are_shown_at():
    assert [one.scale for one in experiments.sizes_shown(Setting())] == ["cpu", "gpu"]
    assert [one.scale for one in experiments.sizes_shown(Setting(scale="smoke", seeds=2, comparison_seeds=2))] == [
        "smoke"
    ]


def test_miou_is_rounded_as_in_the_tables_of_methods():
    """55.0499 is 55.0 in both, not 55.05 and then 55.1."""
    runs = runs_of(LADDER).assign(**{"segmentation.miou": 55.0499, "segmentation.miou_per_image": 40.0})
    one = comparison(LADDER, runs=runs)
    shown = experiments.both_mious(one).set_index("method")["mIoU of all pixels, %"]
    assert set(shown) == {"55.0"}
    assert one.table().set_index("method").loc["LSB", "mIoU, %"].startswith("55.0 ")


def test_both_readings_of_miou_are_ranked():
    """By images the order of methods is turned round; with six methods no rank stays."""
    runs = runs_of(LADDER)
    one = comparison(LADDER, runs=runs.assign(**{"segmentation.miou_per_image": -runs["segmentation.miou"]}))
    table = experiments.both_mious(one).set_index("method")
    assert table.loc["LSB", ["rank", "rank by images"]].tolist() == [1, len(METHODS)]
    assert "rank 6 of 6 methods differently" in experiments.mious_exhibit(one).caption


def test_section_8_is_untestable_as_it_stands_and_judged_on_the_test_split():
    judged, sentence = experiments.qualitative_claims({"multi_column": comparison(LADDER)})
    assert (sentence.status, sentence.finding) == ("cannot be tested here", 5)
    assert (judged.status, judged.case, judged.measured.value) == ("holds", "multi column", 6)
    behind = experiments.qualitative_claims({"multi_column": comparison(LADDER | {"DWA": 99.0})})[0]
    assert behind.status == "does not hold"
    # GradNorm is in none of the figures
    other = experiments.qualitative_claims({"multi_column": comparison(LADDER | {"GradNorm": 99.0})})[0]
    assert other.status == "holds"


def test_exhibits_of_section_1_say_what_was_counted():
    assert experiments.encoders_exhibit().table.equals(experiments.encoder_outputs())
    assert experiments.channels_exhibit().caption.endswith("counted in our network: 17.")
