"""The model card: what a bundle's model is for and not for, on what it was fitted, how well it did, and what is proved of it.

Everything in it follows from what the bundle holds, and nothing is typed: where nothing was measured the card says so.
"""

from collections.abc import Mapping, Sequence
from itertools import groupby
from typing import Any

from exchange.bundle.bundle import Bundle
from exchange.bundle.cards.called import called
from exchange.bundle.cards.performance import performance_of, recalibration_of
from exchange.bundle.cards.text import behind, items, plain, ranges, table
from exchange.bundle.contents import content_hash
from exchange.bundle.typical import by_member, reference_covariates, typical_theta
from exchange.bundle.units import units_of
from hybrid import HybridModel
from hybrid.schedules.dose import as_float
from physics.arguments import require_kind
from stability import Certificate, Claim, Refusal, RegionalRate

_SHOWN = 8  # of sentences about people, and of claims of one kind
_NUMBERS_BROKEN = (ValueError, TypeError, KeyError, AttributeError, ArithmeticError, IndexError)


def card(bundle: Bundle) -> str:
    """The bundle's model card in Markdown: use, data, performance with bands, and what its claims cover and do not.

    It is generated from what was measured (calibration, provenance, claims, people, units) and says where nothing was. A model
    without a certificate is NOT CERTIFIED in its first lines. `save` puts it into the file as `card.md`.
    Law: equal content gives equal text. Errors: `ValueError` for what `save` refuses.
    """
    require_kind(bundle, Bundle, "card: bundle", "card(load('model.twin'))")
    return card_of(bundle, content_hash(bundle))


def card_of(bundle: Bundle, content: str) -> str:
    """The card of a bundle whose content has this hash."""
    model = bundle.model
    parts = [
        f"# Model card: {', '.join(map(plain, model.observation.channels))} by {_known(model)}",
        _status(bundle),
        f"Content: SHA-256 `{content}`.\n"
        "This card is generated from what the file holds; where nothing was measured it says so. Numbers are of four digits, "
        "units are UCUM codes (a: year, 1: none).",
        "## The model",
        _model(bundle),
        "## Intended use",
        _use(bundle),
        "### What it is not for",
        items(_not_for(bundle)),
        "## Data",
        _data(bundle),
        f"## Performance on {called(bundle).many} {called(bundle).whom} the forecasting members had not seen",
        *performance_of(
            bundle.calibration,
            model.observation.channels,
            model.observation.units,
            model.backbone.time_unit,
            [p.id for p in bundle.people],
            called(bundle).many,
        ),
        "### Recalibration",
        recalibration_of(bundle.calibration, [p.id for p in bundle.people]),
        "## What is proved, and what is not",
        *_claims(bundle),
        "## Provenance",
        _provenance(bundle.provenance, model.backbone.time_unit),
    ]
    return "\n\n".join(parts) + "\n"


def _known(model: HybridModel) -> str:
    return plain(type(model.backbone).__name__ if model.mechanism is None else model.mechanism.name, 60)


def _status(bundle: Bundle) -> str:
    """Certified or not, first of all; and a training that did not arrive."""
    lines = []
    if any(isinstance(claim, Certificate) for claim in bundle.claims):
        lines.append(
            "**The file carries a certificate** (see below): a claim with its proof, which whoever receives the file can check."
        )
    else:
        refusal = next((claim for claim in bundle.claims if isinstance(claim, Refusal)), None)
        rates = any(isinstance(claim, RegionalRate) for claim in bundle.claims)
        why = " A rate on a region, which it carries, is no certificate." if rates else ""
        why += f" A certificate was asked for and refused: {plain(refusal.message, 400)}" if refusal is not None else ""
        lines.append(f"**NOT CERTIFIED.** No claim of contraction is made of this model.{why}")
    if bundle.provenance.get("interrupted"):
        lines.append(f"**Training was cut short** ({plain(bundle.provenance['interrupted'])}).")
    if bundle.provenance.get("not_converged"):
        why = plain(bundle.provenance["not_converged"], 400)
        lines.append(f"**NOT CONVERGED.** {why}")
    return "\n\n".join(lines)


