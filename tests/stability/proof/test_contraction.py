"""The checker against exact rational arithmetic and against mutations; its command line."""

import json
import subprocess
import sys
from dataclasses import replace
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from stability import Certificate, Lure, certify, check
from stability.lure import SLOPES
from stability.proof.arithmetic import proved_positive
from stability.proof.checker import prove
from stability.proof.command import main

Matrix = list[list[int]]


def exactly_positive(matrix: Matrix) -> bool:
    """Symmetric elimination in whole numbers, without a division: positive definite exactly if every pivot is positive."""
    rows = [row[:] for row in matrix]
    for k in range(len(rows)):
        pivot = rows[k][k]
        if pivot <= 0:
            return False
        for i in range(k + 1, len(rows)):
            factor = rows[i][k]
            rows[i][k:] = [pivot * a - factor * b for a, b in zip(rows[i][k:], rows[k][k:], strict=True)]
    return True


def whole(values: Any) -> tuple[np.ndarray, int]:
    """Doubles as whole numbers over 2ᵉ: their numerators (objects) and e."""
    array = np.asarray(values, dtype=np.float64)
    ratios = [value.as_integer_ratio() for value in array.ravel().tolist()]
    e = max((d.bit_length() - 1 for _, d in ratios), default=0)
    found = np.empty(len(ratios), dtype=object)
    found[:] = [n << (e - d.bit_length() + 1) for n, d in ratios]
    return found.reshape(array.shape), e


def exact_inequality(system: Lure, certificate: Certificate, index: int) -> Matrix:
    """−[[AᵀP + PA + 2λP, PE], [·, 0]] + (D − αV)ᵀΛ(D − βV) + its transpose of one system, times a power of 2."""
    loop, flat = system.loop(), system.flatten()
    linear = [flat.A[index]] if flat.skip is None else [flat.A[index], flat.skip[index]]
    A, a = whole(np.stack(linear))
    (P, p), (L, m), (E, e) = whole(certificate.metric), whole(certificate.multipliers[index]), whole(loop.E[index])
    (rate, r), (slopes, s) = whole(certificate.rate), whole(SLOPES[system.activation])
    V, v = whole(np.hstack([loop.W[index], loop.N[index]]))
    n, H = len(P), len(L)
    D = np.hstack([np.zeros((H, n), dtype=int), np.eye(H, dtype=int)]).astype(object) << (s + v)
    left, right = D - slopes[0] * V, D - slopes[1] * V
    sector = left.T @ (L[:, None] * right)  # over 2^(2s + 2v + m)
    bits = max(2 * (s + v) + m, a + p, r + p, p + e)
    M = (sector + sector.T) << (bits - 2 * (s + v) - m)
    PA = P @ A.sum(0)
    M[:n, :n] -= ((PA + PA.T) << (bits - p - a)) + (2 * rate[()] * P << (bits - r - p))
    PE = (P @ E) << (bits - p - e)
    M[:n, n:] -= PE
    M[n:, :n] -= PE.T
    rows: Matrix = M.tolist()
    return rows


def exactly_true(system: Lure, certificate: Certificate) -> bool:
    if certificate.rate <= 0 or (certificate.metric != certificate.metric.T).any():
        return False
    if not exactly_positive(whole(certificate.metric)[0].tolist()) or (certificate.multipliers <= 0).any():
        return False
    return all(exactly_positive(exact_inequality(system, certificate, v)) for v in range(len(certificate.multipliers)))


@cache
def case(kind: str) -> tuple[Lure, Certificate]:
    rng = np.random.default_rng(7)
    if kind in ("deep", "silu", "gelu"):
        weights = [rng.normal(size=(2, 4, 2)) / 2, rng.normal(size=(2, 3, 4)) / 3, rng.normal(size=(2, 2, 3)) / 4]
    else:
        weights = [rng.normal(size=(2, 4, 2)) / 2, rng.normal(size=(2, 2, 4)) / 3]
    system = Lure(
        A=[[-1.0, 0.2], [0.5, -1.5]],
        weights=weights,
        biases=[np.zeros(w.shape[-2]) for w in weights],
        activation=kind if kind in SLOPES else "tanh",
        skip=[[-0.1, 0.05], [0.0, -0.2]] if kind == "gelu" else None,
    )
    certificate = certify(system)
    assert isinstance(certificate, Certificate)
    assert check(certificate, system)
    assert exactly_true(system, certificate)
    return system, certificate


