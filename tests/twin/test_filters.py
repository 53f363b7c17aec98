"""The laws of the twin with the other filters, one that draws among them, and with a mechanism that starts at rest."""

import random
from datetime import timedelta
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from exchange import Bundle
from hybrid import HybridModel, States
from hybrid.filters import EKF, EnKF, Filter
from learned import Constant, DiagonalDiffusion
from physics import LogNormalPopulation, Mechanism, Parameter
from tests.twin.builders import NOW, bundle_of, dosed, driven, measured, oral_bundle, withdrawn
from twin import Event, Patient, SqliteLog, Twin

OTHERS = (EKF, EnKF)
BRIEFLY = (pytest.param(EKF, marks=pytest.mark.slow), EnKF)  # one has no more of its own than the UKF, the other draws


def told(patient: str, k: int = 0) -> list[Event]:
    """Two doses, an infusion, results, one of them corrected and one withdrawn."""
    rng = random.Random(k)
    given = [dosed(patient, 0.0, 300.0, "d1"), dosed(patient, 0.7, 60.0, "d2", compartment="plasma", lasts=0.4)]
    times = [0.2 + 0.35 * j + rng.uniform(0.0, 0.1) for j in range(5)]
    results = [measured(patient, t, 2.0 + rng.uniform(0.0, 2.0), f"m{j}") for j, t in enumerate(times)]
    corrected = measured(patient, times[2], 3.1, "m2", version=2)
    return [*given, *results, corrected, withdrawn(results[1])]


def end_of(bundle: Bundle, events: list[Event], kind: type[Filter], **more: Any) -> bytes:
    twin = Twin(bundle, filter=kind, **more)
    for k in range(0, len(events), 3):
        assert all(change.verdict != "refused" for change in twin.arrive(events[k : k + 3], now=NOW))
    return twin.state("A")


@pytest.mark.parametrize("kind", BRIEFLY)
def test_any_order_gives_the_same_bits(kind: type[Filter]) -> None:
    bundle, rng = oral_bundle(), random.Random(5)
    at_once = Twin(bundle, filter=kind)
    at_once.arrive(told("A"), now=NOW)
    for _ in range(2):
        assert end_of(bundle, rng.sample(told("A"), 9), kind) == at_once.state("A")
    belief = at_once._memory.tip("A").belief
    assert belief is not None
    if kind is EnKF:
        assert belief.particles is not None
        # mean and root are the particles' own
        np.testing.assert_allclose(belief.particles.mean(-1), belief.mean, rtol=1e-12)
        spread = np.cov(belief.particles[0])
        np.testing.assert_allclose(belief.root[0] @ belief.root[0].T, spread, rtol=1e-9, atol=1e-9 * spread.max())


@pytest.mark.parametrize("kind", OTHERS)
def test_nobodys_bits_depend_on_the_others(kind: type[Filter]) -> None:
    bundle, everyone = oral_bundle(2), [f"P{k}" for k in range(17)]
    crowd = Twin(bundle, filter=kind)
    lost = [dosed("Q", 0.0, 1e308, "1"), dosed("Q", 0.1, 1e308, "2"), measured("Q", 0.5, 1.0, "3")]
    crowd.arrive([*lost, *(e for k, id in enumerate(everyone) for e in told(id, k))], now=NOW)
    assert crowd.estimate("Q").held is not None
    for k in (3, 16):
        alone = Twin(bundle, filter=kind)
        alone.arrive(told(f"P{k}", k), now=NOW)
        assert alone.state(f"P{k}") == crowd.state(f"P{k}")
        assert alone.estimate(f"P{k}").channels == crowd.estimate(f"P{k}").channels