def _model(bundle: Bundle) -> str:
    model = bundle.model
    backbone, observation = model.backbone, model.observation
    learned = "nothing" if model.residual.vanishes else plain(type(model.residual).__name__)
    known = ", ".join((_known(model), *(plain(type(term).__name__) for term in model.known)))
    count = sum(p.numel() for p in model.parameters()) // model.members
    states = zip(backbone.states, backbone.state_units, strict=True)
    channels = zip(observation.channels, observation.units, strict=True)
    inputs = zip(backbone.inputs, backbone.input_units, strict=True)
    rows = [
        ("known (physics)", known),
        ("learned beside it", f"{learned}; {model.members} members of {count} numbers each, in double precision"),
        ("states", _named(states)),
        ("measured", _named(channels)),
        ("inputs", _named(inputs)),
        ("covariates that it reads", _named((name, unit or "") for name, unit in model.uses.items())),
        ("time", f"in {plain(backbone.time_unit)}"),
        (
            "noise",
            plain(type(model.noise).__name__)
            + (f", driven by {plain(type(model.process).__name__)}" if model.process else ""),
        ),
    ]
    found = table(("what", "which"), rows)
    if backbone.physical:
        found += f"\n\nParameters of a {called(bundle).one}:\n\n" + _parameters(bundle)
    return found


def _parameters(bundle: Bundle) -> str:
    """The typical values as they were fitted, beside the references that the fit began with or is drawn to."""
    model = bundle.model
    try:
        theta = typical_theta(bundle, model)
        fitted = [by_member(theta[:, j]) for j in range(theta.shape[1])]
        known = reference_covariates(bundle, model)
        at = ", ".join(f"{plain(name)} {value:.4g}{behind(model.uses[name] or '')}" for name, value in known.items())
        note = f"Fitted: of the typical person, η = 0{f', {at}' if at else ''}, {_each(model.members)}"
    except _NUMBERS_BROKEN as error:
        fitted, note = ["not known"] * len(model.backbone.physical), f"The fitted values are not known ({plain(error, 200)})"
    rows = [
        (plain(p.name), plain(p.unit), own, f"{p.typical:.4g}", plain(p.source) or "–", f"{p.low:.4g} to {p.high:.4g}")
        for p, own in zip(model.backbone.physical, fitted, strict=True)
    ]
    head = ("parameter", "unit", "fitted typical value", "reference", "source of the reference", "never outside")
    unsourced = any(p.source == "given" for p in model.backbone.physical)
    given = '; "given": by whoever wrote it, who names no source' if unsourced else ""
    return table(head, rows) + f"\n\n{note}. Reference: what the model was written with, before it was fitted{given}."


def _each(members: int) -> str:
    return "of the one member" if members == 1 else f"of the {members} members in their order (one number where all agree)"


def _named(pairs: Any) -> str:
    return (
        ", ".join(f"{plain(name)}{f' [{plain(unit)}]' if unit not in ('', '1') else ''}" for name, unit in pairs)
        or "none"
    )


def _use(bundle: Bundle) -> str:
    model, people = bundle.model, bundle.people
    unit = model.backbone.time_unit
    what = _named(zip(model.observation.channels, model.observation.units, strict=True))
    words = called(bundle)
    if not people:
        return f"Forecasts of {what}. The file names no people, so of whom it may be used is not known: nothing was measured."
    begun = "the first dose, or the start where there is none" if words.dosed else "the start"
    ends = [p.until for p in people if p.until is not None]
    far = (
        f", up to {max(ends):.4g} {plain(unit)} since {begun}"
        if ends
        else "; how far they were measured is not recorded"
    )
    return (
        f"Forecasts of {what} of one {words.one} under {words.given} that {words.are} given{far}. It was fitted on {len(people)} "
        f"{words.one if len(people) == 1 else words.many}; it is meant for {words.many} within what was seen of these:\n\n"
        + table(
            (f"seen in the {words.many}", "unit", "least", "median", "largest", f"of how many {words.many}"), _seen(bundle)
        )
    )


