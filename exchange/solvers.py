"""The solvers by the names under which a bundle and the shell know them."""

from collections.abc import Callable, Mapping
from functools import partial
from typing import cast

from hybrid import Exponential, RungeKutta, Solver, Torchdiffeq
from hybrid.solve.tableau import TABLEAUS
from hybrid.solve.torchdiffeq_solver import ADAPTIVE, FIXED, Method
from physics.arguments import quote, require_kind

DEFAULT = "rk4"
_METHODS = cast(tuple[Method, ...], (*FIXED, *ADAPTIVE))
# A new solver is one file and one word here. Ours step on the mesh of the cohort; torchdiffeq:METHOD is any of torchdiffeq's,
# with :adjoint behind it for gradients by the adjoint equation (scipy_solver has no others).
SOLVERS: Mapping[str, Callable[[], Solver]] = {
    **{name: partial(RungeKutta, name) for name in sorted(TABLEAUS)},  # type: ignore[arg-type]
    "exponential": Exponential,
    **{f"torchdiffeq:{name}": partial(Torchdiffeq, name, adjoint=name == "scipy_solver") for name in _METHODS},
    **{f"torchdiffeq:{name}:adjoint": partial(Torchdiffeq, name, adjoint=True) for name in _METHODS},
}


def solver_named(name: str) -> Solver:
    """The solver of this name. Errors: `ValueError`, listing the choices, for any other name."""
    make = SOLVERS.get(name.strip()) if isinstance(name, str) else None
    if make is None:
        raise ValueError(f"there is no solver {quote(name, 60)}; write one of {_choices()}")
    return make()


def name_of(solver: Solver) -> str:
    """The inverse of `solver_named`. Errors: `ValueError` for a solver with tolerances or steps of its own, which has none."""
    require_kind(solver, Solver, "solver", 'RungeKutta("rk4")')
    name = next((name for name, make in SOLVERS.items() if make() == solver), None)
    if name is None:
        raise ValueError(f"a bundle remembers its solver by name, and {solver} has none of {_choices()}; name one of these")
    return name


def _choices() -> str:
    own = [name for name in SOLVERS if not name.startswith("torchdiffeq:")]
    return f"{', '.join(own)}, or torchdiffeq:METHOD or torchdiffeq:METHOD:adjoint with METHOD one of {', '.join(_METHODS)}"
