"""Lag, bioavailability, durations, rates and first amounts beside the parameters of a backbone."""

import json

import pytest
import torch

from hybrid import Concentration, HybridModel
from learned import AdditiveProportional
from physics import (
    BACKBONES,
    Administered,
    Backbone,
    LinearisedBackbone,
    LogNormalPopulation,
    MichaelisMenten,
    OneCompartmentOral,
    Parameter,
    check_backbone,
)
from physics.administered import OURS, Delivery, delivery_of, linearised_of

LAG = Parameter("Tlag", "h", 0.5, 0.01, 4.0)
F = Parameter("F", "1", 0.8, 0.05, 1.5)
FIRST = Parameter("A0", "mg", 20.0, 1.0, 300.0)


def all_of(backbone: Backbone) -> Administered:
    duration, rate = Parameter("D1", "h", 2.0, 0.1, 24.0), Parameter("R1", "mg/h", 50.0, 1.0, 1e4)
    return Administered(
        backbone,
        lag={"gut": LAG},
        fraction={"gut": F},
        duration={"gut": duration},
        rate={"plasma": rate},
        initial={"plasma": FIRST},
    )


def test_it_is_the_backbone_within_with_more_parameters() -> None:
    inner = OneCompartmentOral(parameters="clearance")
    whole = all_of(inner)
    check_backbone(whole)
    assert [p.name for p in whole.physical] == ["ka", "CL", "V", "Tlag", "F", "D1", "R1", "A0"]
    assert delivery_of(whole) == Delivery(lag=((0, 3),), fraction=((0, 4),), duration=((0, 5),), rate=((1, 6),))
    assert not delivery_of(inner)
    assert linearised_of(whole) is None
    theta = torch.tensor([p.typical for p in whole.physical], dtype=torch.float64)
    assert torch.equal(whole.matrices(theta)[0], inner.matrices(theta[:3])[0])
    low, high = (torch.tensor([getattr(p, end) for p in whole.physical], dtype=torch.float64) for end in ("low", "high"))
    assert torch.equal(whole.hull(low, high), inner.hull(low[:3], high[:3]))
    again = type(whole)(**json.loads(json.dumps(whole.config() | {"backbone": None})) | {"backbone": inner})
    assert again.config() == whole.config()
    assert [p.name for p in whole.around(OneCompartmentOral()).physical][:3] == ["ka", "ke", "V"]


def test_a_configuration_may_name_every_backbone_of_ours() -> None:
    assert {*BACKBONES, LinearisedBackbone} == set(OURS)


def test_where_a_person_starts() -> None:
    inner = OneCompartmentOral()
    measured = torch.tensor([[2.0]], dtype=torch.float64)
    theta = torch.tensor([[1.5, 0.1, 30.0]], dtype=torch.float64)
    assert Administered(inner).initial(theta, measured).tolist() == [[0.0, 60.0]]
    assert Administered(inner, start="empty").initial(theta, measured).tolist() == [[0.0, 0.0]]
    own = torch.cat([theta, torch.tensor([[20.0]], dtype=torch.float64)], 1)
    assert Administered(inner, initial={"gut": FIRST}).initial(own, measured).tolist() == [[20.0, 60.0]]
    assert Administered(inner, initial={"plasma": FIRST}, start="empty").initial(own, measured).tolist() == [[0.0, 20.0]]


@pytest.mark.parametrize(("backbone", "scored"), [("as it is", True), ("empty", False), ("own", False)])
def test_what_does_not_set_the_start_is_scored(backbone: str, scored: bool) -> None:
    made = {
        "as it is": Administered(OneCompartmentOral()),
        "empty": Administered(OneCompartmentOral(), start="empty"),
        "own": Administered(OneCompartmentOral(), initial={"plasma": FIRST}),
    }[backbone]
    model = HybridModel(
        made,
        LogNormalPopulation(made, dict.fromkeys([p.name for p in made.physical], 0.3)),
        observation=Concentration("plasma", "V"),
        noise=AdditiveProportional([0.1], [0.1], [0.01]),
    )
    assert model.starts_from == (scored,)


def test_a_mechanism_stays_one() -> None:
    """Its tape takes the new parameters and reads none, so that what is proved of it holds for all of their values."""
    whole = Administered(MichaelisMenten(), initial={"plasma": FIRST})
    inner = LinearisedBackbone(MichaelisMenten())
    found = linearised_of(whole)
    assert found is not None
    assert found.mechanism.tape.parameters[-1] == "A0"
    theta = torch.tensor([[p.typical for p in whole.physical]], dtype=torch.float64)
    x, u = torch.tensor([[50.0] * len(whole.states)], dtype=torch.float64), theta.new_zeros(1, len(whole.inputs))
    q = len(inner.physical)
    assert torch.equal(found.mechanism.tape.at(theta).rate(x, u), inner.mechanism.tape.at(theta[:, :q]).rate(x, u))
    nothing = torch.full((1, 1), torch.nan, dtype=torch.float64)
    assert whole.initial(theta, nothing)[0, whole.states.index("plasma")] == FIRST.typical


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        ({"lag": {"stomach": LAG}}, "the states are gut, plasma"),
        ({"lag": {"gut": Parameter("Tlag", "min", 30.0, 1.0, 200.0)}}, "with the numbers times 0.0166667"),
        ({"lag": {"gut": F}}, "h is needed"),
        ({"lag": {"gut": Parameter("ka", "h", 0.5, 0.01, 4.0)}}, "two parameters 'ka'"),
        ({"lag": {"gut": LAG}, "fraction": {"gut": Parameter("Tlag", "1", 0.5, 0.01, 1.0)}}, "two parameters 'Tlag'"),
        ({"lag": LAG}, "lag"),
        ({"lag": {"gut": 0.5}}, "Parameter"),
        ({"start": "nothing"}, "empty"),
        (
            {"duration": {"gut": Parameter("D1", "h", 2.0, 0.1, 24.0)}, "rate": {"gut": Parameter("R1", "mg/h", 2.0, 0.1, 24.0)}},
            "gut has a duration and a rate",
        ),
    ],
)
def test_what_cannot_be_is_said(arguments: dict[str, object], said: str) -> None:
    with pytest.raises(ValueError, match=said):
        Administered(OneCompartmentOral(), **arguments)  # type: ignore[arg-type]
    with pytest.raises(ValueError, match="already"):
        Administered(Administered(OneCompartmentOral()))
