"""Where a mechanism rests, and its split there: closed forms, no equilibrium, several, and points that do not decay."""

from collections.abc import Mapping
from typing import Any

import pytest
import torch
from torch import Tensor

from hybrid.derivative import slope_of
from physics import (
    LinearisedBackbone,
    LogNormalPopulation,
    Mechanism,
    MichaelisMenten,
    Parameter,
    check_mechanism,
    equilibrium,
    linearise,
)
from physics.defaults import Defaults
from physics.linearised import is_linear
from physics.operations import hill, saturating, square, tanh
from physics.trace import trace


def row(*values: float) -> Tensor:
    return torch.tensor(values, dtype=torch.float64)


class Epidemic(Mechanism):
    """SIRS without demography: S + I + R = 1, so that R is no state of its own."""

    time_unit = "d"
    states = {"S": "1", "I": "1"}
    physical = (
        Parameter("beta", "/d", 0.5, 0.05, 5.0),
        Parameter("gamma", "/d", 0.25, 0.01, 2.0),
        Parameter("xi", "/d", 0.01, 0.001, 0.1),
    )
    scale = {"S": 1.0, "I": 0.1}

    def rate(self, x: Any, u: Any, theta: Any) -> Mapping[str, Any]:
        met = theta.beta * x.S * x.I
        return {"S": theta.xi * (1.0 - x.S - x.I) - met, "I": met - theta.gamma * x.I}


class Infused(Mechanism):
    """Saturable elimination of what runs in, by an input: no more than Vmax can leave."""

    time_unit = "h"
    states = {"plasma": "mg"}
    inputs = {"infusion": "mg/h"}
    physical = (
        Parameter("Vmax", "mg/h", 20.0, 2.0, 200.0),
        Parameter("Km", "mg", 10.0, 1.0, 100.0),
    )
    scale = {"plasma": 10.0}
    typical_inputs = {"infusion": 5.0}
    starts = (("plasma", None),)
    defaults = Defaults(amounts=True)

    def rate(self, x: Any, u: Any, theta: Any) -> Mapping[str, Any]:
        return {"plasma": u.infusion - theta.Vmax * saturating(x.plasma / theta.Km)}


class Switch(Mechanism):
    """Stable at 0 and 5 + √a, and not at 5 − √a between them."""

    time_unit = "h"
    states = {"v": "mV"}
    physical = (Parameter("a", "mV2", 4.0, 1.0, 9.0),)
    scale = {"v": 8.0}

    def rate(self, x: Any, u: Any, theta: Any) -> Mapping[str, Any]:
        return {"v": x.v * (theta.a - square(x.v - 5.0))}


def test_the_stable_of_two_equilibria_is_the_one() -> None:
    theta = torch.stack([row(0.5, 0.25, 0.01), row(0.2, 0.25, 0.01)])
    found = equilibrium(Epidemic(), row(), theta)
    assert bool(found.found.all())
    assert found.message == ""
    infected = 0.01 * (1.0 - 0.25 / 0.5) / (0.25 + 0.01)  # endemic: ξ(1 − γ/β)/(γ + ξ)
    assert torch.allclose(found.x, torch.stack([row(0.5, infected), row(1.0, 0.0)]), rtol=0.0, atol=1e-14)
    assert infected == pytest.approx(0.0192307692, abs=5e-11)
    with pytest.raises(ValueError, match=r"eigenvalue 0.25 per d .* eigenvector \(S -1\.962, I 1\)"):
        linearise(Epidemic(), row(1.0, 0.0), row(), row(0.5, 0.25, 0.01))


