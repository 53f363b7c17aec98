"""The example of two tanks: its simulation is what its page says, and its study runs to a proof, in a quick setting."""

import importlib.util
import math
import sys
from pathlib import Path
from types import ModuleType

import numpy as np
import pytest

ROOT = Path(__file__).parents[2]


@pytest.fixture(scope="module")
def tanks() -> ModuleType:
    spec = importlib.util.spec_from_file_location("tanks_example", ROOT / "examples/tanks.py")
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    sys.modules["tanks_example"] = module  # its dataclass looks there
    spec.loader.exec_module(module)
    return module


def test_levels_come_to_where_what_flows_in_flows_out(tanks: ModuleType, monkeypatch: pytest.MonkeyPatch) -> None:
    """Without noise and with one voltage: below the rims by √h = g u/a, above them by the root of a quadratic."""
    monkeypatch.setattr(tanks, "DRIVEN", 0.0)
    monkeypatch.setattr(tanks, "MEASURED", 0.0)

    def settled(volts: float) -> np.ndarray:
        (record,) = tanks.simulated(1, (volts, volts), np.random.default_rng(0), minutes=90)
        return record.values[-1]

    # slowest rate a/(2√h) ≈ .25/min: after 90 minutes nothing is left of the start to 1e-6
    np.testing.assert_allclose(settled(3.0), [(3.0 / 1.5) ** 2, (3.0 / 1.4) ** 2], rtol=1e-6)
    # k (h − H) + a √h = g u above the rim; the lower tank gets a₁ √h₁ and 60 % of what spills
    root = (-1.5 + math.sqrt(1.5**2 + 4.0 * (8.0 + 10.0))) / 2.0
    into = 1.5 * root + 0.6 * (root**2 - 10.0)
    below = (-1.4 + math.sqrt(1.4**2 + 4.0 * (into + 10.0))) / 2.0
    np.testing.assert_allclose(settled(8.0), [root**2, below**2], rtol=1e-6)


def test_noise_is_of_the_size_that_is_said(tanks: ModuleType, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(tanks, "DRIVEN", 0.0)
    records = tanks.simulated(40, (3.0, 3.0), np.random.default_rng(1), minutes=60)
    late = np.stack([record.values[40:] for record in records])  # settled: what is left is measurement
    # 800 values a tank: the relative error of a standard deviation is 2.5 %, four of them
    np.testing.assert_allclose(late.std((0, 1)), 0.1, rtol=0.1)


def test_a_quick_study_learns_the_tanks_and_proves_them(tanks: ModuleType) -> None:
    alone, free, certified = tanks.study(0, tanks.told(), steps=15, records=2)
    assert free.rmse[0] < 0.6 * alone.rmse[0]
    assert certified.rmse[0] < 0.6 * alone.rmse[0]
    assert certified.rate > 0.0
    for row in (alone, free, certified):
        assert 0.0 <= row.coverage_80[0] <= row.coverage_95[0] <= 1.0
        assert len(str(row)) > 80
