"""Uniform claims: every A(θ) of a box lies in the hull of its vertices, and one certificate for these proves them all."""

from dataclasses import replace

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.optimize import nnls

from physics import Backbone, OneCompartmentOral, VanCauter, VanCauterPopulation
from physics.hull import corners, entries
from stability import Certificate, Lure, certify, multi_affine, vertices
from stability.proof.rational import exactly
from tests.builders import BACKBONE_BUILDERS

F64 = torch.float64

def in_hull(A: np.ndarray, V: np.ndarray, tolerance: float = 1e-9) -> np.ndarray | None:
    """Convex weights c with Σ c_v V_v = A to a relative tolerance, by non-negative least squares; None where there are none."""
    scale = np.abs(V).max()
    rows = np.vstack([V.reshape(len(V), -1).T / scale, np.ones(len(V))])
    c, miss = nnls(rows, np.append(A.ravel() / scale, 1.0))
    return c if miss <= tolerance else None


def boxed(backbone: Backbone, part: tuple[float, float]) -> tuple[torch.Tensor, torch.Tensor]:
    low, high = (torch.tensor([getattr(p, end) for p in backbone.physical], dtype=F64) for end in ("low", "high"))
    return low + part[0] * (high - low), low + part[1] * (high - low)


@settings(deadline=None, max_examples=25, derandomize=True)
@given(st.data())
@pytest.mark.parametrize("name", BACKBONE_BUILDERS)
def test_every_theta_of_the_box_lies_in_the_hull(name: str, data: st.DataObject) -> None:
    backbone = BACKBONE_BUILDERS[name]()
    ends = sorted((data.draw(st.floats(0, 1)), data.draw(st.floats(0, 1))))
    lower, upper = boxed(backbone, (ends[0], ends[1]))
    position = torch.tensor([data.draw(st.floats(0, 1)) for _ in backbone.physical], dtype=F64)
    A, _ = backbone.matrices((lower + position * (upper - lower)).clamp(lower, upper))
    assert in_hull(A.numpy(), backbone.hull(lower, upper).numpy()) is not None


def test_outside_is_outside() -> None:
    """The test above can fail: a θ beyond the box is not in the hull."""
    for backbone in (OneCompartmentOral(), VanCauter()):
        lower, upper = boxed(backbone, (0.3, 0.6))
        A, _ = backbone.matrices(upper + torch.tensor([0.0, 0.05, 0.0], dtype=F64) * upper)
        assert in_hull(A.numpy(), backbone.hull(lower, upper).numpy()) is None


def test_corners_are_the_ends_themselves() -> None:
    backbone = OneCompartmentOral(ka=(0.3, 4.0), ke=(0.02, 0.25))
    lower, upper = boxed(backbone, (0.0, 1.0))
    hull = backbone.hull(lower, upper)
    assert hull.shape == (4, 2, 2)  # the volume does not enter A
    assert {(-a[0, 0].item(), -a[1, 1].item()) for a in hull} == {(a, e) for a in (0.3, 4.0) for e in (0.02, 0.25)}
    assert VanCauter().hull(*boxed(VanCauter(), (0.0, 1.0))).shape == (8, 2, 2)
    same = torch.tensor([1.0, 2.0], dtype=F64)
    assert torch.equal(corners(same, same), same[None])


@settings(deadline=None, max_examples=40, derandomize=True)
@given(a=st.floats(10, 110), b=st.floats(10, 110), part=st.floats(0, 1), type2=st.sampled_from([0.0, 1.0]))
def test_ages_are_enclosed(a: float, b: float, part: float, type2: float) -> None:
    """Not multi-affine in age: the box of θ is, by monotony, and A over it is affine."""
    population, (young, old) = VanCauterPopulation(), sorted((a, b))
    lower, upper = population.enclose(young, old)
    age = torch.tensor([min(young + part * (old - young), old)], dtype=F64)
    covariates = {"age": age, "type2": torch.tensor([type2], dtype=F64)}
    theta = population.theta(torch.zeros(1, 1, 0, dtype=F64), covariates)[0, 0]
    assert (lower <= theta).all()
    assert (theta <= upper).all()
    A, _ = VanCauter().matrices(theta)
    assert in_hull(A.numpy(), VanCauter().hull(lower, upper).numpy()) is not None


def test_in_age_itself_the_ends_would_not_do() -> None:
    population = VanCauterPopulation()

    def A(age: np.ndarray) -> np.ndarray:
        one = {"age": torch.tensor(age, dtype=F64), "type2": torch.zeros(1, dtype=F64)}
        return VanCauter().matrices(population.theta(torch.zeros(1, 1, 0, dtype=F64), one)[0, 0])[0].numpy()

    with pytest.raises(ValueError, match="not multi-affine"):
        multi_affine(A, [20.0], [80.0])


