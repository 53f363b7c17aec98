"""Whether the people of a table look like those of a bundle's training, and what their outcomes say once there are some."""

from typing import Any

import numpy as np
import torch

from homeostat.bundles.seen import some_of
from hybrid import Prediction
from hybrid.shift import shift_in_words
from physics.arguments import shortened
from training import Cohort
from training.shift import CRITERION, Update, update
from training.shift.update import FEWEST
from training.trust.outcome import Outcome
from training.trust.verdicts import Verdict

MOST = 64  # people of whom it is asked how many it takes: more would only take longer


def shift_verdicts(prediction: Prediction) -> list[Verdict]:
    """The flag of these people in one line: who is not like the training and why, that nobody is, or that it is not known."""
    shift, about = prediction.shift, ("shift",)
    if shift is None or all(one.flagged is None for one in shift):
        why = shift[0].unknown if shift else shift_in_words(None)
        return [Verdict("Whether these people look like those of the training is not known", None, f"{why.capitalize()}.", about)]
    ids = prediction.ids or tuple(map(str, range(len(shift))))
    flagged = [(name, one) for name, one in zip(ids, shift, strict=True) if one.flagged]
    if not flagged:
        return [Verdict("Everyone in this table looks like the people of the training", True, CRITERION, about)]
    some = "; ".join(f"{shortened(name, 40)}: {one.reasons[0].sentence}" for name, one in flagged[:3])
    more = " …" if len(flagged) > 3 else "."
    by = {look: sum(any(r.look == look for r in one.reasons) for _, one in flagged) for look in shift[0].looked}
    counts = ", ".join(f"{look} {count}" for look, count in by.items() if count)
    claim = f"{some_of(len(flagged), len(shift))} {'does' if len(flagged) == 1 else 'do'} not look like the training"
    # so many of people like those of the training are flagged too: a whole cohort that is as many is like them
    expected = len(flagged) <= np.ceil(0.03 * len(shift) + 2.0 * np.sqrt(0.03 * 0.97 * len(shift))) and len(shift) > 1
    said = "Intervals were never tried on such people."
    said = "That is no more than of people like those of the training." if expected else said
    return [Verdict(claim, None if expected else False, f"{some}{more} By what: {counts}. {said} {CRITERION}", about)]


def update_of(prediction: Prediction, y: torch.Tensor, cohort: Cohort, *, seen: bool) -> Update | None:
    """What these people's outcomes say about the forecasts of them; None where the model has seen them, or "
    "too few were observed."""
    there = torch.isfinite(y).flatten(1).any(1)
    if seen or int(there.sum()) < FEWEST:
        return None
    index = torch.nonzero(there)[:, 0][:MOST]
    outcome = Outcome(prediction.people(index), y[index], [cohort.ids[i] for i in index.tolist()])
    if any(not np.isfinite(outcome.values[..., c]).any() for c in range(outcome.values.shape[-1])):
        return None
    return update(outcome, generator=torch.Generator().manual_seed(3), repeats=3)


def update_verdicts(found: Update | None) -> list[Verdict]:
    """What they say, in one line."""
    if found is None:
        return []
    claim = "What it takes to serve people like those of this table"
    return [Verdict(claim, None, " ".join(found.sentences()), ("update",))]


def shift_values(prediction: Prediction) -> dict[str, Any]:
    """The flag of everyone as plain JSON values, by id."""
    if prediction.shift is None:
        return {}
    ids = prediction.ids or tuple(map(str, range(len(prediction.shift))))
    return {name: one.to_dict() for name, one in zip(ids, prediction.shift, strict=True)}
