"""The text of an SBML document: what a model is made of, named, with units, rules and what is said about it."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from xml.sax.saxutils import escape, quoteattr

from exchange.sbml.identifiers import free
from exchange.sbml.mathml import FUNCTIONS, NAMESPACE
from exchange.sbml.units import definition

CORE = "http://www.sbml.org/sbml/level3/version2/core"
XHTML = "http://www.w3.org/1999/xhtml"
OURS = "https://homeostat.invalid/sbml/1"  # a name and no address: nothing is fetched from it


@dataclass(frozen=True)
class Quantity:
    """A number with an identifier: `name` as the model has it, `unit` as UCUM, `value` at the start (None where a rule gives it),
    `rate` or `rule`, the formula of its rate or of itself.
    """

    identifier: str
    name: str
    unit: str | None
    value: float | None = None
    rate: str | None = None
    rule: str | None = None


def document(
    identifier: str,
    name: str,
    time_unit: str,
    quantities: Sequence[Quantity],
    *,
    functions: Mapping[str, str],
    said: Sequence[str],
    facts: Mapping[str, str],
) -> tuple[str, tuple[str, ...]]:
    """The whole text, and the UCUM codes for which SBML has no unit.

    `functions`: the identifiers of those of `FUNCTIONS` that formulas call · `said`: sentences for the notes · `facts`: texts for
    the annotation, by name.
    """
    taken = {q.identifier for q in quantities} | set(functions.values()) | {identifier}
    codes = list(dict.fromkeys([time_unit, *(q.unit for q in quantities if q.unit is not None)]))
    units: dict[str, str] = {}
    definitions, lacking = list[str](), list[str]()
    for k, code in enumerate(codes):
        own = free(f"unit_{k + 1}", taken)
        found = definition(code, own)
        if found is None:
            lacking.append(code)
        else:
            units[code] = own
            definitions.append(found)
    more = [
        f"SBML has no unit for {code}: what is in {code} states no unit here, and its name says it" for code in lacking
    ]
    parts = [
        _notes([*said, *more]),
        _annotation(facts),
        _listed("FunctionDefinitions", [_function(kind, own) for kind, own in functions.items()]),
        _listed("UnitDefinitions", definitions),
        _listed("Parameters", [_parameter(q, units) for q in quantities]),
        _listed("Rules", [_rule(q) for q in quantities if q.rate is not None or q.rule is not None]),
    ]
    time = f" timeUnits={quoteattr(units[time_unit])}" if time_unit in units else ""
    head = f"<model id={quoteattr(identifier)} name={quoteattr(name)}{time}>"
    body = "\n".join(part for part in parts if part)
    text = f'<sbml xmlns="{CORE}" level="3" version="2">\n{head}\n{body}\n</model>\n</sbml>\n'
    return f'<?xml version="1.0" encoding="UTF-8"?>\n{text}', tuple(lacking)


def _notes(said: Sequence[str]) -> str:
    paragraphs = "\n".join(f"<p>{escape(sentence)}</p>" for sentence in said)
    return f'<notes><body xmlns="{XHTML}">\n{paragraphs}\n</body></notes>'


def _annotation(facts: Mapping[str, str]) -> str:
    inside = "\n".join(f"<homeostat:{name}>{escape(text)}</homeostat:{name}>" for name, text in facts.items())
    return f'<annotation><homeostat:bundle xmlns:homeostat="{OURS}">\n{inside}\n</homeostat:bundle></annotation>'


def _listed(kind: str, parts: Sequence[str]) -> str:
    inside = "\n".join(parts)
    return f"<listOf{kind}>\n{inside}\n</listOf{kind}>" if parts else ""


def _math(inside: str) -> str:
    return f'<math xmlns="{NAMESPACE}">{inside}</math>'


def _function(kind: str, identifier: str) -> str:
    arguments, value = FUNCTIONS[kind]
    bound = "".join(f"<bvar><ci>{one}</ci></bvar>" for one in arguments)
    return f"<functionDefinition id={quoteattr(identifier)}>{_math(f'<lambda>{bound}{value}</lambda>')}</functionDefinition>"


def _parameter(one: Quantity, units: Mapping[str, str]) -> str:
    said = f"id={quoteattr(one.identifier)} name={quoteattr(one.name)}"
    said += f" value={quoteattr(repr(float(one.value)))}" if one.value is not None else ""
    said += f" units={quoteattr(units[one.unit])}" if one.unit is not None and one.unit in units else ""
    return f'<parameter {said} constant="false"/>'


def _rule(one: Quantity) -> str:
    kind, formula = ("rateRule", one.rate) if one.rate is not None else ("assignmentRule", one.rule)
    return f"<{kind} variable={quoteattr(one.identifier)}>{_math(str(formula))}</{kind}>"
