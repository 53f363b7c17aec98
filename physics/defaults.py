"""What a backbone says of itself to whoever builds a model around it without knowing it: the shell, a demo."""

from collections.abc import Mapping
from dataclasses import dataclass, field

from physics.arguments import quote, require_kind, require_number, require_text
from physics.glance import glance
from physics.units import require


@dataclass(frozen=True)
class Observed:
    """What a channel of a table measures: y = x_state, or x_state/θ_volume.

    Arguments: `state` by name; `volume`, the parameter that it is divided by, None for none; `channel`, the name of the channel
    where a table has none, that of the state where it is not given; `unit`, the channel's UCUM code, "" for the state's own.
    """

    state: str
    volume: str | None = None
    channel: str = ""
    unit: str = ""

    def __post_init__(self) -> None:
        require_text(self.state, "Observed: state", 'Observed("plasma", "V")')
        if self.volume is not None:
            require_text(self.volume, "Observed: volume", 'Observed("plasma", "V")')
        for name in ("channel", "unit"):
            require_kind(getattr(self, name), str, f"Observed: {name}", 'Observed("plasma", "V", "concentration", "mg/L")')
        object.__setattr__(self, "channel", self.channel or self.state)
        if self.unit:
            require(self.unit, f"Observed: {self.channel}")


@dataclass(frozen=True)
class Defaults:
    """What is taken where nobody says otherwise. A backbone that says nothing is observed through states by their names.

    Arguments
    - `observed`: what the channels of a table measure.
    - `compartments`: the number (CMT) of each state that takes doses; the states in their order, from 1, where it is empty.
    - `spread`: standard deviations of log θ between people, by parameter; .3 for those that are not named.
    - `powers`: the covariate powers of the parameters, as `LogNormalPopulation` takes them; each is used where every person has
      the covariate.
    - `amounts`: whether the states are amounts, which never fall below 0: a residual of a state then vanishes where it is empty.
    Errors: `ValueError` for what is none of these.
    """

    observed: tuple[Observed, ...] = ()
    compartments: Mapping[int | str, str] = field(default_factory=dict)
    spread: Mapping[str, float] = field(default_factory=dict)
    powers: Mapping[str, Mapping[str, tuple[float, float, str]]] = field(default_factory=dict)
    amounts: bool = False

    __repr__, _repr_html_ = glance()

    def __post_init__(self) -> None:
        require_kind(self.observed, tuple, "Defaults: observed", '(Observed("plasma", "V"),)')
        for one in self.observed:
            require_kind(one, Observed, "Defaults: each of observed", 'Observed("plasma", "V")')
        for name, write in (
            ("compartments", '{1: "gut"}'),
            ("spread", '{"V": 0.2}'),
            ("powers", '{"V": {"WT": (70.0, 1.0, "kg")}}'),
        ):
            require_kind(getattr(self, name), Mapping, f"Defaults: {name}", write)
        for number, state in self.compartments.items():
            require_text(state, f"Defaults: the compartment {number}", 'compartments={1: "gut"}')
            if isinstance(number, bool) or not (isinstance(number, int | str) and number):
                raise ValueError(f"Defaults: compartments go by number or name, not by {quote(number)}; write {{1: {state!r}}}")
        if len(set(self.compartments.values())) < len(self.compartments):
            raise ValueError(f"Defaults: a state has two numbers among {quote(dict(self.compartments))}; give each state one")
        for parameter, by in self.powers.items():
            require_text(parameter, "Defaults: a parameter with powers", 'powers={"V": {"WT": (70.0, 1.0, "kg")}}')
            require_kind(by, Mapping, f"Defaults: the powers of {parameter}", '{"V": {"WT": (70.0, 1.0, "kg")}}')
        for parameter, value in self.spread.items():
            require_text(parameter, "Defaults: a parameter with a spread", 'spread={"V": 0.2}')
            require_number(value, f"Defaults: the spread of {parameter}", above=0.0)
        require_kind(self.amounts, bool, "Defaults: amounts", "amounts=True")
