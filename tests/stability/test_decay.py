"""A rate in words is never better than the rate: exact sums of fractions beside every digit that is printed."""

import math
import re
from fractions import Fraction
from pathlib import Path

import numpy as np
import pytest

from homeostat.gallery import claim_verdict
from stability import Box, Certificate, Inputs, Lure, certify, decay_in_words
from stability.decay import rounded

ROOT = Path(__file__).parents[2]
RATES = [0.044, 0.0463, 2.486, 50.0, 6.9, 6.91, 1.0, 1e-5, 1e-9, 0.693147, 2.0**-30, 690.0]
RATES += np.exp(np.random.default_rng(0).uniform(np.log(1e-4), np.log(12.0), 25)).tolist()


def exponential(x: Fraction) -> tuple[Fraction, Fraction]:
    """Two numbers with e^x between them, for x ≥ 0: the series, and a geometric bound of what is left of it."""
    if x > 1:
        low, high = exponential(x / 2)
        return low * low, high * high
    # in multiples of 2⁻³⁰⁰, those of `low` rounded down and those of `high` up
    one = 2**300
    down, up = math.floor(x * one), math.ceil(x * one)
    low, high, least, most = 0, 0, one, one
    for k in range(1, 61):
        low, high = low + least, high + most
        least, most = least * down // (k * one), -(-most * up // (k * one))
    return Fraction(low, one), Fraction(high + 2 * most, one)


def shown(rate: float) -> tuple[str, str]:
    found = re.fullmatch(r"shrinks by (\S+) % per h or more \(half-life (\S+) h or less\)", decay_in_words(rate, "h"))
    assert found is not None
    return found[1], found[2]


def unit_of(text: str) -> Fraction:
    """One in the last digit that is printed."""
    mantissa, _, exponent = text.partition("e")
    return Fraction(10) ** (int(exponent or 0) - len(mantissa.partition(".")[2])) if "." in mantissa else Fraction(1)


@pytest.mark.parametrize("rate", RATES)
def test_the_loss_is_rounded_down_and_the_half_life_up(rate: float) -> None:
    loss, half = shown(rate)
    x, printed = Fraction(rate), Fraction(loss)
    low, high = exponential(min(x, Fraction(60)))  # 1 − e^{−60} is 100 % in all digits that could be shown
    assert 0 < printed < 100
    assert printed <= 100 * (1 - 1 / low)
    assert rate > 60 or printed + unit_of(loss) > 100 * (1 - 1 / high)  # and not by more than the last digit
    time = Fraction(half)
    assert exponential(x * time)[0] >= 2  # at that time at most half is left
    if "." in half:
        assert exponential(x * (time - unit_of(half)))[0] < 2


def test_a_rate_is_no_percentage() -> None:
    assert decay_in_words(0.044, "h") == "shrinks by 4.30 % per h or more (half-life 15.8 h or less)"
    assert decay_in_words(2.486, "h") == "shrinks by 91.6 % per h or more (half-life 0.279 h or less)"
    assert decay_in_words(1e300, "min").startswith("shrinks by 99.9 % per min or more")
    assert decay_in_words(5e-324, "d").startswith("shrinks by 4.94e-322 % per d or more")
    assert decay_in_words(0.5, "1") == "shrinks by 39.3 % per unit of time or more (half-life 1.39 units of time or less)"
    for wrong in (0.0, -0.044, math.nan, math.inf, True, "0.044", None):
        with pytest.raises(ValueError, match="finite positive rate"):
            decay_in_words(wrong, "h")  # type: ignore[arg-type]


@pytest.mark.parametrize(("digits", "value"), [(4, 0.04399999), (3, 319.96), (3, 1e-7), (4, 1234567.8), (3, -3599.9), (3, 0.5)])
def test_numbers_are_rounded_to_their_side(digits: int, value: float) -> None:
    down, up = Fraction(rounded(value, digits, "down")), Fraction(rounded(value, digits, "up"))
    assert down <= Fraction(repr(value)) <= up
    assert up - down <= abs(Fraction(value)) / 10 ** (digits - 1)
    assert len(repr(value)) < 7 or down < up
    assert rounded(0.0, digits, "down") == rounded(-0.0, digits, "up") == "0"


def small() -> Lure:
    weights = [[[0.3, 0.0], [0.0, 0.3]], [[0.02, 0.01], [0.01, 0.02]]]
    return Lure(A=[[-1.5, 0.0], [1.5, -0.09]], weights=weights, biases=[[0.0, 0.0], [0.0, 0.0]])


def test_the_page_says_what_is_proved() -> None:
    """A rate of .044 used to be announced as 4.4 % per h, and that for any two trajectories."""
    found = certify(small(), rate=0.044)
    assert isinstance(found, Certificate)
    verdict = claim_verdict(found, "h")
    assert verdict.claim == (
        "Proved: under the same inputs and doses, the distance in P between any two trajectories of one person and member "
        "shrinks by 4.30 % per h or more (half-life 15.8 h or less)"
    )
    assert "λ = 0.044 per h" in verdict.detail
    box, inputs = Box([-4000.06, -4000.0], [4000.06, 4000.0]), Inputs([], [], [[319.97, 0.0]], 24.001)
    local = certify(small(), rate=0.044, region=box, inputs=inputs)
    assert isinstance(local, Certificate)
    claim = claim_verdict(local, "h").claim
    assert claim.startswith("Proved: under the same inputs and doses as stated, the distance in P between any two trajectories")
    assert "from the stated region shrinks by 4.30 % per h" in claim
    words = local.where_in_words()
    # nothing is printed that is larger than what is covered
    assert "box -4000 to 4000, -4000 to 4000" in words
    assert "doses of up to 319.9 into x[0], at least 24.01 apart" in words
    words = local.where_in_words([("gut", "mg"), ("plasma", "mg")], "h")
    assert "box gut -4000 to 4000 mg, plasma -4000 to 4000 mg" in words
    assert "doses of up to 319.9 mg into gut, at least 24.01 h apart" in words
    assert "doses of up to 319.9 mg into gut, at least" in local.where_in_words([("gut", "mg"), ("plasma", "mg/L")], "h")
    # one number for doses into two compartments would be more than is covered of one of them
    two = Inputs([], [], [[319.97, 0.0], [0.0, 40.0]], 24.001)
    both = certify(small(), rate=0.044, region=box, inputs=two)
    assert isinstance(both, Certificate)
    said = both.where_in_words([("gut", "mg"), ("plasma", "mg")], "h")
    assert "under doses of up to 319.9 mg into gut, or up to 40 mg into plasma, or a mean of them, at least 24.01 h apart" in said
    assert "less of a dose is shorter" in " ".join(both.details("h", [("gut", "mg"), ("plasma", "mg")]))
    without = certify(small(), rate=0.044, region=box)
    assert isinstance(without, Certificate)
    assert "under the same inputs, without doses" in claim_verdict(without, "h").claim
    assert without.where_in_words().endswith(", without doses")


def test_one_place_puts_rates_into_percent() -> None:
    packages = ("stability", "homeostat", "exchange", "training", "hybrid", "examples")
    files = [f for package in packages for f in (ROOT / package).rglob("*.py")]
    found = {str(f.relative_to(ROOT)) for f in files if re.search(r"%\s+per\s", f.read_text(encoding="utf-8"))}
    assert found <= {"stability/decay.py"}
