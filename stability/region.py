"""Where a regional certificate speaks: a convex set of states, and the inputs and doses under which trajectories stay in it.

Every number is zero or at least 1e-100 in magnitude: the products of smaller ones underflow, and the checker refuses them.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from stability.arguments import array, number, shown
from stability.glance import glance
from stability.proof.arithmetic import SMALLEST

Array = NDArray[np.float64]


@dataclass(frozen=True, eq=False)
class Box:
    """{x : lower ≤ x ≤ upper}, in the states' own units; infinite where it has no end, which only systems with a tape take.

    Errors: ValueError where it is empty or flat.
    """

    lower: Array  # (n,)
    upper: Array  # (n,)

    __repr__, _repr_html_ = glance()

    if TYPE_CHECKING:  # whatever numpy makes an array of is taken

        def __init__(self, lower: ArrayLike, upper: ArrayLike) -> None: ...

    def __post_init__(self) -> None:
        _bounds(self, "the box", infinite=True)
        if not (self.lower < self.upper).all():
            where = int(np.argmin(self.lower < self.upper))
            raise ValueError(
                f"the box is empty or flat: lower[{where}] = {self.lower[where]:g} is not below "
                f"upper[{where}] = {self.upper[where]:g}; give lower < upper for every state."
            )

    def to_dict(self) -> dict[str, Any]:
        """Plain lists for JSON."""
        lower, upper = ([end if np.isfinite(end) else None for end in ends.tolist()] for ends in (self.lower, self.upper))
        return {"kind": "box", "lower": lower, "upper": upper}  # JSON has no infinity

    @property
    def finite(self) -> bool:
        """Whether it has an end on every side."""
        return bool(np.isfinite(self.lower).all() and np.isfinite(self.upper).all())


@dataclass(frozen=True, eq=False)
class Ellipsoid:
    """{x : √((x − centre)ᵀP(x − centre)) ≤ radius} in the certificate's own metric P, whose smallest eigenvalue is about 1.

    So it lies within the ball of that radius. Errors: ValueError for a radius that is not positive and finite.
    """

    centre: Array  # (n,)
    radius: float

    __repr__, _repr_html_ = glance()

    if TYPE_CHECKING:  # whatever numpy makes an array of is taken

        def __init__(self, centre: ArrayLike, radius: float) -> None: ...

    def __post_init__(self) -> None:
        object.__setattr__(self, "centre", _vector(self.centre, "the ellipsoid's centre"))
        radius = number(self.radius, "the ellipsoid's radius", "a finite positive number", above=0.0)
        _not_faint(np.array(radius, dtype=np.float64), "the ellipsoid's radius")
        object.__setattr__(self, "radius", radius)
        if not self.centre.size:
            raise ValueError("the ellipsoid's centre has no entry; give one for every state.")

    def to_dict(self) -> dict[str, Any]:
        """Plain values for JSON."""
        return {"kind": "ellipsoid", "centre": self.centre.tolist(), "radius": self.radius}


@dataclass(frozen=True, eq=False)
class Inputs:
    """Levels lower ≤ u ≤ upper that the input may take at any time, and boluses x ↦ x + d at least `gap` apart.

    `exactly`: boluses at multiples of the gap since the start alone, any of which may be left out: of these more is proved.
    Errors: ValueError for empty levels, doses without a gap, or values that are not finite.
    """

    lower: Array  # (m,)
    upper: Array  # (m,)
    doses: Array | None = None  # (D, n): any one of them, or a mean of them, at a time
    gap: float | None = None  # the least time between two boluses
    exactly: bool = False

    __repr__, _repr_html_ = glance()

    if TYPE_CHECKING:  # whatever numpy makes an array of is taken

        def __init__(
            self,
            lower: ArrayLike,
            upper: ArrayLike,
            doses: ArrayLike | None = None,
            gap: float | None = None,
            exactly: bool = False,
        ) -> None: ...

    def __post_init__(self) -> None:
        _bounds(self, "the inputs")
        if not (self.lower <= self.upper).all():
            where = int(np.argmin(self.lower <= self.upper))
            raise ValueError(f"the input levels are empty: lower[{where}] > upper[{where}]; give lower ≤ upper.")
        if not isinstance(self.exactly, bool):
            raise ValueError(f"exactly is {shown(self.exactly)}; give True for doses at multiples of the gap alone, or False.")
        if self.doses is None:
            if self.exactly:
                raise ValueError("exactly without doses says nothing; give the bolus vectors and their gap as well, or neither.")
            if self.gap is not None:
                raise ValueError("a gap without doses says nothing; give the bolus vectors as well, or neither.")
            return
        doses = array(self.doses, "the doses").copy()
        if doses.ndim != 2 or not doses.size or not np.isfinite(doses).all():
            raise ValueError(f"the doses have shape {doses.shape}; give finite bolus vectors, (D, n), one row per kind of dose.")
        gap = number(self.gap, "the gap", "the least time between two doses, finite and positive", above=0.0)
        _not_faint(doses, "the doses")
        _not_faint(np.array(gap, dtype=np.float64), "the gap")
        doses.setflags(write=False)
        object.__setattr__(self, "doses", doses)
        object.__setattr__(self, "gap", gap)

    def to_dict(self) -> dict[str, Any]:
        """Plain values for JSON."""
        return {
            "lower": self.lower.tolist(),
            "upper": self.upper.tolist(),
            "doses": None if self.doses is None else self.doses.tolist(),
            "gap": self.gap,
            **({"exactly": True} if self.exactly else {}),
        }

    @staticmethod
    def from_dict(data: Mapping[str, Any]) -> "Inputs":
        """The inverse of `to_dict`; doses, gap and exactly may be left out."""
        _only(data, {"lower", "upper"}, {"doses", "gap", "exactly"}, "inputs")
        return Inputs(data["lower"], data["upper"], data.get("doses"), data.get("gap"), data.get("exactly", False))


Region = Box | Ellipsoid


def region_of(data: Mapping[str, Any]) -> Region:
    """A box or an ellipsoid from what `to_dict` writes; without "kind" a box."""
    kind = data.get("kind", "box")
    if kind == "box":
        _only(data, {"lower", "upper"}, {"kind"}, "a box")
        ends = ((data[name], none) for name, none in (("lower", -np.inf), ("upper", np.inf)))
        lower, upper = (
            [none if end is None else end for end in values] if isinstance(values, list | tuple) else values
            for values, none in ends
        )
        return Box(lower, upper)
    if kind == "ellipsoid":
        _only(data, {"centre", "radius"}, {"kind"}, "an ellipsoid")
        return Ellipsoid(data["centre"], data["radius"])
    raise ValueError(f"the region's kind is {kind!r}; use box or ellipsoid.")


def region_and_inputs(data: Mapping[str, Any]) -> tuple[Region, Inputs | None]:
    """What a region file holds: a region's entries and, beside them, "inputs" where there are any.

    Errors: ValueError for anything else.
    """
    if not isinstance(data, Mapping):
        raise ValueError(f'the region is a {type(data).__name__}; give {{"lower": [...], "upper": [...], "inputs": {{...}}}}.')
    inputs = data.get("inputs")
    region = region_of({name: value for name, value in data.items() if name != "inputs"})
    return region, None if inputs is None else Inputs.from_dict(inputs)


def claimed(data: Mapping[str, Any]) -> tuple[Region, Inputs | None]:
    """The region and inputs that a certificate's `region` was asked for: without the proof and the set that is kept."""
    region, inputs = region_and_inputs({name: data[name] for name in data if name not in ("proof", "stays")})
    return region, inputs


