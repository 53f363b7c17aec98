"""The system as arrays: shapes, refusals, the Jacobian, the digest, JSON; and what importing `stability` loads."""

import json
import subprocess
import sys
from itertools import pairwise
from typing import Any

import numpy as np
import pytest
import torch

from stability import Lure
from stability.lure import SLOPES


def random_system(seed: int, widths: tuple[int, ...] = (5, 4), n: int = 3, lead: tuple[int, ...] = (2, 1)) -> Lure:
    rng = np.random.default_rng(seed)
    sizes = [n, *widths, n]
    return Lure(
        A=rng.normal(size=(1, 3, n, n)) * 0.2 - 2.0 * np.eye(n),
        weights=[rng.normal(size=(*lead, o, i)) for i, o in pairwise(sizes)],
        biases=[rng.normal(size=(*lead, o)) for o in sizes[1:]],
        B=rng.normal(size=(n, 2)),
        input_weights=rng.normal(size=(*lead, sizes[1], 2)),
    )


def forward(system: Lure, member: int, record: int, x: torch.Tensor, u: torch.Tensor) -> torch.Tensor:
    """The right-hand side in torch, plainly, for the naive Jacobian."""
    W = [torch.tensor(w[member, 0]) for w in system.weights]
    b = [torch.tensor(v[member, 0]) for v in system.biases]
    assert system.input_weights is not None
    assert system.B is not None
    z = torch.tanh(W[0] @ x + torch.tensor(system.input_weights[member, 0]) @ u + b[0])
    for w, v in zip(W[1:-1], b[1:-1], strict=True):
        z = torch.tanh(w @ z + v)
    return torch.tensor(system.A[0, record]) @ x + torch.tensor(system.B) @ u + W[-1] @ z + b[-1]


def test_jacobian_is_that_of_the_right_hand_side() -> None:
    system = random_system(0)
    x, u = torch.tensor([0.3, -0.2, 0.5], dtype=torch.float64), torch.tensor([1.0, -1.0], dtype=torch.float64)
    assert system.input_weights is not None
    for member, record in [(0, 0), (1, 2)]:
        v = system.weights[0][member, 0] @ x.numpy() + system.biases[0][member, 0]
        v = v + system.input_weights[member, 0] @ u.numpy()
        slopes = [1 - np.tanh(v) ** 2]
        v = system.weights[1][member, 0] @ np.tanh(v) + system.biases[1][member, 0]
        slopes.append(1 - np.tanh(v) ** 2)
        naive = torch.func.jacrev(lambda y, m=member, r=record: forward(system, m, r, y, u))(x)
        mine = system.jacobian(slopes)[member, record]
        np.testing.assert_allclose(mine, naive.numpy(), rtol=1e-12, atol=1e-13)


def test_loop_form_is_the_network() -> None:
    """J = A + E (D⁻¹ − N)⁻¹ W for slopes D > 0: the feedback form and the product of layers are the same matrix."""
    system = random_system(1)
    loop, rng = system.loop(), np.random.default_rng(2)
    slopes = [rng.uniform(0.1, 1.0, h) for h in system.widths]
    D = np.diag(np.concatenate(slopes))
    dense = loop.A + loop.E @ np.linalg.solve(np.linalg.inv(D) - loop.N, loop.W)
    np.testing.assert_allclose(dense, system.jacobian(slopes).reshape(dense.shape), rtol=1e-10, atol=1e-12)


def test_flatten_orders_systems_as_the_leading_axes() -> None:
    system = random_system(3)
    flat = system.flatten()
    assert system.leading == (2, 3)
    assert flat.leading == (6,)
    for v, (m, i) in enumerate(np.ndindex(2, 3)):
        np.testing.assert_array_equal(flat.A[v], system.A[0, i])
        np.testing.assert_array_equal(flat.weights[1][v], system.weights[1][m, 0])


def test_one_weight_without_hidden_units_joins_the_linear_part() -> None:
    system = Lure(A=[[-2.0, 0.0], [0.0, -3.0]], weights=[[[0.5, 0.1], [0.0, 0.2]]], biases=[[0.0, 0.0]])
    np.testing.assert_array_equal(system.loop().A[0], [[-1.5, 0.1], [0.0, -2.8]])
    np.testing.assert_array_equal(system.jacobian([]), [[-1.5, 0.1], [0.0, -2.8]])


def test_json_is_exact_and_digest_sees_every_bit() -> None:
    system = random_system(4)
    again = Lure.from_dict(json.loads(json.dumps(system.to_dict())))
    assert again.digest() == system.digest()
    for name in ("A", "weights", "biases", "B", "input_weights"):
        data = system.to_dict()
        target = data[name]
        while isinstance(target[0], list):
            target = target[0]
        target[0] = float(np.nextafter(target[0], 9.0))
        assert Lure.from_dict(data).digest() != system.digest(), name
    other = system.to_dict() | {"activation": "relu"}
    assert Lure.from_dict(other).digest() != system.digest()
    assert Lure.from_dict(system.to_dict() | {"B": None}).digest() != system.digest()


