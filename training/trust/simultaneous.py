"""One band over many gates at once: thirty gates at 95 % each pass together half the time at best."""

from dataclasses import dataclass
from typing import final

import numpy as np
from numpy.typing import NDArray

from hybrid.threads import of_blocks, threads_by
from physics.glance import glance
from training.trust.null_band import Array, ArrayLike, as_array, tails


@final
@dataclass(frozen=True, eq=False)
class SimultaneousBand:
    """Where all G statistics of a perfect forecaster are together, with probability `level`.

    `observed`, `mean`, `lower`, `upper` (G,), NaN at gates where there is nothing to see · `level` · `gates`, how many there
    are · `replicates`, from how many draws · `alone_lower`, `alone_upper` (G,), the central 95 % of each gate by itself ·
    `decides` (G,), whether anything that can be observed would be outside: with one person a band may hold all of it.
    """

    observed: Array
    mean: Array
    lower: Array
    upper: Array
    level: float
    gates: int
    replicates: int
    alone_lower: Array
    alone_upper: Array
    decides: NDArray[np.bool_]

    __repr__, _repr_html_ = glance()

    @property
    def outside(self) -> NDArray[np.bool_]:  # (G,)
        """Which gates fail."""
        return (self.observed < self.lower) | (self.observed > self.upper)

    @property
    def passes(self) -> bool:
        """Whether every gate is inside."""
        return not bool(self.outside.any())

    @property
    def undecided(self) -> int:
        """How many gates cannot fail, whatever is observed: they pass nobody."""
        return self.gates - int(self.decides.sum())

    def sentence(self, what: str = "gates") -> str:
        """How many gates can decide, how many of them fail, and how many cannot."""
        failed, able = int(self.outside.sum()), self.gates - self.undecided
        if self.gates and not able:
            return f"None of {self.gates} {what} can decide: the band holds whatever can be observed."
        which = f"{what} that can decide" if self.undecided else what
        return (
            f"{able - failed} of {able} {which} are inside one band that holds them all for "
            f"{100 * self.level:g} % of perfect forecasters"
            + ("" if failed == 0 else f"; {failed} {'is' if failed == 1 else 'are'} outside")
            + (f"; {self.undecided} cannot, since the band holds whatever can be observed." if self.undecided else ".")
        )


@threads_by(of_blocks)
def simultaneous_band(
    replicates: ArrayLike,  # (R, G), the statistics of R perfect forecasters
    observed: ArrayLike,  # (G,)
    *,
    level: float = 0.95,
    least: ArrayLike = -np.inf,  # () or (G,)
    most: ArrayLike = np.inf,
) -> SimultaneousBand:
    """The band [median − c·below_g, median + c·above_g] whose c is the `level` quantile over replicates of the largest departure.

    Departures of a gate are measured in its own half-widths: from the median to the 2.5 % and 97.5 % points (where that is no
    way at all, as for coarse counts, to the extreme), so that skewed and coarse statistics take no more than their share. NaN
    in a replicate is no statement of that replicate about the gate; a gate that cannot vary has the band of its one value.
    With R replicates the (R + 1)·level-th smallest maximum is taken, the rank of one more draw of the same kind.
    `least`, `most`: what each statistic can be at all, a share 0 and 1; a gate whose band holds all of that cannot decide.
    Errors: `ValueError` for shapes, or fewer replicates than the level needs (19 for 95 %).
    Law: a draw from the replicates' own distribution is inside, all gates together, with probability `level`, up to the error of
    half-widths estimated from R replicates.
    Source: max-statistic (Westfall & Young 1993); the rank of one more draw: Barnard (1963).
    """
    tails(level)
    rows, seen = as_array(replicates), as_array(observed)
    if rows.ndim != 2 or seen.shape != rows.shape[1:]:
        raise ValueError(f"replicates have shape {rows.shape} and observed {seen.shape}; they need (R, G) and (G,).")
    lowest, highest = as_array(least), as_array(most)
    for name, end in (("least", lowest), ("most", highest)):
        if end.shape not in ((), seen.shape):
            raise ValueError(f"{name} has shape {end.shape}; it is one number, or one for each of the {len(seen)} gates.")
    rank = int(np.ceil((len(rows) + 1) * level - 1e-9))
    if rank > len(rows):
        needed = int(np.ceil(level / (1.0 - level) - 1e-9))
        raise ValueError(f"{len(rows)} replicates cannot make a band of {level:g}; it needs at least {needed}.")
    here = ~np.isnan(rows).all(0) & ~np.isnan(seen)
    full = np.full((3, len(seen)), np.nan)
    alone, able = np.full((2, len(seen)), np.nan), np.zeros(len(seen), dtype=bool)
    if not here.any():
        return SimultaneousBand(seen, full[0], full[1], full[2], level, 0, len(rows), alone[0], alone[1], able)
    gates = rows[:, here]
    low, centre, high = np.nanquantile(gates, [0.025, 0.5, 0.975], axis=0)
    below, above = centre - low, high - centre
    below = np.where(below > 0.0, below, centre - np.nanmin(gates, 0, initial=np.inf))
    above = np.where(above > 0.0, above, np.nanmax(gates, 0, initial=-np.inf) - centre)
    side = np.where(gates < centre, below, above)
    departure = np.abs(gates - centre) / np.where(side > 0.0, side, 1.0)
    largest = np.sort(np.nanmax(departure, axis=1, initial=0.0))
    c = float(largest[rank - 1])
    slack = 1e-12 * np.abs(centre)  # a statistic that is the same to rounding is the same
    full[:, here] = np.nanmean(gates, 0), centre - c * below - slack, centre + c * above + slack
    alone[:, here] = low - slack, high + slack
    able[here] = ((full[1] > lowest) | (full[2] < highest))[here]
    count = int(here.sum())
    return SimultaneousBand(seen, full[0], full[1], full[2], level, count, len(rows), alone[0], alone[1], able)