def _only(data: Mapping[str, Any], needed: set[str], allowed: set[str], what: str) -> None:
    if not isinstance(data, Mapping) or not needed <= data.keys() or not data.keys() <= needed | allowed:
        raise ValueError(
            f"{what} needs {', '.join(sorted(needed))}"
            + (f" and may have {', '.join(sorted(allowed))}" if allowed else "")
            + f"; found {', '.join(map(str, data)) if isinstance(data, Mapping) else type(data).__name__}."
        )


def _vector(value: Any, what: str, infinite: bool = False) -> Array:
    vector = array(value, what).copy()
    if vector.ndim != 1 or not (np.isfinite(vector).all() or (infinite and not np.isnan(vector).any())):
        raise ValueError(f"{what} has shape {vector.shape}; give a list of finite numbers.")
    _not_faint(vector, what)
    vector.setflags(write=False)
    return vector


def _not_faint(values: Array, what: str) -> None:
    small = np.abs(values[(values != 0) & (np.abs(values) < SMALLEST)]) if values.size else values
    if small.size:
        raise ValueError(
            f"{what}: an entry is {small.ravel()[0]:g}, which is not zero and below {SMALLEST:g}; products with it underflow, "
            "so nothing is proved of it. Give 0, or use smaller units."
        )


def _bounds(owner: Any, what: str, infinite: bool = False) -> None:
    for name in ("lower", "upper"):
        object.__setattr__(owner, name, _vector(getattr(owner, name), f"{what}: {name}", infinite))
    if owner.lower.shape != owner.upper.shape:
        raise ValueError(f"{what}: lower has {len(owner.lower)} entries and upper {len(owner.upper)}; give as many of each.")
