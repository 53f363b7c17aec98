"""A forecast's people held beside those of the training, at forecast time and without outcomes."""

from dataclasses import replace

import numpy as np

from hybrid import HybridModel, Prediction, Shift, Solver
from physics.arguments import require_kind, require_same_people
from training.people import Cohort, Personal
from training.people.arguments import require_alike, require_fit
from training.people.cohort import in_float64
from training.shift.given import Given
from training.shift.measured import Measured
from training.shift.reference import Reference
from training.shift.seen import coordinates, disagreement, distances

UNKNOWN = "nothing says what the training looked like"


def compared(
    prediction: Prediction,
    reference: Reference | None,
    model: HybridModel,
    known: Cohort,
    asked: Cohort | None = None,
    *,
    personal: Personal | None = None,
    solver: Solver | None = None,
) -> Prediction:
    """The prediction with its `shift`: for each person whether they look like those of the training, and why not.

    Arguments: `reference`, what the training looked like, None where nothing says it (then the flag is neither yes nor no);
    `known`, what was measured of these people so far, and `asked`, the times that are forecast (by default the same), as
    `forecast` takes them; `personal`, what it found of them, None: their measurements are not compared.
    Errors: `ValueError` for other people than the prediction's.
    Law: nothing else of the prediction changes, and no value of `asked` is looked at.
    """
    require_kind(prediction, Prediction, "compared: prediction", "forecast(model, known, asked, generator=generator)[0]")
    require_kind(reference, (Reference, type(None)), "compared: reference", "Reference.of(model, cohort, personal)")
    require_fit(model, known, "compared", solver)
    asked = known if asked is None else asked
    require_fit(model, asked, "compared", solver)
    require_alike(known, asked, "compared")
    require_kind(personal, (Personal, type(None)), "compared: personal", "personalise(model, known)")
    write = "give those that forecast was given"
    require_same_people(prediction.ids, known.ids, "compared: prediction and known", write)
    if personal is not None:
        require_same_people(personal.ids, known.ids, "compared: personal and known", write)
    if len(known.ids) != prediction.mean.shape[2]:
        forecast = prediction.mean.shape[2]
        raise ValueError(f"compared: the prediction is of {forecast} people and known of {len(known.ids)}; {write}")
    if reference is None:
        return replace(prediction, shift=tuple(Shift(unknown=UNKNOWN) for _ in known.ids))
    model, known = in_float64(model, known)
    _, asked = in_float64(model, asked)
    spread = disagreement(model, asked.conditions, asked.real, solver)
    measured = Measured(disagreement=None if spread is None else spread.numpy())
    if known.censoring == "m1":  # which has taken the limits of the cohort away: the records still say of how many
        measured = replace(measured, uncounted=np.array([int(r.censored.sum()) for r in known.records]))
    if personal is not None:
        own, freedom, rest, left = (v.numpy() for v in distances(model, known, personal, solver))
        mode = personal.mode.mean(0).cpu().double().numpy()
        limited = known.censored.sum((-1, -2)).cpu().numpy()
        measured = replace(measured, own=own, freedom=freedom, rest=rest, left=left, mode=mode, limited=limited)
    return replace(prediction, shift=reference.judge(Given.of(known, asked), measured, coordinates(model)))
