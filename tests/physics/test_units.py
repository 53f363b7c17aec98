"""Units: what is a code, what is likely meant by what is none, and which two join by which factor."""

from fractions import Fraction

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from hybrid import Concentration, Dose, HybridModel, Schedule, States
from learned import Constant
from physics import (
    LinearBackbone,
    LogNormalPopulation,
    OneCompartmentOral,
    Parameter,
    VanCauter,
    VanCauterPopulation,
    units,
)
from physics.units import compatible, convert, factor, parse, require
from training import Record
from training.people.conversion import converted


def test_the_library_reads_every_common_code() -> None:
    for code in units._COMMON:
        assert units._parsed(code) is not None, code


@pytest.mark.parametrize(
    ("have", "want", "ratio"),
    [
        ("mg/L", "ug/mL", Fraction(1)),
        ("mg/L", "mg.L-1", Fraction(1)),
        ("h-1", "/h", Fraction(1)),
        ("ml", "mL", Fraction(1)),
        ("ng/mL", "mg/L", Fraction(1, 1000)),
        ("min", "h", Fraction(1, 60)),
        ("d", "h", Fraction(24)),
        ("a", "d", Fraction(1461, 4)),
        ("/min", "/h", Fraction(60)),
        ("[lb_av]", "kg", Fraction(45359237, 10**8)),
        ("[in_i]", "cm", Fraction(254, 100)),
        ("ug/kg/min", "mg/kg/h", Fraction(6, 100)),
        ("m[IU]/L", "u[iU]/mL", Fraction(1)),
        ("10*9/L", "10*3/uL", Fraction(1)),
        ("%", "1", Fraction(1, 100)),
        ("{INR}", "{INR}", Fraction(1)),
        ("[pH]", "[pH]", Fraction(1)),
        ("Cel", "Cel", Fraction(1)),
        ("(mg)/(/h)", "mg.h", Fraction(1)),
    ],
)
def test_exact_ratios(have: str, want: str, ratio: Fraction) -> None:
    assert factor(have, want) == ratio
    assert compatible(have, want)
    assert compatible(want, have)


@pytest.mark.parametrize(
    ("have", "want", "why"),
    [
        ("mol/m3", "mg/L", "molar mass"),
        ("h", "mg", "one measures time, the other mass"),
        ("m", "min", "one measures length, the other time"),
        ("mg/L", "1", "state the unit where '1' stands"),
        # pint takes these for plain numbers or for moles
        ("[iU]", "1", "a unit of its own kind"),
        ("U/L", "[iU]/L", "a unit of its own kind"),
        ("[arb'U]", "[iU]", "a unit of its own kind"),
        ("meq/L", "mmol/L", "a unit of its own kind"),
        ("mosm/L", "mmol/L", "a unit of its own kind"),
        # braces are dropped by the parser
        ("mL/min/{1.73_m2}", "mL/min", "braces"),
        ("{INR}", "1", "braces"),
        # an offset, a logarithm, what the library cannot read, what it reads as something else
        ("Cel", "K", "a scale of its own"),
        ("[degF]", "Cel", "a scale of its own"),
        ("dB", "1", "a scale of its own"),
        ("[pH]", "1", "a scale of its own"),
        ("g%", "g/L", "a scale of its own"),
        ("'", "min", "a scale of its own"),
        # capitals
        ("MG", "mg", "capitals count"),
        ("mg/ML", "mg/mL", "capitals count"),
        ("H", "h", "capitals count"),
        ("mg/ML", "mg/L", "slip of capitals"),
    ],
)
def test_what_does_not_join_says_why(have: str, want: str, why: str) -> None:
    assert not compatible(have, want)
    with pytest.raises(ValueError, match=why):
        factor(have, want, "record a: dose")


def test_moles_and_grams_meet_at_a_molar_mass() -> None:
    glucose = 180.156
    assert float(factor("mmol/L", "mg/dL", molar_mass=glucose)) == pytest.approx(18.0156, rel=1e-15)
    assert float(factor("mg/dL", "mmol/L", molar_mass=glucose)) == pytest.approx(1.0 / 18.0156, rel=1e-15)
    with pytest.raises(ValueError, match="positive and finite"):
        factor("mmol/L", "mg/dL", molar_mass=0.0)
    with pytest.raises(ValueError, match="one measures substance, the other time"):
        factor("mol", "h", molar_mass=glucose)


