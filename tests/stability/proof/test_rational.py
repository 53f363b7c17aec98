"""The rational second opinion: against naive elimination, at exact edges, and on the command line."""

import json
from dataclasses import replace
from fractions import Fraction
from functools import cache
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from benchmarks.mutations import MUTATIONS, case
from benchmarks.oracles.mutants import Case
from stability import Certificate, Lure, certify, check
from stability.proof.command import main
from stability.proof.rational import exactly, positive_definite


def naive(matrix: list[list[Fraction]]) -> bool:
    """Sylvester's criterion with each minor by cofactor expansion."""

    def determinant(m: list[list[Fraction]]) -> Fraction:
        if not m:
            return Fraction(1)
        return sum(
            ((-1) ** j * m[0][j] * determinant([r[:j] + r[j + 1 :] for r in m[1:]]) for j in range(len(m))), Fraction(0)
        )

    return all(determinant([row[:k] for row in matrix[:k]]) > 0 for k in range(1, len(matrix) + 1))


@settings(deadline=None, max_examples=60, derandomize=True)
@given(seed=st.integers(0, 10**6), size=st.integers(1, 5), shift=st.fractions(-1, 1, max_denominator=7))
def test_positive_definite_is_sylvesters_criterion(seed: int, size: int, shift: Fraction) -> None:
    rng = np.random.default_rng(seed)
    B = rng.integers(-3, 4, size=(size, size))
    G = [[Fraction(int(v), 3) for v in row] for row in B @ B.T]
    G = [[v + (shift if i == j else 0) for j, v in enumerate(row)] for i, row in enumerate(G)]
    assert positive_definite(G) == naive(G)


def test_where_floating_point_cannot_see() -> None:
    """Hilbert's matrix of size 14 is positive definite with condition number 1e19; less 2⁻⁷⁰ at its last entry it is not."""
    hilbert = [[Fraction(1, i + j + 1) for j in range(14)] for i in range(14)]
    assert positive_definite(hilbert)
    hilbert[13][13] -= Fraction(1, 2**30)
    assert not positive_definite(hilbert)
    assert not positive_definite([[Fraction(1), Fraction(1)], [Fraction(1), Fraction(1)]])  # singular is not enough


def scalar(rate: float) -> tuple[Certificate, Lure]:
    """dx/dt = −x + ½ tanh x: M = [2 − 2λ, −(½ + Λ); ·, 2Λ] with P = 1, Λ = ½ is singular exactly at λ = ½."""
    system = Lure(A=[[-1.0]], weights=[[[1.0]], [[0.5]]], biases=[[0.0], [0.0]])
    found = certify(system, rate=0.25)
    assert isinstance(found, Certificate)
    one = np.ones((1, 1))
    return replace(found, rate=rate, metric=one, multipliers=one / 2, condition=1.0, claim=""), system


def test_the_edge_is_exact() -> None:
    assert not exactly(*scalar(0.5))
    assert not exactly(*scalar(float(np.nextafter(0.5, 1))))
    below = scalar(float(np.nextafter(0.5, 0)))
    assert exactly(*below)
    assert not check(*below)  # one rounding from the edge the floating-point proof has to refuse
    assert check(*scalar(0.5 - 1e-12))


def test_linear_systems_and_their_edge() -> None:
    system = Lure(A=[[[-1.0]], [[-2.0]]], weights=[], biases=[])
    found = certify(system)
    assert isinstance(found, Certificate)
    assert exactly(found, system)
    assert not exactly(replace(found, rate=1.0), system)
    assert exactly(replace(found, rate=float(np.nextafter(1.0, 0.0))), system)


def test_fields_that_make_the_claim_another_one() -> None:
    found, system = scalar(0.25)
    assert exactly(found.to_dict(), system.to_dict())
    for fields in (
        {"digest": "0" * 64},
        {"region": "box"},
        {"slope_range": (0.0, 0.5)},
        {"slope_range": (0.1, 1.0)},
        {"rate": -0.1},
        {"rate": float("nan")},
        {"metric": -np.ones((1, 1))},
        {"multipliers": np.zeros((1, 1))},
        {"multipliers": np.full((1, 1), np.inf)},
        {"metric": np.eye(2)},
    ):
        assert not exactly(replace(found, **fields), system), fields
    assert exactly(replace(found, slope_range=(-0.1, 1.0)), system)  # wider than needed, and still proved
    assert not exactly({}, system)
    assert not exactly(found, {})


def test_large_systems_are_declined() -> None:
    system = Lure(A=-np.eye(2), weights=[np.zeros((39, 2)), np.zeros((2, 39))], biases=[np.zeros(39), np.zeros(2)])
    found, _ = scalar(0.25)
    with pytest.raises(ValueError, match="39 units"):
        exactly(found, system)


@cache
def original(seed: int) -> Case:
    return case(seed)


@pytest.mark.parametrize("kind", list(MUTATIONS))
def test_mutations_that_are_accepted_are_true(kind: str) -> None:
    """The benchmark's mutations, a few of each kind: accepted ⇒ true, and changed arrays are refused by the hash."""
    rng = np.random.default_rng(1)
    accepted = false = 0
    for step in range(12):
        one = original(step % 6)
        assert exactly(one.certificate, one.system)
        mutant = MUTATIONS[kind](one, rng)
        if mutant.system.digest() != one.system.digest():
            assert not check(one.certificate, mutant.system)
            mutant = replace(mutant, certificate=replace(mutant.certificate, digest=mutant.system.digest()))
        said, true = check(mutant.certificate, mutant.system), exactly(mutant.certificate, mutant.system)
        assert not said or true
        accepted, false = accepted + said, false + (not true)
    if kind in ("hash", "region"):
        assert (accepted, false) == (0, 12)
    elif kind == "biases":  # they do not enter the inequality
        assert (accepted, false) == (12, 0)
    elif kind != "slopes":
        assert accepted > 0


def test_command_line_asks_for_both(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    one, file = original(1), tmp_path / "certificate.json"
    file.write_text(json.dumps({"certificate": one.certificate.to_dict(), "system": one.system.to_dict()}))
    assert main([str(file), "--exact"]) == 0
    assert capsys.readouterr().out.startswith("proved: For every pair")
    large = Lure(A=-np.eye(2), weights=[np.zeros((39, 2)), np.zeros((2, 39))], biases=[np.zeros(39), np.zeros(2)])
    found = certify(large)
    assert isinstance(found, Certificate)
    file.write_text(json.dumps({"certificate": found.to_dict(), "system": large.to_dict()}))
    assert main([str(file)]) == 0
    assert main([str(file), "--exact"]) == 2
    assert "39 units" in capsys.readouterr().err