def changed(certificate: Certificate, **fields: Any) -> Certificate:
    """The certificate with other numbers, its dependent statements (claim, condition, caps) made consistent again."""
    new = replace(certificate, claim="", spectral_cap=1e9, metric_cap=None, inequality_cap=None, **fields)
    P = new.metric
    return replace(new, condition=float(np.linalg.cond(P)) if np.isfinite(P).all() else 1.0)


def agrees(system: Lure, certificate: Certificate) -> bool:
    """The law: accepted ⇒ true. Returns what the checker said."""
    accepted = check(certificate, system)
    assert not accepted or exactly_true(system, certificate)
    return accepted


@pytest.mark.parametrize("kind", ["one layer", "deep", "sigmoid", "silu", "gelu"])
def test_random_mutations_are_never_falsely_accepted(kind: str) -> None:
    """60 random relative changes of one entry, from 1e-12 to 10: both answers must occur, and no false yes."""
    system, certificate = case(kind)
    rng = np.random.default_rng(11)
    said = []
    for _ in range(60):
        size = 1.0 + rng.choice([-1, 1]) * 10.0 ** rng.uniform(-12, 1)
        where = rng.integers(3)
        if where == 0:
            P = certificate.metric.copy()
            i, j = rng.integers(2, size=2)
            P[i, j] *= size
            P[j, i] = P[i, j]
            mutant = changed(certificate, metric=P)
        elif where == 1:
            L = certificate.multipliers.copy()
            L[tuple(rng.integers(s) for s in L.shape)] *= size
            mutant = changed(certificate, multipliers=L)
        else:
            mutant = changed(certificate, rate=certificate.rate * size)
        said.append(agrees(system, mutant))
    assert 12 < sum(said) < 108


@pytest.mark.parametrize("kind", ["one layer", "deep", "gelu"])
def test_the_edge_is_found_from_below(kind: str) -> None:
    """At the exact critical rate of this P and Λ: a little below is proved, at it and above never."""
    system, certificate = case(kind)
    low, high = certificate.rate, 2 * certificate.rate
    for _ in range(48):
        middle = (low + high) / 2
        low, high = (middle, high) if exactly_true(system, changed(certificate, rate=middle)) else (low, middle)
    for step in [0.0, *(10.0**k for k in range(-16, 0))]:
        assert not agrees(system, changed(certificate, rate=high * (1 + step)))
        agrees(system, changed(certificate, rate=low * (1 - step)))
    # The proof's own loss is a few hundred roundings: relative 1e-9 below the edge it must succeed.
    assert check(changed(certificate, rate=low * (1 - 1e-9)), system)


def test_every_single_entry_that_breaks_the_inequality_is_refused() -> None:
    """Each entry of P and of the multipliers is moved until the exact inequality fails; there the checker refuses."""
    system, certificate = case("deep")
    broken = 0
    for name in ("metric", "multipliers"):
        array = getattr(certificate, name)
        for where in np.ndindex(array.shape):
            for factor in (0.01, 0.5, 1.5, 3.0, 100.0, -1.0):
                new = array.copy()
                new[where] *= factor
                if name == "metric":
                    new[where[::-1]] = new[where]
                mutant = changed(certificate, **{name: new})
                if not exactly_true(system, mutant):
                    broken += 1
                    assert not check(mutant, system), (name, where, factor)
    assert broken > 40


def test_any_change_of_the_system_is_refused() -> None:
    """By the digest always; and with the digest forged, wherever the inequality fails."""
    system, certificate = case("deep")
    rng, refused = np.random.default_rng(3), 0
    for _ in range(60):
        data = system.to_dict()
        arrays = {"A": np.array(data["A"])} | {f"w{k}": np.array(w) for k, w in enumerate(data["weights"])}
        name = rng.choice(sorted(arrays))
        where = tuple(rng.integers(s) for s in arrays[name].shape)
        arrays[name][where] = arrays[name][where] * rng.choice([1 + 1e-15, 1.1, 2.0, -1.0]) + rng.choice(
            [1e-16, 0.0, 0.2]
        )
        try:
            other = Lure.from_dict(data | {"A": arrays["A"], "weights": [arrays[f"w{k}"] for k in range(3)]})
        except ValueError:
            continue  # A lost its stability
        if other.digest() == system.digest():
            continue
        assert not check(certificate, other)
        refused += not agrees(other, changed(certificate, digest=other.digest()))
    assert refused > 10
    for bias in (system.to_dict() | {"biases": [[[1e-300] * 4] * 2, *system.to_dict()["biases"][1:]]},):
        assert not check(certificate, bias)