@pytest.mark.parametrize(
    ("written", "meant"),
    [
        *(("hr", "h"), ("hours", "h"), ("HR", "h"), ("mcg", "ug"), ("IU", "[iU]"), ("µg", "ug"), ("μg/mL", "ug/mL")),
        *(("mIU/mL", "m[iU]/mL"), ("µIU/mL", "u[iU]/mL"), ("mEq/L", "meq/L"), ("mM", "mmol/L"), ("lbs", "[lb_av]")),
        *(("mg / L", "mg/L"), ("mg*h/L", "mg.h/L"), ("mg h/L", "mg.h/L"), ("mcg/kg/hr", "ug/kg/h"), ("h^-1", "h-1")),
        *(("years", "a"), ("sec", "s"), ("minutes", "min"), ("KG", "kg"), ("mmHg", "mm[Hg]"), ("°C", "Cel"), ("", "1")),
        *(("mL/min/1.73m2", "mL/min/{1.73_m2}"), ("min⁻¹", "min-1"), ("mg/L ", "mg/L")),
    ],
)
def test_what_is_no_code_names_the_one_that_was_meant(written: str, meant: str) -> None:
    with pytest.raises(ValueError, match="is not a UCUM code") as error:
        require(written, "TIME")
    assert str(error.value).startswith("TIME: ")
    assert str(error.value).endswith(f"write {meant!r}")
    assert require(meant, "TIME") == meant


@pytest.mark.parametrize("written", ["banana", "[", "mg)", "(" * 500, "a" * 10_000, "мг", "\x00", "mg//L", None, 5, 1.0])
def test_what_nobody_can_guess_is_still_one_short_sentence(written: object) -> None:
    with pytest.raises(ValueError, match="UCUM code") as error:
        require(written, "DV")
    assert len(str(error.value)) < 300


NAMES = ("mg/L", "ug/mL", "ng/mL", "g/L", "mg/dL", "kg/m3", "pg/mL", "[oz_av]/[gal_us]")


@settings(deadline=None, max_examples=40, derandomize=True)
@given(st.sampled_from(NAMES), st.sampled_from(NAMES), st.sampled_from(NAMES))
def test_factors_compose(a: str, b: str, c: str) -> None:
    assert float(factor(a, b) * factor(b, a)) == pytest.approx(1.0, rel=1e-14)
    assert float(factor(a, b) * factor(b, c)) == pytest.approx(float(factor(a, c)), rel=1e-14)


def test_numbers_arrays_and_tensors_are_converted_by_one_rounding() -> None:
    hours = factor("min", "h")
    assert [convert(float(m), hours) for m in range(0, 600, 7)] == [m / 60 for m in range(0, 600, 7)]
    np.testing.assert_array_equal(convert(np.arange(5.0), factor("h", "min")), np.arange(5.0) * 60)
    grams = torch.tensor(0.32, dtype=torch.float64, requires_grad=True)
    convert(grams, factor("g", "mg")).backward()
    assert grams.grad == 1000.0
    value = 3.7
    assert convert(value, Fraction(1)) is value


def test_a_parsed_unit_says_what_it_is() -> None:
    one = parse("mL/min/{1.73_m2}")
    assert one.dimension == (("[length]", 3), ("[time]", -1))
    assert one.notes == (("{1.73_m2}", -1),)
    assert parse("{INR}").dimension == ()
    assert parse("m[iU]/L").dimension == (("[iU]", 1), ("[length]", -3))


def test_codes_are_checked_where_they_are_stated() -> None:
    with pytest.raises(ValueError, match="parameter ka: '1/hr' is not a UCUM code; write '1/h'"):
        Parameter("ka", "1/hr", 1.0, 0.5, 2.0)
    with pytest.raises(ValueError, match="LinearBackbone: time: 'hr' is not a UCUM code; write 'h'"):
        LinearBackbone([[-1.0]], time_unit="hr")
    with pytest.raises(ValueError, match="LinearBackbone: u1: 'mcg/hr' is not a UCUM code; write 'ug/h'"):
        LinearBackbone([[-1.0]], [[1.0]], input_units=["mcg/hr"])


def test_a_common_model_needs_no_library(monkeypatch: pytest.MonkeyPatch) -> None:
    def fail() -> None:
        raise AssertionError("the library is loaded, which takes half a second")

    monkeypatch.setattr(units, "_library", fail)
    units._parsed.cache_clear()
    backbone = OneCompartmentOral()
    population = LogNormalPopulation(backbone, {"ka": 0.6, "ke": 0.2, "V": 0.2}, {"V": {"WT": (70.0, 1.0, "kg")}})
    model = HybridModel(backbone, population, observation=Concentration("plasma", "V"), noise=Constant([0.5], [0.1]))
    stated = {"time": "h", "dose": "mg", "concentration": "mg/L", "WT": "kg"}
    schedule, covariates = Schedule((Dose("gut", 0.0, 320.0),)), {"WT": 70.0}
    record = Record("1", schedule, np.array([1.0]), np.array([[8.0]]), ("concentration",), covariates, stated)
    assert converted(record, model) is record
    HybridModel(VanCauter(), VanCauterPopulation(), observation=States(("plasma",)), noise=Constant([0.5], [0.1]))
