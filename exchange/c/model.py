"""What a header is made of, for whoever writes a part of it."""

from collections.abc import Mapping
from dataclasses import dataclass

from exchange.c.functions import OfMembers, function_in_c
from exchange.c.layers import LayersInC
from exchange.c.numbers import Real
from exchange.program import Parts
from exchange.selection import Selected


@dataclass(frozen=True)
class Model:
    """The selection, the programs of every part of each member, and the layers, where there are any."""

    selected: Selected
    parts: tuple[Parts, ...]
    layers: LayersInC | None
    prefix: str
    real: Real

    @property
    def members(self) -> int:
        """M, of the header."""
        return len(self.parts)

    @property
    def skip_in_linear(self) -> bool:
        """Is there a learned linear part, and is it in L? As `hybrid.RightHandSide.semilinear` has it: nothing known beside."""
        return self.layers is not None and self.layers.skip and all(one.known is None for one in self.parts)

    def of(self, part: str) -> OfMembers | None:
        """The programs of one part by its name in `Parts`, None where a member has none."""
        found = [getattr(one, part) for one in self.parts]
        return None if any(program is None for program in found) else OfMembers.of(found)

    def function(self, name: str, part: OfMembers, signature: str, names: Mapping[str, str], said: str = "") -> str:
        """PREFIX_`name` of these programs; R in the signature is the type of numbers, `person` the one who is asked."""
        signature = signature.replace("R ", f"{self.prefix}_real ")
        signature = signature.replace("person", f"const {self.prefix}_person *person", 1)
        text = function_in_c(f"{self.prefix}_{name}", part, signature, {**_AT, **names}, self.real)
        return f"/* {said} */\n{text}" if said else text


# a group of a program, and where it lies: of a bound person, or an argument of the same name
_AT = {
    group: f"{group}[{{i}}]"
    for group in ("x", "u", "y", "eta", "latents", "covariates", "baseline", "variance", "g", "rate")
}
