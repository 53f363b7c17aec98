"""The boxes of one oral compartment: arguments, wide by default, with the faster rate kept the faster one for everyone."""

import json
import math

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor

from exchange.bundle.structures import describe, rebuild
from hybrid import Concentration, HybridModel
from learned import AdditiveProportional
from physics import LogNormalPopulation, OneCompartmentOral, Parameter
from tests.physics.test_hull import in_hull

F64 = torch.float64
BACKBONES = {
    "rates": OneCompartmentOral(),
    "clearance": OneCompartmentOral(parameters="clearance"),
    "depot": OneCompartmentOral(ka=(0.0005, 5.0), ke=(0.05, 20.0), faster="ke"),
    "depot, clearance": OneCompartmentOral(ka=(0.0005, 5.0), parameters="clearance", faster="ke"),
    "boxes that end together": OneCompartmentOral(ka=(0.01, 9.0), ke=(0.01, 9.0)),
}


@pytest.fixture(params=BACKBONES.values(), ids=BACKBONES.keys())
def backbone(request: pytest.FixtureRequest) -> OneCompartmentOral:
    return request.param


def people(backbone: OneCompartmentOral, eta: Tensor, shift: tuple[float, ...] = (0.0, 0.0, 0.0)) -> Tensor:
    population = LogNormalPopulation(backbone.physical, (0.6, 0.3, 0.2)).to(eta.dtype)
    with torch.no_grad():
        population.shift += torch.tensor([shift], dtype=eta.dtype)
        return population.theta(eta, {})


def test_the_default_boxes() -> None:
    boxes = {p.name: (p.low, p.high) for p in OneCompartmentOral().physical}
    assert boxes == {"ka": (0.05, 20.0), "ke": (0.0005, 5.0), "V": (0.5, 2000.0)}
    assert [p.typical for p in OneCompartmentOral().physical] == [1.5, 0.086, 31.5]
    assert [(p.name, p.unit) for p in OneCompartmentOral(parameters="clearance").physical] == [
        ("ka", "/h"),
        ("CL", "L/h"),
        ("V", "L"),
    ]


def test_the_configuration_is_the_backbone(backbone: OneCompartmentOral) -> None:
    again = OneCompartmentOral(**json.loads(json.dumps(backbone.config())))
    assert again.physical == backbone.physical
    assert (again.by_clearance, again.faster) == (backbone.by_clearance, backbone.faster)
    chosen = OneCompartmentOral(V=(1, 10), typical={"V": 3, "ka": 2.0})
    assert OneCompartmentOral(**json.loads(json.dumps(chosen.config()))).physical == chosen.physical
    assert {p.name: p.typical for p in chosen.physical} == {"ka": 2.0, "ke": 0.086, "V": 3.0}
    # a box that the usual typical value is not in starts in its middle
    assert OneCompartmentOral(ke=(0.001, 0.004)).physical[1].typical == pytest.approx(0.002, rel=1e-15)


def test_clearance_is_the_same_model_in_other_coordinates() -> None:
    theta = torch.tensor([[1.2, 0.07, 40.0], [0.4, 0.3, 9.0]], dtype=F64)
    other = torch.stack([theta[:, 0], theta[:, 1] * theta[:, 2], theta[:, 2]], -1)
    for rates, clearance in zip(OneCompartmentOral().matrices(theta), BACKBONES["clearance"].matrices(other), strict=True):
        torch.testing.assert_close(clearance, rates, rtol=1e-15, atol=0.0)
    baseline = torch.tensor([[2.0], [0.5]], dtype=F64)
    assert torch.equal(BACKBONES["clearance"].initial(other, baseline), OneCompartmentOral().initial(theta, baseline))


# far out, where boxes and order meet, and in the middle
numbers = st.one_of(st.floats(-4.0, 4.0), st.sampled_from([-1e300, -60.0, -20.0, 20.0, 60.0, 1e300]))


@settings(deadline=None, max_examples=150, derandomize=True)
@given(eta=st.tuples(numbers, numbers, numbers), shift=st.tuples(*[st.floats(-6.0, 6.0)] * 3))
@pytest.mark.parametrize("name", BACKBONES)
def test_the_faster_rate_is_the_faster_one_for_everyone(
    name: str, eta: tuple[float, ...], shift: tuple[float, ...]
) -> None:
    backbone = BACKBONES[name]
    for dtype, rounding in ((F64, 1e-15), (torch.float32, 1e-6)):
        theta = people(backbone, torch.tensor(eta).clamp(-1e30, 1e30).to(dtype).reshape(1, 1, 3), shift)
        ka, ke = backbone.rates(theta)
        fast, slow = (ka, ke) if backbone.faster == "ka" else (ke, ka)
        assert (fast >= slow * (1.0 - rounding)).all()
        for j, p in enumerate(backbone.physical):
            assert p.low * (1.0 - rounding) <= theta[0, 0, j] <= p.high * (1.0 + rounding)


