"""What the options of `homeostat follow` ask for, and what is said where they cannot be meant."""

from datetime import timedelta

import pytest

from homeostat.follow.asked import floor_of, floor_to_write, require_noise, span_of, time_constant_of
from hybrid import Concentration, HybridModel
from learned import AdditiveProportional, DiagonalDiffusion
from physics import LogNormalPopulation, OneCompartmentOral
from physics.arguments import InputError


def oral(noisy: bool = False) -> HybridModel:
    backbone = OneCompartmentOral()
    return HybridModel(
        backbone,
        LogNormalPopulation(backbone, spread={"ka": 0.6, "ke": 0.2, "V": 0.2}),
        None,
        observation=Concentration("plasma", "V"),
        noise=AdditiveProportional([0.5], [0.1], [0.03]),
        process=DiagonalDiffusion([0.0, 1.0]) if noisy else None,
    )


def test_a_floor_is_of_every_state_in_a_unit_or_of_one() -> None:
    assert floor_of(None, oral()) is None
    assert floor_of("mg=2", oral()) == {"gut": 2.0, "plasma": 2.0}
    assert floor_of(" g = 0.002 ", oral()) == pytest.approx({"gut": 2.0, "plasma": 2.0}, rel=1e-15)
    assert floor_of("mg=2,gut=0", oral()) == {"gut": 0.0, "plasma": 2.0}
    assert floor_to_write(oral()) == "--process-floor mg=VALUE"


@pytest.mark.parametrize(
    ("text", "words"),
    [
        (
            "mmol=2",
            "no state is called 'mmol', and none is in that unit; the states are gut in mg, plasma in mg; write --pro",
        ),
        ("foo=1", "'foo' is not a UCUM code"),
        ("mg=-1", "mg=-1 is no number from 0 on; write mg=0.1"),
        ("mg=much", "mg=much is no number"),
        ("mg=nan", "mg=nan is no number"),
        ("mg", "is not of the form NAME=VALUE"),
        (" ", "says nothing; write --process-floor mg=VALUE"),
        ("plasma=1", "says nothing of gut in mg; write mg=VALUE too"),
        ("mg=1,g=2", "mg and g both speak of gut"),
    ],
)
def test_a_floor_that_cannot_be_meant_is_refused(text: str, words: str) -> None:
    with pytest.raises(ValueError) as error:
        floor_of(text, oral())
    assert words in str(error.value)
    assert "--process-floor" in str(error.value)


def test_a_model_that_nothing_drives_needs_a_floor() -> None:
    require_noise(oral(noisy=True), None)
    require_noise(oral(), {"gut": 0.0, "plasma": 0.0})  # said in so many words
    with pytest.raises(InputError) as error:
        require_noise(oral(), None)
    assert "gut in mg, plasma in mg" in error.value.problem_at_shell
    assert error.value.cure_at_shell.startswith("write --process-floor mg=VALUE, VALUE being")
    assert "gains in 1 h" in error.value.cure_at_shell
    assert "Twin(bundle, floor=" in error.value.cure


def test_stretches_of_time() -> None:
    assert span_of("7d", "--horizon") == timedelta(days=7)
    assert span_of(" 36 h ", "--horizon") == timedelta(hours=36)
    assert span_of("1e-6 s", "--horizon") == timedelta(microseconds=1)
    assert time_constant_of(None, "--drift", "h") is None
    assert time_constant_of("30d", "--drift", "h") == 720.0
    assert time_constant_of("90 s", "--drift", "min") == 1.5


@pytest.mark.parametrize("text", ["1", "x", "-1 h", "1 mg", "inf h", "nan h", "1e40 d", "7days", "1e 3", ""])
def test_what_is_no_stretch_of_time_is_refused(text: str) -> None:
    with pytest.raises(ValueError) as error:
        span_of(text, "--horizon")
    assert str(error.value).startswith(f"--horizon {text!r}")
    assert str(error.value).endswith("write a number and a unit of time, as --horizon 7d or --horizon 36h")


def test_a_time_constant_is_above_0() -> None:
    with pytest.raises(ValueError, match="--drift '0 d' is no time; write one above 0"):
        time_constant_of("0 d", "--drift", "h")