def test_derivatives_are_those_of_the_closed_form() -> None:
    """x = Km u/(Vmax − u), to the second derivative, in forward mode and mapped."""
    level, theta = row(5.0), row(20.0, 10.0)
    slope_of(torch.sin, level)  # torch's first derivative in forward mode warns of torch's own use of torch.jit

    def rest(u: Tensor, th: Tensor) -> Tensor:
        return equilibrium(Infused(), u, th).x[..., 0]

    def closed(u: Tensor, th: Tensor) -> Tensor:
        return th[..., 1] * u[..., 0] / (th[..., 0] - u[..., 0])

    for derivative in (
        lambda f: torch.func.jacrev(f, argnums=(0, 1))(level, theta),
        lambda f: torch.func.jacfwd(f, argnums=(0, 1))(level, theta),
        lambda f: torch.func.hessian(f)(level, theta)[:, 0],
        lambda f: torch.func.vmap(f)(level[None] * row(0.5, 1.0, 1.5)[:, None], theta.expand(3, 2)),
    ):
        got, wanted = derivative(rest), derivative(closed)
        pairs = zip(got, wanted, strict=True) if isinstance(got, tuple) else [(got, wanted)]
        for a, b in pairs:
            assert torch.allclose(a, b, rtol=1e-10, atol=1e-12)
    single = equilibrium(Infused(), level.float(), theta.float())
    assert single.x.dtype == torch.float32
    assert float(single.x) == pytest.approx(10.0 / 3.0, rel=1e-5)


def test_none_and_several_are_values_with_their_diagnosis() -> None:
    none = equilibrium(Infused(), torch.stack([row(5.0), row(30.0)]), row(20.0, 10.0))
    assert none.found.tolist() == [True, False]
    assert "Infused has no equilibrium that was found from 5 starts between 0 and 3 times its scale" in none.message
    assert "infusion 30 mg/h, Vmax 20 mg/h" in none.message
    several = equilibrium(Switch(), row(), row(4.0))
    assert not bool(several.found)
    assert "2 of them stable" in several.message
    total = type("Total", (Epidemic,), {})()
    total.rate = lambda x, u, theta: {"S": -theta.beta * x.S * x.I, "I": theta.beta * x.S * x.I}  # type: ignore[method-assign]
    kept = equilibrium(total, row(), row(0.5, 0.25, 0.01))
    assert not bool(kept.found)
    assert "not isolated" in kept.message


class Signed(Mechanism):
    """x' = −x + 2 tanh x: it rests at 0, which does not attract, and at ±1.915, which do."""

    time_unit, states, scale = "h", {"x": "1"}, {"x": 1.0}

    def rate(self, x: Any, u: Any, theta: Any) -> Mapping[str, Any]:
        return {"x": -x.x + 2.0 * tanh(x.x)}


class Sticky(Signed):
    """x' = −x + 2.5 x²/(1 + x²): stable at 0 and at 2."""

    starts_empty = True

    def rate(self, x: Any, u: Any, theta: Any) -> Mapping[str, Any]:
        return {"x": -x.x + 2.5 * hill(x.x, 2)}


def test_equilibria_on_both_sides_of_0_are_several() -> None:
    found = equilibrium(Signed(), row(), row())
    assert not bool(found.found)
    assert "3 equilibria, 2 of them stable: x 1.91501 1; x 0 1; x -1.91501 1" in found.message
    assert "set starts_empty = True in the class, or defaults = Defaults(amounts=True)" in found.message
    with pytest.raises(ValueError, match=r"or give the point, LinearisedBackbone\(Signed\(\), x=\{'x': …\}\), in the mech"):
        LinearisedBackbone(Signed())
    fed = type("Fed", (Signed,), {"rate": lambda self, x, u, theta: {"x": 0.1 - x.x + 2.0 * tanh(x.x)}})()
    assert bool(equilibrium(fed, row(), row()).found)  # it rises at 0, so that nobody who starts above gets to the one below
    positive = type("Positive", (Signed,), {"defaults": Defaults(amounts=True)})()
    assert bool(equilibrium(positive, row(), row()).found)  # nothing is below 0, so that one attracts


def test_who_starts_empty_where_nothing_moves_needs_no_other_place() -> None:
    found = equilibrium(Sticky(), row(), row())
    assert "2 of them stable: x 0 1; x 2 1;" in found.message  # 0 once, of whatever rounding is left
    assert "starts_empty" not in found.message
    assert LinearisedBackbone(Sticky()).x.tolist() == [0.0]


