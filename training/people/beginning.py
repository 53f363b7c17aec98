"""Where a person's record begins for a model: a baseline that sets the start ends what was known before, limits too."""

from collections.abc import Sequence
from dataclasses import replace

import numpy as np
import torch
from torch import Tensor

from training.people.records import Record


def kept_limits(
    limits: Tensor,  # (N, T, p, 2)
    kept: Tensor,  # (N, T, 1) or (N, T, p) bool
) -> Tensor | None:  # (N, T, p, 2)
    """These limits where they are kept, −∞ and +∞ elsewhere; None where none is left."""
    found = torch.where(kept[..., None], limits, limits.new_tensor([-torch.inf, torch.inf]))
    return found if bool(torch.isfinite(found).any()) else None


def limits_to_score(
    records: Sequence[Record],
    starts: np.ndarray,  # (p,) bool
    y: Tensor,  # (N, T, p)
) -> Tensor | None:  # (N, T, p, 2)
    """Everyone's limits, but for those up to a baseline that sets the start: the state is known later than they were."""
    if all(r.lower is None for r in records):
        return None
    limits = y.new_tensor([-torch.inf, torch.inf]).repeat(*y.shape, 1)
    for i, r in enumerate(records):
        if r.lower is None or r.upper is None:
            continue
        given = np.stack([r.lower, r.upper], -1)  # (T, p, 2)
        sets = np.isfinite(r.values) & ~r.scored[:, None] & starts  # (T, p)
        until = np.where(sets, r.times[:, None], -np.inf).max(0)  # (p,) of each channel's last baseline
        given[r.times[:, None] <= until] = (-np.inf, np.inf)
        limits[i, : len(r.times)] = torch.from_numpy(given)
    return limits if bool(torch.isfinite(limits).any()) else None


def from_baseline(
    record: Record,
    starts: np.ndarray,  # (p,) bool
) -> Record:
    """The record from its last baseline value on: that value is the state of its own time, not of an earlier row's.

    As it was where nothing was measured that sets the start, or where something is scored before that.
    """
    sets = np.isfinite(record.values) & ~record.scored[:, None] & starts
    if not sets.any():
        return record
    begin = record.times[sets.any(1)][-1]
    before = record.times < begin
    if (not before.any() and begin == record.schedule.start) or (
        np.isfinite(record.values) | record.censored
    )[before][:, ~starts].any():
        return record
    return replace(
        record,
        schedule=replace(record.schedule, start=float(begin), resets=tuple(t for t in record.schedule.resets if t >= begin)),
        times=record.times[~before],
        values=record.values[~before],
        lower=None if record.lower is None else record.lower[~before],
        upper=None if record.upper is None else record.upper[~before],
        read_with={name: values[~before] for name, values in record.read_with.items()},
    )
