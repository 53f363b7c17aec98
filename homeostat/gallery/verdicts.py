"""A fit and a comparison in plain language."""

from collections.abc import Sequence
from typing import Any

import torch

from homeostat.progress import Interruption
from homeostat.study.training import Arrival, Trained, why_not_converged
from homeostat.wording import behind
from hybrid import Prediction
from training import AtEnd, Start
from training.trust.verdicts import Verdict

# `hybrid_recipe` reads these off all records: that nobody unseen has a say would be untrue
WHAT_EVERYONE_SAID = "Where the fit starts and in which scales it works was read off everyone's data."


def interrupted_verdicts(cut_short: str, left_out: Sequence[str] = (), unfinished: str = "") -> list[Verdict]:
    """That training was cut short, as `progress.cut_short` says it; none where it was not.

    `left_out`: the models that were not trained to their end for that · `unfinished`: what else has not arrived for that, in
    sentences. One cause is one line.
    """
    if not cut_short:
        return []
    detail = (
        "What was kept is each member at its best look until then (before the first look: after its last step), in the "
        "cross-validation too: the scores, the certificate and the pictures are of that."
    )
    if left_out:
        detail += f" Not trained to the end, and so left out: {', '.join(left_out)}."
    if unfinished:
        detail += f" {unfinished}"
    return [Verdict(f"Training was cut short ({cut_short})", False, detail, ("interrupted",))]


def fit_verdicts(
    start: Start | None, convergence: Arrival, ends: Sequence[AtEnd], interrupted: Interruption | None = None
) -> list[Verdict]:
    """Where a fit started, whether it has arrived, and what it left at an end.

    Good is a fit of which every member has arrived; where more than half have, and not all, it is neither good nor bad, of a
    model and of what it is compared with alike. Of one that was `interrupted` nothing is said of arriving:
    `interrupted_verdicts` says it, and why.
    """
    found: list[Verdict] = []
    if start is not None and start.values:
        found.append(Verdict("Where the fit started", None, start.sentence, ("start",)))
    why = why_not_converged(convergence, interrupted)
    if why and interrupted is None:
        found.append(Verdict("The fit has not converged", False, why, ("convergence",)))
    elif not why:
        claim = "The fit has converged" if len(convergence.names) else "The search for everyone's own parameters has converged"
        whole = bool(convergence.arrived.all())
        claim = claim if whole else f"{claim} {convergence.where}, not in all"
        found.append(Verdict(claim, True if whole else None, convergence.as_found(), ("convergence",)))
    return found + ends_verdicts(ends)


def fit_summary(trained: Trained) -> dict[str, Any]:
    """Where the fit started, whether it has arrived, and what it left at an end of its range, as plain JSON values."""
    start, arrival = trained.recipe.start, trained.convergence.to_dict()
    if trained.interrupted is not None:
        arrival |= {"converged": False, "sentences": [f"Training was {trained.interrupted}.", *arrival["sentences"]]}
    return {
        "start": None if start is None else start.to_dict(),
        "convergence": arrival,
        "ends": [e.to_dict() for e in trained.ends],
    }


def ends_verdicts(ends: Sequence[AtEnd]) -> list[Verdict]:
    """One verdict for all that lies at an end of its range, none where nothing does."""
    if not ends:
        return []
    return [Verdict("Parameters lie at an end of their range", False, " ".join(e.sentence() for e in ends), ("ends",))]


def comparison_verdict(
    name: str, difference: tuple[float, float, float], unit: str, *, unfinished: str, where: str = ""
) -> Verdict:
    """The hybrid against one baseline, by CRPS paired over people.

    `unfinished`: why the baseline's own training counts as not converged, "" where it has. To be better than that is no news.
    `where`: in which of its members it has (`Convergence.where`).
    """
    mean, low, high = difference
    good = True if high < 0 else False if low > 0 else None
    claim = {
        True: f"On people never seen the hybrid forecasts better than the {name}",
        False: f"On people never seen the hybrid forecasts worse than the {name}",
        None: f"On people never seen the hybrid and the {name} cannot be told apart",
    }[good]
    arrived = f"The training of the {name} has converged{f' {where}' if where else ''}."
    if unfinished:
        claim, good = f"{claim}; the training of the {name} has not converged", None if good else good
        arrived = f"Of the {name}: {unfinished}"
    interval = f"95 % interval over people {low:+.3f} to {high:+.3f}{behind(unit)}"
    detail = f"CRPS difference {mean:+.3f}{behind(unit)}, {interval}; negative favours the hybrid. {arrived}"
    return Verdict(claim, good, detail, ("comparison", name))


def saved_verdict(difference: float, unit: str) -> Verdict:
    """Whether a model read from its file predicts what the trained one does, to the last bit. `difference`, the largest."""
    same = difference == 0.0
    claim = f"The saved model {'predicts what' if same else 'does not predict quite what'} the trained one does"
    return Verdict(claim, same, f"Largest difference {difference:g}{behind(unit)}.", ("saved",))


def saved_words(difference: float, unit: str) -> str:
    """The same for the shell, to stand behind what was saved."""
    if difference == 0.0:
        return "loaded again, predictions are identical to the last bit"
    return f"loaded again, predictions are NOT identical (largest difference {difference:.3g}{behind(unit)})"


def largest_difference(a: Sequence[Prediction], b: Sequence[Prediction]) -> float:
    """How far two sets of predictions are apart, in the channel's unit: 0 exactly when they agree to the last bit."""
    gaps = [(x.mean - y.mean).abs().max() for x, y in zip(a, b, strict=True)]
    gaps += [(x.variance - y.variance).abs().max() for x, y in zip(a, b, strict=True)]
    return float(torch.stack(gaps).max())
