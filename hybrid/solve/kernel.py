"""A layered residual evaluated and differentiated by hand, in buffers that are used again.

Automatic differentiation allocates a tensor and a node for every operation of every stage of every step. A small network
is bound by that, not by arithmetic. Here the operations write where they are told to, and the weights' gradients of all
stages of a step are one matrix product.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from hybrid.solve.pool import Pool, Tape
from learned.residual import Activation, Field


@dataclass(frozen=True)
class Network:
    """y = W_L φ(… φ(W_1 x + U u + b_1) …) + b_L, rows of x being people: Mw members of R rows each.

    `weights` (Mw, out, in) · `biases` (Mw, R|1, out) · `input_weights` U (Mw, h_1, m) or None · `activation`, no tanh:
    tanh z = 2 σ(2z) − 1, and the logistic function is several times cheaper, so the factors move into the weights.
    """

    weights: tuple[Tensor, ...]
    biases: tuple[Tensor, ...]
    input_weights: Tensor | None
    activation: Activation

    @staticmethod
    def of(field: Field, rows: int) -> "Network":
        """The same function; `rows` R, differentiable in the field's tensors.

        Errors: `ValueError` for a field with a linear term of its own, which belongs to A (`HybridModel.bind` puts it there).
        """
        if field.skip is not None:
            raise ValueError("Network: the field has a skip; add it to A and leave it out here, as HybridModel.bind does")
        weights, biases = list(field.weights), list(field.biases())
        inputs: Tensor | None = field.input_weights if field.input_weights.shape[-1] else None
        activation = field.activation
        if activation == "tanh" and len(weights) > 1:
            last = len(weights) - 1
            for k in range(len(weights)):
                if k > 0:
                    biases[k] = biases[k] - weights[k].sum(-1)[:, None, :]
                    weights[k] = 2.0 * weights[k]
                if k < last:
                    weights[k], biases[k] = 2.0 * weights[k], 2.0 * biases[k]
            inputs = None if inputs is None else 2.0 * inputs
            activation = "sigmoid"
        Mw = weights[0].shape[0]
        # people under several members of one network are just more rows
        folded = [b if b.shape[:2] == (Mw, 1) or b.shape[1] == rows else b.reshape(Mw, -1, b.shape[-1]) for b in biases]
        return Network(tuple(weights), tuple(folded), inputs, activation)

    @property
    def widths(self) -> list[int]:
        """The sizes of the hidden layers."""
        return [w.shape[1] for w in self.weights[:-1]]


def _sigmoid(do: Tape, z: Tensor, out: Tensor) -> None:
    do(torch.sigmoid, z, out=out)


def _relu(do: Tape, z: Tensor, out: Tensor) -> None:
    do(torch.clamp, z, min=0.0, out=out)


def _softplus(do: Tape, z: Tensor, out: Tensor) -> None:
    do(torch.ops.aten.softplus.out, z, out=out)


def _silu(do: Tape, z: Tensor, out: Tensor) -> None:
    do(torch.ops.aten.silu.out, z, out=out)


def _gelu(do: Tape, z: Tensor, out: Tensor) -> None:
    do(torch.ops.aten.gelu.out, z, out=out)


def _sigmoid_back(do: Tape, delta: Tensor, a: Tensor) -> None:
    do(torch.ops.aten.sigmoid_backward.grad_input, delta, a, grad_input=delta)


def _relu_back(do: Tape, delta: Tensor, a: Tensor) -> None:
    do(torch.ops.aten.threshold_backward.grad_input, delta, a, 0.0, grad_input=delta)


def _softplus_back(do: Tape, delta: Tensor, a: Tensor) -> None:
    do(lambda: delta.mul_(-torch.expm1(-a)))  # σ(z) = 1 − e^{−softplus(z)}


def _silu_back(do: Tape, delta: Tensor, z: Tensor) -> None:
    do(torch.ops.aten.silu_backward.grad_input, delta, z, grad_input=delta)


def _gelu_back(do: Tape, delta: Tensor, z: Tensor) -> None:
    do(torch.ops.aten.gelu_backward.grad_input, delta, z, grad_input=delta)


# φ(z) into `out`, and δ ← δ φ'(z) in place: from the value a = φ(z), or from z itself where φ has no inverse
_ACTIVATIONS: dict[str, tuple[Callable[[Tape, Tensor, Tensor], None], Callable[[Tape, Tensor, Tensor], None]]] = {
    "sigmoid": (_sigmoid, _sigmoid_back),
    "relu": (_relu, _relu_back),
    "softplus": (_softplus, _softplus_back),
    "silu": (_silu, _silu_back),
    "gelu": (_gelu, _gelu_back),
}
_FROM_ARGUMENT = ("silu", "gelu")


class Kernel:
    """Evaluates `network` and pulls cotangents back through it, for `steps` × `stages` evaluations whose values are kept.

    `x[c][i]` (Mw, R, n) is where the caller puts the state of stage i of step c; rows are flat, (R, n), for Mw = 1.
    """

    def __init__(
        self,
        network: Network,
        like: Tensor,
        *,
        steps: int,
        stages: int,
        inputs: Tensor | None,
        pool: Pool,
        do: Tape,
    ) -> None:
        self.do = do
        Mw, R = like.shape[:2]
        self.flat = Mw == 1
        self.network = network
        self.into = [self._shape(w.mT) for w in network.weights]  # x @ into
        self.back = [self._shape(w) for w in network.weights]
        self.biases = [self._shape(b) for b in network.biases]
        self.push = None if network.input_weights is None else self._shape(network.input_weights.mT)
        self.phi, self.phi_back = _ACTIVATIONS[network.activation if network.widths else "relu"]
        widths = network.widths
        self.buffers: list[Tensor] = []  # to give back to the pool

        def buffers(count: int, width: int) -> tuple[Tensor, list[list[Tensor]]]:
            whole = pool.take(like, count, stages, Mw, R, width)
            self.buffers.append(whole)
            return whole, [list(step.unbind(0)) for step in (whole[:, :, 0] if self.flat else whole).unbind(0)]

        self.activities = [buffers(steps, w) for w in widths]
        keeps = network.activation in _FROM_ARGUMENT
        self.arguments = [buffers(steps, w) for w in widths] if keeps else self.activities
        self.deltas = [buffers(1, w) for w in widths]
        self.u: Tensor | None = None  # (stages, R, m), the inputs at every stage of the present step
        self.first = [self.biases[0]] * stages  # what is added before the first φ, at every stage
        if inputs is not None and self.push is not None:
            self.u = like.new_empty(stages, *inputs.shape)
        self.ones = like.new_ones(stages * R)
        self.stages, self.rows, self.members = stages, R, Mw
        self.gradients: list[Tensor] = []

    def _shape(self, tensor: Tensor) -> Tensor:
        return tensor[0] if self.flat else tensor

    def drive(self, u0: Tensor, u1: Tensor | None, c: Sequence[float]) -> None:
        """Set the inputs (R, m) of this step, from u0 to u1 (None: constant); `c` are the stages' times."""
        if self.u is None or self.push is None:
            return
        for i, at in enumerate(c):
            if i and u1 is None:
                self.u[i] = self.u[0]
                self.first[i] = self.first[0]
                continue
            self.u[i] = u0 if u1 is None else torch.lerp(u0, u1, at)
            self.first[i] = self.biases[0] + self.u[i] @ self.push

    def evaluate(self, c: int, i: int, x: Tensor, out: Tensor) -> None:
        """y into `out`, keeping what `pull` needs."""
        affine = torch.addmm if self.flat else torch.baddbmm
        value = x
        last = len(self.into) - 1
        for k, matrix in enumerate(self.into[:last]):
            z, a = self.arguments[k][1][c][i], self.activities[k][1][c][i]
            self.do(affine, self.first[i] if k == 0 else self.biases[k], value, matrix, out=z)
            self.phi(self.do, z, a)
            value = a
        self.do(affine, self.biases[last] if last else self.first[i], value, self.into[last], out=out)

    def pull(self, c: int, i: int, kappa: Tensor, out: Tensor) -> None:
        """The cotangent of x into `out`, given that of y."""
        product = torch.mm if self.flat else torch.bmm
        delta = kappa
        for k in range(len(self.back) - 1, 0, -1):
            before = self.deltas[k - 1][1][0][i]
            self.do(product, delta, self.back[k], out=before)
            self.phi_back(self.do, before, self.arguments[k - 1][1][c][i])
            delta = before
        self.do(product, delta, self.back[0], out=out)

    def begin_gradients(self) -> None:
        """Forget the gradients so far."""
        if not self.gradients:
            shapes = [*self.network.weights, *self.network.biases]
            if self.network.input_weights is not None:
                shapes.append(self.network.input_weights)
            self.gradients = [torch.empty_like(s, memory_format=torch.contiguous_format) for s in shapes]
        for total in self.gradients:
            self.do(total.zero_)

    def collect(self, c: int, first: int, x: Tensor, kappa: Tensor) -> None:
        """Add the gradients of weights and biases of stages `first`… of step c.

        `x`, `kappa` (stages, Mw, R, n): the states and the cotangents of y.
        """
        L = len(self.back)
        chosen = slice(first, self.stages)
        for k in range(L):
            value = x[chosen] if k == 0 else self.activities[k - 1][0][c, chosen]
            delta = kappa[chosen] if k == L - 1 else self.deltas[k][0][0, chosen]
            self._outer(self.gradients[k], delta, value)
            self._sum(self.gradients[L + k], delta)
        if self.u is not None and self.network.input_weights is not None:
            delta = kappa[chosen] if L == 1 else self.deltas[0][0][0, chosen]
            self._outer(self.gradients[2 * L], delta, self.u[chosen][:, None].expand(-1, self.members, -1, -1))

    def input_cotangent(self, i: int, kappa: Tensor) -> Tensor:  # (R, m)
        """The cotangent of u at stage i, summed over members, after `pull`."""
        assert self.push is not None
        delta = kappa if len(self.back) == 1 else self.deltas[0][1][0][i]
        back = delta @ self.push.mT
        return back if self.flat else back.sum(0)

    def _outer(self, total: Tensor, delta: Tensor, value: Tensor) -> None:
        if self.flat:
            S = delta.shape[0]
            self.do(total[0].addmm_, delta.reshape(S * self.rows, -1).T, value.reshape(S * self.rows, -1))
            return
        for one, other in zip(delta, value, strict=True):
            self.do(total.baddbmm_, one.mT, other)

    def _sum(self, total: Tensor, delta: Tensor) -> None:
        if total.shape[1] > 1 or self.rows == 1:  # a row of its own for every person
            for one in delta:
                self.do(total.add_, one)
        elif self.flat:
            S = delta.shape[0]
            self.do(total[0, 0].addmv_, delta.reshape(S * self.rows, -1).T, self.ones[: S * self.rows])
        else:
            ones = self.ones[: self.rows].expand(self.members, 1, -1)
            for one in delta:
                self.do(total.baddbmm_, ones, one)
