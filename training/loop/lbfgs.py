"""Limited-memory quasi-Newton directions, many independent problems at once."""

import torch
from torch import Tensor


class Memory:
    """The last moves and changes of gradient of M independent problems of size P, and L-BFGS's product with a gradient.

    Law: what one problem remembers, and when, does not change the direction of another.
    Source: Liu & Nocedal, Math. Program. 45 (1989) 503.
    """

    def __init__(self, members: int, size: int, like: Tensor, length: int = 20) -> None:
        self.move = like.new_zeros(length, members, size)
        self.change = torch.zeros_like(self.move)
        self.inverse = like.new_zeros(length, members, 1)  # 1/(moveᵀchange), 0 where there is no pair yet
        self.scale = like.new_ones(members, 1)

    def remember(self, move: Tensor, change: Tensor, accepted: Tensor) -> None:
        """Keep an accepted pair along which the objective bends upwards."""
        inner, square = (move * change).sum(1, keepdim=True), change.square().sum(1, keepdim=True)
        useful = accepted[:, None] & (inner > 1e-10 * move.norm(dim=1, keepdim=True) * square.sqrt())  # (M, 1)

        def pushed(kept: Tensor, new: Tensor) -> Tensor:
            return torch.where(useful, torch.cat([kept[1:], new[None]]), kept)

        self.move, self.change = pushed(self.move, move), pushed(self.change, change)
        one = torch.ones_like(inner)
        self.inverse = pushed(self.inverse, 1.0 / torch.where(useful, inner, one))
        self.scale = torch.where(useful, inner / torch.where(useful, square, one), self.scale)

    def direction(self, gradient: Tensor) -> Tensor:  # (M, P)
        """−(inverse Hessian)·gradient: the two loops of Nocedal, Math. Comput. 35 (1980) 773."""
        q, left = gradient, []
        pairs = list(zip(self.move, self.change, self.inverse, strict=True))
        for move, change, inverse in reversed(pairs):
            left.append(inverse * (move * q).sum(1, keepdim=True))
            q = q - left[-1] * change
        q = self.scale * q
        for (move, change, inverse), a in zip(pairs, reversed(left), strict=True):
            q = q + move * (a - inverse * (change * q).sum(1, keepdim=True))
        return -q