@settings(deadline=None, max_examples=25, derandomize=True)
@given(seed=st.integers(0, 10**6), n=st.integers(1, 3), fixed=st.floats(0, 1))
def test_vertices_span_the_interval_matrix(seed: int, n: int, fixed: float) -> None:
    rng = np.random.default_rng(seed)
    low = rng.normal(size=(n, n))
    high = low + rng.uniform(size=(n, n)) * (rng.uniform(size=(n, n)) > fixed)
    V = vertices(low, high)
    assert len(V) == 2 ** int((low < high).sum())
    assert ((low == V) | (high == V)).all()
    assert len({v.tobytes() for v in V}) == len(V)
    inside = low + rng.uniform(size=(n, n)) * (high - low)
    assert in_hull(inside, V) is not None


def test_entries_are_the_vertices_of_the_other_package() -> None:
    """Written in both, since neither imports the other: the same set of matrices."""
    low, high = np.array([[-2.0, 0.0], [0.5, -1.0]]), np.array([[-1.0, 0.0], [0.7, -0.5]])
    theirs = entries(torch.from_numpy(low), torch.from_numpy(high)).numpy()
    assert {v.tobytes() for v in theirs} == {v.tobytes() for v in vertices(low, high)}


def test_multi_affine_functions() -> None:
    def chain(theta: np.ndarray) -> np.ndarray:
        ka, inverse, ke = theta
        return np.array([[-ka, 0.0], [ka * inverse, -ke]])  # (ka, 1/V, ke): bilinear

    V = multi_affine(chain, [0.5, 0.01, 0.1], [2.0, 0.05, 0.1])
    assert V.shape == (4, 2, 2)
    rng = np.random.default_rng(0)
    for _ in range(10):
        theta = np.array([rng.uniform(0.5, 2.0), rng.uniform(0.01, 0.05), 0.1])
        assert in_hull(chain(theta), V) is not None
    with pytest.raises(ValueError, match="not multi-affine"):
        multi_affine(lambda t: np.array([[-t[0] * t[0]]]), [1.0], [2.0])
    with pytest.raises(ValueError, match="not multi-affine"):
        multi_affine(lambda t: np.array([[-1.0 / t[0] - t[1]]]), [1.0, 1.0], [2.0, 2.0])


def test_one_certificate_for_the_vertices_proves_every_theta() -> None:
    """With Σ c_v Λ_v for Σ c_v A_v, decided in rational arithmetic; also for a θ that nobody has."""
    backbone, rng = OneCompartmentOral(), np.random.default_rng(3)
    lower, upper = torch.tensor([0.7, 0.054, 20.0], dtype=F64), torch.tensor([3.0, 0.11, 60.0], dtype=F64)
    V = backbone.hull(lower, upper).numpy()
    weights, biases = [rng.normal(size=(4, 2)), 0.002 * rng.normal(size=(2, 4))], [np.zeros(4), np.zeros(2)]
    found = certify(Lure(A=V, weights=weights, biases=biases))
    assert isinstance(found, Certificate)
    assert 0.8 * 0.054 < found.rate < 0.054
    for _ in range(6):
        part = torch.tensor(rng.uniform(size=3), dtype=F64)
        theta = lower + part * (upper - lower)
        system = Lure(A=backbone.matrices(theta)[0].numpy(), weights=weights, biases=biases)
        c = in_hull(system.A, V, 1e-12)
        assert c is not None
        multipliers = (c[:, None] * found.multipliers).sum(0, keepdims=True)
        assert exactly(replace(found, multipliers=multipliers, leading=(), digest=system.digest()), system)


def test_bad_boxes_are_refused_with_a_reason() -> None:
    with pytest.raises(ValueError, match="16 entries vary"):
        vertices(np.zeros((4, 4)), np.ones((4, 4)))
    with pytest.raises(ValueError, match=r"\(n, n\)"):
        vertices(np.zeros(3), np.ones(3))
    with pytest.raises(ValueError, match="lower nowhere above"):
        vertices(np.ones((2, 2)), np.zeros((2, 2)))
    with pytest.raises(ValueError, match="13 coordinates vary"):
        corners(torch.zeros(13), torch.ones(13))
    with pytest.raises(ValueError, match="one per parameter"):
        VanCauter().hull(torch.zeros(2), torch.ones(2))
    with pytest.raises(ValueError, match="lower ≤ upper"):
        VanCauter().hull(torch.ones(3), torch.zeros(3))
    with pytest.raises(ValueError, match="youngest"):
        VanCauterPopulation().enclose(60.0, 20.0)
