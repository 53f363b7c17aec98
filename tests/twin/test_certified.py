"""What is said of a person beside what is proved: of parameters that stay, of the bundle's own people, of a region."""

from dataclasses import replace
from datetime import timedelta

import pytest

from exchange import Bundle
from learned import DiagonalDiffusion
from stability import Box, Certificate, Inputs, Refusal, certify
from tests.builders import oral_of, pair_of
from tests.twin.builders import NOW, bundle_of, dosed, driven, measured
from twin import Event, Twin


def pair() -> Bundle:
    """Two compartments with an input and a small residual, of Ada and Bob; everyone has the same parameters."""
    model = pair_of(process=DiagonalDiffusion({"plasma": 0.2}))
    return bundle_of(model, ["Ada", "Bob"])


@pytest.fixture(scope="module")
def regional() -> Bundle:
    """Certified in a box, with doses of 2 mg into the gut, or 1 mg into plasma, 12 h apart, and up to 3 mmol/L."""
    bundle = pair()
    inputs = Inputs([0.0], [3.0], [[2.0, 0.0], [0.0, 1.0]], 12.0)
    found = certify(bundle.system(), None, Box([-40.0, -40.0], [40.0, 40.0]), inputs, seconds=20.0)
    assert isinstance(found, Certificate), found.message
    return replace(bundle, claims=(found,))


@pytest.fixture(scope="module")
def everywhere() -> Bundle:
    bundle = pair()
    found = certify(bundle.system(), seconds=20.0)
    assert isinstance(found, Certificate), found.message
    return replace(bundle, claims=(found,))


def begun(patient: str, *more: Event, level: float = 1.0) -> list[Event]:
    first = driven(patient, 0, level, "u", name="glucose", unit="mmol/L")
    return [first, measured(patient, 1.0, 0.4, "m", channel="plasma", unit="mg"), *more]


def said(bundle: Bundle, events: list[Event], patient: str = "Ada", **settings: object) -> str:
    twin = Twin(bundle, **settings)  # type: ignore[arg-type]
    assert {c.verdict for c in twin.arrive(events, now=NOW)} == {"new"}
    return twin.estimate(patient).certified


def test_where_parameters_stay_the_claim_of_all_states_covers_the_person(everywhere: Bundle) -> None:
    sentence = said(everywhere, begun("Ada", dosed("Ada", 2, 500.0, "d")))
    assert sentence.startswith("The certificate covers the system of 'Ada', whose parameters do not move: two trajectories")
    assert "without process noise" in sentence
    assert said(everywhere, begun("Zoe"), "Zoe") == (
        "The certificate does not cover 'Zoe', who is none of the people whose systems were certified."
    )


def test_a_region_covers_those_who_are_told_to_stay_in_it(regional: Bundle) -> None:
    assert "in its region, where their start, doses and inputs, as they were told, lie so far" in said(
        regional, begun("Ada", dosed("Ada", 2, 2.0, "d"), dosed("Ada", 14, 1.5, "e"))
    )
    for events, words in (
        (begun("Ada", dosed("Ada", 2, 100.0, "d")), "a dose of 100 mg gut at 2 h"),
        (begun("Ada", dosed("Ada", 2, 1.0, "d"), dosed("Ada", 9, 1.0, "e")), "7 h apart"),
        (begun("Ada", dosed("Ada", 2, 1.0, "d", lasts=0.5)), "as an infusion from 2 h on"),
        (begun("Ada", level=3.5), "the input glucose goes from 3.5 to 3.5 mmol/L"),
    ):
        sentence = said(regional, events)
        assert "in its region alone, which does not hold them" in sentence
        assert words in sentence


def test_what_is_not_known_of_a_region_is_said(regional: Bundle) -> None:
    early = measured("Ada", -1.0, 0.4, "early", channel="plasma", unit="mg")  # before the input was told
    sentence = said(regional, [early, *begun("Ada")])
    assert sentence.endswith("is not known, as the filter did not start with the first that was told of them.")
    later = [measured("Ada", h, 0.4, f"m{h}", channel="plasma", unit="mg") for h in (3.0, 6.0, 12.0)]
    folded = said(regional, begun("Ada", dosed("Ada", 2, 2.0, "d"), *later), horizon=timedelta(hours=2))
    assert "whether they stay there is not known, as what was before" in folded
    assert folded.endswith("is folded.")


def test_a_person_of_their_own_coordinates_moves_and_that_is_said() -> None:
    plain = bundle_of(oral_of(process=DiagonalDiffusion({"plasma": 6.0})), ["A"])
    found = certify(plain.system(), seconds=20.0)
    assert isinstance(found, Certificate), found.message
    events = [dosed("A", 0, 300.0, "d"), measured("A", 1, 3.0, "m")]
    sentence = said(replace(plain, claims=(found,)), events, "A")
    assert "with the parameters of the fit alone and not what is believed here" in sentence
    assert "a filter moves η with every measurement" in sentence


def test_without_a_certificate_the_reason_is_said(everywhere: Bundle) -> None:
    assert said(replace(everywhere, claims=()), begun("Ada")) == "The bundle has no certificate."
    doses = Inputs([0.0], [3.0], [[500.0, 0.0], [0.0, 500.0]], 12.0)  # which lead out of the box at once
    refused = certify(everywhere.system(), None, Box([-1.0, -1.0], [1.0, 1.0]), doses, seconds=5.0)
    assert isinstance(refused, Refusal)
    found = said(replace(everywhere, claims=(refused,)), begun("Ada"))
    assert found == f"The bundle has no certificate: {refused.message}"
