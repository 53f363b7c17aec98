"""Networks beside each other: one sum, one digest by two implementations, one verdict as one network; attacked by sampling."""

import hashlib
import json
import struct
from itertools import pairwise
from typing import Any

import numpy as np
import pytest

from stability import (
    Box,
    Branch,
    Inputs,
    Lure,
    certify,
    certify_step,
    check,
    exactly,
    falsify,
    prove,
    regional_rate,
    tube,
    weighted_l1,
)
from stability.proof.reading import Unusable
from stability.proof.system import read_system
from stability.search.states.activation import slope, value

NAMES = ("tanh", "relu", "sigmoid", "softplus", "silu", "gelu", "identity")


def network(
    rng: np.random.Generator, n: int, widths: list[int], gain: float, *, m: int = 0, mixed: bool = True
) -> dict[str, Any]:
    sizes = [n, *widths, n]
    weights = [rng.normal(size=(b, a)) * gain / np.sqrt(a) for a, b in pairwise(sizes)]
    names = [[str(rng.choice(NAMES)) for _ in range(h)] for h in widths] if mixed else str(rng.choice(NAMES[:-1]))
    found = {"weights": weights, "biases": [*(rng.normal(size=h) for h in widths), np.zeros(n)], "activation": names}
    return found | ({"input_weights": rng.normal(size=(widths[0], m))} if m else {})


def system(seed: int, *, m: int = 0, mixed: bool = True, gain: float = 0.5, depths: tuple[int, ...] = (1, 2, 1)) -> Lure:
    rng = np.random.default_rng(seed)
    n = 2
    sizes = [[int(h) for h in rng.integers(1, 4, d)] for d in depths]
    first, *others = [network(rng, n, widths, gain, m=m * (k % 2), mixed=mixed) for k, widths in enumerate(sizes)]
    A, B = -2.0 * np.eye(n) + 0.3 * rng.normal(size=(n, n)), rng.normal(size=(n, m)) if m else None
    return Lure(A=A, **first, branches=others, B=B)


def networks_of(one: Lure) -> list[Any]:
    return [one, *one.branches]


