"""What a bundle's certificate says of somebody who is followed: no more than is proved."""

import math
from collections.abc import Sequence
from dataclasses import replace

import torch

from exchange import Bundle, Person
from exchange.bundle.coverage import outside, outside_units
from exchange.bundle.units import units_of
from hybrid import Dose, Schedule, Signal
from physics.arguments import quote
from stability import Certificate, Refusal
from twin.joining import Joints
from twin.log.canonical import Timed
from twin.people import Known

_SAME = "two trajectories of one and the same θ that are given the same, without process noise, approach each other"
_MOVES = f"what is proved is that {_SAME}, and a filter moves η with every measurement"


def reads_what_was_done(bundle: Bundle) -> bool:
    """Does the sentence about a person depend on their start, doses and inputs: is the certificate one of a region?"""
    found = bundle.certificate
    return isinstance(found, Certificate) and not isinstance(found.region, str) and bundle.model.personal == 0


def certified(
    bundle: Bundle, patient: str, known: Known, course: str | Sequence[Timed] = (), joints: Joints | None = None
) -> str:
    """What the certificate, taken to be true, covers of this person, in a sentence; `bundle.prove()` proves it.

    A certificate is about the systems of the bundle's own people, with the parameters that they were fitted with. It covers no
    other person, no other parameters, and no parameters that move; and one about a region covers only those who start, are
    dosed and are driven as it says, which is looked up in `course`: their events so far in canonical order, or, in a
    subordinate clause, why these are not known to be all.
    """
    found, name = bundle.certificate, quote(patient, 60)
    if found is None:
        return "The bundle has no certificate."
    if isinstance(found, Refusal):
        return f"The bundle has no certificate: {found.message}"
    own = next((person for person in bundle.people if person.id == patient), None)
    if own is None:
        return f"The certificate does not cover {name}, who is none of the people whose systems were certified."
    other = outside_units(bundle.units_made_in(found), units_of(bundle.model))
    if other:
        return f"The certificate does not cover {name}: {other[0]}."
    if any(own.covariates.get(what) != value for what, value in known.covariates.items()):
        return f"The certificate does not cover {name}, who is followed with other covariates than those of the certified system."
    if bundle.model.personal:
        where = "" if isinstance(found.region, str) else ", in its region,"
        return (
            f"The certificate covers {name} with the parameters of the fit alone{where} and not what is believed here: {_MOVES}."
        )
    covers = f"The certificate covers the system of {name}"
    if isinstance(found.region, str):
        return f"{covers}, whose parameters do not move: {_SAME}."
    if isinstance(course, str) or joints is None:
        return f"{covers} in its region alone, and whether they stay there is not known, {course}."
    if not course:
        return f"{covers} in its region alone, and nothing of them is known yet."
    person, k = _as_followed(own, course, known, joints), bundle.person(patient)
    alone = replace(bundle, people=(person,), personal=bundle.personal.people(torch.tensor([k])), claims=(), calibration={})
    lies = outside(found, bundle.model, alone.subjects())
    if lies:
        return f"{covers} in its region alone, which does not hold them: {lies[0].sentence}."
    return f"{covers} in its region, where their start, doses and inputs, as they were told, lie so far: {_SAME}."


def _as_followed(own: Person, course: Sequence[Timed], known: Known, joints: Joints) -> Person:
    """The person under what was told of them: doses, inputs and the first measurements, from the first event on."""
    begin = course[0].time
    states, baseline = tuple(joints.states), [math.nan] * len(joints.channels)
    doses, inputs = list[Dose](), {
        name: {0.0: level} for name, level in zip(joints.inputs, known.inputs, strict=True) if not math.isnan(level)
    }
    for one in course:
        event, time = one.event, joints.clock.length(one.time - begin)
        place, value = joints.value(event)
        if event.kind == "dose":
            doses.append(Dose(states[place], time, value, joints.clock.length(event.duration)))
        elif event.kind == "input":
            inputs.setdefault(event.name, {})[time] = value
        elif one.time == begin and math.isnan(baseline[place]):
            baseline[place] = value
    held = {name: Signal(tuple(levels), tuple(levels.values()), "held") for name, levels in inputs.items()}
    return replace(own, schedule=Schedule(tuple(doses), held), baseline=tuple(baseline), until=None)