@pytest.mark.parametrize(
    ("fields", "reason"),
    [
        ({"rate": float("nan")}, "rate"),
        ({"rate": float("inf")}, "rate"),
        ({"rate": 0.0}, "rate"),
        ({"rate": -0.1}, "rate"),
        ({"slope_range": (0.0, 0.5)}, "slope range"),
        ({"slope_range": (0.0,)}, "slope range"),
        ({"leading": (1,)}, "leading"),
        ({"digest": "0" * 64}, "digest"),
        ({"region": "ball"}, "region"),
        ({"condition": 1.0}, "condition"),
        ({"spectral_cap": 0.01}, "spectral_cap"),
        ({"metric_cap": 0.01}, "metric_cap"),
        ({"inequality_cap": 0.01}, "inequality_cap"),
        ({"claim": "It is stable."}, "claim"),
        ({"not_covered": ()}, "not covered"),
        ({"multipliers": np.zeros((0, 7))}, "multipliers"),
        ({"multipliers": np.ones((2, 6))}, "multipliers"),
        ({"metric": np.eye(3)}, "metric"),
    ],
)
def test_fields_that_do_not_fit_are_refused(fields: dict[str, Any], reason: str) -> None:
    system, certificate = case("deep")
    verdict = prove(replace(certificate, **fields), system)
    assert not verdict
    assert reason in verdict.reason


@pytest.mark.parametrize("bad", ["asymmetric", "nan", "infinite", "negative", "zero", "indefinite", "huge"])
def test_arrays_that_are_no_proof_are_refused(bad: str) -> None:
    system, certificate = case("one layer")
    P, L = certificate.metric.copy(), certificate.multipliers.copy()
    if bad == "asymmetric":
        P[0, 1] = np.nextafter(P[0, 1], 1e9)
    elif bad == "nan":
        L[0, 0] = np.nan
    elif bad == "infinite":
        P[0, 0] = np.inf
    elif bad == "negative":
        L[1, 2] *= -1
    elif bad == "zero":
        L[1, 2] = 0.0
    elif bad == "indefinite":
        P = np.array([[1.0, 2.0], [2.0, 1.0]])
    else:
        P, L = P * 1e60, L * 1e60
    assert not check(changed(certificate, metric=P, multipliers=L), system)


def test_an_inequality_that_P_alone_would_satisfy_backwards_is_refused() -> None:
    """−P with −λ reversed signs would make M positive; P ≻ 0 is proved on its own."""
    system = Lure(A=[[-1.0, 0.0], [0.0, -1.0]], weights=[], biases=[])
    certificate = certify(system)
    assert isinstance(certificate, Certificate)
    # With λ = 2 > 1, −(AᵀP + PA + 2λP) = −2P ≻ 0 for the negative definite P = −I.
    assert not check(changed(certificate, metric=-np.eye(2), rate=2.0), system)


def test_nothing_but_a_certificate_is_accepted() -> None:
    system, certificate = case("one layer")
    for wrong in (None, {}, [], "certificate", 3):
        assert not check(wrong, system)
        assert not check(certificate, wrong)
    assert not check(system, system)
    assert not check(certificate, certificate)
    data = certificate.to_dict()
    assert check(data, system.to_dict())
    for name in data:
        without = {k: v for k, v in data.items() if k != name}
        if name not in ("kind", "identity_refused", "inequality_cap", "sampled"):  # of no weight in the claim
            assert not check(without, system), name
    assert not check(data | {"metric": [[1.0, 0.0], [0.0]]}, system)
    assert not check(data | {"rate": "0.1"}, system)
    assert not check(data | {"rate": True}, system)
    assert not check(data, system.to_dict() | {"activation": "mish"})
    assert not check(data, system.to_dict() | {"A": []})
    assert not check(data, system.to_dict() | {"A": np.zeros((0, 2, 2))})


