"""What the checker takes for a claim and a system, and what it says of anything else."""

from functools import cache
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from benchmarks.oracles.claim_mutations import Original, originals
from stability import Box, Budget, Certificate, Lure, Refusal, certify, check, lipschitz_bound
from stability.proof import Verdict, prove
from stability.proof.rational import exactly
from stability.proof.reading import Unusable, array, number
from stability.proof.system import read_system
from tests.builders import oral_model

ARRAYS = ("A", "B", "input_weights", "skip")


def tensors(arrays: dict[str, Any], dtype: torch.dtype = torch.float64) -> dict[str, Any]:
    """The same as a model in training has them: leaves that ask for gradients, and views of what lies in another order."""

    def one(value: Any) -> torch.Tensor:
        leaf = torch.tensor(np.asarray(value).swapaxes(-1, -2).copy() if np.ndim(value) > 1 else value, dtype=dtype)
        leaf.requires_grad_()
        return leaf.mT if leaf.ndim > 1 else leaf

    made = {name: one(arrays[name]) for name in ARRAYS if arrays.get(name) is not None}
    return made | {name: [one(v) for v in arrays[name]] for name in ("weights", "biases")} | {"activation": arrays["activation"]}


class Elsewhere:
    """A tensor of another device: numpy cannot read it until it is on this one."""

    def __init__(self, value: Any) -> None:
        self.value = np.asarray(value)

    def __array__(self, *_: object) -> np.ndarray[Any, Any]:
        raise TypeError("not on this device")

    def detach(self) -> "Elsewhere":
        return self

    def cpu(self) -> torch.Tensor:
        return torch.from_numpy(self.value.copy())


def system_of(one: Original) -> dict[str, Any]:
    return {name: value for name, value in one.system.items() if value is not None}


# ---- the same verdict, whoever holds the arrays -----------------------------------------------------------------------


def test_every_kind_of_claim_is_proved_of_tensors_as_of_lists() -> None:
    for one in originals(("silu",)):
        said = prove(one.claim, one.system)
        assert said
        if one.claim["kind"] == "lipschitz":
            layers = {name: v for name, v in one.system.items() if name in ("weights", "biases")}
            given = {name: [torch.tensor(a, dtype=torch.float64) for a in arrays] for name, arrays in layers.items()}
            for tensor in given["weights"]:
                tensor.requires_grad_()
            assert prove(one.claim, one.system | given) == said
            continue
        assert prove(one.claim, tensors(one.system)) == said, one.kind
        assert prove(one.claim, Lure.from_dict(one.system)) == said
        assert prove(one.claim, system_of(one)) == said  # what is None may be left out, as in Lure(…)
        far = {n: [Elsewhere(w) for w in v] if isinstance(v, list) and n in ("weights", "biases") else v
               for n, v in system_of(one).items()}
        assert prove(one.claim, far | {n: Elsewhere(v) for n, v in far.items() if n in ARRAYS}) == said


@pytest.mark.parametrize("lead", [(), (1,), (2, 1), (1, 3)])
@pytest.mark.parametrize("dtype", [torch.float64, torch.float32])
def test_leading_axes_and_precision_are_read_as_lure_reads_them(lead: tuple[int, ...], dtype: torch.dtype) -> None:
    rng = np.random.default_rng(0)
    A, W, V = (rng.standard_normal((*lead, *shape)) * 0.3 for shape in ((2, 2), (3, 2), (2, 3)))
    arrays = {"A": A - 2 * np.eye(2), "weights": [W, V], "biases": [np.zeros(3), np.zeros(2)], "activation": "tanh"}
    given = tensors(arrays, dtype)
    system = Lure(**given)
    stack = read_system(given)
    assert (stack.digest, stack.leading) == (system.digest(), system.leading)
    found = certify(system)
    assert isinstance(found, Certificate)
    assert check(found, given)
    assert check(found.to_dict(), system.to_dict())
    assert exactly(found, given)


