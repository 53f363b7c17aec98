"""People of a table beside those of a bundle: its reach, its recalibration, its certificate."""

from collections.abc import Mapping, Sequence
from dataclasses import replace

import torch

from exchange import Bundle, lure_of
from exchange.bundle import calibration
from exchange.bundle.coverage import outside, subjects_of
from homeostat import gallery
from homeostat.bundles.reach import Beyond, Reach
from homeostat.bundles.said import bundle_verdict
from physics.arguments import shortened
from stability import Certificate, Refusal, certify
from stability.region import claimed
from training import Cohort
from training.trust.recalibration.scaling import Scaling
from training.trust.verdicts import Verdict

MOST_ALONE = 100  # people who are asked one by one whether the certificate's metric serves them


def beyond_in(
    bundle: Bundle,
    cohort: Cohort,
    mode: torch.Tensor,  # (M, N, d)
) -> dict[str, Beyond]:
    """Whose own schedule and state leave what the bundle was trained on, and how, by id."""
    if not bundle.people:
        return {}
    given = cohort.conditions
    found = Reach.of(bundle, max(float(r.times[-1]) for r in cohort.records)).beyond(
        bundle,
        [r.schedule for r in cohort.records],
        [float(r.times[-1]) for r in cohort.records],
        mode,
        covariates={name: value.tolist() for name, value in given.covariates.items()},
        baseline=given.baseline,
        given=given,
    )
    return {name: one for name, one in zip(cohort.ids, found, strict=True) if one}


def scaling_in(bundle: Bundle, people: Sequence[str], y: torch.Tensor) -> tuple[Scaling | None, str]:
    """The bundle's own recalibration for people and observations that it was not fitted on; else None, and why if it has one."""
    scaling = calibration.scaling_in(bundle.calibration)
    if scaling is None:
        return None, ""
    again = sorted(set(scaling.people) & set(people))
    if again:
        some = ", ".join(shortened(name, 40) for name in again[:5]) + (" …" if len(again) > 5 else "")
        return None, f"It was fitted on people of the same ids ({some})."
    try:
        scaling.refuse(people, y.cpu().numpy())
    except ValueError:
        return None, "It was fitted on these very observations, under other ids."
    return scaling, ""


def certificate_verdicts(
    bundle: Bundle,
    mode: torch.Tensor,  # (M, N, d)
    cohort: Cohort,
) -> list[Verdict]:
    """What the bundle's claims say, once they are proved again: of the bundle's own people, and the certificate of these ones."""
    found = [bundle_verdict(claim, None, bundle) for claim in bundle.claims if isinstance(claim, Refusal)]
    proved = []
    for claim, proof in bundle.prove():
        if proof.proved:
            proved.append(claim)
            found.append(bundle_verdict(claim, None, bundle))
        else:
            said = f"The bundle holds a {gallery.named(claim.kind)} that is not proved for its own weights and people"
            found.append(Verdict(said, False, f"{proof.reason}.", ("certificate",)))
    if proved:
        found += gallery.outside_verdicts(bundle.outside(), len(bundle.people))
    for claim in proved:
        if isinstance(claim, Certificate):  # its metric is what can serve others too
            found += _these_people_too(bundle, claim, mode, cohort)
    return found


def _these_people_too(
    bundle: Bundle,
    certificate: Certificate,
    mode: torch.Tensor,  # (M, N, d)
    cohort: Cohort,
) -> list[Verdict]:
    """The bundle's certificate is about the people whom it was fitted on: does its metric serve these ones too?

    Where a covariate or the occasion changes on the way a person has a θ for each stretch, and each must be served. One metric
    that serves them all proves the rate across their changes too: the distance in it falls in every stretch, and no change moves
    it. A certificate of a region is about trajectories under one θ, and is not taken over to a θ that changes.
    """
    region, inputs = (None, None) if isinstance(certificate.region, str) else claimed(certificate.region)
    if inputs is not None and isinstance(certificate.region, Mapping) and not certificate.region["stays"]["doses"]:
        inputs = replace(inputs, doses=None, gap=None)  # they were asked for, and are not what it covers
    unit, given = bundle.model.backbone.time_unit, cohort.conditions
    changing = [] if given.changes is None else [name for name in given.changes.values if name in bundle.model.uses]
    if changing and region is not None:
        what = ", ".join(changing)
        who = f"{what} changes on the way of these people and θ with it, and the certificate's region is of θ that does not move."
        claim = "The certificate does not extend to the people of this table"
        return [Verdict(claim, False, who, ("certificate", "these people"))]
    system = lure_of(bundle.model, *given.by_piece(mode))
    found = certify(system, None, region, inputs, 20.0, metric=certificate.metric)
    if isinstance(found, Certificate):
        also = f", each of those that they have as {', '.join(changing)} changes" if changing else ""
        detail = f"Proved, with the parameters that were found for them{also}: {found.in_words(unit)}."
        schedules, begun = [r.schedule for r in cohort.records], given.segments.u0[:, 0]
        subjects = subjects_of(bundle.model, cohort.ids, schedules, mode, given.begun, given.baseline, begun)
        new = gallery.outside_verdicts(outside(found, bundle.model, subjects), len(cohort.ids))
        new = [replace(one, claim=f"{one.claim} in this table", about=("certificate", "these people")) for one in new]
        good = Verdict("The same metric serves the people of this table", True, detail, ("certificate", "these people"))
        return [good, *new]
    claim = "The certificate does not extend to everyone in this table"
    outsiders = []
    for i, name in enumerate(cohort.ids[:MOST_ALONE]):
        one = cohort.people(torch.tensor([i], device=mode.device))
        alone = lure_of(bundle.model, *one.conditions.by_piece(mode[:, [i]]))
        if not isinstance(certify(alone, None, region, inputs, 20.0, metric=certificate.metric), Certificate):
            outsiders.append(shortened(name, 40))
    some = f"{', '.join(outsiders[:10])}{' …' if len(outsiders) > 10 else ''}"
    who = f"Not to {some}: {found.message}" if outsiders else found.message
    return [Verdict(claim, False, who, ("certificate", "these people"))]
