"""Signals, as whoever holds them gives them, and long ones."""

import time
from collections.abc import Callable

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from hybrid import Schedule, Signal, build_segments
from hybrid.schedules.columns import column
from hybrid.schedules.signal import sampled
from training import Record


class Column:
    """A column of a table as pandas has them: its own sign for what is missing, and no number of numpy's."""

    def __init__(self, values: list[float | None]) -> None:
        self.values = values

    def __len__(self) -> int:
        return len(self.values)

    def __array__(self, dtype: object = None, copy: bool | None = None) -> np.ndarray:
        return np.array([v if v is not None else type(self) for v in self.values], dtype=object)

    def to_numpy(self, dtype: type, na_value: float) -> np.ndarray:
        return np.array([na_value if v is None else v for v in self.values], dtype=dtype)


FORMS: dict[str, Callable[[list[float]], object]] = {
    "list": list,
    "tuple": tuple,
    "array": np.array,
    "float32": lambda v: np.array(v, dtype=np.float32),
    "tensor": torch.tensor,
    "gradient": lambda v: torch.tensor(v, requires_grad=True),
    "column": Column,
    "read-only": lambda v: np.broadcast_to(np.array(v), (len(v),)),
}


@pytest.mark.parametrize("form", FORMS)
def test_every_form_of_a_column_is_the_same_signal_and_record(form: str) -> None:
    times, values = [0.0, 1.5, 4.0], [1.0, 0.5, 2.0]
    make = FORMS[form]
    signal = Signal(make(times), make(values), "held")  # type: ignore[arg-type]
    assert signal == Signal((0.0, 1.5, 4.0), (1.0, 0.5, 2.0), "held")
    assert hash(signal) == hash(Signal(times, values, "held"))
    assert signal.times == tuple(times)
    record = Record("1", Schedule(), make(times), make(values), ("y",))  # type: ignore[arg-type]
    assert record.times.tolist() == times
    assert record.values[:, 0].tolist() == values


def test_what_a_column_misses() -> None:
    record = Record("1", Schedule(), Column([0.0, 1.0]), Column([None, 2.0]), ("y",))  # type: ignore[arg-type]
    assert np.isnan(record.values[0, 0])
    with pytest.raises(ValueError, match="1 of 2 values are not, the first at position 0"):
        Signal([0.0, 1.0], Column([None, 2.0]))  # type: ignore[arg-type]
    with pytest.raises(ValueError, match="numbers in a list"):
        column(np.array(["a", "b"]), "times")


@settings(deadline=None, max_examples=100, derandomize=True)
@given(data=st.data())
def test_many_signals_at_once_are_each_by_itself(data) -> None:
    number = st.floats(-3.0, 3.0).map(lambda x: round(x, 1))
    signals = []
    for _ in range(data.draw(st.integers(1, 4))):
        times = sorted(data.draw(st.sets(number, min_size=1, max_size=6)))
        kind = data.draw(st.sampled_from(["linear", "held"]))
        signals.append(Signal(times, [data.draw(number) for _ in times], kind))
    which = data.draw(st.lists(st.integers(0, len(signals) - 1), min_size=1, max_size=12))
    times = np.array([data.draw(number) for _ in which])
    for side in ("left", "right"):
        got = sampled(signals, times, np.array(which), side)
        for value, t, k in zip(got, times, which, strict=True):
            one = signals[k]
            if one.kind == "linear":
                assert value == pytest.approx(np.interp(t, one.times, one.values), rel=1e-14, abs=1e-15)
            else:
                assert value == one.values[max(int(np.searchsorted(one.times, t, side=side)) - 1, 0)]


def test_a_hundred_thousand_points_are_ordinary() -> None:
    times = np.linspace(0.0, 1000.0, 100_000)
    begin = time.process_time()
    signal = Signal(times, np.sin(times))
    schedule = Schedule(inputs={"u": signal}).do(inputs={"u": Signal([0.0], [1.0])}, since=500.0)
    cut = build_segments([schedule, schedule.since(250.0)], [[600.0, 1000.0]] * 2, ("x",), ("u",))
    signal.sample(times)
    # 0.1 s where nothing else runs; point by point it would be seconds
    assert time.process_time() - begin < 2.0
    assert cut.dt.shape[1] > 50_000
    assert cut.u1[0, 0, 0] == np.sin(times[1])