def test_a_models_arrays_are_taken_as_they_come() -> None:
    """In training, so that the arrays may ask for gradients; and another θ is named."""
    model = oral_model()
    theta = torch.tensor([[[1.2, 0.1, 30.0]]], dtype=torch.float64)
    with torch.no_grad():
        for p in model.residual.parameters():
            p += 0.01
    covariates = torch.zeros(1, 1, 0, dtype=torch.float64)
    arrays, other = model.lure(theta, covariates), model.lure(theta * 1.01, covariates)
    found = certify(Lure(**arrays))
    assert isinstance(found, Certificate), found
    assert check(found, arrays)
    assert prove(found, arrays) == prove(found, Lure(**arrays))
    assert not check(found, other)
    assert "another system (other parameters, members or people)" in prove(found, other).reason
    assert "HybridModel; give the arrays that its lure(theta) returns" in prove(found, model).reason  # type: ignore[arg-type]


def test_many_arrays_that_are_none() -> None:
    assert array(torch.ones(2, requires_grad=True) * 2, "x").tolist() == [2.0, 2.0]
    for wrong in (
        torch.ones(2, dtype=torch.complex128),
        torch.ones(2, dtype=torch.bool),
        torch.ones(2, dtype=torch.bfloat16),  # numpy has none, and Lure refuses it too
        torch.ones(2, device="meta"),
        torch.ones(2).to_sparse(),
        [torch.ones(2, requires_grad=True), torch.ones(3)],
        Elsewhere("x"),
        "x",
        None,
    ):
        with pytest.raises(Unusable, match=r"x is not an array of numbers|x has"):
            array(wrong, "x")
    with pytest.raises(Unusable, match="a number is needed"):
        number(torch.tensor(1.0))


# ---- the neighbours: what a hand slips to -----------------------------------------------------------------------------


@cache
def pair() -> tuple[Certificate, Lure]:
    system = Lure(A=[[-1.0, 0.2], [0.0, -2.0]], weights=[np.eye(2) / 4, np.eye(2) / 4], biases=[[0.0, 0.0], [0.0, 0.0]])
    found = certify(system)
    assert isinstance(found, Certificate)
    return found, system


def without(data: dict[str, Any], name: str) -> dict[str, Any]:
    return {key: value for key, value in data.items() if key != name}


