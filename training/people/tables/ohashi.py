"""The reader of the oral glucose tolerance tests of Ohashi et al. (2018): glucose in, C-peptide out, a clamp to compare."""

import csv
import math
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from hybrid import Schedule, Signal
from physics.arguments import require_path
from physics.glance import glance
from training.people.records import Record

TIMES = (0.0, 30.0, 60.0, 90.0, 120.0)  # min
GLUCOSE = 0.0551  # mmol/L per mg/dL, as printed with the published model
C_PEPTIDE = 0.3311  # nmol/L per ng/mL, likewise
TABLES = ("ohashi_OGTT.csv", "ohashi_subjectinfo.csv", "ohashi_clamp_indices.csv", "split.csv")
_FIRST_PHASE = "incremental AUC IRI(10)"
_TYPE2 = {"NGT": 0.0, "IGT": 0.0, "T2DM": 1.0}  # the kinetics know type 2 diabetes or not; impaired tolerance is not


@dataclass(frozen=True)
class Ohashi:
    """The people with complete glucose and C-peptide, on the published split.

    `train`, `test`: their records. `first_phase`: by id, the incremental insulin area of the first 10 min of the
    hyperglycaemic clamp, only for people who have it.
    """

    train: tuple[Record, ...]
    test: tuple[Record, ...]
    first_phase: dict[str, float]

    __repr__, _repr_html_ = glance()


def read_ohashi(folder: str | Path) -> Ohashi:
    """Read the four tables in `folder`: three with semicolons as published, and split.csv (columns No,set; commas).

    Every record has the inputs `basal` (the C-peptide at 0 min, nmol/L, constant) and `glucose` (G(t) − G(0), mmol/L,
    linear between the five samples), the channel `C-peptide` (nmol/L), and the covariates `age` (years) and `type2`.
    People whom split.csv does not name are left out: the published split names exactly those with complete tests.
    Errors: `ValueError` for a table or column that is missing, a cell that is not a number, a negative concentration,
    an unknown type or set, or a person of the split whose test is missing or incomplete.
    Source: Ohashi et al., npj Syst. Biol. Appl. 4 (2018) 14 (CC BY 4.0); conversions and split of the conditional UDE,
    de Rooij, O'Donovan & van Riel, npj Syst. Biol. Appl. 11 (2025) 84.
    """
    require_path(folder, "read_ohashi: folder", "read_ohashi('shared/ohashi')")
    folder = Path(folder)
    lacking = [name for name in TABLES if not (folder / name).is_file()]
    if lacking:
        raise ValueError(f"the folder {folder} lacks {', '.join(lacking)}; needed are {', '.join(TABLES)}")
    glucose = [f"O-PG({t:g})" for t in TIMES]
    c_peptide = [f"O-CPR({t:g})" for t in TIMES]
    tests = _table(folder / TABLES[0], ";", glucose + c_peptide)
    subjects = _table(folder / TABLES[1], ";", ["age", "type"])
    clamps = _table(folder / TABLES[2], ";", [_FIRST_PHASE])
    groups: dict[str, list[Record]] = {"train": [], "test": []}
    for number, row in _table(folder / TABLES[3], ",", ["set"]).items():
        if row["set"] not in groups:
            raise ValueError(f"split.csv, person {number}: the set is {row['set']!r} and must be train or test")
        if number not in tests or number not in subjects:
            raise ValueError(
                f"split.csv names person {number}, whom {TABLES[0]} or {TABLES[1]} lacks; use the tables and the split of "
                "the same release"
            )
        g = [GLUCOSE * _number(tests[number], name, TABLES[0], number) for name in glucose]
        c = [C_PEPTIDE * _number(tests[number], name, TABLES[0], number) for name in c_peptide]
        groups[row["set"]].append(_record(number, g, c, subjects[number]))
    first_phase = {
        number: _number(row, _FIRST_PHASE, TABLES[2], number, signed=True)
        for number, row in clamps.items()
        if row[_FIRST_PHASE].strip()
    }
    return Ohashi(tuple(groups["train"]), tuple(groups["test"]), first_phase)


def _record(number: str, glucose: list[float], c_peptide: list[float], subject: dict[str, str]) -> Record:
    kind = subject["type"].strip()
    if kind not in _TYPE2:
        raise ValueError(f"{TABLES[1]}, person {number}: the type is {kind!r} and must be one of {sorted(_TYPE2)}")
    inputs = {
        "basal": Signal((0.0,), (c_peptide[0],)),
        "glucose": Signal(TIMES, tuple(g - glucose[0] for g in glucose)),
    }
    return Record(
        id=number,
        schedule=Schedule(inputs=inputs),
        times=np.array(TIMES),
        values=np.array(c_peptide)[:, None],
        channels=("C-peptide",),
        covariates={"age": _number(subject, "age", TABLES[1], number), "type2": _TYPE2[kind]},
        units={"time": "min", "C-peptide": "nmol/L", "basal": "nmol/L", "glucose": "mmol/L", "age": "a"},
    )


def _table(path: Path, delimiter: str, columns: list[str]) -> dict[str, dict[str, str]]:
    """The rows of one table by person; every one has all of `columns`."""
    with path.open(encoding="utf-8-sig", newline="") as file:
        reader = csv.DictReader(file, delimiter=delimiter)
        lacking = [name for name in ("No", *columns) if name not in (reader.fieldnames or ())]
        if lacking:
            raise ValueError(
                f"{path.name} lacks the column {', '.join(map(repr, lacking))}; it has {reader.fieldnames}. Likely another "
                f"separator (needed here: {delimiter!r}) or another release of the table"
            )
        rows: dict[str, dict[str, str]] = {}
        for row in reader:
            number = (row["No"] or "").strip()
            if number in rows:
                raise ValueError(f"{path.name} lists person {number} twice; keep one row per person")
            rows[number] = {name: row[name] or "" for name in columns}  # a row that ends early reads as empty cells
    return rows


def _number(row: dict[str, str], column: str, table: str, person: str, signed: bool = False) -> float:
    text = row[column].strip()
    try:
        value = float(text)
    except ValueError:
        value = math.nan
    if not math.isfinite(value) or (value < 0.0 and not signed):
        raise ValueError(
            f"{table}, person {person}: {column} is {text!r} and must be a number"
            + ("" if signed else " that is not negative")
            + "; leave people with incomplete tests out of split.csv"
        )
    return value