def test_verified_cholesky_against_exact_arithmetic() -> None:
    """Matrices with integer entries and smallest eigenvalues from 1e-16 to 1, radius zero: no false yes, few false noes."""
    rng = np.random.default_rng(5)
    accepted = 0
    for k in range(300):
        size = int(rng.integers(1, 7))
        B = rng.normal(size=(size, size + 1)) * 10.0 ** rng.integers(-4, 5, size=(size, 1))
        B[-1] = B[0] * 3.0 if size > 1 and k % 2 else B[-1]  # half of them singular but for what follows
        G = B @ B.T
        G = (G + G.T) / 2 + rng.choice([-1, 1]) * 10.0 ** rng.uniform(-18, 0) * np.diag(np.diag(G))
        said = bool(proved_positive(G[None], np.zeros_like(G[None]))[0])
        truth = exactly_positive(whole(G)[0].tolist())
        assert not said or truth
        accepted += said
    assert accepted > 150


def test_radius_is_respected() -> None:
    mid = np.array([[[2.0, 0.9], [0.9, 2.0]]])  # smallest eigenvalue 1.1
    assert proved_positive(mid, np.full_like(mid, 0.25))[0]  # ‖radius‖ = 0.5, and the shift costs twice that
    assert not proved_positive(mid, np.full_like(mid, 0.56))[0]
    assert not proved_positive(np.array([[[1.0, 0.5], [0.4, 1.0]]]), np.zeros((1, 2, 2)))[0]


def test_command_line(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    system, certificate = case("deep")
    file = tmp_path / "certificate.json"
    file.write_text(json.dumps({"certificate": certificate.to_dict(), "system": system.to_dict()}))
    assert main([str(file)]) == 0
    assert capsys.readouterr().out.startswith("proved: For every pair")
    assert main([str(file), "--json"]) == 0
    told = json.loads(capsys.readouterr().out)
    assert told["proved"] is True
    assert told["rate"] == certificate.rate
    assert told["systems"] == 2
    bad = certificate.to_dict() | {"rate": 2 * certificate.rate}
    file.write_text(json.dumps({"certificate": bad, "system": system.to_dict()}))
    assert main([str(file)]) == 1
    assert capsys.readouterr().out.startswith("refused: ")
    for text in ("not json", "[]", "{}", '{"certificate": {}, "system": {}}'):
        file.write_text(text)
        assert main([str(file)]) == 2
        captured = capsys.readouterr()
        assert captured.out == ""
        assert len(captured.err.strip().splitlines()) == 1
    assert main([str(tmp_path / "absent.json")]) == 2


def test_command_line_as_a_module(tmp_path: Path) -> None:
    file = tmp_path / "absent.json"
    done = subprocess.run(
        [sys.executable, "-m", "stability.proof", str(file)], capture_output=True, text=True, timeout=60
    )
    assert done.returncode == 2
    assert "Traceback" not in done.stderr


def test_ninety_six_systems_are_checked_in_a_second() -> None:
    import time

    rng = np.random.default_rng(0)
    A = np.stack([[[-ka, 0.0], [ka, -0.2]] for ka in np.linspace(1, 2, 12)])
    weights = [rng.normal(size=(8, 1, 16, 2)) / 4, rng.normal(size=(8, 1, 2, 16)) / 200]
    system = Lure(A=A[None], weights=weights, biases=[np.zeros(16), np.zeros(2)])
    certificate = certify(system, rate=0.05)
    assert isinstance(certificate, Certificate)
    start = time.perf_counter()
    assert check(certificate, system)
    assert time.perf_counter() - start < 1.0  # measured: 3 ms


@pytest.mark.parametrize(
    "change",
    [
        {"skip": [[0.0], [-1.0]]},
        {"B": [[1.0]]},
        {"input_weights": [[1.0]]},
        {"B": [[1.0], [0.0]], "input_weights": [[1.0, 0.0], [0.0, 1.0]]},
    ],
)
def test_systems_that_do_not_fit_together_are_refused(change: dict[str, Any]) -> None:
    """Shapes that `Lure` refuses are refused from JSON too, where broadcasting would give them a meaning of their own."""
    system = Lure(A=-np.eye(2), weights=[np.zeros((2, 2))], biases=[np.zeros(2)])
    found = certify(system)
    assert isinstance(found, Certificate)
    assert check(found, system.to_dict())
    verdict = prove(found, system.to_dict() | change)
    assert not verdict
    assert "digest" not in verdict.reason
    assert not check(found.to_dict() | {"kind": ["certificate"]}, system)
