"""What a bundle's certificate says of somebody who is followed: no more than is proved."""

from exchange import Bundle
from physics.arguments import quote
from stability import Certificate, Refusal

_MOVES = (
    "it speaks of parameters that stay, and a filter moves η with every measurement: what is proved is that two trajectories "
    "with one and the same of these θ approach each other, not that this belief approaches anything"
)


def certified(bundle: Bundle, patient: str) -> str:
    """What the certificate, taken to be true, covers of this person, in a sentence; `bundle.prove()` proves it.

    A certificate is about the systems of the bundle's own people, with the parameters that they were fitted with. It covers
    no other person, no other parameters, and no parameters that move.
    """
    found = bundle.certificate
    if found is None:
        return "The bundle has no certificate."
    if isinstance(found, Refusal):
        return f"The bundle has no certificate: {found.message}"
    assert isinstance(found, Certificate)
    if patient not in {person.id for person in bundle.people}:
        return f"The certificate does not cover {quote(patient, 60)}, who is none of the people whose systems were certified."
    if bundle.model.personal == 0:
        region = "" if isinstance(found.region, str) else " in its region, for the doses and inputs that it names"
        return f"The certificate covers the system of {quote(patient, 60)}{region}: their parameters do not move."
    return f"The certificate covers {quote(patient, 60)} with the parameters of the fit alone: {_MOVES}."
