"""Tables as Ohashi et al. published theirs, of four people who were made up."""

from collections.abc import Sequence
from pathlib import Path

from training import Record

# The units of `write_rows`, as --units takes them
ROW_UNITS = {"TIME": "min", "AMT": "mg", "DV": "nmol/L", "age": "a", "basal": "nmol/L", "glucose": "mmol/L"}

# Four people: 3 has no complete test and is in no set; 4 has no clamp index.
OGTT = """No;O-PG(0);O-PG(30);O-PG(60);O-PG(90);O-PG(120);O-CPR(0);O-CPR(30);O-CPR(60);O-CPR(90);O-CPR(120)
1;90;150;180;140;110;1;4;6;5;3
2;100;190;260;270;240;2;3;4;5;5
3;100;;;;;;;;;
4;95;140;160;120;100;1.5;3;5;4;3
"""
SUBJECTS = "No;age;type\n1;34;NGT\n2;61;T2DM\n3;50;IGT\n4;45;IGT\n"
CLAMPS = "No;incremental AUC IRI(10)\n1;317.5\n2;-15.0\n3;100\n4;\n"
SPLIT = "No,set\n1,train\n2,train\n4,test\n"


def write_tables(folder: Path) -> Path:
    """Write them into the folder, and return it."""
    for name, text in (
        ("ohashi_OGTT.csv", OGTT),
        ("ohashi_subjectinfo.csv", SUBJECTS),
        ("ohashi_clamp_indices.csv", CLAMPS),
        ("split.csv", SPLIT),
    ):
        (folder / name).write_bytes(text.replace("\n", "\r\n").encode())  # as published: lines end in CR LF
    return folder


def write_rows(path: Path, records: Sequence[Record]) -> Path:
    """The same people, inputs and all, in one table: a row for each point, what it is of in CMT and its value in DV."""
    rows = [
        (one.id, t, ".", value, name, one.covariates["age"], one.covariates["type2"])
        for one in records
        for name, points in (
            *((name, zip(s.times, s.values, strict=True)) for name, s in one.schedule.inputs.items()),
            ("C-peptide", zip(one.times.tolist(), one.values[:, 0].tolist(), strict=True)),
        )
        for t, value in points
    ]
    text = "\n".join(",".join(map(str, row)) for row in sorted(rows, key=lambda row: (row[0], row[1])))
    path.write_text(f"ID,TIME,AMT,DV,CMT,age,type2\n{text}\n")
    return path