@pytest.mark.parametrize(
    ("slip", "words"),
    [
        (lambda c, s: (c, without(s.to_dict(), "biases")), "it lacks biases"),
        (lambda c, s: (c, {**without(s.to_dict(), "activation"), "activations": "tanh"}), "'activations', which the proof would"),
        (lambda c, s: (c, {**without(s.to_dict(), "biases"), "bias": s.biases}), "it lacks biases"),
        (lambda c, s: (c, {**s.to_dict(), "input_weight": np.eye(2)}), "'input_weight', which the proof would not see"),
        (lambda c, s: (c, {**s.to_dict(), "remainder": None}), "'remainder', which the proof would not see"),
        (lambda c, s: (c, {**s.to_dict(), 3: None}), "3, which the proof would not see"),
        (lambda c, s: (c, {}), "an empty dictionary; give a Lure"),
        (lambda c, s: (c, {"certificate": c.to_dict(), "system": s.to_dict()}), "a dictionary of 'certificate', 'system'"),
        (lambda c, s: (c, Path("proof.json")), "give a Lure, what its to_dict writes"),
        (lambda c, s: (c, "proof.json"), "the system is 'proof.json'; give a Lure"),
        (lambda c, s: (c, (s.A, s.weights)), "a value of type tuple; give a Lure"),
        (lambda c, s: (c, [s]), "a value of type list; give a Lure"),
        (lambda c, s: (c, s.A), "a value of type ndarray; give a Lure"),
        (lambda c, s: (c, None), "the system is None; give a Lure"),
        (lambda c, s: (c, s.to_dict), "a value of type method; give a Lure"),
        (lambda c, s: (c, Lure), "the system is the class Lure; give a Lure"),
        (lambda c, s: (c, c), "the claim comes first"),
        (lambda c, s: (s, c), "the claim comes first, as in prove(claim, system)"),
        (lambda c, s: (s.to_dict(), c.to_dict()), "the claim comes first, as in prove(claim, system)"),
        (lambda c, s: (c, s.flatten()), "the leading shape is not that of the system"),
        (lambda c, s: (c, Lure.stack([s, s])), "this is another system (other members or people)"),
        (lambda c, s: (c, Lure(A=-np.eye(7), weights=[], biases=[])), "this is another system"),
        (lambda c, s: (c, Lure(A=s.A, weights=[], biases=[])), "another system (other parameters"),
        (lambda c, s: (c, [s, s]), "several become one by Lure.stack"),
        (lambda c, s: (c, Lure(A=2 * s.A, weights=s.weights, biases=s.biases)), "another system (other parameters"),
        (lambda c, s: (Refusal(reason="not proved", message="Nothing."), s), "this is a refusal, 'not proved'"),
        (lambda c, s: (Refusal(reason="disproved", message="An eigenvalue.").to_dict(), s), "this is a refusal, 'disproved'"),
        (lambda c, s: ({"certificate": c.to_dict(), "system": s.to_dict()}, s), "the claim is a dictionary of 'certificate'"),
        (lambda c, s: (Path("proof.json"), s), "give a Certificate or another claim"),
        (lambda c, s: ("proof.json", s), "the claim is 'proof.json'; give a Certificate"),
        (lambda c, s: (None, s), "the claim is None; give a Certificate"),
        (lambda c, s: (True, s), "the claim is True; give a Certificate"),
        (lambda c, s: ((c, s), s), "a value of type tuple; give a Certificate"),
        (lambda c, s: (c.rate, s), "give a Certificate"),
        (lambda c, s: (c.claim, s), "give a Certificate"),
        (lambda c, s: ({}, s), "the claim is an empty dictionary"),
        (lambda c, s: (Certificate, s), "the claim is the class Certificate; give a Certificate"),
        (lambda c, s: ({**c.to_dict(), "kind": "proof"}, s), "of the kind 'proof' is not one"),
        (lambda c, s: ({**c.to_dict(), "kind": None}, s), "of the kind None is not one"),
        (lambda c, s: (without(c.to_dict(), "metric"), s), "'metric' is missing"),
    ],
)
def test_what_is_no_claim_or_no_system_is_named(slip: Any, words: str) -> None:
    given = slip(*pair())
    verdict = prove(*given)
    assert not verdict
    assert verdict.decided
    assert words in verdict.reason
    assert len(verdict.reason) < 330
    assert verdict.reason in " ".join(repr(verdict).split())  # in lines of a screen
    assert check(*given) is False


def test_a_certificate_without_its_kind_is_read_as_before() -> None:
    found, system = pair()
    assert check(without(found.to_dict(), "kind"), system)


def test_a_lipschitz_bound_says_which_layers_it_needs() -> None:
    weights = [np.ones((3, 2)) / 4, np.ones((1, 3)) / 4]
    found = lipschitz_bound(weights, "tanh")
    for wrong in (oral_model(), weights, None, "x", {"weight": weights}):
        assert "give the layers that are bounded" in prove(found, wrong).reason
    assert check(found, {"weights": weights, "activation": "tanh"})


def test_a_verdict_in_one_line() -> None:
    found, system = pair()
    assert str(prove(found, system)) == f"proved: {found.claim}"
    assert str(prove(found, None)).startswith("refused: the system is None")
    lone = Lure(A=[[-1.0]], weights=[[[1.0]], [[2.0]]], biases=[[0.0], [0.0]])
    box = certify(lone, region=Box([1.2], [2.5]))
    assert str(prove(box, lone, budget=Budget(cells=1))).startswith("not decided: ")
    assert str(Verdict(False, "not decided: why", decided=False)) == "not decided: why"


def test_a_budget_that_is_none_is_refused() -> None:
    found, system = pair()
    for wrong in (1000, {"cells": 1000}, "1 s", Budget):
        with pytest.raises(ValueError, match=r"the budget is .*; give Budget\(cells=…, seconds=…, bytes=…\)"):
            check(found, system, budget=wrong)  # type: ignore[arg-type]
