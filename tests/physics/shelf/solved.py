"""A mechanism's tape solved by scipy, tightly: what the closed forms are held against before anything of ours simulates it."""

from collections.abc import Mapping, Sequence

import numpy as np
from scipy.integrate import solve_ivp

from physics import Mechanism


def solved(
    mechanism: Mechanism,
    start: Mapping[str, float],
    times: Sequence[float],
    theta: Mapping[str, float] | None = None,
    u: Mapping[str, float] | None = None,
) -> dict[str, np.ndarray]:
    """The states at these times by name, from `start` (0 where nothing is said), at θ (typical where nothing is said) and u."""
    typical = {p.name: p.typical for p in mechanism.physical}
    assert set(theta or {}) <= set(typical)
    assert set(start) <= set(mechanism.states)
    numbers = np.array(list({**typical, **(theta or {})}.values()))
    held = np.array([(u or {})[name] for name in mechanism.inputs])
    x0 = np.array([start.get(state, 0.0) for state in mechanism.states])
    tolerance = 1e-13 * np.array([mechanism.scale[state] for state in mechanism.states])
    done = solve_ivp(
        lambda t, x: mechanism.tape.plain(x, held, numbers),
        (0.0, times[-1]),
        x0,
        "DOP853",
        t_eval=times,
        rtol=1e-13,
        atol=tolerance,
    )
    assert done.success
    return dict(zip(mechanism.states, done.y, strict=True))


def near(have: np.ndarray, want: Sequence[float] | np.ndarray, to: float) -> None:
    """Equal to that share of the largest."""
    gap = np.abs(np.asarray(have) - np.asarray(want)).max() / np.abs(want).max()
    assert gap <= to, f"{have} for {want}: {gap:.3g}"