def test_a_backbone_of_a_mechanism() -> None:
    backbone = LinearisedBackbone(MichaelisMenten())
    assert backbone.x.tolist() == [0.0, 0.0]
    A, B = backbone.matrices(row(12.0, 500.0, 4.0, 50.0))
    assert torch.allclose(A, torch.stack([row(-12.0, 0.0), row(12.0, -2.5)]))
    assert B.shape == (2, 0)
    again = LinearisedBackbone(**backbone.config())
    assert again.mechanism.to_dict() == backbone.mechanism.to_dict()
    assert again.config() == backbone.config()
    assert torch.equal(again.matrices(row(12.0, 500.0, 4.0, 50.0))[0], A)
    empty = backbone.initial(row(12.0, 500.0, 4.0, 50.0), row(torch.nan))
    assert empty.tolist() == [0.0, 0.0]
    assert backbone.initial(row(12.0, 500.0, 4.0, 50.0), row(2.0)).tolist() == [0.0, 100.0]
    with pytest.raises(ValueError, match="there is no hull of the slopes of a mechanism"):
        backbone.hull(row(1.0), row(2.0))
    rests = LinearisedBackbone(Infused())
    theta = row(20.0, 10.0).expand(2, 2)
    x = rests.start(theta, torch.stack([row(torch.nan), row(7.0)]), torch.stack([row(5.0), row(10.0)]))
    assert torch.allclose(x[:, 0], row(10.0 / 3.0, 7.0), rtol=1e-9)
    with pytest.raises(ValueError, match=r"no equilibrium .*infusion 30 mg/h"):
        rests.start(theta, row(torch.nan).expand(2, 1), row(30.0))
    assert LogNormalPopulation(Infused(), spread={"Vmax": 0.1, "Km": 0.1}).gives[0] == ("Vmax", "mg/h")
    with pytest.raises(ValueError, match="x lacks plasma"):
        LinearisedBackbone(MichaelisMenten(), x={"gut": 0.0})
    with pytest.raises(ValueError, match="names 'blood'"):
        LinearisedBackbone(MichaelisMenten(), x={"blood": 0.0})


def test_what_is_linear_leaves_nothing() -> None:
    def linear(rate: Any) -> bool:
        return is_linear(trace(rate, ["a", "b"], ["u"], ["k"]))

    assert linear(lambda x, u, t: {"a": -t.k * x.a + u.u / t.k, "b": (x.a - x.b) * 2.0 * t.k})
    assert linear(lambda x, u, t: {"a": -x.a, "b": 0.0})
    assert not linear(lambda x, u, t: {"a": 1.0 - t.k * x.a, "b": x.a})
    assert not linear(lambda x, u, t: {"a": -t.k * x.a * u.u, "b": x.a})
    assert not linear(lambda x, u, t: {"a": t.k / x.a, "b": x.a})
    assert not is_linear(MichaelisMenten().tape)


def test_a_mechanism_that_breaks_a_law_is_named() -> None:
    class Remembers(MichaelisMenten):
        count = 0

        def rate(self, x: Any, u: Any, theta: Any) -> Mapping[str, Any]:
            Remembers.count += 1
            found = dict(super().rate(x, u, theta))
            return {**found, "gut": found["gut"] * (1.0 + 0.1 * Remembers.count)}

    with pytest.raises(ValueError, match=r"rate of gut .* by the Python of `rate`"):
        check_mechanism(Remembers(), draws=10)

    class Divides(MichaelisMenten):
        def rate(self, x: Any, u: Any, theta: Any) -> Mapping[str, Any]:
            nothing = x.gut - x.gut
            return {"gut": -theta.ka * x.gut, "plasma": -x.plasma + nothing / nothing}

    with pytest.raises(ValueError, match="no equilibrium that was found"):
        check_mechanism(Divides(), draws=10)

    class Falling(MichaelisMenten):
        signs = {"gut": 1, "plasma": -1}

    with pytest.raises(ValueError, match="by its signs the slope of the rate of plasma by gut is not above 0, and it is"):
        check_mechanism(Falling(), draws=10)

    class Daily(MichaelisMenten):
        time_unit = "h"
        physical = (Parameter("ka", "/d", 12.0, 1.0, 100.0), *MichaelisMenten.physical[1:])

    with pytest.raises(ValueError, match=r"ka is in /d, and time in h: .* write Parameter\('ka', '/h', …\)"):
        LinearisedBackbone(Daily())
