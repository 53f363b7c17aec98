"""One member of a model as the text of an SBML document."""

from collections.abc import Mapping, Sequence

from exchange.sbml.document import Quantity, document
from exchange.sbml.equations import equations_of
from exchange.sbml.identifiers import free, identifier, identifiers
from exchange.sbml.mathml import FUNCTIONS, formulas, named, require_operations
from exchange.selection import Selected
from hybrid import HybridModel
from physics.tape import Line
from physics.units import over


def text_of(
    chosen: Selected,
    name: str,
    *,
    said: Sequence[str] = (),
    facts: Mapping[str, str] | None = None,
) -> tuple[str, tuple[str, ...]]:
    """The document of one member, and the UCUM codes for which SBML has no unit. Errors: as `Sbml.write`."""
    model, equations = chosen.model, equations_of(chosen.model)
    backbone, channels = model.backbone, model.observation.channels
    kinds = {
        "state": tuple(backbone.states),
        "theta": tuple(p.name for p in backbone.physical),
        "u": tuple(backbone.inputs),
        "infused": tuple(backbone.states),
        "c": tuple(f"{k + 1}" for k in range(model.sees)),
        "y": tuple(channels),
    }
    ids = identifiers(kinds)
    require_operations(equations.code, "a rate or a channel")
    groups = ["state" if group == "x" else group for group in equations.inputs]
    taken = set(ids.values())
    functions = {kind: free(kind, taken) for kind in FUNCTIONS}
    taken |= set(functions.values())

    def leaf(line: Line) -> str:
        kind = groups[line.arguments[0]]
        return named(ids[kind, kinds[kind][line.arguments[1]]])

    def part(i: int) -> str:
        return free(f"part_{i}", taken)

    ends = equations.outputs
    found, parts = formulas(equations.code, (*ends["rate"], *ends["y"]), leaf, part, functions)
    rates, observed = ([found[i] for i in ends[group]] for group in ("rate", "y"))
    own = {kind: [ids[kind, one] for one in names] for kind, names in kinds.items()}
    x0, theta, c = (values[0].tolist() for values in (chosen.x0, chosen.theta, chosen.c))
    levels = chosen.inputs or tuple(_level(model, one) for one in backbone.inputs)
    units, per_time = backbone.state_units, [over(unit, backbone.time_unit) for unit in backbone.state_units]
    each = zip(own["state"], kinds["state"], units, x0, rates, strict=True)
    quantities = [Quantity(i, n, unit, value, rate=rate) for i, n, unit, value, rate in each]
    quantities += [
        Quantity(i, p.name, p.unit, v) for i, p, v in zip(own["theta"], backbone.physical, theta, strict=True)
    ]
    inputs = zip(own["u"], kinds["u"], backbone.input_units, levels, strict=True)
    quantities += [Quantity(i, n, unit, level) for i, n, unit, level in inputs]
    quantities += [
        Quantity(i, f"infused into {n}", u, 0.0)
        for i, n, u in zip(own["infused"], kinds["state"], per_time, strict=True)
    ]
    quantities += [Quantity(i, f"c {n}", None, v) for i, n, v in zip(own["c"], kinds["c"], c, strict=True)]
    quantities += [Quantity(part(i), f"part {i}", None, rule=rule) for i, rule in parts.items()]
    shown = zip(own["y"], channels, model.observation.units, observed, strict=True)
    quantities += [Quantity(i, n, unit, rule=rule) for i, n, unit, rule in shown]
    whole = "".join((*found.values(), *parts.values()))
    called = {kind: own for kind, own in functions.items() if named(own) in whole}
    title = free(identifier(name, "Sbml: the file's name"), (*taken, *(part(i) for i in parts)))
    return document(title, name, backbone.time_unit, quantities, functions=called, said=said, facts=facts or {})


def _level(model: HybridModel, name: str) -> float:
    """An input where nobody says otherwise: the level that a mechanism is usually looked at, and 0."""
    return 0.0 if model.mechanism is None else float(model.mechanism.typical_inputs.get(name, 0.0))
