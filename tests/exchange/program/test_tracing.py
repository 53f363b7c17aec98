"""Functions of tensors as programs: each listed operation as torch has it, with its slopes; everything else refused by name."""

from collections.abc import Callable

import numpy as np
import pytest
import torch
from torch import Tensor, nn
from torch.nn import functional

from exchange.program import adjoint, directional, traced
from exchange.program.aten import SHAPED, TABLE
from exchange.program.tracing import exported

A = torch.tensor([[0.3, -1.2, 0.0], [2.5, 0.9, -0.4]], dtype=torch.float64)
B = torch.tensor([[1.1, 0.6, 0.0], [-0.7, 0.9, 3.0]], dtype=torch.float64)

Many = Callable[[Tensor, Tensor], tuple[Tensor, ...]]


def elementwise(a: Tensor, b: Tensor) -> tuple[Tensor, ...]:
    return (
        *(a + b, 2.0 * a - b, 1.0 - a, torch.add(a, b, alpha=0.3), a * b, a / 2.0, -a, a**2, a**3, torch.abs(a)),
        *(
            torch.exp(a),
            torch.expm1(a),
            torch.sin(a),
            torch.cos(a),
            torch.tan(a),
            torch.atan(a),
            torch.sinh(a),
            torch.cosh(a),
        ),
        *(torch.tanh(a), torch.sigmoid(a), torch.special.expit(b), torch.erf(a), torch.relu(a), torch.sign(a) * b),
        *(
            torch.floor(a) * b,
            torch.ceil(a) * b,
            torch.trunc(a) * b,
            torch.square(a),
            torch.exp2(a),
            torch.atan2(a, b + 4.0),
        ),
        *(torch.asin(0.2 * a), torch.acos(0.2 * a), torch.logaddexp(a, b), torch.logaddexp(a, torch.zeros_like(a))),
    )


def bent(a: Tensor, b: Tensor) -> tuple[Tensor, ...]:
    return (
        *(a.clamp(-0.4, 0.9), a.clamp(min=0.0), a.clamp(max=0.0), torch.clamp(a, min=b), torch.maximum(a, b)),
        *(torch.minimum(a, b), functional.softplus(a), functional.softplus(30.0 * a, beta=2.0), functional.silu(a)),
        *(
            functional.gelu(a),
            functional.gelu(a, approximate="tanh"),
            functional.leaky_relu(a, 0.2),
            functional.elu(a, 0.7),
        ),
        *(
            functional.hardtanh(a),
            functional.selu(a),
            functional.celu(a),
            torch.where(a > b, a, b * b),
            torch.where(a > 0.0, a, 0.0),
        ),
        *(torch.where((a >= 0.0) & (b < 1.0) | ~(a <= 1.0), a, b), torch.where(torch.logical_xor(a > 0, b > 0), a, b)),
        *(
            torch.where(a == b, a, b),
            torch.where(a != 0.0, a, b),
            torch.nan_to_num(a),
            torch.where(torch.isfinite(a), a, b),
        ),
        *(a * (a > b), (a > b).to(torch.float64) * b, torch.where(torch.isinf(a) | torch.isnan(b), a, b * a)),
    )


def of_positive(a: Tensor, b: Tensor) -> tuple[Tensor, ...]:
    a, b = a.square() + 0.5, b.square() + 0.7
    return (
        *(
            torch.log(a),
            torch.log1p(a),
            torch.log2(a),
            torch.log10(a),
            torch.sqrt(a),
            torch.rsqrt(a),
            torch.reciprocal(a),
        ),
        *(a**b, a**-1.3, 2.0**a, a**0.5, a**-1, a**-0.5, a / b, 3.0 / a, torch.sqrt(a * a + b * b)),
        *(torch.pow(a, 0), torch.linalg.vector_norm(a), torch.linalg.vector_norm(a, dim=-1)),
    )


def moved(a: Tensor, b: Tensor) -> tuple[Tensor, ...]:
    changed = torch.zeros_like(a)
    changed[:, 1] = b[:, 0]
    changed[0, 1:] += a[1, :2]
    first, *_ = a.unbind(0)
    left, right = a.split([1, 2], -1)
    return (
        *(
            a.reshape(3, 2),
            a.view(-1),
            a.T,
            a.mT,
            a.permute(1, 0),
            a.transpose(0, 1),
            a[None],
            a.unsqueeze(-1),
            a[:1].squeeze(0),
        ),
        *(a.expand(4, 2, 3), a.flatten(), a[:, [2, 0]], a[..., 1], a[1], a[:, 1:], a[:, ::2], torch.cat([a, b], -1)),
        *(
            torch.stack([a, b], 1),
            a.repeat(2, 1),
            a.flip(0),
            torch.roll(a, 1, -1),
            torch.diagonal(a),
            torch.tril(a),
            torch.triu(a),
        ),
        *(torch.diag_embed(a), changed, first, left * 2.0, right, a.index_select(1, torch.tensor([2, 2]))),
        *(a.gather(1, torch.tensor([[0], [2]])), a.clone() * b, b.new_full((2,), 3.0) * a[:, 0], a.new_zeros(2)),
        *(
            a.expand_as(a),
            a.view_as(a),
            torch.full_like(a, 2.0),
            torch.ones_like(a),
            *torch.broadcast_tensors(a[:1], b),
        ),
    )


