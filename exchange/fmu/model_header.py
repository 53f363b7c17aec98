"""sources/model.h: what `instance.h` needs to know of one model, by macros and arrays, beside the header of `exchange/c`."""

import hashlib
from collections.abc import Sequence

from exchange.fmu.variables import Variables
from exchange.selection import Selected


def model_header(
    chosen: Selected,
    variables: Variables,
    *,
    prefix: str,
    header: str,
    token: str,
    starts: bool,
    exponential: bool,
) -> str:
    """The text. `header`: the file of the C header; `prefix`, of everything in it; `token`, of the instance; `starts`: does
    the header say where someone starts?
    """
    model = chosen.model
    sizes = {
        "MEMBERS": len(chosen.members),
        "STATES": len(model.backbone.states),
        "INPUTS": len(model.backbone.inputs),
        "CHANNELS": len(model.observation.channels),
        "PARAMETERS": len(model.backbone.physical),
        "CONTEXT": model.sees,
        "PERSONAL": model.personal,
        "DIMENSION": model.population.dimension,
        "BY_POPULATION": int(variables.switch is not None),
        "STARTS": int(starts),
        "EXPONENTIAL": int(exponential),
    }
    places, place = dict[str, int](), 0
    for group in variables.groups:
        places[group.macro] = place
        place += len(group.variables)
    places["V_COUNT"] = place
    places["V_BY_POPULATION"] = place  # a Boolean, which has its own functions
    values = [v.start or 0.0 for group in variables.groups for v in group.variables]
    boxes = [(v.low, v.high) for v in variables.named("V_THETA")] or [(0.0, 0.0)]
    nominals = [v.nominal for v in variables.named("V_STATE")[: sizes["STATES"]]]
    pairs = ", ".join(f"{{{_real(low or 0.0)}, {_real(high or 0.0)}}}" for low, high in boxes)
    return "\n".join(
        [
            "/* What instance.h needs to know of this model. */",
            "#ifndef HOMEOSTAT_MODEL_H",
            "#define HOMEOSTAT_MODEL_H",
            "#include <stdint.h>",
            f'#include "{header}"',
            f"#define MODEL(what) {prefix}_##what",
            f'#define TOKEN "{token}"',
            f"#define MODEL_HASH UINT64_C(0x{hashlib.sha256(token.encode()).hexdigest()[:16]})",
            *(f"#define {name} {count}" for name, count in {**sizes, **places}.items()),
            f"static const double start_values[V_COUNT] = {{{_reals(values)}}};",
            f"static const double start_baseline[] = {{{_reals(chosen.baseline)}}}; /* NAN: not measured */",
            f"static const double theta_boxes[][2] = {{{pairs}}};",
            f"static const double state_nominals[STATES] = {{{_reals([n or 1.0 for n in nominals])}}};",
            "#endif",
            "",
        ]
    )


def _real(value: float) -> str:
    return "NAN" if value != value else float(value).hex()


def _reals(values: Sequence[float]) -> str:
    return ", ".join(map(_real, values))
