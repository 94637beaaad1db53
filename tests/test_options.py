"""Names and types of options are checked before a balancer is made."""

import pytest

from mtlrepro.balancers import METHODS, create
from mtlrepro.options import check_options, options_of


@pytest.mark.parametrize(
    ("name", "options", "message"),
    [
        ("cagrad", {"rescale": "false"}, "^rescale is 'false'; accepted: True or False"),
        ("cagrad", {"rescale": 0}, "rescale is 0; accepted: True or False"),
        ("cagrad", {"c": "0.4"}, "c is '0.4'; accepted: a finite number"),
        ("cagrad", {"c": True}, "c is True; accepted: a finite number"),
        ("cagrad", {"c": None}, "c is None; accepted: a finite number"),
        ("mclgs", {"a0": float("inf")}, "a0 is inf; accepted: a finite number"),
        ("dwa", {"temperature": float("nan")}, "temperature is nan; accepted: a finite number"),
        ("gradnorm", {"alpha": 10**400}, "alpha is 1000.*; accepted: a finite number"),
        ("pcgrad", {"seed": 1.0}, "seed is 1.0; accepted: an integer of 64 bits"),
        ("graddrop", {"seed": 2**64}, "seed is 18446744073709551616; accepted: an integer of 64 bits"),
        ("pcgrad", {"seed": False}, "seed is False; accepted: an integer of 64 bits"),
        ("mgda", {"at": ["parameters"]}, r"at is \['parameters'\]; accepted: 'parameters', 'representation'"),
        ("mgda", {"at": "heads"}, "at is 'heads'; accepted: 'parameters', 'representation'"),
        ("lsb", {"priority": "123"}, "priority is '123'; accepted: a list, each a finite number or None"),
        ("lsb", {"priority": [1, "2", 3]}, "priority is .*; accepted: a list, each a finite number or None"),
        ("fixed", {"weights": {"0": 1}}, "weights is .*; accepted: a list, each a finite number or None"),
    ],
)
def test_values_of_another_type_are_refused(name, options, message):
    with pytest.raises(ValueError, match=message):
        create(name, 3, **options)


def test_values_of_the_right_type_are_taken():
    assert create("cagrad", 3, c=1, rescale=False).c == 1
    assert create("lsb", 2, priority=(1, 3)).weights.tolist() == [0.25, 0.75]
    assert create("fixed", 2, weights=None).weights.tolist() == [0.5, 0.5]
    assert create("pcgrad", 2, seed=-(2**63)).seed == -(2**63)


def test_annotations_that_only_type_checkers_see_and_none_at_all_accept_everything():
    class Plain:
        def __init__(self, n_tasks, strength, mode="slow"): ...

    class Hidden:
        def __init__(self, n_tasks: "int", mode: "Mode" = "slow") -> None: ...  # noqa: F821

    assert list(options_of(Plain)) == ["strength", "mode"]
    check_options("hidden", {"mode": [1]}, options_of(Hidden))
    check_options("plain", {"strength": "1"}, options_of(Plain))
    with pytest.raises(ValueError, match="plain: option 'strength' is missing; accepted: "):
        check_options("plain", {}, options_of(Plain))


@pytest.mark.parametrize(
    ("name", "options"),
    [
        ("dwa", {"temperature": 2**64}),
        ("gradnorm", {"alpha": 2**64}),
        ("uw-so", {"temperature": 2**64}),
        ("mclgs", {"a0": 2**64, "delta_a": 2**64}),
        ("replay", {"weights": [[1, 2, 3], [4, 5, 2**64]]}),
    ],
)
def test_whole_numbers_are_taken_as_floating_point_where_these_are(name, options):
    """JSON has one type of numbers, and no tensor holds an integer of more than 64 bits."""

    def floats(value):
        return [floats(item) for item in value] if isinstance(value, list) else float(value)

    accepted = options_of(METHODS[name])
    assert repr(check_options(name, options, accepted)) == repr({key: floats(value) for key, value in options.items()})
    create(name, 3, **options)


@pytest.mark.parametrize(
    ("name", "options", "message"),
    [
        ("cagrad", {"c": 1e300}, r"c is 1e\+300; accepted: a number from 0 to 1000"),
        ("cagrad+mclgs", {"c": -1}, "c is -1.0; accepted: a number from 0 to 1000"),
        ("fixed", {"weights": [1e308, 1, 1e-308]}, "weights is .*; accepted: 3 positive numbers, none vanishing"),
    ],
)
def test_numbers_beyond_what_is_computed_with_are_refused(name, options, message):
    with pytest.raises(ValueError, match=message):
        create(name, 3, **options)


@pytest.mark.parametrize(("name", "option"), [("fixed", "weights"), ("lsb", "priority")])
def test_the_largest_weights_are_shares_too(name, option):
    assert create(name, 3, **{option: [1e308, 1e308, 1e308]}).weights.tolist() == pytest.approx([1 / 3] * 3)
