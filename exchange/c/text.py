"""The text of a header: the remark at its top, sizes and names, tables, and the functions in the order of their calls."""

import re
from string import Template

from exchange.c.field import field_in_c
from exchange.c.identifiers import identifiers
from exchange.c.layers import layers_in_c
from exchange.c.maps import maps_in_c, measured_in_c
from exchange.c.model import Model
from exchange.c.numbers import Real, remark, table, texts
from exchange.c.person import person_in_c
from exchange.c.steps import steps_in_c
from exchange.program.parts import parts_of_members
from exchange.selection import Selected
from learned import LayeredResidual

# the functions and macros of <math.h>, C99 7.12, that a program or a layer may call
C99 = frozenset(
    (
        *("acos", "asin", "atan", "atan2", "cos", "sin", "tan", "acosh", "asinh", "atanh", "cosh", "sinh", "tanh"),
        *(
            "exp",
            "exp2",
            "expm1",
            "log",
            "log10",
            "log1p",
            "log2",
            "fabs",
            "hypot",
            "pow",
            "sqrt",
            "erf",
            "floor",
            "ceil",
        ),
        "isfinite",
    )
)


def header_text(
    selected: Selected,
    prefix: str,
    real: Real,
    about: str,  # for the remark at the top
    proved: str = "",  # the numbers of a certificate
) -> str:
    """The whole header, `PREFIX_…`.

    Errors: `ValueError` for an activation or an operation that is not written in C, and for two names that become one identifier.
    """
    model, residual = selected.model, selected.model.residual
    layered = isinstance(residual, LayeredResidual) and not residual.vanishes
    members = len(selected.members)
    layers = layers_in_c(residual.layers(), members, prefix, real) if layered else None  # type: ignore[operator]
    parts = parts_of_members(model)
    # a model without trainable tensors has one member, however many its people were found under
    parts = parts if len(parts) == members else parts * members
    made = Model(selected, parts, layers, prefix, real)
    body = "\n\n".join(filter(None, [_sizes(made), _names(made), _defaults(made), proved, *_functions(made)]))
    used = sorted({w for w in re.findall(r"\b([a-z][a-z0-9_]*)\(", body) if w in C99 or w.removesuffix("f") in C99})
    return Template(_FRAME).substitute(
        about=remark(about), functions=", ".join(used), guard=f"{prefix}_INCLUDED", body=body, p=prefix, real=real
    )


_FRAME = """\
/*
$about

Functions and macros of <math.h> that are called: $functions.
*/
#ifndef $guard
#define $guard

/* A compiler that may take every number for finite drops the checks for numbers that are not. */
#if !defined(${p}_ALLOW_FAST_MATH)
#if defined(__FAST_MATH__) || (defined(__FINITE_MATH_ONLY__) && __FINITE_MATH_ONLY__) || defined(_M_FP_FAST)
#error "compile without -ffast-math, -ffinite-math-only and /fp:fast, which drop the checks here for numbers that \
are not finite, or define ${p}_ALLOW_FAST_MATH and check arguments yourself"
#endif
#endif

#include <math.h>

typedef $real ${p}_real;

$body

#endif
"""


def _sizes(made: Model) -> str:
    model, p = made.selected.model, made.prefix
    n = len(model.backbone.states)
    sizes = {
        "STATES": n,
        "SQUARE": n * n,
        "INPUTS": len(model.backbone.inputs),
        "CHANNELS": len(model.observation.channels),
        "PARAMETERS": len(model.backbone.physical),
        "CONTEXT": model.sees,
        "PERSONAL": model.personal,
        "ETA": model.population.dimension,
        "LATENTS": model.latents,
        "COVARIATES": len(model.uses),
        "MEMBERS": made.members,
    }
    lines = [f"#define {p}_{name} {size}" for name, size in sizes.items()]
    groups = {
        "state": list(model.backbone.states),
        "input": list(model.backbone.inputs),
        "channel": list(model.observation.channels),
        "parameter": [one.name for one in model.backbone.physical],
        "covariate": list(model.uses),
    }
    for group, names in groups.items():
        if names:
            found = ", ".join(f"{p}_{group.upper()}_{one}" for one in identifiers(names, f"exchange.c: the {group}s"))
            lines.append(f"enum {{{found}}};")
    return "\n".join(lines)


def _names(made: Model) -> str:
    model, p = made.selected.model, made.prefix
    backbone, observation = model.backbone, model.observation
    physical = backbone.physical
    named = {
        "time_unit": [backbone.time_unit],
        "state_names": backbone.states,
        "state_units": backbone.state_units,
        "input_names": backbone.inputs,
        "input_units": backbone.input_units,
        "channel_names": observation.channels,
        "channel_units": observation.units,
        "parameter_names": [one.name for one in physical],
        "parameter_units": [one.unit for one in physical],
        "covariate_names": list(model.uses),
        "covariate_units": [unit or "" for unit in model.uses.values()],
    }
    return "\n".join(texts(f"{p}_{name}", list(values)) for name, values in named.items())


def _defaults(made: Model) -> str:
    chosen, p, real = made.selected, made.prefix, made.real
    physical = chosen.model.backbone.physical
    numbers = {
        "default_theta": chosen.theta.numpy(),
        "default_context": chosen.c.numpy(),
        "default_start": chosen.x0.numpy(),
        "default_inputs": list(chosen.inputs),
        "parameter_low": [one.low for one in physical],
        "parameter_high": [one.high for one in physical],
        "default_covariates": list(chosen.covariates.values()),
    }
    return "\n".join(table(f"{p}_{name}", values, real) for name, values in numbers.items())


def _functions(made: Model) -> list[str]:
    known, learned = made.of("known"), made.of("residual")
    return [
        *maps_in_c(made),
        *person_in_c(made),
        *field_in_c(known, learned, made.layers, made.prefix, made.real, made.parts[0].whole),
        *measured_in_c(made),
        steps_in_c(made.prefix, made.real),
    ]
