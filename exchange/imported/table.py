"""Simulated records as a table that `homeostat fit` reads: a row for each dose and each value."""

import csv
import os
from collections.abc import Sequence
from pathlib import Path

from exchange.files.whole_file import whole_file
from physics.arguments import require_flag, require_path
from training.people import Record
from training.people.records import require_records

COLUMNS = ("ID", "TIME", "AMT", "RATE", "DV", "EVID", "CMT", "DVID")


def write_table(records: Sequence[Record], path: str | os.PathLike[str], *, replace: bool = False) -> Path:
    """Write records in the convention of pharmacometrics: DVID counts the channels from 1, CMT the compartments of doses from 1.

    Whole or not at all; every number to its last bit. Inputs have no columns there and are not written.
    An infusion is written by its rate, which a fraction of a model that reads the table then leaves as it is.
    Errors: `ValueError` for a file that exists, unless `replace`; `OSError` where it cannot be written.
    """
    people = require_records(records, "write_table: records")
    require_path(path, "write_table: path", "write_table(records, 'table.csv')")
    require_flag(replace, "write_table: replace")
    for one in people:
        one.schedule.require_unbroken(f"write_table: record {one.id}", "write each stretch as a person of its own")
    target = Path(path)
    if not replace and (target.exists() or target.is_symlink()):
        raise ValueError(f"{target}: exists; give another path, or say that it is to be replaced, replace=True")
    doses = list(dict.fromkeys(dose.state for one in people for dose in one.schedule.doses))
    with whole_file(target) as partial, open(partial, "w", newline="", encoding="utf-8") as file:
        writer = csv.writer(file)
        writer.writerow(COLUMNS)
        for one in people:
            rows = list[tuple[float, int, list[object]]]()
            for dose in one.schedule.doses:
                amount, length = float(dose.amount), float(dose.duration)
                time = float(dose.time + dose.lag)
                by_model = {"": "0", "rate": "-1", "duration": "-2"}[dose.modelled]
                rate = repr(amount / length) if length > 0.0 else by_model
                place = str(doses.index(dose.state) + 1)
                rows.append((time, 0, [one.id, repr(time), repr(amount), rate, ".", "1", place, "."]))
            for t, values in zip(one.times.tolist(), one.values.tolist(), strict=True):
                for j, value in enumerate(values):
                    if value == value:
                        rows.append((t, 1 + j, [one.id, repr(t), ".", ".", repr(value), "0", ".", str(j + 1)]))
            # a value at the time of a dose is of before it
            rows.sort(key=lambda row: (row[0], row[1] == 0, row[1]))
            writer.writerows(row[2] for row in rows)
    return target
