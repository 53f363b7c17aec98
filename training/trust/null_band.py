"""What a perfect forecaster would score: a statistic of outcomes simulated from the forecaster itself.

Also the door through which arrays enter scores and calibration: numpy or torch, any shape, float64 inside, NaN is missing.
"""

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence, Sized
from dataclasses import dataclass
from typing import final

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from physics.arguments import quote, require_number

Array = NDArray[np.float64]
ArrayLike = Tensor | NDArray | list | tuple | float
BLOCK = 2**21  # numbers in one block of simulated outcomes (16 MB)


@final
@dataclass(frozen=True)
class NullBand:
    """What a perfectly calibrated forecaster with these predictions would score, over repeated outcomes.

    mean, and the central interval [lower, upper] holding `level` of the `draws` replicates; `observed` is the score of
    the outcomes that were seen, where there are any. Above the band: miscalibrated, by this measure.
    """

    mean: float
    lower: float
    upper: float
    observed: float | None
    level: float
    draws: int


def as_array(values: ArrayLike, *, truths: bool = True) -> Array:
    """The values as a float64 numpy array, off any graph and device.

    `truths`: whether True and False may stand for 1 and 0, as they do for outcomes. Errors: ValueError for what are no numbers.
    """
    try:
        raw = np.asarray(values.detach().cpu().numpy() if isinstance(values, Tensor) else values)
        if raw.dtype.kind not in ("fiub" if truths else "fiu"):
            raise TypeError
        return np.asarray(raw, dtype=np.float64)
    except (TypeError, ValueError, RuntimeError) as error:
        got = quote(values)
        raise ValueError(f"numbers in an array, a tensor or a list are needed, NaN for missing, and got {got}") from error


def present(observed: ArrayLike, beside: dict[str, ArrayLike]) -> tuple[Array, ...]:  # each (n,)
    """The arrays flattened to the entries where `observed` is not NaN; those beside it match it and are finite there.

    Errors: ValueError for different shapes, no observation left, or a value at an observation that is not finite.
    """
    arrays = {"observations": as_array(observed)} | {name: as_array(values) for name, values in beside.items()}
    seen = arrays["observations"]
    for name, values in arrays.items():
        if values.shape != seen.shape:
            raise ValueError(
                f"{name} has shape {values.shape} and the observations {seen.shape}; they need the same shape. A missing "
                f"channel axis is the usual cause: write values[..., None]."
            )
    here = ~np.isnan(seen)
    if not here.any():
        raise ValueError(
            f"None of the {seen.size} observations is present (NaN or masked out); a score needs at least one. Check the "
            "mask, and that observations and forecasts are at the same times."
        )
    for name, values in arrays.items():
        bad = int((~np.isfinite(values[here])).sum())
        if bad:
            raise ValueError(
                f"{name} holds {bad} values that are not finite where something was observed; predictions are NaN at "
                "padding, so set the observations there to NaN too."
            )
    return tuple(values[here] for values in arrays.values())


def tails(level: float) -> list[float]:
    """The two probabilities that leave `level` between them."""
    if not 0.0 < level < 1.0:
        raise ValueError(f"A band of level {level} was asked for; levels lie strictly between 0 and 1, e.g. 0.95.")
    return [0.5 * (1.0 - level), 0.5 * (1.0 + level)]


def levels_of(levels: Sequence[float], name: str) -> tuple[float, ...]:
    """Levels of intervals as plain numbers. Errors: `ValueError`, beginning with `name`, for what is no list of them."""
    if isinstance(levels, str | bytes | Mapping | set) or not isinstance(levels, Sized) or not isinstance(levels, Iterable):
        raise ValueError(f"{name}: levels are numbers in a list, e.g. (0.5, 0.8, 0.95), and are {quote(levels)}")
    for level in levels:
        require_number(level, f"{name}: each of levels")
    return tuple(float(level) for level in levels)


def uniform(rows: int, size: int, generator: torch.Generator) -> Array:
    """Independent uniform numbers, (rows, size)."""
    return torch.rand((rows, size), generator=generator, dtype=torch.float64).numpy()


