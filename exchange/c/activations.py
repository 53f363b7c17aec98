"""Activations and their slopes in C, with the branches that the learned part itself takes."""

from dataclasses import dataclass

from exchange.c.numbers import Real, literal
from physics.arguments import quote


@dataclass(frozen=True)
class Activation:
    """An activation as C text: φ(z) and φ'(z) as expressions of `z`; `{f}` is what a function of float ends in."""

    value: str
    slope: str


# As `learned.residual.ACTIVATIONS` and its slopes have them: NaN stays NaN, and the slope of relu at 0 is 0. Of softplus the
# value has torch's branch (z itself beyond 20, where they differ by 2e-9), and the slope is that of the exact function
IN_C: dict[str, Activation] = {
    "tanh": Activation("tanh{f}(z)", "@1 - a * a|a = tanh{f}(z)"),
    "relu": Activation("z <= @0 ? @0 : z", "z > @0 ? @1 : @0"),
    "sigmoid": Activation("@1 / (@1 + exp{f}(-z))", "a * (@1 - a)|a = @1 / (@1 + exp{f}(-z))"),
    "softplus": Activation("z > @20 ? z : log1p{f}(exp{f}(z))", "@1 / (@1 + exp{f}(-z))"),
    "silu": Activation("z / (@1 + exp{f}(-z))", "a * (@1 + z * (@1 - a))|a = @1 / (@1 + exp{f}(-z))"),
    "gelu": Activation(
        "@0.5 * z * (@1 + erf{f}(z * @0.7071067811865475244))",
        "@0.5 * (@1 + erf{f}(z * @0.7071067811865475244)) + z * @0.3989422804014326779 * exp{f}(@-0.5 * z * z)",
    ),
}


def activation_in_c(name: str, prefix: str, real: Real) -> str:
    """The functions PREFIX_phi and PREFIX_phi_slope. Errors: `ValueError` for an activation not written in C, with the list."""
    if name not in IN_C:
        raise ValueError(
            f"exchange.c: the activation {quote(name)} of the residual is not written in C; it has {', '.join(IN_C)}. Add it in "
            "exchange/c/activations.py"
        )
    known = IN_C[name]
    return "\n".join(
        f"static inline {prefix}_real {prefix}_{what}({prefix}_real z)\n{{\n{_body(text, prefix, real)}}}"
        for what, text in (("phi", known.value), ("phi_slope", known.slope))
    )


def _body(text: str, prefix: str, real: Real) -> str:
    value, _, before = (part for part in _numbered(text, real).partition("|"))
    first = f"    const {prefix}_real {before};\n" if before else ""
    return f"{first}    return {value};\n"


def _numbered(text: str, real: Real) -> str:
    """Every @number as a constant of the type."""
    found, parts = "", text.replace("{f}", "f" if real == "float" else "").split("@")
    for k, part in enumerate(parts):
        if k == 0:
            found = part
            continue
        end = next((i for i, c in enumerate(part) if c not in "-.0123456789"), len(part))
        found += literal(float(part[:end]), real) + part[end:]
    return found
