"""What an FMU says of itself: states, inputs, parameters and outputs with their units. Nothing of it is executed."""

import hashlib
import os
import tempfile
import xml.etree.ElementTree as ET
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from exchange.files.names import one_line
from exchange.files.plain_xml import require_plain_xml
from exchange.fmu.archive import Opened, open_fmu
from exchange.fmu.loading import require_fmpy, told_of
from exchange.imported.units import ucum_of
from physics.arguments import quote, require_path
from physics.glance import Summary, glance

OURS = "extra/org.homeostat/"


@dataclass(frozen=True)
class Variable:
    """One real variable: `name`; `reference` in FMI; `unit`, as UCUM where the FMU's own definition of it agrees, else None;
    `called`, what the FMU calls the unit; `start`, `low`, `high`, `nominal` where it states them.
    """

    name: str
    reference: int
    unit: str | None
    called: str | None
    start: float | None = None
    low: float | None = None
    high: float | None = None
    nominal: float | None = None
    said: str = ""

    __repr__, _repr_html_ = glance()

    def in_words(self) -> str:
        """Name and unit: "x (mg/L)", "x (units unknown)", "x (units unknown, called furlong)"."""
        if self.unit is not None:
            return f"{self.name} ({self.unit})"
        return f"{self.name} (units unknown{'' if self.called is None else f', called {one_line(self.called, 40)}'})"


def _summary(found: Any) -> Summary:
    return f"FMU {found.name}: FMI {found.version}, {' and '.join(found.kinds) or 'nothing to run'}", [
        ("time", found.time_unit or "units unknown"),
        *(
            (kind, ", ".join(v.in_words() for v in getattr(found, kind)))
            for kind in ("states", "inputs", "outputs", "parameters")
        ),
        ("directional derivatives", "yes" if found.directional else "no: slopes are differences"),
        ("event indicators", found.event_indicators or None),
        ("made by", found.tool),
    ]


@dataclass(frozen=True)
class Described:
    """An FMU by its modelDescription.xml.

    `version`, "2.0" or "3.0" · `kinds`, of "ModelExchange" and "CoSimulation" · `states`, continuous, with `derivatives`, the FMI
    references of their rates in their order · `inputs`, `parameters` (which may be set before a run), `outputs`: the real ones ·
    `time_unit`, UCUM, None where nobody says · `directional`, whether it gives directional derivatives · `event_indicators`, how
    many · `step` of its own in co-simulation, `any_step`, whether it can be stepped otherwise · `left_out`, names of inputs that
    are no single real number · `sha256` of the file · `switches`, the parameters that are true or false.
    """

    path: Path
    sha256: str
    name: str
    version: str
    kinds: tuple[str, ...]
    states: tuple[Variable, ...]
    derivatives: tuple[int, ...]
    inputs: tuple[Variable, ...]
    parameters: tuple[Variable, ...]
    outputs: tuple[Variable, ...]
    time_unit: str | None
    directional: bool
    event_indicators: int
    step: float | None
    any_step: bool
    left_out: tuple[str, ...]
    tool: str
    switches: tuple[Variable, ...] = ()

    __repr__, _repr_html_ = glance(_summary)

    @property
    def unknown(self) -> tuple[str, ...]:
        """The names of states, inputs and outputs whose units nobody says; "time" among them."""
        seen = (*self.states, *self.inputs, *self.outputs)
        return (*(() if self.time_unit else ("time",)), *dict.fromkeys(v.name for v in seen if v.unit is None))

    def one(self, name: str, kinds: Sequence[str], what: str) -> Variable:
        """The variable of this name. Errors: `ValueError`, beginning with `what`, listing those that there are."""
        there = [v for kind in kinds for v in getattr(self, kind)]
        found = next((v for v in there if v.name == name), None)
        if found is None:
            listed = ", ".join(v.name for v in there[:12]) + (", …" if len(there) > 12 else "")
            raise ValueError(
                f"{what} {quote(name)} is none of the FMU's {' and '.join(kinds)}: {listed or 'it has none'}"
            )
        return found

    def to_dict(self) -> dict[str, Any]:
        """Plain JSON values."""
        return {**asdict(self), "path": str(self.path)}


def described(path: str | os.PathLike[str]) -> Described:
    """What an FMU says of itself; nothing in it is executed, and its sizes and names are looked at before it is unpacked.

    Errors: `ValueError`, one sentence that names the file, for what is no FMU of FMI 2 or 3, and where FMPy is not installed.
    """
    require_path(path, "described: path", "described('model.fmu')")
    return described_in(open_fmu(path))