def plain(one: Lure, x: np.ndarray, u: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """The sum as it is written, with its Jacobian, unit by unit."""
    f, J = one.A @ x + (0.0 if one.B is None else one.B @ u), one.A.copy()
    for net in networks_of(one):
        v = net.weights[0] @ x + net.biases[0] + (0.0 if net.input_weights is None else net.input_weights @ u)
        D = net.weights[0]
        names = [[net.activation] * len(w) for w in net.weights[:-1]] if isinstance(net.activation, str) else net.activation
        for k, layer in enumerate(names):
            slopes = np.array([float(slope(a, np.array(s))) for a, s in zip(layer, v, strict=True)])
            z = np.array([float(value(a, np.array(s))) for a, s in zip(layer, v, strict=True)])
            v, D = net.weights[k + 1] @ z + net.biases[k + 1], net.weights[k + 1] @ (slopes[:, None] * D)
        f, J = f + v, J + D
    return f, J


def sampled_rate(one: Lure, P: np.ndarray, rng: np.random.Generator) -> float:
    """The least −(log norm in P) of some Jacobians at states."""
    found = np.inf
    for _ in range(60):
        J = plain(one, rng.normal(size=2) * 10.0 ** rng.uniform(-1, 1), np.zeros(1))[1]
        found = min(found, -np.linalg.eigvals(np.linalg.solve(P, (P @ J + J.T @ P) / 2)).real.max())
    return found


@pytest.mark.parametrize("seed", range(4))
def test_together_is_the_sum_and_so_are_its_jacobians(seed: int) -> None:
    one, rng = system(seed, m=seed % 2), np.random.default_rng(seed)
    whole = one.together()
    assert whole.branches == ()
    assert whole.widths == one.widths
    for _ in range(5):
        x, u = rng.normal(size=2), rng.normal(size=1)
        (f, J), (g, K) = plain(one, x, u), plain(whole, x, u)
        np.testing.assert_allclose(f, g, atol=1e-13)
        np.testing.assert_allclose(J, K, atol=1e-13)


def test_both_digests_agree_and_tell_systems_apart() -> None:
    one = system(0, m=1)
    small = one.to_dict()
    changed = json.loads(json.dumps(small))
    changed["branches"][1]["weights"][0][0][0] += 1e-12
    renamed = json.loads(json.dumps(small))
    renamed["branches"][1]["activation"] = "silu"
    swapped = small | {"branches": small["branches"][::-1]}
    seen = set()
    for data in (small, changed, renamed, swapped, small | {"branches": []}, small | {"branches": small["branches"][:1]}):
        read = Lure.from_dict(data)
        assert read.digest() == read_system(data, mixed=True).digest == read_system(read, mixed=True).digest
        assert Lure.from_dict(json.loads(json.dumps(read.to_dict()))).digest() == read.digest()
        seen.add(read.digest())
    assert len(seen) == 6
    bare = {"A": [[-1.0]], "weights": [], "biases": []}
    assert Lure(**bare, branches=()).digest() == Lure(**bare).digest()
    assert "branches" not in Lure(**bare).to_dict()


def test_the_digest_is_that_of_the_documented_bytes() -> None:
    branch = Branch(weights=[[[1.0], [2.0]], [[3.0, 4.0]]], biases=[[0.0, 0.5], [0.0]], activation=[["tanh", "relu"]])
    one = Lure(A=[[-1.0]], weights=[], biases=[], branches=[branch])
    said = b"lure 1\nactivation tanh\nA 1,1\n" + struct.pack("<d", -1.0) + b"B none\ninput_weights none\n"
    said += b"branches 1\nactivation units\ntanh relu\nweights[0] 2,1\n" + struct.pack("<2d", 1.0, 2.0)
    said += b"weights[1] 1,2\n" + struct.pack("<2d", 3.0, 4.0) + b"biases[0] 2\n" + struct.pack("<2d", 0.0, 0.5)
    said += b"biases[1] 1\n" + struct.pack("<d", 0.0) + b"input_weights none\n"
    assert one.digest() == hashlib.sha256(said).hexdigest()


@pytest.mark.parametrize("seed", [0, 1, 3, 6])
def test_no_sampled_log_norm_contradicts_a_certificate(seed: int) -> None:
    one, rng = system(seed, gain=0.4), np.random.default_rng(seed)
    found = certify(one, seconds=10)
    assert found, found
    assert found.rate <= sampled_rate(one, found.metric, rng) + 1e-9
    whole = one.together()  # the same arrays otherwise: the same verdict
    assert not check(found, whole)
    as_one = json.loads(json.dumps(found.to_dict())) | {"digest": whole.digest()}
    assert check(as_one, whole)
    refused = 0
    for change in (50.0, -50.0, 1.0, -1.0):  # of one weight of a branch: the claim is another system's, and often false
        for k in range(2):
            data = one.to_dict()
            data["branches"][k]["weights"][-1][0][0] += change
            assert not check(found, data)
            other = Lure.from_dict(data)
            if check(found.to_dict() | {"digest": other.digest()}, data):
                assert found.rate <= sampled_rate(other, found.metric, rng) + 1e-9
            else:
                refused += 1
    assert refused > 2


def test_in_a_region_slopes_and_cells_see_every_unit() -> None:
    rng = np.random.default_rng(1)
    relu = {"weights": [[[2.0, 0.0]], [[1.5], [0.0]]], "biases": [[-4.0], [0.0, 0.0]], "activation": "relu"}
    one = Lure(A=-np.eye(2), **network(rng, 2, [2, 2], 0.3, mixed=False), branches=[relu])
    assert falsify(one, seconds=2) is not None  # the relu outweighs A where it is on
    found = certify(one, region=Box([-1.0, -1.0], [1.0, 1.0]), seconds=20)
    assert found, found
    J = [plain(one, x, np.zeros(0))[1] for x in rng.uniform(-1, 1, (100, 2))]
    P = found.metric
    assert found.rate <= min(-np.linalg.eigvals(np.linalg.solve(P, (P @ j + j.T @ P) / 2)).real.max() for j in J) + 1e-9
    wider = certify(one, region=Box([-3.0, -1.0], [3.0, 1.0]), seconds=10)
    assert not wider
    assert wider.reason == "disproved"


def test_units_of_one_kind_and_depth_follow_everywhere() -> None:
    rng = np.random.default_rng(3)
    a, b = (network(rng, 2, [2], 0.4, mixed=False) | {"activation": "tanh"} for _ in range(2))
    one = Lure(A=-2 * np.eye(2), B=[[1.0], [0.0]], **a, branches=[b])
    found = certify(one)
    assert found
    assert exactly(found, one)
    for claim in (tube(found, one), certify_step(found, one, 0.01, "euler"), weighted_l1(one)):
        assert claim, claim
        assert check(claim, one)
    mixed = Lure(A=-2 * np.eye(2), B=[[1.0], [0.0]], **a, branches=[b | {"activation": "relu"}])
    with pytest.raises(ValueError, match="different activations"):
        weighted_l1(mixed)
    assert "different activations" in prove(weighted_l1(one), mixed).reason


def test_beside_a_tape() -> None:
    tape = {"tape": 1, "states": ["x"], "inputs": [], "parameters": [], "code": [["state", 0], ["square", 0], ["negate", 1]]}
    branch = {"weights": [[[1.0]], [[-0.5]]], "biases": [[0.0], [0.0]], "activation": "identity"}
    one = Lure(A=[[0.0]], weights=[], biases=[], tape=tape | {"rate": [2]}, branches=[branch])
    found = regional_rate(one, Box([1.0], [2.0]))  # −x² − x/2: slopes −2x − ½
    assert found
    assert 2.45 < found.rate <= 2.5
    assert check(found, one)


def test_refusals_in_words() -> None:
    good = network(np.random.default_rng(0), 2, [2], 1.0)
    slips: list[tuple[Any, str]] = [
        ([3], "give a Branch"),
        ([{"weights": good["weights"]}], "needs weights and biases"),
        ([good | {"activation": [["tanh", "tanh", "tanh"]]}], "2 units and 3 activations"),
        ([good | {"activation": [["tanh", "mish"]]}], "'mish'"),
        ([good | {"weights": good["weights"][:1], "biases": good["biases"][:1]}], "linear"),
        ([good | {"biases": [np.zeros(2), np.ones(2)]}] * 2, "two branches move state 0"),
        ([network(np.random.default_rng(0), 3, [2], 1.0)], "takes 3 states"),
        ([good | {"input_weights": np.ones((2, 2))}], "same u"),
    ]
    for branches, words in slips:
        with pytest.raises(ValueError, match=words):
            Lure(A=-np.eye(2), B=np.ones((2, 1)), weights=[], biases=[], branches=branches)
        data = {"A": -np.eye(2), "B": np.ones((2, 1)), "weights": [], "biases": [], "branches": branches}
        with pytest.raises(Unusable):
            read_system(data, mixed=True)
    with pytest.raises(Unusable, match="one layer"):
        read_system({"A": -np.eye(2), "weights": [np.eye(2)], "biases": [np.zeros(2)], "branches": [good]}, mixed=True)
    one = Lure(A=-np.eye(2), B=np.ones((2, 1)), weights=[], biases=[], branches=[good])
    found = certify(one, region=Box([-1.0, -1.0], [1.0, 1.0]), inputs=Inputs([0.0], [0.0]), seconds=5)
    assert found or found.reason
