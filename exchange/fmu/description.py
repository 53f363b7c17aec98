"""modelDescription.xml of both versions of FMI, and buildDescription.xml of FMI 3."""

import xml.etree.ElementTree as ET
from collections.abc import Iterable, Mapping
from dataclasses import dataclass

from exchange.fmu.units import definitions
from exchange.fmu.variables import Variable, Variables

TOOL = "homeostat"


@dataclass(frozen=True)
class Head:
    """What a description begins with: the model's `name`, the `identifier` of its files, the `token` that an importer returns,
    one paragraph about it, and the `sources` that are compiled.
    """

    name: str
    identifier: str
    token: str
    about: str
    sources: tuple[str, ...]


def described(fmi: int, head: Head, variables: Variables) -> bytes:
    """modelDescription.xml; the same variables give the same bytes."""
    return _written(_version_3(head, variables) if fmi == 3 else _version_2(head, variables))


def build_description(head: Head) -> bytes:
    """sources/buildDescription.xml.

    The prefix is switched off where an importer builds a shared library and does not say so itself: its loader looks for the
    functions by their own names.
    """
    root = ET.Element("fmiBuildDescription", {"fmiVersion": "3.0"})
    configuration = ET.SubElement(root, "BuildConfiguration", {"modelIdentifier": head.identifier})
    files = ET.SubElement(configuration, "SourceFileSet", {"language": "C99"})
    for name in head.sources:
        ET.SubElement(files, "SourceFile", {"name": name})
    ET.SubElement(files, "PreprocessorDefinition", {"name": "FMI3_OVERRIDE_FUNCTION_PREFIX", "value": "1"})
    return _written(root)


def _version_3(head: Head, variables: Variables) -> ET.Element:
    root = ET.Element(
        "fmiModelDescription",
        {
            "fmiVersion": "3.0",
            "modelName": head.name,
            "instantiationToken": head.token,
            "description": head.about,
            "generationTool": TOOL,
            "variableNamingConvention": "structured",
        },
    )
    can = {
        "modelIdentifier": head.identifier,
        "canGetAndSetFMUState": "true",
        "canSerializeFMUState": "true",
        "providesDirectionalDerivatives": "true",
        "providesAdjointDerivatives": "true",
    }
    ET.SubElement(root, "ModelExchange", can)
    ET.SubElement(root, "CoSimulation", {**can, "canHandleVariableCommunicationStepSize": "true"})
    _units_and_experiment(root, variables)
    listed = ET.SubElement(root, "ModelVariables")
    for variable in variables.all:
        kind = "Boolean" if variable.boolean else "Float64"
        reference = {"valueReference": str(variable.reference)}
        numbers = _numbers(variable)
        derivative = {} if variable.derivative is None else {"derivative": str(variable.derivative)}
        ET.SubElement(listed, kind, {"name": variable.name, **reference, **_causes(variable), **numbers, **derivative})
    structure = ET.SubElement(root, "ModelStructure")
    for element, found in _structure(variables).items():
        for variable in found:
            by = " ".join(str(known.reference) for known in _known(element, variable, variables))
            ET.SubElement(structure, element, {"valueReference": str(variable.reference), "dependencies": by})
    return root


def _version_2(head: Head, variables: Variables) -> ET.Element:
    root = ET.Element(
        "fmiModelDescription",
        {
            "fmiVersion": "2.0",
            "modelName": head.name,
            "guid": head.token,
            "description": head.about,
            "generationTool": TOOL,
            "variableNamingConvention": "structured",
            "numberOfEventIndicators": "0",
        },
    )
    can = {
        "modelIdentifier": head.identifier,
        "canNotUseMemoryManagementFunctions": "true",
        "canGetAndSetFMUstate": "true",
        "canSerializeFMUstate": "true",
        "providesDirectionalDerivative": "true",
    }
    for kind, more in (("ModelExchange", {}), ("CoSimulation", {"canHandleVariableCommunicationStepSize": "true"})):
        files = ET.SubElement(ET.SubElement(root, kind, {**can, **more}), "SourceFiles")
        for name in head.sources:
            ET.SubElement(files, "File", {"name": name})
    _units_and_experiment(root, variables)
    listed, place = ET.SubElement(root, "ModelVariables"), dict[int, int]()
    for index, variable in enumerate(variables.all, 1):  # FMI 2 counts variables, and from 1
        place[id(variable)] = index
        derivative = {} if variable.derivative is None else {"derivative": str(variable.derivative + 1)}
        one = ET.SubElement(
            listed,
            "ScalarVariable",
            {"name": variable.name, "valueReference": str(variable.reference), **_causes(variable)},
        )
        ET.SubElement(one, "Boolean" if variable.boolean else "Real", {**_numbers(variable), **derivative})
    structure = ET.SubElement(root, "ModelStructure")
    names = {"Output": "Outputs", "ContinuousStateDerivative": "Derivatives", "InitialUnknown": "InitialUnknowns"}
    for element, found in _structure(variables).items():
        group = ET.SubElement(structure, names[element])
        for variable in sorted(found, key=lambda one: place[id(one)]):
            by = " ".join(str(place[id(known)]) for known in _known(element, variable, variables))
            ET.SubElement(group, "Unknown", {"index": str(place[id(variable)]), "dependencies": by})
    return root


def _known(element: str, variable: Variable, variables: Variables) -> tuple[Variable, ...]:
    """What an unknown depends on: while time goes on states and inputs, while it is initialised parameters too."""
    moved = variables.moved_by[variable.name]
    parameters = [v for v in variables.all if v.causality == "parameter" and v.name != "step"]
    return (*moved, *parameters) if element == "InitialUnknown" else moved


def _units_and_experiment(root: ET.Element, variables: Variables) -> None:
    units = ET.SubElement(root, "UnitDefinitions")
    for unit in definitions(v.unit for v in variables.all if v.unit is not None):
        one = ET.SubElement(units, "Unit", {"name": unit.name})
        if unit.base is not None:
            ET.SubElement(one, "BaseUnit", dict(unit.base))
    span = variables.span
    experiment = {
        "startTime": "0.0",
        "stopTime": repr(span.stop),
        "tolerance": "1e-08",
        "stepSize": repr(span.stop / 100.0),
    }
    ET.SubElement(root, "DefaultExperiment", experiment)


def _causes(variable: Variable) -> dict[str, str]:
    found = {"causality": variable.causality, "variability": variable.variability, "description": variable.description}
    return found if variable.initial is None else {**found, "initial": variable.initial}


def _numbers(variable: Variable) -> dict[str, str]:
    if variable.boolean:
        return {"start": "true" if variable.start else "false"}
    given = {"nominal": variable.nominal, "min": variable.low, "max": variable.high, "start": variable.start}
    unit = {} if variable.unit is None else {"unit": variable.unit}
    return {**unit, **{name: repr(float(value)) for name, value in given.items() if value is not None}}


def _structure(variables: Variables) -> Mapping[str, Iterable[Variable]]:
    outputs = [v for v in variables.all if v.causality == "output"]
    rates = list(variables.named("V_RATE"))
    return {"Output": outputs, "ContinuousStateDerivative": rates, "InitialUnknown": [*rates, *outputs]}


def _written(root: ET.Element) -> bytes:
    ET.indent(root)
    return (
        b'<?xml version="1.0" encoding="UTF-8"?>\n'
        + ET.tostring(root, encoding="utf-8", short_empty_elements=True)
        + b"\n"
    )
