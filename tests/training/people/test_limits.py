"""Values that are only known to lie between limits: what a record takes, and that a cohort carries them everywhere."""

import numpy as np
import pytest
import torch

from hybrid import Concentration, Dose, HybridModel, Schedule, States
from learned import Constant, Zero
from physics import LogNormalPopulation, OneCompartmentOral
from training import Cohort, Record
from training.machinery.unit import padded
from training.people.forecasts import at_times

NAN, INF = float("nan"), float("inf")
UNITS = {"time": "h", "dose": "mg", "concentration": "mg/L"}


def model() -> HybridModel:
    backbone = OneCompartmentOral()
    return HybridModel(
        backbone,
        LogNormalPopulation(backbone.physical, [0.5, 0.3, 0.3]),
        Zero(2, 0, 0),
        observation=Concentration("plasma", "V"),
        noise=Constant([0.3], [0.05]),
    )


def record(name="a", times=(0.5, 1.0, 4.0), values=(2.0, 6.0, NAN), lower=None, upper=(NAN, NAN, 0.5), **more) -> Record:
    start = min(0.0, *times)
    given = {"units": UNITS, "schedule": Schedule((Dose("gut", 0.0, 300.0),), start=start), "channels": ("concentration",)}
    return Record(name, times=times, values=values, lower=lower, upper=upper, **(given | more))


def test_a_record_states_limits_in_one_form() -> None:
    r = record(lower=(NAN, NAN, NAN))
    assert r.lower is not None
    assert r.upper is not None
    np.testing.assert_array_equal(r.lower, [[-INF], [-INF], [-INF]])
    np.testing.assert_array_equal(r.upper, [[INF], [INF], [0.5]])
    np.testing.assert_array_equal(r.censored, [[False], [False], [True]])
    none = record(values=(2.0, 6.0, 1.0), upper=(NAN, INF, NAN), lower=[-INF, None, NAN])
    assert none.lower is None
    assert none.upper is None
    assert not none.censored.any()
    assert "between limits" in repr(r)
    assert "between limits" not in repr(none)
    only = record(values=(NAN, NAN, NAN))  # known of by a limit alone
    assert only.censored.sum() == 1
    assert np.isnan(only.baseline).all()


@pytest.mark.parametrize(
    ("given", "said"),
    [
        ({"upper": (NAN, 5.0, NAN)}, "concentration number 2 is 6 with limits -inf and 5, and a value that was measured"),
        ({"lower": (NAN, NAN, 0.5)}, "limits 0.5 and 0.5, and the lower limit is below the upper"),
        ({"lower": (NAN, NAN, 0.9)}, "limits 0.9 and 0.5, and the lower limit is below the upper"),
        ({"lower": (NAN, NAN, INF)}, "nothing is above"),
        ({"upper": (NAN, NAN, -INF)}, "nothing is above"),
        ({"upper": (NAN, 0.5)}, "has a limit for each value"),
        ({"upper": "low"}, "upper must be numbers"),
        ({"values": (NAN,) * 3, "upper": None}, "no channel was ever measured"),
    ],
)
def test_limits_that_say_nothing_are_refused(given: dict, said: str) -> None:
    with pytest.raises(ValueError, match=said):
        record(**given)


def test_what_is_not_known_yet_has_no_limits_either() -> None:
    r = record(times=(0.5, 1.0, 4.0), values=(2.0, NAN, NAN), upper=(NAN, 0.5, 0.5))
    np.testing.assert_array_equal(r.until(2.0).censored[:, 0], [False, True, False])
    assert r.until(0.7).lower is None
    with pytest.raises(ValueError, match=r"nothing was measured up to 0\.7"):
        record(values=(NAN, NAN, NAN), upper=(NAN, 0.5, 0.5)).until(0.7)
    both = Cohort.of([r, record("b", values=(NAN, 1.0, 2.0), upper=(0.3, NAN, NAN))], model())
    assert both.limits is not None
    assert both.censored[..., 0].tolist() == [[False, True, True], [True, False, False]]
    assert both.until(2.0).censored[..., 0].tolist() == [[False, True, False], [True, False, False]]
    assert both.after(2.0).censored[..., 0].tolist() == [[False, False, True], [False, False, False]]
    later = both.people(torch.tensor([1])).after(2.0)
    assert later.limits is None
    assert int(later.mask.sum()) == 1
    assert torch.equal(both.limits[..., 0].isfinite(), torch.zeros(2, 3, 1, dtype=torch.bool))
    assert "of these between limits 3" in repr(both)


