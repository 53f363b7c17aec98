"""The solvers by the names under which a bundle and the shell know them."""

from collections.abc import Callable
from functools import partial
from typing import cast

import hybrid
from hybrid import RungeKutta, Solver, Torchdiffeq
from hybrid.solve.schemes.tableau import TABLEAUS
from hybrid.solve.torchdiffeq_solver import ADAPTIVE, FIXED, Method
from physics.arguments import quote, require_kind

DEFAULT = "rk4"
_METHODS = cast(tuple[Method, ...], (*FIXED, *ADAPTIVE))
_MANY: tuple[type[Solver], ...] = (RungeKutta, Torchdiffeq)  # which are named by their methods


def solvers() -> dict[str, Callable[[], Solver]]:
    """What makes the solver of each name: our Runge-Kutta methods by theirs, torchdiffeq's behind its own, with :adjoint for
    gradients by the adjoint equation (scipy_solver has no others), and every other of `hybrid.SOLVERS` as its class in small
    letters.
    """
    return {
        **{name: partial(RungeKutta, name) for name in sorted(TABLEAUS)},  # type: ignore[arg-type]
        **{one.__name__.lower(): one for one in hybrid.SOLVERS if one not in _MANY},
        **{f"torchdiffeq:{name}": partial(Torchdiffeq, name, adjoint=name == "scipy_solver") for name in _METHODS},
        **{f"torchdiffeq:{name}:adjoint": partial(Torchdiffeq, name, adjoint=True) for name in _METHODS},
    }


def solver_named(name: str) -> Solver:
    """The solver of this name. Errors: `ValueError`, listing the choices, for any other name."""
    make = solvers().get(name.strip()) if isinstance(name, str) else None
    if make is None:
        raise ValueError(f"there is no solver {quote(name, 60)}; write one of {_choices()}")
    return make()


def name_of(solver: Solver) -> str:
    """The inverse of `solver_named`. Errors: `ValueError` for a solver with tolerances or steps of its own, which has none."""
    require_kind(solver, Solver, "solver", 'RungeKutta("rk4")')
    name = next((name for name, make in solvers().items() if make() == solver), None)
    if name is None:
        raise ValueError(f"a bundle remembers its solver by name, and {solver} has none of {_choices()}; name one of these")
    return name


def _choices() -> str:
    own = [name for name in solvers() if not name.startswith("torchdiffeq:")]
    return f"{', '.join(own)}, or torchdiffeq:METHOD or torchdiffeq:METHOD:adjoint with METHOD one of {', '.join(_METHODS)}"