def group_index(groups: ArrayLike, here: NDArray[np.bool_]) -> NDArray[np.int64]:  # (n,)
    """Labels of any kind, broadcast to the observations' shape, as 0, 1, 2 … at the observations present."""
    labels = groups.detach().cpu().numpy() if isinstance(groups, Tensor) else np.asarray(groups)
    try:
        labels = np.broadcast_to(labels, here.shape)[here]
    except ValueError:
        raise ValueError(
            f"groups has shape {labels.shape}, which does not broadcast to the observations' {here.shape}; for one label "
            "per person write patient[:, None, None]."
        ) from None
    return np.unique(labels, return_inverse=True)[1].reshape(-1)


def replicates(
    independent: Callable[[int], Array],  # r -> (r, n)
    here: NDArray[np.bool_],  # of the observations' shape, n of them true
    *,
    draws: int,
    generator: torch.Generator,
    groups: ArrayLike | None,  # broadcasts to the observations' shape
    joint: ArrayLike | None,  # (R, *shape)
) -> Iterator[Array]:  # blocks (r, n)
    """Simulated observations, in blocks.

    Without `joint`, `draws` replicates of independent ones. With it, its R rows as they are; with `groups` too, `draws`
    replicates in which each group takes a row of its own at random, since groups are independent of each other.
    Errors: ValueError for groups of several observations without joint draws, shapes, fewer than two draws.
    """
    size = int(here.sum())
    block = max(1, BLOCK // size)
    if draws < 2:
        raise ValueError(f"{draws} draws were asked for; a band needs at least 2 (1,000 is the default).")
    group = None if groups is None else group_index(groups, here)
    if joint is None:
        if group is not None and group.max() + 1 < size:
            raise ValueError(
                f"{size} observations belong to {group.max() + 1} groups and no joint draws were given; observations of "
                "one patient depend on each other, and a band that ignores it is too narrow. Pass joint=, R draws of "
                "whole predictive paths, e.g. prediction.sample(1000, generator) > threshold."
            )
        for start in range(0, draws, block):
            yield independent(min(block, draws - start))
        return
    paths = as_array(joint)
    if paths.ndim != here.ndim + 1 or paths.shape[1:] != here.shape or paths.shape[0] < 2:
        raise ValueError(
            f"joint has shape {paths.shape} and the observations {here.shape}; it needs one row for each of at least two "
            "draws of all the observations together, shape (R, *observations)."
        )
    paths = paths[:, here]
    if not np.isfinite(paths).all():
        raise ValueError(
            "joint is not finite where something was observed; each row is a draw of all the observations."
        )
    if group is None:
        yield from (paths[start : start + block] for start in range(0, paths.shape[0], block))
        return
    for start in range(0, draws, block):
        chosen = torch.randint(paths.shape[0], (min(block, draws - start), int(group.max()) + 1), generator=generator)
        yield paths[chosen.numpy()[:, group], np.arange(size)]


def stray_band(
    perfect: Array,  # (R, K), K statistics of R perfect forecasters
    observed: Array,  # (K,)
    pointwise: Array,  # (2, K), the band of each
    level: float,
) -> NullBand:
    """How many of K statistics leave the band that each has by itself, beside how many do of perfect forecasters.

    `upper` is the smallest count that at least `level` of them do not exceed, and `lower` is 0: fewer is no fault.
    """
    low, high = pointwise
    count = ((perfect < low) | (perfect > high)).sum(1)
    most = np.quantile(count, level, method="inverted_cdf")
    here = ((observed < low) | (observed > high)).sum()
    return NullBand(float(count.mean()), 0.0, float(most), float(here), level, len(perfect))


def band(
    statistic: Callable[[Array], Array],  # (r, n) -> (r,)
    blocks: Iterator[Array],
    observed: float | None,
    level: float,
) -> NullBand:
    """The null band of a statistic over blocks of replicates."""
    probabilities = tails(level)
    values = np.concatenate([statistic(rows) for rows in blocks])
    lower, upper = np.quantile(values, probabilities)
    return NullBand(float(values.mean()), float(lower), float(upper), observed, level, values.size)
