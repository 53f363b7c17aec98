"""Rates on a region of systems with a tape: against closed forms, at the shell's door, mutated, and where there is none."""

import json
from typing import Any

import numpy as np
import pytest

from stability import Box, Certificate, Inputs, Lure, Refusal, RegionalRate, check, prove, read_claim, regional_rate
from stability.proof.region.claim import regional_statement

MICHAELIS_MENTEN: dict[str, Any] = {
    "tape": 1,
    "states": ["gut", "plasma"],
    "inputs": [],
    "parameters": ["ka", "Vmax", "KmV"],
    "code": [
        ["state", 0],
        ["state", 1],
        ["parameter", 0],
        ["parameter", 1],
        ["parameter", 2],
        ["multiply", 2, 0],
        ["negate", 5],
        ["divide", 1, 4],
        ["saturating", 7],
        ["multiply", 3, 8],
        ["subtract", 5, 9],
    ],
    "rate": [6, 10],
}
# G' = −(p1 + X) G + p1 Gb, X' = −p2 X + p3 (I − Ib)
BERGMAN: dict[str, Any] = {
    "tape": 1,
    "states": ["G", "X"],
    "inputs": ["I"],
    "parameters": ["p1", "Gb", "p2", "p3", "Ib"],
    "code": [
        ["state", 0],
        ["state", 1],
        ["input", 0],
        ["parameter", 0],
        ["parameter", 1],
        ["parameter", 2],
        ["parameter", 3],
        ["parameter", 4],
        ["add", 3, 1],
        ["multiply", 8, 0],
        ["multiply", 3, 4],
        ["subtract", 10, 9],
        ["subtract", 2, 7],
        ["multiply", 6, 12],
        ["multiply", 5, 1],
        ["subtract", 13, 14],
    ],
    "rate": [11, 15],
}
LEVELS = Inputs([0.0], [60.0])
BOX = Box([50.0, 0.0], [300.0, 0.05])


def saturating(**more: Any) -> Lure:
    given: dict[str, Any] = {
        "A": np.zeros((2, 2)),
        "weights": [],
        "biases": [],
        "tape": MICHAELIS_MENTEN,
        "theta": [12.0, 500.0, 200.0],
        "scale": [300.0, 300.0],
    }
    return Lure(**(given | more))


def bergman(**more: Any) -> Lure:
    given: dict[str, Any] = {
        "A": np.zeros((2, 2)),
        "weights": [],
        "biases": [],
        "tape": BERGMAN,
        "theta": [0.028, 90.0, 0.025, 1.3e-5, 10.0],
        "scale": [100.0, 0.02],
    }
    return Lure(**(given | more))


def network() -> dict[str, Any]:
    """The issue's MLP(16, 16), in units of (100 mg/dL, .02 /min)."""
    rng, units = np.random.default_rng(0), np.array([100.0, 0.02])
    W1, W2 = rng.normal(size=(16, 2)) / np.sqrt(2), rng.normal(size=(16, 16)) / 4.0
    W3 = 0.002 * rng.normal(size=(2, 16)) / 4.0
    return {"weights": [W1 / units, W2, units[:, None] * W3], "biases": [np.zeros(16), np.zeros(16), np.zeros(2)]}


@pytest.mark.parametrize("most", [300.0, 600.0, 1000.0, 2000.0])
def test_saturable_elimination_reaches_its_smallest_slope(most: float) -> None:
    system = saturating()
    found = regional_rate(system, Box([0.0, 0.0], [np.inf, most]))
    assert isinstance(found, RegionalRate)
    limit = 500.0 * 200.0 / (200.0 + most) ** 2
    assert 0.99 * limit <= found.rate <= limit
    again = read_claim(json.loads(json.dumps(found.to_dict(), allow_nan=False)))
    assert isinstance(again, RegionalRate)
    assert check(again, system.to_dict())
    assert "that they stay is not proved" in found.claim
    assert "not a certificate" in found.details("d", [("gut", "mg"), ("plasma", "mg")])[0]


