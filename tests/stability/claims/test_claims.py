"""One reader and one judge for claims of every kind, and a stranger's claim beside them."""

import json
import subprocess
import sys
from collections.abc import Mapping
from dataclasses import dataclass, fields, replace
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import stability
from stability import (
    CLAIMS,
    Box,
    Budget,
    Certificate,
    Claim,
    Gain,
    Inputs,
    LipschitzBound,
    Lure,
    Refusal,
    RegionalRate,
    Step,
    WeightedL1,
    certify,
    certify_step,
    check,
    l2_gain,
    lipschitz_bound,
    prove,
    read_claim,
    regional_rate,
    tube,
    weighted_l1,
)
from stability.proof.checker import JUDGES
from tests.stability.claims.toy_claim import Slowest

ROOT = Path(__file__).parents[3]


def system() -> Lure:
    """Two states, three tanh units, one input."""
    rng = np.random.default_rng(3)
    return Lure(
        A=[[-1.0, 0.2], [0.0, -0.7]],
        weights=[0.2 * rng.standard_normal((3, 2)), 0.2 * rng.standard_normal((2, 3))],
        biases=[np.zeros(3), np.zeros(2)],
        B=[[1.0], [0.0]],
    )


def layers() -> dict[str, Any]:
    """What a Lipschitz bound is about."""
    return {"weights": system().weights, "activation": "tanh", "biases": system().biases}


def taped() -> Lure:
    """x' = ½ sin y − x, y' = −y."""
    code = [["state", 0], ["state", 1], ["sin", 1], ["constant", 0.5], ["multiply", 3, 2], ["subtract", 4, 0], ["negate", 1]]
    tape = {"tape": 1, "states": ["x", "y"], "inputs": [], "parameters": [], "code": code, "rate": [5, 6]}
    return Lure(A=np.zeros((2, 2)), weights=[], biases=[], tape=tape)


@cache
def claims() -> dict[str, tuple[Claim, object]]:
    """Every kind of claim, with what it is about."""
    whole = system()
    found = certify(whole)
    assert isinstance(found, Certificate)
    plain = {"weights": layers()["weights"], "activation": "tanh"}
    region = Box([-1.0, -1.0], [1.0, 1.0])
    made: dict[str, tuple[object, object]] = {
        "certificate": (found, whole),
        "certificate in a region": (certify(whole, region=region, inputs=Inputs([-0.1], [0.1])), whole),
        "rate on a region": (regional_rate(taped(), region), taped()),
        "tube": (tube(found, whole), whole),
        "l2": (l2_gain(found, whole), whole),
        "weighted l1": (weighted_l1(whole), whole),
        "step": (certify_step(found, whole, 0.1), whole),
        "lipschitz": (lipschitz_bound(**plain), plain),
        "lipschitz in a region": (lipschitz_bound(**layers(), region=region), layers()),
    }
    kept: dict[str, tuple[Claim, object]] = {}
    for name, (claim, about) in made.items():
        assert isinstance(claim, Claim), f"{name}: {claim}"
        kept[name] = claim, about
    return kept


NAMES = (
    "certificate",
    "certificate in a region",
    "rate on a region",
    "tube",
    "l2",
    "weighted l1",
    "step",
    "lipschitz",
    "lipschitz in a region",
)


def test_there_is_a_claim_of_every_kind() -> None:
    assert (Certificate, RegionalRate, Gain, WeightedL1, Step, LipschitzBound) == CLAIMS
    kinds = [kind for one in CLAIMS for kind in one.kinds()]
    assert kinds == ["certificate", "rate on a region", "tube", "l2", "weighted l1", "step", "lipschitz"]
    assert {claim.kind for claim, _ in claims().values()} == set(kinds)
    assert set(JUDGES) == set(kinds)  # the checker knows each of them


@pytest.mark.parametrize("name", NAMES)
def test_one_reader_gives_back_what_was_written(name: str) -> None:
    claim, about = claims()[name]
    data = json.loads(json.dumps(claim.to_dict(), allow_nan=False))
    again = read_claim(data)
    assert type(again) is type(claim)
    assert again.to_dict() == claim.to_dict() == data
    assert list(again.to_dict()) == list(claim.to_dict())
    for one in ("kind", "sentence", "digest", "not_covered"):
        assert getattr(again, one) == getattr(claim, one)
    assert again.sentence == data["claim"]
    assert again.everywhere is ("region" not in name)
    for judged in (again, data):
        assert check(judged, about), prove(judged, about).reason
        assert prove(judged, about).reason == claim.sentence


@pytest.mark.parametrize("name", NAMES)
def test_one_number_where_a_list_stands_is_refused(name: str) -> None:
    data = claims()[name][0].to_dict()
    for entry in ("metric", "multipliers", "weights", "output", "units"):
        if entry in data:
            for number in (-1, 2.0, float("nan")):
                with pytest.raises(ValueError, match=f"{entry} of the .* is the single number"):
                    read_claim({**data, entry: number, "claim": ""})