def test_nobody_flips_in_a_wide_population() -> None:
    """With ω = 1 and typical rates a factor of 3 apart, one in five would have them the other way round."""
    eta = torch.randn(1, 20_000, 3, generator=torch.Generator().manual_seed(0), dtype=F64)
    backbone = OneCompartmentOral(typical={"ka": 0.3, "ke": 0.1})
    free = OneCompartmentOral(typical={"ka": 0.3, "ke": 0.1}, faster=None)
    kept, loose = (LogNormalPopulation(b.physical, (1.0, 1.0, 0.2)).theta(eta, {}) for b in (backbone, free))
    assert (loose[..., 0] < loose[..., 1]).double().mean() > 0.15
    assert (kept[..., 0] > kept[..., 1]).all()
    # who is far from the bound is who they would have been
    far = loose[..., 0] > 10.0 * loose[..., 1]
    torch.testing.assert_close(kept[far], loose[far], rtol=1e-3, atol=0.0)


def test_theta_is_smooth_where_the_order_bends_it(backbone: OneCompartmentOral) -> None:
    population = LogNormalPopulation(backbone.physical, (0.6, 0.3, 0.2))
    for middle in (0.0, 4.0):  # typical; and with ke brought up to ka
        eta = torch.tensor([[[-middle, 2 * middle, -middle]]], dtype=F64, requires_grad=True)
        assert torch.autograd.gradcheck(lambda e: population.theta(e, {}).log(), eta)


@settings(deadline=None, max_examples=60, derandomize=True)
@given(data=st.data())
@pytest.mark.parametrize("name", BACKBONES)
def test_the_hull_holds_everyone_of_a_box(name: str, data: st.DataObject) -> None:
    backbone = BACKBONES[name]
    low, high = (torch.tensor([getattr(p, end) for p in backbone.physical], dtype=F64).log() for end in ("low", "high"))
    ends = [sorted((data.draw(st.floats(0, 1)), data.draw(st.floats(0, 1)))) for _ in range(3)]
    lower = torch.exp(low + torch.tensor([e[0] for e in ends], dtype=F64) * (high - low))
    upper = torch.exp(low + torch.tensor([e[1] for e in ends], dtype=F64) * (high - low))
    part = torch.tensor([data.draw(st.one_of(st.floats(0, 1), st.sampled_from([0.0, 1.0]))) for _ in range(3)], dtype=F64)
    theta = (lower + part * (upper - lower)).clamp(lower, upper)
    A, _ = backbone.matrices(theta)
    V = backbone.hull(lower, upper).numpy()
    assert in_hull(A.numpy(), V) is not None
    # the slow rate is far below the tolerance of that where ka is fast: its own interval, to the last bit
    assert V[:, 1, 1].min() <= A[1, 1] <= V[:, 1, 1].max()
    assert V[:, 0, 0].min() <= A[0, 0] <= V[:, 0, 0].max()


def test_the_hull_of_clearance_is_that_of_its_rates() -> None:
    lower, upper = torch.tensor([0.5, 2.0, 20.0], dtype=F64), torch.tensor([2.0, 4.0, 50.0], dtype=F64)
    V = BACKBONES["clearance"].hull(lower, upper)
    assert V.shape == (4, 2, 2)
    rates = sorted({round(-v[1, 1].item(), 12) for v in V})
    assert rates == [0.04, 0.2]
    assert -V[:, 1, 1].min() > 4.0 / 20.0  # outward
    with pytest.raises(ValueError, match="lower ≤ upper"):
        BACKBONES["clearance"].hull(upper, lower)
    with pytest.raises(ValueError, match="positive ends"):
        BACKBONES["clearance"].hull(torch.zeros(3, dtype=F64), upper)


