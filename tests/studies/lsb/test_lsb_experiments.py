"""Networks, losses and runs beside the supplement's, and Section 8."""

import pytest
from compared_methods import LADDER, METHODS, comparison, runs_of

from mtlrepro.studies.lsb import experiments
from mtlrepro.studies.setting import Setting


def test_the_printed_size_of_the_encoders_output_is_pnasnets_on_nyuv2():
    """Stride 32 rounds up: 288 x 384 gives 9 x 12, 256 x 256 gives 8 x 8; MobileNetV2 has 1280 channels."""
    table = experiments.encoder_outputs()
    assert table["computed"].tolist() == ["9 x 12 x 1280", "8 x 8 x 1280"]
    assert set(table["printed"]) == {"9 x 12 x 4320"}
    assert experiments._output("pnasnet5", experiments.SIZES["NYUv2"]) == experiments.PRINTED
    assert experiments._output("pnasnet5", experiments.SIZES["Taskonomy"]) == (8, 8, 4320)


def test_networks_are_those_of_section_1():
    assert experiments.decoder_parts() == {"convolutions": 12, "upsamplings": 5, "channels": 17}
    assert experiments.head_channels()["full sharing"].tolist() == [17, 7, 11]
    assert [one.status for one in experiments.claims()] == ["holds"] * 3 + ["does not hold"]
    assert [one.kind for one in experiments.claims()] == ["identity"] * 3 + ["paper"]


def test_the_slip_of_equation_4_makes_the_regulariser_a_constant():
    assert experiments.upper_regulariser() == pytest.approx({"estimate": 1, "printed": 0}, abs=1e-6)
    assert "it is 0: the regulariser is a constant" in experiments.slope_exhibit().caption


def test_a_run_is_described_by_its_configuration():
    setting = Setting()
    table = experiments.runs_exhibit(setting).table.set_index("item")["here"]
    assert table["images"] == "400 to train, 200 to test"
    assert table["learning rate"] == "0.001"
    assert int(table["parameters"].replace(",", "")) == experiments.parameters(setting.run())
    apart = experiments.parameters(setting.run("multi_column"))
    assert apart > 2 * experiments.parameters(setting.run("full_sharing"))


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