def test_a_number_without_its_point_is_read_as_one() -> None:
    """Other writers of JSON write 1 for 1.0."""
    for name, entry in (("certificate", "rate"), ("tube", "value"), ("weighted l1", "rate"), ("step", "factor")):
        data = claims()[name][0].to_dict()
        whole = read_claim({**data, entry: 1})
        assert isinstance(getattr(whole, entry), float)
        assert whole.in_words("h")
        assert whole.details("h", [("a", "mg"), ("b", "mg")])
        with pytest.raises(ValueError, match="beyond the numbers of float64"):
            read_claim({**data, entry: 10**400})


# The entries as they stand in files of the past, in their order: what is written stays what it is.
WRITTEN = {
    "certificate": (
        "kind claim rate metric multipliers slope_range condition leading digest spectral_cap metric_cap inequality_cap sampled "
        "identity_refused region not_covered"
    ),
    "tube": "kind value rate supply metric multipliers output units slope_range leading digest not_covered claim",
    "weighted l1": "rate weights slope_range leading digest not_covered claim kind",
    "step": "method step factor metric multipliers slope_range leading digest not_covered claim kind",
    "lipschitz": "kind claim bound multipliers slope_range digest floor region",
}


@pytest.mark.parametrize("name", WRITTEN)
def test_the_dictionaries_are_those_of_before(name: str) -> None:
    assert list(claims()[name][0].to_dict()) == WRITTEN[name].split()


@pytest.mark.parametrize("name", NAMES)
def test_a_claim_is_in_words_rounded_to_the_true_side(name: str) -> None:
    claim, _ = claims()[name]
    said = claim.in_words("h")
    assert said
    assert not said.endswith(".")
    assert not said[0].isupper()
    assert all(one.endswith(".") for one in claim.details("h", [("a", "mg"), ("b", "mg")]))
    assert all(one.endswith(".") for one in claim.details("", ()))
    assert claim.not_covered
    assert all(claim.not_covered)


def test_the_numbers_in_the_words_are_on_the_true_side() -> None:
    """A bound shown is never below the one that is proved, a rate never above."""

    def number(text: str, before: str, after: str) -> float:
        return float(text.split(before)[1].split(after)[0])

    found = {name: claim for name, (claim, _) in claims().items()}
    rate, l1, height, energy, step = (found[name] for name in ("certificate", "weighted l1", "tube", "l2", "step"))
    assert isinstance(rate, Certificate)
    assert isinstance(l1, WeightedL1)
    assert isinstance(height, Gain)
    assert isinstance(energy, Gain)
    assert isinstance(step, Step)
    for one in (rate, l1):
        assert number(one.in_words("h"), "shrinks by ", " %") <= 100 * (1 - np.exp(-one.rate))
        assert number(" ".join(one.details("h", ())), "λ = ", " per h") <= one.rate
    assert number(height.in_words("h"), "stays below ", " d") >= height.value
    assert number(height.details("h", ())[0], "state 1 ", " of") >= height.per_state[1]
    assert number(energy.in_words("h"), "at most ", " squared") >= energy.value
    assert number(step.in_words("h"), "at most ", " of itself") >= step.factor
    for name in ("lipschitz", "lipschitz in a region"):
        bound = found[name]
        assert isinstance(bound, LipschitzBound)
        assert number(bound.in_words(""), "at most ", " times") >= bound.bound


@pytest.mark.parametrize("name", NAMES)
def test_an_entry_that_is_not_what_it_stands_for_is_named(name: str) -> None:
    data = claims()[name][0].to_dict()
    for entry in data:
        for wrong in ({"a": 1}, [[["x"]]], object()):
            if entry == "region" and isinstance(wrong, Mapping):
                continue
            with pytest.raises(ValueError, match=entry):
                read_claim({**data, entry: wrong})
    with pytest.raises(ValueError, match="lacks digest"):
        read_claim({key: value for key, value in data.items() if key != "digest"})
    with pytest.raises(ValueError, match="'more' is none of its entries"):
        read_claim({**data, "more": 1})


def test_a_kind_that_is_not_known_is_refused_with_those_that_are() -> None:
    data = claims()["step"][0].to_dict()
    for kind in ("slowest", "refusal", 3, None, ["step"]):
        with pytest.raises(ValueError, match="certificate, rate on a region, tube, l2, weighted l1, step, lipschitz"):
            read_claim({**data, "kind": kind})
    with pytest.raises(ValueError, match="to_dict"):
        read_claim([data])  # type: ignore[arg-type]
    with pytest.raises(ValueError, match="'step', not 'certificate'"):
        Certificate.from_dict(data)
    with pytest.raises(ValueError, match="'step', not 'refusal'"):
        Refusal.from_dict(data)


