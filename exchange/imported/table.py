"""Simulated records as a table that `homeostat fit` reads: a row for each dose and each value."""

import csv
import os
from collections import Counter
from collections.abc import Sequence
from pathlib import Path

from exchange.files.whole_file import whole_file
from hybrid import Dose
from physics.arguments import quote, require_flag, require_path
from training.people import Record
from training.people.records import require_records
from training.people.tables.convention import column_of

COLUMNS = ("ID", "TIME", "AMT", "RATE", "DV", "EVID", "CMT", "DVID")


def write_table(records: Sequence[Record], path: str | os.PathLike[str], *, replace: bool = False) -> Path:
    """Write records in the convention of pharmacometrics: DVID counts the channels from 1, CMT the compartments of doses from 1.

    Whole or not at all; every number to its last bit. Inputs and units have no columns there and are not written; each covariate
    has one.
    An infusion whose rate was said (`Dose.kept`) is written by RATE, and read as lasting AMT/RATE; one whose duration was said by
    DUR, a column that is there where such a one is. NONMEM itself reads no DUR: there write RATE -2 and D1 = DUR. A dose stands
    at the time at which it arrives; a record that starts before its first dose and value begins with a row of EVID 2.
    Errors: `ValueError` for a file that exists, unless `replace`, and for what a row has no column for: resets and steady
    states, limits, occasions, covariates that change or that not everybody has, a part of an infusion whose rate was said, and
    doses or values of one time that are equal, whose rows would be one; `OSError` where it cannot be written.
    Law: read again, every record has the same doses, values, covariates and start.
    """
    people = require_records(records, "write_table: records")
    require_path(path, "write_table: path", "write_table(records, 'table.csv')")
    require_flag(replace, "write_table: replace")
    for one in people:
        _require_rows(one)
    covariates = _covariates(people)
    target = Path(path)
    if not replace and (target.exists() or target.is_symlink()):
        raise ValueError(f"{target}: exists; give another path, or say that it is to be replaced, replace=True")
    doses = [dose for one in people for dose in one.schedule.doses]
    places = list(dict.fromkeys(dose.state for dose in doses))
    columns = [*COLUMNS, *(["DUR"] if any(_by_duration(dose) for dose in doses) else []), *covariates]
    with whole_file(target) as partial, open(partial, "w", newline="", encoding="utf-8") as file:
        writer = csv.DictWriter(file, columns, restval=".")
        writer.writeheader()
        for one in people:
            rows = list[tuple[float, int, dict[str, str]]]()
            whose = {"ID": one.id, **{name: repr(float(one.covariates[name])) for name in covariates}}
            for dose in one.schedule.doses:
                amount, length = float(dose.amount), float(dose.duration)
                time = float(dose.time + dose.lag)
                rate = {"": "0", "rate": "-1", "duration": "-2"}[dose.modelled]
                row = {"TIME": repr(time), "AMT": repr(amount), "RATE": rate, "EVID": "1"}
                row |= {"CMT": str(places.index(dose.state) + 1)}
                if length > 0.0:
                    row |= {"DUR": repr(length)} if _by_duration(dose) else {"RATE": repr(amount / length)}
                rows.append((time, 0, row))
            for t, values in zip(one.times.tolist(), one.values.tolist(), strict=True):
                for j, value in enumerate(values):
                    if value == value:
                        rows.append((t, 1 + j, {"TIME": repr(t), "DV": repr(value), "EVID": "0", "DVID": str(j + 1)}))
            if one.schedule.start < min(row[0] for row in rows):
                start = float(one.schedule.start)
                rows.append((start, 0, {"TIME": repr(start), "EVID": "2"}))
            # a value at the time of a dose is of before it
            rows.sort(key=lambda row: (row[0], row[1] == 0, row[1]))
            writer.writerows(whose | row for _, _, row in rows)
    return target


def _by_duration(dose: Dose) -> bool:
    return float(dose.duration) > 0.0 and dose.kept == "duration"


def _require_rows(record: Record) -> None:
    """Raise `ValueError` for what would be lost."""
    where, alone = f"write_table: record {record.id}", "write each stretch as a person of its own"
    record.schedule.require_unbroken(where, alone)
    if record.lower is not None:
        raise ValueError(
            f"{where}: values are known by limits alone, which have no column here; write the numbers alone"
        )
    if record.occasions or record.changing:
        what = "occasions" if record.occasions else f"the covariate {min(record.changing)}, which changes on the way"
        raise ValueError(f"{where}: it has {what}, and there is one row of each dose and value alone here; {alone}")
    for dose in record.schedule.doses:
        if dose.kept == "cut":
            raise ValueError(
                f"{where}: the dose into {quote(dose.state)} at {float(dose.time):g} is a part of an infusion whose rate was "
                "said, and how long all of it lasts under a model's fraction no row can say; write the whole schedule"
            )
        if float(dose.duration) > 0.0 and float(dose.amount) == 0.0:
            raise ValueError(
                f"{where}: the infusion into {quote(dose.state)} is of nothing, which no row says; leave it out"
            )
    _require_once(record, where)


def _require_once(record: Record, where: str) -> None:
    """Raise `ValueError` for equal rows: whoever reads them takes one for a mistake."""
    given = Counter(
        (d.state, float(d.time + d.lag), float(d.amount), float(d.duration), d.modelled, _by_duration(d))
        for d in record.schedule.doses
    )
    for (state, time, *_), count in given.items():
        if count > 1:
            raise ValueError(
                f"{where}: {count} equal doses go into {quote(state)} at {time:g}, which read as one row that stands twice; make "
                "one dose of their sum"
            )
    rows = zip(record.times.tolist(), record.values.tolist(), strict=True)
    seen = Counter((time, j, value) for time, row in rows for j, value in enumerate(row))
    for (time, j, value), count in seen.items():
        if count > 1 and value == value:
            raise ValueError(
                f"{where}: {quote(record.channels[j])} is {value:g} {count} times at {time:g}, which reads as one row that "
                "stands twice; leave one out, or write the other a rounding beside it"
            )


def _covariates(records: Sequence[Record]) -> list[str]:
    """The columns of covariates, each of which has a number for everybody."""
    names = list(dict.fromkeys(name for one in records for name in one.covariates))
    for name in names:
        if column_of(name) is not None:
            raise ValueError(
                f"write_table: a covariate is called {quote(name)}, which the convention has for something else"
            )
        lacking = [one.id for one in records if name not in one.covariates]
        if lacking:
            raise ValueError(
                f"write_table: record {lacking[0]} has no covariate {quote(name)}, and others do; write two tables"
            )
    return names