@pytest.mark.parametrize("kind", BRIEFLY)
def test_reopened_after_a_fold_the_bits_are_those_of_one_that_ran_on(kind: type[Filter], tmp_path: Path) -> None:
    bundle, horizon = oral_bundle(), timedelta(hours=2)
    events = [dosed("A", 0, 300.0, "d"), *[measured("A", 0.5 * k, 3.0 + k % 3, f"m{k}") for k in range(1, 12)]]
    late = measured("A", 4.8, 2.5, "late")
    wanted = end_of(bundle, [*events, late], kind, horizon=horizon)
    for part in (events[:9], [*events[9:], late]):
        with SqliteLog(tmp_path / "people.db") as log:
            twin = Twin(bundle, log, filter=kind, horizon=horizon)
            for k in range(0, len(part), 3):
                twin.arrive(part[k : k + 3], now=NOW)
            end, base = twin.state("A"), log.base("A")
    assert base is not None
    assert end == wanted
    if kind is EnKF:
        held = twin._memory.unpacked(base[1]).belief
        assert held is not None
        assert held.particles is not None


class Turnover(Mechanism):
    """A substance that is made and lost, and more of it is made where the input says so; people start at rest."""

    time_unit = "h"
    inputs = {"drive": "1"}
    states = {"level": "mg", "effect": "mg"}
    physical = (
        Parameter("kin", "mg/h", 10.0, 2.0, 50.0, "the test's own"),
        Parameter("kout", "/h", 0.5, 0.1, 2.0, "the test's own"),
        Parameter("most", "1", 2.0, 1.0, 4.0, "the test's own"),
    )
    scale = {"level": 20.0, "effect": 20.0}

    def rate(self, x: Any, u: Any, theta: Any) -> dict[str, Any]:
        return {"level": theta.kin * (1.0 + u.drive) - theta.kout * x.level, "effect": 0.8 * (x.level - x.effect)}


@pytest.fixture(scope="module")
def resting() -> Bundle:
    mechanism = Turnover()
    model = HybridModel(
        *(mechanism, LogNormalPopulation(mechanism.physical, [0.2, 0.2, 0.1])),
        observation=States(("effect",)),
        noise=Constant([0.5], [0.05]),
        process=DiagonalDiffusion({"level": 1.0}),
    )
    return bundle_of(model)


def test_a_mechanism_starts_at_the_equilibrium_of_its_input_and_stays_there(resting: Bundle) -> None:
    twin = Twin(resting, people={f"P{u}": Patient(inputs={"drive": u}) for u in (0.0, 0.5)})
    for u in (0.0, 0.5):
        id = f"P{u}"
        twin.arrive(driven(id, 0.0, u, "u", name="drive", unit="1"), now=NOW)
        belief = twin._memory.tip(id).belief
        assert belief is not None
        # kin/kout is log-normal: by points mean and spread are (1 + u) of those at 0
        level = belief.mean[0, 0] / (1.0 + u)
        assert 20.0 < level < 21.5  # 20 · e^{½ · (.2² + .2²)} = 20.8
        np.testing.assert_allclose(belief.mean[0, 1], belief.mean[0, 0], rtol=1e-9)
        later = twin.estimate(id, twin.estimate(id).time + 6 * 3_600_000_000)
        # everyone's own equilibrium stays where it is; what drifts is what points of the spread noise see
        assert later.channels["effect"].mean == pytest.approx(belief.mean[0, 1], rel=0.01)


def test_the_equilibrium_of_one_does_not_depend_on_who_is_sought_beside_them(resting: Bundle) -> None:
    ids = [f"P{k}" for k in range(12)]
    people = {id: Patient(inputs={"drive": 0.13 * k}) for k, id in enumerate(ids)}

    def events(id: str) -> list[Event]:
        return [measured(id, t, 20.0 + t, f"m{t}", channel="effect", unit="mg") for t in (0.0, 1.0, 2.5)]

    crowd = Twin(resting, people=people)
    crowd.arrive([e for id in ids for e in events(id)], now=NOW)
    for id in ("P0", "P7"):
        alone = Twin(resting, people=people)
        for event in events(id)[::-1]:
            alone.arrive(event, now=NOW)
        assert alone.state(id) == crowd.state(id)