def test_what_is_no_claim_is_refused_with_a_reason() -> None:
    for wrong in (None, 3, "certificate", [], {}, {"kind": "slowest"}, Refusal(reason="not proved", message="")):
        verdict = prove(wrong, system())
        assert not verdict
        assert verdict.reason
        assert not check(wrong, system())


# A stranger's claim: toy_claim.py, and one word in CLAIMS.


def diagonal() -> Lure:
    return Lure(A=np.diag([-0.5, -2.0]), weights=[], biases=[])


@pytest.fixture
def slowest(monkeypatch: pytest.MonkeyPatch) -> Slowest:
    monkeypatch.setattr("stability.claims.CLAIMS", (*CLAIMS, Slowest))
    return Slowest(rate=0.5, digest=diagonal().digest())


def test_a_strangers_claim_is_written_read_back_and_checked(slowest: Slowest) -> None:
    data = json.loads(json.dumps(slowest.to_dict()))
    again = read_claim(data)
    assert isinstance(again, Slowest)
    assert again.to_dict() == data
    for claim in (slowest, again, data):
        for about in (diagonal(), diagonal().to_dict()):
            assert check(claim, about, budget=Budget(seconds=1.0)), prove(claim, about).reason
    assert stability.CLAIMS[-1] is Slowest
    with pytest.raises(ValueError, match="lipschitz, slowest"):
        read_claim({"kind": "fastest"})


def test_every_mutation_of_a_strangers_claim_is_refused(slowest: Slowest) -> None:
    data = slowest.to_dict()
    mutations: list[dict[str, Any]] = [{**data, "claim": said} for said in ("", "Every state decays.", 3)]
    mutations += [{**data, "rate": rate} for rate in (0.6, 0.4, -0.5, np.nan, "0.5", None, np.array([0.5, 0.5]))]
    mutations += [{**data, "digest": system().digest()}, {**data, "more": 1}, {**data, "not_covered": "nothing"}]
    mutations += [{key: value for key, value in data.items() if key != left} for left in data]
    for mutated in mutations:
        verdict = prove(mutated, diagonal())
        assert not verdict, mutated
        assert verdict.reason
    for value in (replace(slowest, rate=0.6), replace(slowest, rate=0.6, claim="")):
        assert not check(value, diagonal())
    assert not check(slowest, system())
    assert "digest" in prove(slowest, system()).reason
    assert not check(slowest, Lure(A=np.diag([-0.5, -2.1]), weights=[], biases=[]))


def test_without_the_word_a_strangers_claim_is_not_read() -> None:
    data = Slowest(rate=0.5, digest=diagonal().digest()).to_dict()
    with pytest.raises(ValueError, match="'slowest' is not known"):
        read_claim(data)
    assert "'slowest'" in prove(data, diagonal()).reason


def test_claims_need_neither_the_search_nor_torch() -> None:
    code = (
        "import sys\nfrom stability import CLAIMS, check, prove, read_claim\n"
        "assert not {'torch', 'cvxpy', 'stability.search'} & sys.modules.keys()"
    )
    done = subprocess.run([sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr


def test_a_claim_has_at_most_four_methods_to_write() -> None:
    assert len(Claim.__abstractmethods__) <= 4
    for one in CLAIMS:
        assert {f.name for f in fields(one)} >= {"kind", "claim", "digest"}  # type: ignore[arg-type]


def test_a_claim_without_a_kind_of_its_own_is_told_what_to_write() -> None:
    @dataclass(frozen=True, kw_only=True, eq=False)
    class Nameless(Slowest):
        kind: str = "nameless"  # type: ignore[assignment]

    with pytest.raises(ValueError, match="write kind: Literal"):
        Nameless.kinds()


def test_numbers_of_which_no_sentence_can_be_made_are_refused_in_words() -> None:
    whole, local, step = (claims()[name][0] for name in ("certificate", "certificate in a region", "step"))
    region = dict(local.to_dict()["region"])
    for wrong in ({}, {**region, "stays": {}}, {**region, "stays": 3}, {k: v for k, v in region.items() if k != "lower"}):
        with pytest.raises(ValueError, match=r"region of the certificate is .* no sentence"):
            read_claim({**local.to_dict(), "region": wrong, "claim": ""})
    for wrong in ({**region, "stays": {}}, {**region, "stays": 3}, {k: v for k, v in region.items() if k != "stays"}):
        read = read_claim({**local.to_dict(), "region": wrong})
        for words in (lambda claim=read: claim.in_words("h"), lambda claim=read: claim.details("h", ())):
            with pytest.raises(ValueError, match="does not say which set is kept"):
                words()
    with pytest.raises(ValueError, match=r"region of the certificate is \{\}"):
        read_claim({**whole.to_dict(), "region": {}, "claim": ""})
    for entry, value in (("step", 0.0), ("step", -1.0), ("factor", 0.0)):
        with pytest.raises(ValueError, match=f"the {entry}.* is .*; give a finite positive one"):
            read_claim({**step.to_dict(), entry: value, "claim": ""}).details("h", ())