def test_torch_tensors_that_need_gradients_are_read() -> None:
    weight = torch.zeros(2, 2, requires_grad=True)
    system = Lure(A=torch.tensor([[-1.0, 0.0], [0.0, -1.0]]), weights=[weight, weight], biases=[torch.zeros(2)] * 2)
    assert all(w.dtype == np.float64 for w in system.weights)
    with pytest.raises(ValueError, match="read-only"):
        system.A[0, 0] = 1.0


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"A": [[-1.0, 0.0]]}, "must be equal"),
        ({"A": [[-1.0, np.nan], [0.0, -1.0]]}, "must be finite"),
        ({"A": [[-1.0, 1j], [0.0, -1.0]]}, "real numbers"),
        ({"activation": "mish"}, "slope range"),
        ({"weights": [np.ones((3, 2)), np.ones((2, 4))]}, r"weights\[1\].*3 inputs"),
        ({"weights": [np.ones((3, 2)), np.ones((1, 3))], "biases": [np.ones(3), np.ones(1)]}, "2 outputs"),
        ({"biases": [np.ones(3)]}, "one bias per layer"),
        ({"biases": [np.ones(3), np.ones(3)]}, r"biases\[1\]"),
        ({"B": np.ones((3, 1))}, "2 rows"),
        ({"input_weights": np.ones((2, 1))}, "one row per unit"),
        ({"B": np.ones((2, 1)), "input_weights": np.ones((3, 2))}, "same u"),
        ({"weights": [np.ones((5, 3, 2)), np.ones((4, 2, 3))]}, "broadcast"),
    ],
)
def test_refused_with_a_reason(change: dict[str, Any], message: str) -> None:
    good: dict[str, Any] = {
        "A": [[-1.0, 0.0], [0.0, -2.0]],
        "weights": [np.ones((3, 2)), np.ones((2, 3))],
        "biases": [np.zeros(3), np.zeros(2)],
    }
    Lure(**good)
    with pytest.raises(ValueError, match=message):
        Lure(**(good | change))


@pytest.mark.parametrize("name", SLOPES)
def test_slope_ranges_hold_and_are_reached(name: str) -> None:
    """The difference quotients of torch's own activations lie in the stated range and come within 1 % of its ends."""
    function = {
        "tanh": torch.tanh,
        "relu": torch.relu,
        "sigmoid": torch.sigmoid,
        "softplus": torch.nn.functional.softplus,
        "silu": torch.nn.functional.silu,
        "gelu": torch.nn.functional.gelu,
    }[name]
    v = torch.linspace(-30, 30, 60001, dtype=torch.float64)
    quotient = (function(v[1:]) - function(v[:-1])) / (v[1:] - v[:-1])
    low, high = SLOPES[name]
    assert quotient.min() >= low - 1e-9
    assert high * 0.99 <= quotient.max() <= high + 1e-9
    assert quotient.min() <= low * 0.99 + 1e-9


BLOCKED = """
import sys
class Block:
    def find_spec(self, name, path=None, target=None):
        if name.split('.')[0] in ('torch', 'cvxpy'):
            raise ImportError(name + ' is blocked')
sys.meta_path.insert(0, Block())
"""


def test_checking_needs_neither_torch_nor_cvxpy(tmp_path: Any) -> None:
    from stability import certify

    system = Lure(A=[[-1.0]], weights=[], biases=[])
    file = tmp_path / "c.json"
    file.write_text(json.dumps({"certificate": certify(system).to_dict(), "system": system.to_dict()}))
    script = BLOCKED + (
        "import json, runpy\n"
        "from stability import check, Certificate, Lure, certify\n"
        f"data = json.load(open({str(file)!r}))\n"
        "assert check(data['certificate'], data['system'])\n"
        "assert check(Certificate.from_dict(data['certificate']), Lure.from_dict(data['system']))\n"
        "for name in ('torch', 'cvxpy'): assert name not in sys.modules\n"
    )
    subprocess.run([sys.executable, "-W", "error", "-c", script], check=True, timeout=60)
    script = (
        BLOCKED
        + f"sys.argv = ['proof', {str(file)!r}]\nimport runpy\nrunpy.run_module('stability.proof', run_name='__main__')\n"
    )
    done = subprocess.run([sys.executable, "-W", "error", "-c", script], capture_output=True, text=True, timeout=60)
    assert done.returncode == 0, done.stderr
    assert done.stdout.startswith("proved")


def test_every_kind_of_claim_is_proved_without_torch_and_cvxpy(tmp_path: Any) -> None:
    """A region, both gains, weighted ℓ1, a step and a Lipschitz bound, read from JSON by the checker's own command."""
    from stability import Box, Inputs, certify, certify_step, l2_gain, lipschitz_bound, tube, weighted_l1

    weights, biases = [[[0.5, 0.1], [0.0, 0.4]], [[0.2, 0.0], [0.1, 0.2]]], [[0.0, 0.1], [0.0, 0.0]]
    system = Lure(A=[[-1.0, 0.0], [0.4, -0.8]], weights=weights, biases=biases, B=[[1.0], [0.0]])
    whole = certify(system)
    claims = [
        certify(system, region=Box([-2.0, -2.0], [2.0, 2.0]), inputs=Inputs([-0.1], [0.1])),
        tube(whole, system),
        l2_gain(whole, system),
        weighted_l1(system),
        certify_step(whole, system, 0.1, "euler"),
    ]
    pairs = [(claim, system.to_dict()) for claim in claims]
    pairs.append((lipschitz_bound(weights), {"weights": weights, "activation": "tanh"}))
    for k, (claim, of) in enumerate(pairs):
        file = tmp_path / f"{k}.json"
        file.write_text(json.dumps({"certificate": claim.to_dict(), "system": of}))
    script = BLOCKED + (
        "from stability.proof import main\n"
        f"codes = [main([{str(tmp_path)!r} + f'/{{k}}.json']) for k in range({len(pairs)})]\n"
        f"assert codes == [0] * {len(pairs)}, codes\n"
    )
    subprocess.run([sys.executable, "-W", "error", "-c", script], check=True, timeout=60)


def test_package_names_resolve_and_others_do_not() -> None:
    import stability

    assert set(stability.__all__) <= set(dir(stability))
    for name in stability.__all__:
        assert name == "CLAIMS" or getattr(stability, name).__name__ == name
    with pytest.raises(AttributeError, match="certificates"):
        stability.certificates  # noqa: B018