def _seen(bundle: Bundle) -> list[tuple[str, ...]]:
    """Covariates, doses, inputs and baselines: in which ranges they were seen."""
    units, people = units_of(bundle.model), bundle.people
    rows = []
    for name in sorted(people[0].covariates):
        values = [p.covariates[name] for p in people]
        rows.append(ranges(name, units["covariates"].get(name) or "not stated", values, len(people)))
    doses = sorted(((d.state, d.bolus, as_float(d.amount), k) for k, p in enumerate(people) for d in p.schedule.doses))
    for (state, bolus), group in groupby(doses, key=lambda one: one[:2]):
        given = list(group)
        kind = "dose into" if bolus else "infusion into"
        who = len({k for *_, k in given})
        rows.append(ranges(f"{kind} {state}", units["states"].get(state, "not stated"), [one[2] for one in given], who))
    if called(bundle).dosed:
        counts = [float(len(p.schedule.doses)) for p in people]
        rows.append(ranges("doses of a person", "count", counts, len(people)))
    for name in bundle.model.backbone.inputs:
        values = [float(v) for p in people for v in p.schedule.inputs[name].values]
        rows.append(ranges(f"input {name}", units["inputs"].get(name, "not stated"), values, len(people)))
    return rows


def _not_for(bundle: Bundle) -> list[str]:
    model, people = bundle.model, bundle.people
    measured, words = ", ".join(map(plain, model.observation.channels)), called(bundle)
    found = [
        f"{words.outside} and times outside of the ranges above: nothing was measured there.",
        f"Quantities other than {measured}: states that no channel measures are means to an end, and were compared with nothing.",
        f"Decisions about {words.decided} on its word alone: the file holds no study of such decisions.",
    ]
    if not _measured(bundle.calibration):
        found.append(
            f"Any use that needs to know how good the forecasts are: the file holds no scores on {words.many} never seen."
        )
    if not any(isinstance(claim, Certificate) for claim in bundle.claims):
        found.append("Any use that relies on contraction (forgetting where a trajectory began): it is not certified.")
    if bundle.provenance.get("interrupted") or bundle.provenance.get("not_converged"):
        found.append("Any use before it is trained to its end: its training was cut short, or has not converged.")
    if bundle.personal.failed:
        names = ", ".join(plain(people[i].id, 60) for i in sorted(bundle.personal.failed)[:_SHOWN])
        found.append(f"These {words.many}, of whom no parameters were found: {names}.")
    return found


def _measured(calibration: Mapping[str, Any]) -> bool:
    return any(isinstance(calibration.get(name), Mapping) and calibration[name] for name in ("scores", "uncertainty"))


def _data(bundle: Bundle) -> str:
    about = bundle.provenance
    named, digest, credit = (about.get(name) for name in ("table", "table_sha256", "credit"))
    lines = [f"Table: {plain(named)}." if named else "Table: not recorded."]
    lines.append(f"SHA-256 of the table: `{plain(digest)}`." if digest else "SHA-256 of the table: not recorded.")
    count = about.get("people", len(bundle.people))
    lines.append(
        f"{called(bundle).many.capitalize()}: {plain(count)}; the file holds {len(bundle.people)}, each with schedule"
        f"{_levels(bundle)}, covariates and "
        f"fitted parameters{_measured_before(bundle)}."
    )
    units = about.get("units")
    if isinstance(units, Mapping) and units:
        lines.append(
            "Units in the table: " + ", ".join(f"{plain(k)} in {plain(v)}" for k, v in sorted(units.items())) + "."
        )
    if bundle.nonnegative:
        lines.append(f"Declared never to be below 0: {', '.join(map(plain, bundle.nonnegative))}.")
    if credit:
        lines.append(f"Source, as whoever trained it states it: {plain(credit, 900)}")
    return items(lines)


def _levels(bundle: Bundle) -> str:
    if not bundle.model.backbone.inputs:
        return " (doses)"
    return " (doses, levels of the inputs)" if called(bundle).dosed else " (levels of the inputs)"


