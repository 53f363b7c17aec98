"""What a physical parameter is: a name, a unit, a typical value with its source, and the box it never leaves."""

from dataclasses import dataclass

from physics.arguments import quote, require_number, require_text
from physics.glance import glance
from physics.units import require


@dataclass(frozen=True)
class Parameter:
    """One physical parameter θ_j of a backbone: positive, where its box is, and otherwise of either sign.

    Arguments: `name`; `unit` (UCUM code); `typical` value in that unit; `low` and `high`, the ends of the compact box
    that every fitted, filtered or simulated θ_j stays in; `source`, where the typical value comes from; `above`, where the
    box alone does not say which of two is the larger: the name of the parameter that θ_j is larger than in everyone, or a
    product or quotient of parameters ("ke", "CL/V", "ka*V").
    Errors: `ValueError` unless low < typical < high, all finite, and for a unit that is not UCUM; what needs positive ones
    (log-normal people, a volume, an order) says so.
    """

    name: str
    unit: str
    typical: float
    low: float
    high: float
    source: str = ""
    above: str = ""

    __repr__, _repr_html_ = glance()

    def __post_init__(self) -> None:
        require_text(self.name, "Parameter: name", "Parameter('ka', '/h', 1.5, 0.05, 20.0)")
        require(self.unit, f"parameter {self.name[:60]}")
        for name in ("typical", "low", "high"):
            require_number(getattr(self, name), f"parameter {self.name[:60]}: {name}")
            object.__setattr__(self, name, float(getattr(self, name)))  # an array or a tensor of one number is that number
        for name in ("source", "above"):
            if not isinstance(getattr(self, name), str):
                raise ValueError(f"parameter {self.name[:60]}: {name} is a text, and is {quote(getattr(self, name))}")
        if not float("-inf") < self.low < self.typical < self.high < float("inf"):
            raise ValueError(
                f"parameter {self.name[:60]}: needs low < typical < high, all finite, and got low={self.low}, "
                f"typical={self.typical}, high={self.high} {self.unit}; put the typical value inside its box"
            )

    @property
    def positive(self) -> bool:
        """Is the whole box above 0?"""
        return self.low > 0.0