def test_a_box_bends_only_near_its_ends() -> None:
    """Log-normal to 1e-3 of the half-width where tanh would be off by a tenth of it."""
    wide = Parameter("ka", "/h", 1.0, math.exp(-3.0), math.exp(3.0))
    late, tanh = (LogNormalPopulation([wide], [1.0], bend=b) for b in ("late", "tanh"))
    eta = torch.tensor([[[1.5], [1.8], [-1.5]]], dtype=F64)
    torch.testing.assert_close(late.theta(eta, {}).log(), eta, rtol=0.0, atol=0.01)
    assert (tanh.theta(eta, {}).log() - eta).abs().min() > 0.1
    far = torch.tensor([[[1e300], [-1e300], [40.0]]], dtype=F64)
    assert torch.isfinite(late.theta(far, {})).all()
    with pytest.raises(ValueError, match="'late' or 'tanh'"):
        LogNormalPopulation([wide], [1.0], bend="early")  # type: ignore[arg-type]


def test_bundles_from_before_keep_their_boxes_and_their_bend() -> None:
    old = OneCompartmentOral(ka=(0.3, 4.0), ke=(0.02, 0.25), V=(5.0, 200.0), faster=None)
    population = LogNormalPopulation(old.physical, (0.6, 0.2, 0.2), bend="tanh")
    model = HybridModel(old, population, observation=Concentration(1, 2), noise=AdditiveProportional([0.5], [0.1], [0.02]))
    about = describe(model)
    # as it was written: no arguments, no order, no bend
    about["backbone"]["config"] = {}
    del about["population"]["config"]["bend"]
    for parameter in about["population"]["config"]["parameters"]:
        del parameter["above"]
    again = rebuild(json.loads(json.dumps(about)), dict(model.named_parameters()))
    assert {p.name: (p.low, p.high) for p in again.backbone.physical} == {p.name: (p.low, p.high) for p in old.physical}
    eta = 3.0 * torch.randn(1, 50, 3, generator=torch.Generator().manual_seed(1), dtype=F64)
    assert torch.equal(again.population.theta(eta, {}), population.theta(eta, {}))
    # and what is written now comes back as it is
    new = HybridModel(
        OneCompartmentOral(),
        LogNormalPopulation(OneCompartmentOral().physical, (0.6, 0.2, 0.2)),
        observation=Concentration(1, 2),
        noise=AdditiveProportional([0.5], [0.1], [0.02]),
    )
    back = rebuild(json.loads(json.dumps(describe(new))), dict(new.named_parameters()))
    assert back.backbone.physical == new.backbone.physical
    assert torch.equal(back.population.theta(eta, {}), new.population.theta(eta, {}))


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        ({"ka": (20.0, 0.05)}, "0 < low < high"),
        ({"ka": (0.0, 1.0)}, "0 < low < high"),
        ({"V": (1.0, math.inf)}, "0 < low < high"),
        ({"V": (1.0,)}, r"is \(low, high\) in L"),
        ({"V": 30.0}, r"is \(low, high\) in L"),
        ({"CL": (1.0, 2.0)}, "a box is given for CL, and θ is ka, ke, V"),
        ({"ke": (0.1, 0.2), "parameters": "clearance"}, "a box is given for ke, and θ is ka, CL, V"),
        ({"parameters": "half-lives"}, "'rates' for"),
        ({"faster": "V"}, "'ka', 'ke' or None"),
        ({"typical": {"Ka": 1.0}}, r"typical values for \['Ka'\]"),
        ({"typical": {"ka": 100.0}}, "put the typical value inside its box"),
    ],
)
def test_what_is_refused(arguments: dict, words: str) -> None:
    with pytest.raises(ValueError, match=words):
        OneCompartmentOral(**arguments)


def test_an_order_that_cannot_be_is_refused() -> None:
    ke = Parameter("ke", "/h", 0.5, 0.1, 2.0)
    with pytest.raises(ValueError, match="no product or quotient of others"):
        LogNormalPopulation([Parameter("ka", "/h", 1.0, 0.1, 9.0, above="k")], [0.1])
    with pytest.raises(ValueError, match="no product or quotient of others"):
        LogNormalPopulation([Parameter("ka", "/h", 1.0, 0.1, 9.0, above="ka")], [0.1])
    with pytest.raises(ValueError, match="raise that end to more than twice as much"):
        LogNormalPopulation([Parameter("ka", "/h", 0.11, 0.05, 0.15, above="ke"), ke], [0.1, 0.1])
    LogNormalPopulation([Parameter("ka", "/h", 0.2, 0.1, 0.3, above="ke"), ke], [0.1, 0.1])
