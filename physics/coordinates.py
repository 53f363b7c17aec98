"""From coordinates on the scales of effects to θ in its box."""

import torch
from torch import Tensor, nn

from physics.bends import Order, late, order_of, ordered, unlate
from physics.effects import Scale
from physics.parameter import Parameter


class Coordinates(nn.Module):
    """θ_j = g_j(z_j), each in its compact box for every real z_j.

    On the scale "log" and "linear" θ_j or its logarithm is c + h b((z − c)/h), with c and h the centre and the half-width of
    the box on that scale and b(x) = x/(1 + x⁸)^(1/8); on "logit" θ_j = low + (high − low)/(1 + e^(−z)). What lies `above`
    something is kept there as in `LogNormalPopulation`. A parameter with a value in `held` has that value whatever z is.

    Arguments: `parameters` (q,); `scales` (q,); `held` (q,), None for each parameter that moves; `typical` (q,), where
    z = `start` leads, by default the parameters' typical values (those that are kept in order move by what the order moves them).
    Law: θ is inside `box` for every real z.
    """

    def __init__(
        self,
        parameters: tuple[Parameter, ...],
        scales: tuple[Scale, ...],
        held: tuple[float | None, ...],
        typical: tuple[float, ...] | None = None,
    ) -> None:
        super().__init__()
        self.scales = scales
        self.orders: tuple[Order, ...] = tuple(order_of(p, parameters, held) for p in parameters if p.above)
        number = torch.float64
        low = torch.tensor([p.low if v is None else v for p, v in zip(parameters, held, strict=True)], dtype=number)
        high = torch.tensor([p.high if v is None else v for p, v in zip(parameters, held, strict=True)], dtype=number)
        # of one that is held, the box that it might have moved in: a width of 0 is no scale
        ends = torch.tensor([(p.low, p.high) for p in parameters], dtype=number).reshape(-1, 2)
        middle = torch.tensor([p.typical for p in parameters] if typical is None else typical, dtype=number)
        logs, logits = (torch.tensor([s == kind for s in scales], dtype=torch.bool) for kind in ("log", "logit"))
        a, b = (torch.where(logs, ends[:, k].clamp(min=1e-300).log(), ends[:, k]) for k in (0, 1))
        t = torch.where(logs, middle.clamp(min=1e-300).log(), middle)
        centre, half_width = (a + b) / 2, (b - a) / 2
        share = ((middle - ends[:, 0]) / (ends[:, 1] - ends[:, 0])).clamp(1e-15, 1.0 - 1e-15)
        start = torch.where(logits, torch.logit(share), centre + half_width * unlate((t - centre) / half_width))
        self.low: Tensor
        self.high: Tensor
        self.centre: Tensor
        self.half_width: Tensor
        self.start: Tensor
        self.logs: Tensor
        self.logits: Tensor
        self.still: Tensor
        for name, value in (
            ("low", low),
            ("high", high),
            ("centre", centre),
            ("half_width", half_width),
            ("start", start),
            ("logs", logs),
            ("logits", logits),
            ("still", torch.tensor([v is not None for v in held], dtype=torch.bool)),
        ):
            self.register_buffer(name, value)
        self.alike = all(s == "log" for s in scales)
        self.any_logit, self.any_still = "logit" in scales, any(v is not None for v in held)

    def forward(
        self,
        z: Tensor,  # (M, N, q)
    ) -> Tensor:  # (M, N, q)
        bent = self.centre + self.half_width * late((z - self.centre) / self.half_width)
        # an exponential of what is no logarithm could overflow, and its slope of 0 · ∞ be no number
        theta = bent.exp() if self.alike else torch.where(self.logs, torch.where(self.logs, bent, 0.0).exp(), bent)
        if self.any_logit:
            theta = torch.where(self.logits, self.low + (self.high - self.low) * torch.sigmoid(z), theta)
        if self.any_still:
            theta = torch.where(self.still, self.low, theta)
        if self.orders:
            positive = self.low > 0.0  # the others are in no order
            low, high = (torch.where(positive, end, 1.0).log() for end in (self.low, self.high))
            kept = ordered(torch.where(positive, theta, 1.0).log(), self.orders, low, high).exp()
            named = [order.upper for order in self.orders] + [order.first for order in self.orders]
            theta = torch.stack([(kept if j in named else theta)[..., j] for j in range(len(self.scales))], -1)
        # what rounding has put out of the box
        return torch.minimum(torch.maximum(theta, self.low), self.high)

    @property
    def box(self) -> Tensor:  # (q, 2)
        """The compact box of θ."""
        return torch.stack([self.low, self.high], -1)