def test_limits_go_with_their_people_units_and_padding() -> None:
    other = UNITS | {"concentration": "ug/L"}
    a, b = record("a"), record("b", times=(1.0, 2.0), values=(3.0, NAN), upper=(NAN, 250.0), units=other)
    cohort = Cohort.of([a, b], model())
    assert cohort.limits is not None
    assert float(cohort.limits[1, 1, 0, 1]) == 0.25
    assert torch.isinf(cohort.limits[1, 2]).all()
    assert torch.equal(cohort.people(torch.tensor([1])).limits, cohort.limits[1:])
    assert cohort.to(torch.float32).limits.dtype == torch.float32
    wide, _ = padded(cohort, torch.ones(1, 2, dtype=torch.float64))
    assert wide.limits is not None
    assert torch.equal(wide.limits[:2, :3], cohort.limits)
    assert int(wide.censored.sum()) == 2
    three = Cohort.of([a, b, record("c")], model())
    wide, _ = padded(three.people(torch.tensor([0, 1, 2, 0, 1])), torch.ones(1, 5, dtype=torch.float64))
    assert wide.limits is not None
    assert wide.limits.shape == (*wide.y.shape, 2)
    assert int(wide.censored.sum()) == 5
    assert at_times(cohort, cohort.conditions, cohort.times).limits is None


def test_channels_take_their_limits_along() -> None:
    both = HybridModel(
        OneCompartmentOral(),
        LogNormalPopulation(OneCompartmentOral().physical, [0.5, 0.3, 0.3]),
        Zero(2, 0, 0),
        observation=States(("gut", "plasma")),
        noise=Constant([0.3, 0.3], [0.05, 0.05]),
    )
    r = Record(
        "a",
        Schedule((Dose("gut", 0.0, 300.0),)),
        (1.0,),
        [[NAN, 7.0]],
        ("plasma", "gut"),
        upper=[[3e6, NAN]],
        lower=[[1e6, NAN]],
        units={"plasma": "ng", "gut": "mg"},
    )
    cohort = Cohort.of([r], both)
    assert cohort.limits is not None
    assert cohort.y[0, 0].tolist()[0] == 7.0
    assert cohort.limits[0, 0].tolist() == [[-INF, INF], [1.0, 3.0]]


def test_a_baseline_that_sets_the_start_ends_what_was_known_before() -> None:
    # two before the dose: the first below a limit, the second measured; the second is the state, and the first is not scored
    m = model()
    first = record(times=(-2.0, -1.0, 4.0), values=(NAN, 0.8, 3.0), upper=(0.5, NAN, NAN))
    assert Cohort.of([first], m).limits is None
    # the other way round the limit comes after the state is known, and is scored
    second = Cohort.of([record(times=(-2.0, -1.0, 4.0), values=(0.8, NAN, 3.0), upper=(NAN, 0.5, NAN))], m)
    assert second.censored[0, :, 0].tolist() == [False, True, False]
    assert second.mask[0, :, 0].tolist() == [False, False, True]
    # a lone value below a limit sets nothing: the start is empty, and the limit is scored
    alone = Cohort.of([record(times=(-1.0, 1.0, 4.0), values=(NAN, 0.8, 3.0), upper=(0.5, NAN, NAN))], m)
    assert alone.censored[0, :, 0].tolist() == [True, False, False]
    assert alone.unscored == (0,)