def summed(a: Tensor, b: Tensor) -> tuple[Tensor, ...]:
    return (
        *(
            a.sum(),
            a.sum(-1),
            a.sum(0, keepdim=True),
            a.mean(),
            a.mean(-1),
            a.prod(-1),
            a.amax(-1),
            a.amin(0),
            a.cumsum(-1),
        ),
        *(a @ b.T, a @ b[0], a[0] @ b.T, a[0] @ b[0], torch.bmm(a[None], b.T[None]), torch.einsum("ij,kj->ik", a, b)),
        *(
            functional.linear(a, b, b[:, 0]),
            torch.addmm(b[:, :2], a, b.T, beta=0.5, alpha=2.0),
            torch.outer(a[0], b[0]),
        ),
        *(torch.softmax(a, -1), torch.logsumexp(a, -1), (a > 0.0).any(-1).to(a) * b[:, 0], (a > -1.0).all().to(a) * b),
        *((a > 0.0).sum(-1) * b[:, 0], a - a.mean(-1, keepdim=True), a[None] @ b.T),
    )


@pytest.mark.parametrize("function", [elementwise, bent, of_positive, moved, summed], ids=lambda f: f.__name__)
def test_a_program_is_what_was_traced(function: Many) -> None:
    wanted = [v.to(torch.float64) for v in function(A, B)]
    names = [f"y{k}" for k in range(len(wanted))]
    program = traced(function, {"a": A.shape, "b": B.shape}, names, name=function.__name__)
    at = {"a": A.numpy().ravel(), "b": B.numpy().ravel()}
    got = program.evaluate(**at)
    for k, value in enumerate(wanted):
        np.testing.assert_allclose(got[f"y{k}"], value.numpy().ravel(), rtol=1e-14, atol=1e-15, err_msg=f"{k}")
    # the slopes of all outputs together, with weights that let none stand for another; at kinks too
    lean = [torch.linspace(0.5, 1.5, value.numel(), dtype=torch.float64) for value in wanted]

    def total(a: Tensor, b: Tensor) -> Tensor:
        return torch.stack(
            [(v.to(torch.float64).reshape(-1) * w).sum() for v, w in zip(function(a, b), lean, strict=True)]
        )

    slopes = torch.autograd.functional.jacobian(total, (A, B))
    for k, name in enumerate(names):
        back = adjoint(program, ("a", "b"), name).evaluate(**at, **{f"{name}_bar": lean[k].numpy()})
        for which, slope in zip("ab", slopes, strict=True):
            np.testing.assert_allclose(
                back[f"{which}_bar"], slope[k].numpy().ravel(), rtol=1e-13, atol=1e-14, err_msg=f"{k} by {which}"
            )


def test_far_out_a_slope_is_a_number() -> None:
    """Where torch.where holds back what is not chosen, a derivative in reverse must not meet 0 times infinity."""
    program = traced(lambda x: functional.softplus(x), {"x": (3,)}, ["y"], name="softplus")
    x, ones = np.array([-900.0, 0.0, 900.0]), np.ones(3)
    assert np.array_equal(adjoint(program, ("x",), "y").evaluate(x=x, y_bar=ones)["x_bar"], [0.0, 0.5, 1.0])
    assert np.array_equal(directional(program, ("x",), "y").evaluate(x=x, x_dot=ones)["y_dot"], [0.0, 0.5, 1.0])


def test_what_no_input_enters_is_a_number() -> None:
    weight = nn.Parameter(torch.tensor([2.0], dtype=torch.float64))
    module = nn.Module()
    module.weight = weight
    program = traced(
        lambda x: x * torch.special.gammainc(module.weight, 1.0 + module.weight),
        {"x": (1,)},
        ["y"],
        name="f",
        module=module,
    )
    assert [line.operation for line in program.code] == ["given", "constant", "multiply"]
    with pytest.raises(
        ValueError, match="f: it reads the parameter weight by a reference"
    ):  # of which no other member's would follow
        traced(lambda x: x * weight.exp(), {"x": (1,)}, ["y"], name="f", module=module)
    made = exported(lambda x: x * module.weight.exp(), {"x": (1,)}, ["y"], name="f", module=module)
    other = made.program({"weight": torch.tensor([3.0], dtype=torch.float64)})
    assert other.evaluate(x=[1.0])["y"][0] == pytest.approx(np.exp(3.0), rel=1e-15)


@pytest.mark.parametrize(
    ("function", "said"),
    [
        (
            lambda x: torch.linalg.solve(x.reshape(1, 1) + torch.eye(1), x),
            "the operation aten.linalg_solve is none of those",
        ),
        (lambda x: x + torch.rand(1, dtype=torch.float64), "the operation aten.rand is none"),
        (lambda x: x if bool(x > 0.0) else -x, "torch.export cannot follow it .*torch.where in the place of if"),
        (lambda x: x * x.item(), "torch.export cannot follow it|aten.item|_local_scalar_dense"),
        (lambda x: x.detach().numpy().sum() * x, "torch.export cannot follow it"),
        (lambda x: x.to(torch.float32).to(torch.float64), "computes in float64 throughout"),
        (lambda x: x.to(torch.long) * x, "computes in float64 throughout"),
        (lambda x: (x, x), "it gives 2 tensors"),
        (lambda x: torch.linalg.vector_norm(x, 1), "in its common form, without the norm of order 1"),
        (lambda x: torch.sort(x)[0], "the operation aten.sort is none of those"),
    ],
    ids=["solve", "rand", "if", "item", "numpy", "float32", "long", "two", "norm", "sort"],
)
def test_what_is_outside_the_list_is_refused_by_name(function: Callable[..., Tensor], said: str) -> None:
    with pytest.raises(ValueError, match=f"^the heart: .*({said})") as caught:
        traced(function, {"x": (1,)}, ["y"], name="the heart")
    if "is none of those" in said:  # the list stands behind it
        assert all(one.removeprefix("aten.") in str(caught.value) for one in (*TABLE, *SHAPED))
