"""Steps of an exponential method that are tried for a tolerance."""

import torch
from torch import Tensor

from hybrid.field import SemilinearField, nonlinear_in
from hybrid.solve.schemes.phi import phi
from hybrid.solve.schemes.scheme import Trials


class Functions:
    """The matrix functions of everyone's last trial, for the next one where that is as long.

    They only decide which steps are taken, so lengths that differ by rounding are the same.
    """

    def __init__(self) -> None:
        self.span: Tensor | None = None
        self.found: list[tuple[Tensor, ...]] = []

    def at(self, A: Tensor, span: Tensor, like: Tensor) -> list[tuple[Tensor, ...]]:
        """(e^z, φ₁, φ₂, φ₃) at z = h A for a quarter, half and the whole of everyone's step, in the dtype of `like`."""
        same = None if self.span is None else torch.isclose(span, self.span, rtol=1e-9, atol=0.0)
        if same is not None and bool(same.all()):
            return self.found
        z = A.to(torch.float64) * span[None, :, None, None].to(torch.float64)
        found = [tuple(v.to(like.dtype) for v in level) for level in phi(z, 2)]
        if same is not None and self.span is not None and bool(same.any()):
            # whose step is as long keeps what it had, whoever else there is
            old, span = self.found, torch.where(same, self.span, span)
            found = [
                tuple(torch.where(same[:, None, None], a, b) for a, b in zip(mine, new, strict=True))
                for mine, new in zip(old, found, strict=True)
            ]
        self.span, self.found = span, found
        return found


class ExponentialTrials(Trials):
    """Krogstad's step, and what the end's own slope would have changed in it.

    `hidden`: whose fast modes have just been pushed. There one moves the residual before the second stage looks, and a quadratic
    through the stages makes a quarter of a step of it: with q = e^{−rh/4}, what g misses at θ = ¼ is ⅛ (q − 1)³ (q + 3) of the
    mode's amplitude, of one sign for every rate r > 0, so that no rate hides.
    """

    def __init__(self, field: SemilinearField) -> None:
        self.field, self.functions = field, Functions()

    def step(
        self, index: Tensor, begin: Tensor, delta: Tensor, x: Tensor, hidden: Tensor
    ) -> tuple[Tensor, Tensor]:
        field, rate = self.field, nonlinear_in(self.field, index)
        span = delta * field.segments.dt[torch.arange(len(index), device=x.device), index]
        h = span[None, :, None]
        quarters, halves, wholes = self.functions.at(field.A, span, x)
        (eq, p1q, p2q, p3q), (eh, p1h, p2h, _), (e, p1, p2, p3) = quarters, halves, wholes

        def times(matrix: Tensor, value: Tensor) -> Tensor:
            return (matrix @ value[..., None])[..., 0]

        def g(c: float, state: Tensor) -> Tensor:
            return h * rate(begin + c * delta, state)

        g1 = g(0.0, x)
        half = times(eh, x)
        g2 = g(0.5, half + 0.5 * times(p1h, g1))
        g3 = g(0.5, half + 0.5 * times(p1h, g1) + times(p2h, g2 - g1))
        whole = times(e, x) + times(p1, g1)
        g4 = g(1.0, whole + 2.0 * times(p2, g3 - g1))
        after = whole + times(p2, -3.0 * g1 + 2.0 * (g2 + g3) - g4) + 4.0 * times(p3, g1 - g2 - g3 + g4)
        # what the end's own slope would have changed
        error = times(4.0 * p3 - p2, g(1.0, after) - g4).abs()
        # And inside the step: the polynomial through the stages is quadratic, and what it misses of g is near
        # θ(θ − ½)(θ − 1) times a constant, seen at θ = ¼; in the middle it moves the state by a third of that. The end it
        # moves by (64/3)|6φ₄ − 3φ₃ + ½φ₂| of it, some .14 at most; what a fourth power misses beside it is less for steps within
        # a time constant. Without this look a residual of states that move linearly (an effect of a concentration), or of
        # inputs, had no error: the end's own slope is then exact.
        quarter = times(eq, x) + times(0.25 * p1q - 0.1875 * p2q + 0.0625 * p3q, g1)
        quarter = quarter + times(0.125 * p2q - 0.0625 * p3q, g2 + g3) + times(0.0625 * (p3q - p2q), g4)
        seen = g(0.25, quarter)
        if not bool((inside := torch.isfinite(seen)).all()):
            # From 0 a state may rise so flatly that the polynomial begins below it, in a step of any length, and a root or
            # a power has no value there: then by the first two stages alone.
            nearer = times(eq, x) + times(0.25 * p1q, g1) + times(0.125 * p2q, g2 - g1)
            inside = inside.all(-1, keepdim=True)
            seen = torch.where(inside, seen, g(0.25, torch.where(inside, quarter, nearer)))
        missed = seen - (0.375 * (g1 + g2 + g3) - 0.125 * g4)
        share = torch.where(hidden[:, None], 0.5, 0.15 if field.segments.cut else 1.0 / 3.0).to(x)
        return after, error + share * times(p1h, missed).abs()
