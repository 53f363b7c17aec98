"""What is set in an FMU before it runs: numbers and switches by their names, and none of them for nothing."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from exchange.imported.described import Described
from physics.arguments import quote, require_number

_MAP = "by_population"  # of an FMU of ours: is theta made of these, or stated?
_MAPPED, _STATED = ("eta", "latent", "covariate"), ("theta", "context")


@dataclass(frozen=True)
class Settings:
    """By FMI reference: `numbers`, and `switches`, which are true or false."""

    numbers: Mapping[int, float] = field(default_factory=dict)
    switches: Mapping[int, bool] = field(default_factory=dict)

    def put(self, fmu: Any, *, three: bool) -> None:
        """Set them, in an instance of FMPy's of FMI 3, `three`, or 2."""
        if self.numbers:
            (fmu.setFloat64 if three else fmu.setReal)(list(self.numbers), list(self.numbers.values()))
        if self.switches:
            fmu.setBoolean(list(self.switches), list(self.switches.values()))


def settings_of(about: Described, values: Mapping[str, Any], kinds: Sequence[str], what: str) -> Settings:
    """The settings of these `values` by name, of real variables of these `kinds` ("parameters", "states", "inputs") and of
    switches (true or false, 1 or 0).

    Errors: `ValueError`, beginning with `what`, for a name that is not there, a value of another kind, and what the FMU would not
    read: of one of ours, a covariate without the switch `by_population`, or a theta with it.
    """
    known = {one.name: one for one in about.switches}
    numbers, switches = dict[int, float](), dict[int, bool]()
    for name, value in values.items():
        if name in known:
            if value not in (0, 1):
                raise ValueError(f"{what} {quote(name, 60)} is true or false, and is {quote(value)}; write 1 or 0")
            switches[known[name].reference] = bool(value)
            continue
        require_number(value, f"{what} {quote(name, 60)}")
        numbers[about.one(name, (*kinds, *(("switches",) if known else ())), what).reference] = float(value)
    if _MAP in known:
        mapped = switches.get(known[_MAP].reference, bool(known[_MAP].start))
        for name in values:
            kind = name.split(".")[-2] if "." in name else name.split("[")[0]
            if kind in _MAPPED and not mapped:
                raise ValueError(f"{what} {quote(name, 60)} is read where {_MAP} is true alone; set {_MAP}=1 too")
            if kind in _STATED and mapped:
                raise ValueError(f"{what} {quote(name, 60)} is not read where {_MAP} is true; leave one of them out")
    return Settings(numbers, switches)