def described_in(opened: Opened) -> Described:
    """The same of one that is open."""
    told = require_fmpy(opened.path)
    data = opened.entries.get("modelDescription.xml")
    if data is None:
        raise ValueError(f"{opened.path}: has no modelDescription.xml inside; this is no FMU")
    try:
        require_plain_xml(data)
    except ValueError as error:
        raise ValueError(f"{opened.path}: its modelDescription.xml is not read: {error}") from error
    with tempfile.TemporaryDirectory() as folder, told_of(opened.path):
        Path(folder, "modelDescription.xml").write_bytes(data)
        about = told.read_model_description(folder, validate=False)
    version = str(about.fmiVersion)
    if not version.startswith(("2.", "3.")):
        raise ValueError(f"{opened.path}: is of FMI {one_line(version, 20)}, and FMI 2 and 3 are read; export it anew")
    with told_of(opened.path):
        return _of(opened, about, data)


def _says(data: bytes, part: str, *words: str) -> bool:
    """Is one of these said to be true of a part? FMI 3 has the word for slopes in the plural, which FMPy does not read."""
    found = ET.fromstring(data).find(part)  # its size and its kind were looked at
    return found is not None and any(found.get(word) in ("true", "1") for word in words)


def _of(opened: Opened, about: Any, data: bytes) -> Described:
    ours = any(name.startswith(OURS) for name in opened.entries)  # whose units are UCUM by their names
    stated = {unit.name: unit for unit in about.unitDefinitions}

    def variable(one: Any) -> Variable:
        numbers = {k: _number(getattr(one, k)) for k in ("start", "min", "max", "nominal")}
        declared = one.declaredType
        called = one.unit or (declared.unit if declared is not None else None)
        unit = None if called is None else ucum_of(called, stated.get(called), trusted=ours)
        named = (numbers["start"], numbers["min"], numbers["max"], numbers["nominal"])
        return Variable(one.name, int(one.valueReference), unit, called, *named, one_line(one.description or "", 200))

    def truth(one: Any) -> Variable:
        start = None if one.start is None else float(str(one.start) in ("true", "1"))
        return Variable(one.name, int(one.valueReference), None, None, start, said=one_line(one.description or "", 200))

    def real(one: Any) -> bool:
        return one.type in ("Real", "Float64") and not one.dimensions

    rates = [one.variable for one in about.derivatives]
    if any(rate is None or rate.derivative is None or not real(rate) or not real(rate.derivative) for rate in rates):
        raise ValueError(
            f"{opened.path}: a state of its is no single real number, or has no name; arrays of states are not read"
        )
    of = {kind: [v for v in about.modelVariables if v.causality == kind] for kind in ("input", "parameter", "output")}
    clock = next((v for v in about.modelVariables if v.causality == "independent"), None)
    experiment = about.defaultExperiment
    return Described(
        opened.path,
        _sha256(opened.path),
        one_line(about.modelName or "", 200),
        "2.0" if str(about.fmiVersion).startswith("2.") else "3.0",
        tuple(
            k
            for k, one in (("ModelExchange", about.modelExchange), ("CoSimulation", about.coSimulation))
            if one is not None
        ),
        tuple(variable(rate.derivative) for rate in rates),
        tuple(int(rate.valueReference) for rate in rates),
        tuple(variable(v) for v in of["input"] if real(v)),
        tuple(variable(v) for v in of["parameter"] if real(v) and v.variability in ("fixed", "tunable")),
        tuple(variable(v) for v in of["output"] if real(v)),
        None if clock is None else variable(clock).unit,
        _says(data, "ModelExchange", "providesDirectionalDerivative", "providesDirectionalDerivatives"),
        int(about.numberOfEventIndicators or len(about.eventIndicators)),
        _number(None if experiment is None else experiment.stepSize) or _fixed(about.coSimulation),
        about.coSimulation is not None
        and _fixed(about.coSimulation) is None
        and _says(data, "CoSimulation", "canHandleVariableCommunicationStepSize"),
        tuple(v.name for v in of["input"] if not real(v)),
        one_line(about.generationTool or "", 100),
        tuple(truth(v) for v in of["parameter"] if v.type == "Boolean" and not v.dimensions),
    )


def _fixed(slave: Any) -> float | None:
    return None if slave is None else _number(slave.fixedInternalStepSize)


def _number(value: Any) -> float | None:
    return None if value is None or str(value).strip() == "" else float(value)


def _sha256(path: Path) -> str:
    with open(path, "rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()