def test_the_minimal_model_and_a_network_beside_it() -> None:
    alone = regional_rate(bergman(), BOX, LEVELS)
    assert isinstance(alone, RegionalRate)
    assert 0.0248 <= alone.rate <= 0.025
    system = bergman(**network())
    beside = regional_rate(system, BOX, LEVELS)
    assert isinstance(beside, RegionalRate)
    # at sampled states 0.0233 is the most; slopes over the whole box end at 0.0177, cells go on
    assert 0.0225 <= beside.rate <= 0.0234
    assert check(beside, system)


def test_a_box_of_theta_is_every_theta_and_the_sentence_says_so() -> None:
    system = saturating(theta=[10.0, 450.0, 180.0], theta_upper=[13.0, 550.0, 220.0])
    found = regional_rate(system, Box([0.0, 0.0], [np.inf, 600.0]))
    assert isinstance(found, RegionalRate)
    assert found.rate <= min(450.0 * k / (k + 600.0) ** 2 for k in (180.0, 220.0))
    assert found.rate >= 0.9 * 450.0 / 220.0 / (1 + 600.0 / 180.0) ** 2
    assert "any theta within its stated bounds" in found.claim


def test_people_share_one_metric() -> None:
    system = saturating(theta=[[12.0, 500.0, 200.0], [9.0, 400.0, 150.0], [15.0, 600.0, 250.0]])
    found = regional_rate(system, Box([0.0, 0.0], [np.inf, 600.0]))
    assert isinstance(found, RegionalRate)
    limit = min(v * k / (k + 600.0) ** 2 for v, k in ((500.0, 200.0), (400.0, 150.0), (600.0, 250.0)))
    assert 0.98 * limit <= found.rate <= limit


def of_one(*lines: list[Any]) -> Lure:
    """dx/dt as the last line of these, which follow x."""
    code = [["state", 0], *lines]
    tape = {"tape": 1, "states": ["x"], "inputs": [], "parameters": [], "code": code, "rate": [len(code) - 1]}
    return Lure(A=[[0.0]], weights=[], biases=[], tape=tape, theta=[])


@pytest.mark.parametrize(
    ("lines", "box", "rate"),
    [
        ([["relu", 0], ["constant", 2.0], ["multiply", 1, 2], ["subtract", 0, 3]], (0.0, 1.0), 1.0),
        ([["relu", 0], ["negate", 1]], (0.0, np.inf), 1.0),
        ([["abs", 0], ["negate", 1]], (0.0, 1.0), 1.0),
        ([["hill", 0, 1.0], ["negate", 1]], (0.0, 1.0), 0.25),
        ([["constant", 0.0], ["maximum", 0, 1], ["constant", 2.0], ["multiply", 3, 2], ["subtract", 4, 0]], (-1.0, 0.0), 1.0),
    ],
)
def test_a_kink_on_a_face_disproves_nothing(lines: list[list[Any]], box: tuple[float, float], rate: float) -> None:
    """At the face a table's slope may be that of outside, which no two states of the box see."""
    system = of_one(*lines)
    found = regional_rate(system, Box([box[0]], [box[1]]))
    assert isinstance(found, RegionalRate)
    assert 0.99 * rate <= found.rate <= rate
    assert check(found, system)


def test_a_name_that_no_text_has_is_refused() -> None:
    system = saturating()
    found = regional_rate(system, Box([0.0, 0.0], [300.0, 300.0]))
    assert isinstance(found, RegionalRate)
    data = system.to_dict()
    tape = {**data["tape"], "parameters": ["\ud800", "b", "c"]}
    assert not prove(found, {**data, "tape": tape}).proved


