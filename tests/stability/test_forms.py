"""A system is taken in any form it comes in: a Lure, what it writes, or the arrays of a model; all of them say the same."""

import json
from collections.abc import Callable, Mapping
from functools import cache
from typing import Any

import numpy as np
import pytest
import torch

from stability import (
    Box,
    Certificate,
    Lure,
    certify,
    certify_step,
    check,
    falsify,
    l2_gain,
    metric_cap,
    prove,
    spectral_cap,
    tube,
    weighted_l1,
)
from stability.threads import of_system


def system() -> Lure:
    rng = np.random.default_rng(5)
    return Lure(
        A=[[[-1.0, 0.3], [0.0, -0.8]], [[-1.1, 0.2], [0.1, -0.7]]],
        weights=[0.3 * rng.standard_normal((4, 2)), 0.3 * rng.standard_normal((2, 4))],
        biases=[0.1 * rng.standard_normal(4), np.zeros(2)],
        B=[[1.0], [0.0]],
    )


def arrays() -> dict[str, Any]:
    """As `model.lure` returns them: tensors, some of which may want a gradient; what is absent is not there."""
    whole = system()
    return {
        "A": torch.tensor(whole.A, requires_grad=True),
        "B": torch.tensor(whole.B),
        "weights": [torch.tensor(w, requires_grad=True) for w in whole.weights],
        "biases": [torch.tensor(b) for b in whole.biases],
        "activation": "tanh",
    }


FORMS: dict[str, Callable[[], Any]] = {
    "Lure": system,
    "written": lambda: system().to_dict(),
    "read from JSON": lambda: json.loads(json.dumps(system().to_dict())),
    "arrays": arrays,
    "numpy": lambda: dict(vars(system())),
}


@cache
def said_of_a_lure() -> tuple[Any, ...]:
    """What the calls say of the system as a `Lure`: certificates alone and of two, and the rest."""
    whole = system()
    found = certify(whole)
    assert isinstance(found, Certificate)
    rest = (tube(found, whole), l2_gain(found, whole), certify_step(found, whole, 0.1), weighted_l1(whole))
    example = falsify(whole, 3.0, Box([-1.0, -1.0], [1.0, 1.0]))
    return found, certify(Lure.stack([whole, whole])), rest, (spectral_cap(whole), metric_cap(whole)), example


@pytest.mark.parametrize("form", FORMS)
def test_every_call_takes_every_form_and_says_the_same(form: str) -> None:
    given, whole = FORMS[form](), system()
    wanted, of_two, rest, caps, other = said_of_a_lure()
    found = certify(given)
    assert isinstance(found, Certificate)
    assert found.to_dict() == wanted.to_dict()
    assert check(found, given)
    assert prove(found, given).reason == found.sentence
    assert certify([given, whole]).to_dict() == of_two.to_dict()
    again = (tube(found, given), l2_gain(found, given), certify_step(found, given, 0.1), weighted_l1(given))
    assert [one.to_dict() for one in again] == [one.to_dict() for one in rest]
    assert (spectral_cap(given), metric_cap(given)) == caps
    example = falsify(given, 3.0, Box([-1.0, -1.0], [1.0, 1.0]))
    assert example is not None
    assert other is not None
    assert example.to_dict() == other.to_dict()
    assert of_system({"system": given}) == of_system({"system": whole}) == 6  # what the number of threads goes by


@pytest.mark.parametrize(
    ("wrong", "says"),
    [
        (None, "a Lure is needed"),
        (3.0, "a Lure is needed"),
        ({}, "lacks A, weights, biases"),
        ({"A": [[-1.0]], "weights": []}, "lacks biases"),
        ({**arrays(), "gamma": 1.0}, "an entry 'gamma', which is none of a system's"),
        ({**arrays(), "A": "x"}, "A is not an array"),
    ],
)
def test_what_is_no_system_is_refused_with_what_to_write(wrong: object, says: str) -> None:
    found = certify(system())
    assert isinstance(found, Certificate)
    calls: tuple[Callable[[Any], object], ...] = (
        Lure.of,
        certify,
        falsify,
        weighted_l1,
        spectral_cap,
        metric_cap,
        lambda given: tube(found, given),
        lambda given: l2_gain(found, given),
        lambda given: certify_step(found, given, 0.1),
    )
    for call in calls:
        with pytest.raises(ValueError, match=says):
            call(wrong)
    if not isinstance(wrong, Mapping) or "gamma" not in wrong:  # what more there is the checker does not look at
        assert not check(found, wrong)
        assert prove(found, wrong).reason


def test_a_system_with_another_digest_is_named() -> None:
    found = certify(system())
    assert isinstance(found, Certificate)
    for other in (Lure(A=2.0 * system().A, weights=[], biases=[]), {**arrays(), "B": torch.zeros(2, 1)}):
        assert "digest" in prove(found, other).reason or "shape" in prove(found, other).reason
