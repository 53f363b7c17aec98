"""What a one-step method is to whoever takes its steps, reads inside them, or looks for their lengths.

A `Scheme` puts a step's stages together: by numbers (Runge–Kutta) or by functions of h A (exponential methods). For the steps
in buffers it gives a `Combination`: the linear algebra between the evaluations of the residual, whose parts go forwards, go
backwards, gather gradients, and say the same in ordinary operations.
"""

from abc import ABC, abstractmethod
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from hybrid.field import SemilinearField
from hybrid.solve.pool import Tape

Step = Callable[[int, Tensor], tuple[Tensor, Tensor]]  # k and x (M, N, n) to the state at step k's end and slopes (S, M, N, n)


@dataclass(frozen=True)
class Driving:
    """What drives the rows in step k, each with the steps in front: `h` (K, R|1, 1) lengths, `f0`, `f1` (K, Mw|1, R, n) the
    forcing and its change, `jump` (K, R, n), `u0`, `u1` (K, R, m) the residual's inputs at both ends; None where absent.
    """

    h: Tensor
    f0: Tensor | None
    f1: Tensor | None
    jump: Tensor
    u0: Tensor | None
    u1: Tensor | None


class Forwards(ABC):
    """The way to a step's stages and its end, on rows (Mw, R, n): step k in slot c, X and F its states and slopes."""

    @abstractmethod
    def renew(self) -> None:
        """Take up what was written into the combination's tensors."""

    @abstractmethod
    def stage(self, k: int, c: int, i: int, X: Tensor, F: Tensor) -> None:
        """X_i from X_0 and the slopes before i."""

    @abstractmethod
    def finish(self, k: int, c: int, X: Tensor, F: Tensor, out: Tensor) -> None:
        """The state at the step's end."""

    @abstractmethod
    def add_linear(self, x: Tensor, out: Tensor) -> None:
        """Add A x, where the slopes hold it."""


class Backwards(ABC):
    """The transposes of `Forwards`."""

    @abstractmethod
    def finish(self, k: int, c: int, lam: Tensor) -> None:
        """From the cotangent of the end to those of the slopes and, in `lam`, of X_0."""

    @abstractmethod
    def kappa(self, k: int, i: int, extra: Tensor | None, out: Tensor) -> None:
        """The whole cotangent of slope i, `extra` of it from outside the step."""

    @abstractmethod
    def stage(self, k: int, c: int, i: int, mu: Tensor, lam: Tensor) -> None:
        """Hand the cotangent of X_i on to the slopes before it and to `lam`."""

    @abstractmethod
    def add_linear(self, kappa: Tensor, mu: Tensor) -> None:
        """The transpose of adding A x."""


class Gathers(ABC):
    """The gradients of the combination's tensors, step by step."""

    @abstractmethod
    def begin(self, needs: list[bool]) -> None:
        """Forget the gradients so far."""

    @abstractmethod
    def collect(self, k: int, X: Tensor, F: Tensor, kappa: Tensor, gh: Tensor | None) -> None:
        """Add this step's gradients, that of h to `gh`."""

    @abstractmethod
    def gradients(self) -> list[Tensor | None]:
        """In the order of the combination's `tensors`."""


@dataclass(frozen=True)
class Room:
    """The buffers of some steps: the place of the `slopes` (chunk, S, Mw, R, n), and what is done in them."""

    slopes: Tensor
    forwards: Forwards
    backwards: Backwards
    gathers: Gathers


class Ordinary(ABC):
    """The same combination in ordinary operations, on tensors that stand for its own."""

    @abstractmethod
    def state(self, h: Tensor, k: int, i: int, x: Tensor, f: Sequence[Tensor]) -> Tensor:
        """Stage i (−1: the end) of step k, of length h."""

    @abstractmethod
    def plus_linear(self, x: Tensor, value: Tensor) -> Tensor:
        """A x added, where the slopes hold it."""


class Combination(ABC):
    """The linear algebra between the evaluations of one step, for the rows (Mw, R, n) of a field.

    `repeats` says whether its operations may be kept and run again.
    """

    repeats: bool

    @abstractmethod
    def tensors(self) -> list[Tensor | None]:
        """What it is differentiable in."""

    @abstractmethod
    def held(self) -> "Combination":
        """The same on copies of its tensors, which stay and may be written anew."""

    @abstractmethod
    def room(self, like: Tensor, stages: int, chunk: int, do: Tape) -> Room:
        """Buffers for rows like these; `do` runs every operation."""

    @abstractmethod
    def ordinary(self, own: Sequence[Tensor | None]) -> Ordinary:
        """The same in ordinary operations on `own`, which stand for the `tensors`."""


class Trials(ABC):
    """Steps that are tried for a tolerance."""

    @abstractmethod
    def step(
        self,
        index: Tensor,  # (N,) everyone's segment
        begin: Tensor,  # (N,) and where in it
        delta: Tensor,  # (N,) and how much of it
        x: Tensor,  # (M, N, n)
        hidden: Tensor,  # (N,) bool, whose fast modes have just been pushed
    ) -> tuple[Tensor, Tensor]:  # (M, N, n) twice
        """One step of every record from where it is, and an estimate of its error, inside it too if it is read there."""


@dataclass(frozen=True)
class Inside:
    """Where the steps of a march are read: `segment` and `fraction` (N|1, T), `length` (N|1, T) of those segments, `alike`:
    the same for everyone; `pick` takes what is there of each step (K, …, M, N, n) for each reading, (T, …, M, N, n). `after`
    (K, M, N, n), the states at the steps' beginnings, `slopes` (K, S, M, N, n).
    """

    segment: Tensor
    fraction: Tensor
    length: Tensor
    alike: bool
    pick: Callable[[Tensor], Tensor]
    after: Tensor
    slopes: Tensor


@dataclass(frozen=True)
class Scheme(ABC):
    """A one-step method: `name`, to speak of it · `c`, where in the step its slopes are taken · `ends`: the last of them is that
    of the step's end, which only who reads inside the steps needs · `error_order`, that of its error estimate · `exact`: A is
    taken exactly, so that no rate of A limits a step, and a step without a residual may have any length.
    """

    name: str
    c: tuple[float, ...]
    ends: bool
    error_order: int
    exact: bool

    @abstractmethod
    def combination(self, field: SemilinearField, M: int, Mw: int, R: int) -> Combination:
        """For the rows of this field."""

    @abstractmethod
    def steps(self, field: SemilinearField, M: int, *, dense: bool, compiled: bool) -> Step:
        """One step after the other in ordinary operations."""

    @abstractmethod
    def trials(self, field: SemilinearField) -> Trials:
        """Steps of any length from anywhere."""

    @abstractmethod
    def read(self, field: SemilinearField, inside: Inside) -> Tensor:  # (T, M, N, n)
        """The states inside the steps."""

    def closing(self, dense: bool) -> bool:
        """Is the slope at the step's end a stage?"""
        return dense and self.ends

    def times(self, dense: bool) -> tuple[float, ...]:
        """Where in the step the slopes are taken."""
        return self.c[:-1] if self.ends and not dense else self.c

    def stages(self, dense: bool) -> int:
        """How many slopes a step has."""
        return len(self.times(dense))


def rows(
    x: Tensor,  # (K, M, N, n)
    slopes: Tensor,  # (K, S, M, N, n)
) -> Tensor:  # (K, M, N, (S+1)·n)
    """[x, g_1 … g_S] of everyone."""
    return torch.cat([x[:, None], slopes], 1).permute(0, 2, 3, 1, 4).flatten(3)