def test_where_there_is_none_it_is_said_why() -> None:
    unbounded = regional_rate(saturating(), Box([0.0, 0.0], [np.inf, np.inf]))
    assert isinstance(unbounded, Refusal)
    pole = regional_rate(saturating(), Box([0.0, -300.0], [100.0, 300.0]))
    assert isinstance(pole, Refusal)
    assert "plasma" in pole.message
    unstable = regional_rate(bergman(), Box([50.0, -0.1], [300.0, 0.05]), LEVELS)
    assert isinstance(unstable, Refusal)
    assert unstable.reason == "disproved"
    assert unstable.counterexample is not None
    assert unstable.counterexample["state"][1] < -0.028
    with pytest.raises(ValueError, match="no tape"):
        regional_rate(Lure(A=-np.eye(2), weights=[], biases=[]), Box([0.0, 0.0], [1.0, 1.0]))
    with pytest.raises(ValueError, match="1 inputs"):
        regional_rate(bergman(), BOX)


def limit_of(tape: dict[str, Any], theta: list[float], box: Box) -> float:
    """The best rate that the box allows at most, by a dense grid of its states: no metric exceeds −abscissa."""
    from stability.proof.tape import read_tape, slopes

    grid = np.stack(np.meshgrid(*(np.linspace(a, b, 41) for a, b in zip(box.lower, box.upper, strict=True))), -1).reshape(-1, 2)
    J = slopes(read_tape(tape), grid, np.zeros((1, 0)), np.array(theta))
    return float(-np.linalg.eigvals(J).real.max())


def test_every_change_of_tape_theta_or_region_that_breaks_the_rate_is_refused() -> None:
    """With the digest forged for the changed system, so that the inequality alone is asked; the oracle is a dense grid."""
    box = Box([0.0, 0.0], [1000.0, 600.0])
    found = regional_rate(saturating(), box)
    assert isinstance(found, RegionalRate)
    rng, accepted, refused = np.random.default_rng(0), 0, 0
    operations = ["add", "subtract", "multiply", "negate", "saturating", "square", "tanh", "exp"]
    for _ in range(250):
        tape, theta, region = json.loads(json.dumps(MICHAELIS_MENTEN)), [12.0, 500.0, 200.0], dict(found.region)
        kind, line = rng.integers(4), int(rng.integers(5, 11))
        if kind == 0:
            arity = len(tape["code"][line]) - 1
            names = [o for o in operations if (o in ("add", "subtract", "multiply")) == (arity == 2)]
            tape["code"][line][0] = names[rng.integers(len(names))]
        elif kind == 1:
            tape["code"][line][int(rng.integers(1, len(tape["code"][line])))] = int(rng.integers(line))
        elif kind == 2:
            theta[int(rng.integers(3))] *= float(np.exp(rng.normal()))
        else:
            region["upper"] = [1000.0, 600.0 * float(np.exp(0.5 * rng.normal()))]
        system = saturating(tape=tape, theta=theta)
        if system.digest() != found.digest:
            assert not check(found, system)
        forged = RegionalRate.from_dict(found.to_dict() | {"digest": system.digest(), "region": region, "claim": ""})
        asked = Box(region["lower"], region["upper"])
        said = prove(forged, system)
        if said:
            accepted += 1
            assert limit_of(tape, theta, asked) >= found.rate
        else:
            refused += 1
    assert accepted > 10
    assert refused > 100


def test_no_certificate_is_proved_in_a_region_that_trajectories_leave() -> None:
    system, box = saturating(), Box([0.0, 0.0], [1000.0, 600.0])
    found = regional_rate(system, box)
    assert isinstance(found, RegionalRate)
    asked = {**found.region, "stays": {"set": "box", "doses": False}}
    names = ("rate", "metric", "multipliers", "slope_range", "condition", "leading", "digest")
    shared = {name: getattr(found, name) for name in names}
    shared |= {"claim": regional_statement(found.rate, 2, 1, asked), "region": asked}
    said = prove(Certificate(**shared, spectral_cap=None, metric_cap=None, identity_refused=None), system)
    assert not said
    assert "not proved to point inward on the face plasma = 600" in said.reason, said.reason
