"""How often a fit looks at held-out people, how long it waits for better, and where it keeps itself."""

from dataclasses import dataclass

from physics.arguments import require_kind, require_number
from physics.glance import glance
from training.machinery.checkpoint import Checkpoint


@dataclass(frozen=True, kw_only=True)
class Looks:
    """When a fit is looked at, and kept.

    - `every`: so many steps, held-out people are personalised with each member frozen and scored. A member keeps its best look.
    - `patience`: after so many looks in a row that are no better a member is finished, whatever the others do; None for the
      number that each fit says. Without anyone to judge it a member keeps its last state.
    - `checkpoint`: goes on from its file if that is there, and then yields the saved step once more, first of all. Saves every
      so many steps, after the caller has seen them, and whenever the loop ends, by Ctrl-C or an error too.

    Errors: `ValueError` for what cannot be such a thing.
    """

    every: int = 20
    patience: int | None = None
    checkpoint: Checkpoint | None = None

    __repr__, _repr_html_ = glance()

    def __post_init__(self) -> None:
        require_number(self.every, "Looks: every, a number of steps,", least=1.0, most=1e12, whole=True)
        object.__setattr__(self, "every", int(self.every))
        if self.patience is not None:
            require_number(self.patience, "Looks: patience", least=1.0, most=1e12, whole=True)
            object.__setattr__(self, "patience", int(self.patience))
        if self.checkpoint is not None:
            require_kind(self.checkpoint, Checkpoint, "Looks: checkpoint", "Checkpoint(Path('fit.checkpoint'))")