def _measured_before(bundle: Bundle) -> str:
    """What of people's measurements is in the file: the baselines that some models start from."""
    if any(value == value for person in bundle.people for value in person.baseline):
        return ", and with what was measured beforehand of the channels; no other measurements"
    return ", and no measurements"


def _claims(bundle: Bundle) -> list[str]:
    states = tuple(zip(bundle.model.backbone.states, bundle.model.backbone.state_units, strict=True))
    parts = []
    for claim, after in _first_of_each(bundle.claims):
        if isinstance(claim, Refusal):
            parts.append(f"### Refused\n\n{_sentence(plain(claim.message, 800))}")
            continue
        time = str(bundle.units_made_in(claim).get("time", bundle.model.backbone.time_unit))
        try:
            said, details = claim.in_words(time), claim.details(time, states)
        except _NUMBERS_BROKEN:  # it was never proved, and may be anything
            said, details = (
                "something that cannot be put into words: its numbers are such that no proof can stand behind them",
                (),
            )
        more = f" ({after} more of this kind are in proof.json.)" if after else ""
        parts.append(f"### Claim: {plain(claim.kind)}\n\n{_sentence(plain(said, 900))}{more}")
        parts += [" ".join(plain(one, 900) for one in details)] if details else []
        parts.append("It does not cover:\n\n" + items([plain(one, 400) for one in claim.not_covered]))
    if not any(isinstance(claim, Claim) for claim in bundle.claims):
        parts.insert(0, "**Nothing is proved of this model: not certified.**")
    else:
        parts.append(_covered(bundle))
        parts.append(
            "A claim is nothing until it is checked: `homeostat check FILE` builds its system anew from the weights, and "
            "`python -m stability.proof proof.json`, which needs numpy alone, proves what the file holds."
        )
    parts.append(
        "No claim is about how near forecasts are to what will be measured, nor about arithmetic in lower precision than double."
    )
    return parts


def _first_of_each(claims: Sequence[Claim | Refusal]) -> list[tuple[Claim | Refusal, int]]:
    """The first claims of every kind, and behind the last of them how many more there are."""
    kinds: dict[str, list[Claim | Refusal]] = {}
    for claim in claims:
        kinds.setdefault(claim.kind, []).append(claim)
    return [(claim, max(0, len(same) - _SHOWN) if k == len(same[:_SHOWN]) - 1 else 0)
            for same in kinds.values() for k, claim in enumerate(same[:_SHOWN])]  # fmt: skip


def _covered(bundle: Bundle) -> str:
    """Whom of the bundle's own people the certificate, taken to be true, does not cover."""
    if not any(isinstance(claim, Certificate) for claim in bundle.claims):
        return (
            "Whom of the people in the file the claims cover was not asked: they carry no certificate of contraction."
        )
    try:
        beyond = bundle.outside()
    except _NUMBERS_BROKEN as error:
        return f"Whom of the people in the file the certificate covers cannot be said ({plain(error, 200)})."
    if not beyond:
        return f"The certificate covers what was given to all {len(bundle.people)} people in the file."
    more = f"\n- … and {len(beyond) - _SHOWN} more" if len(beyond) > _SHOWN else ""
    return (
        "Of the people in the file the certificate does not cover:\n\n"
        + items([plain(str(one), 400) for one in beyond[:_SHOWN]])
        + more
    )


def _sentence(words: str) -> str:
    return f"{words[:1].upper()}{words[1:]}{'' if words.endswith('.') else '.'}"


def _provenance(about: Mapping[str, Any], time_unit: str) -> str:
    left = {
        k: v
        for k, v in about.items()
        if k not in ("credit", "units", "table", "table_sha256", "interrupted", "not_converged")
    }
    if not left:
        return "Not recorded."
    rows = [
        (plain(k), plain(v, 200) + (behind(time_unit) if k == "settings.forecast_from" else ""))
        for k, v in sorted(left.items(), key=lambda one: str(one[0]))
    ]
    return table(("what", "value"), rows)
