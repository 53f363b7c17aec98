"""What a fit estimated, and how well it is known: its tables on a page."""

import statistics
from collections.abc import Sequence

from homeostat.gallery.table import Cell, Table
from homeostat.study.estimated import Estimate, Estimated

SHOWN = 40  # rows on a page; the files have all


def estimate_tables(found: Estimated) -> list[Table]:
    """Every estimate with its errors, and what the whole fit is worth."""
    return [_estimates(found), _objective(found)]


def _estimates(found: Estimated) -> Table:
    level, several = f"{100 * found.level:g} %", found.members > 1
    numbers = ["estimate", "SE", "RSE", f"{level} from", f"{level} to", "shrinkage"]
    rows: list[Sequence[Cell]] = [
        [r.name, r.unit, r.estimate, r.se, r.rse, r.low, r.high, r.shrinkage, *([r.member + 1] if several else [])]
        for r in found.rows
    ]
    full = Table("Estimates", ["number", "unit", *numbers, *(["member"] if several else [])], rows)
    if several:
        columns = ["number", "unit", "estimate", "least", "largest", "SE", "RSE", "shrinkage"]
        shown = [_of_members(rows) for rows in _by_name(found.rows)]
    else:
        columns = ["number", "unit", *numbers]
        shown = [
            [
                *(r.name, r.unit, _four(r.estimate), _four(r.se), _percent(r.rse)),
                *(_four(r.low), _four(r.high), _percent(r.shrinkage)),
            ]
            for r in found.rows
        ]
    return Table("Estimates", columns, shown, note=_note(found), most=SHOWN, full=full)


def _note(found: Estimated) -> str:
    said = [
        f"Standard errors are from the curvature of −2 log L by {found.approximation}, of the {found.people} people of the fit; "
        "intervals are taken on the scale of the logarithm (of a share its logit, of a correlation artanh) and brought back. "
        "omega(…): a standard deviation between people, of the logarithm where the parameter is positive. Shrinkage: of η beside "
        "its omega, of ε beside the noise."
    ]
    if found.members > 1:
        said.append(
            "Of each number the median, least and largest of the members, each fitted on people drawn with replacement, and the "
            f"median of the {found.members} members' own errors, of those that have one; the file has every member."
        )
    if any(row.se is None for row in found.rows):
        said.append("– where there is no standard error: see why above.")
    elif found.without_interval and found.members == 1:
        said.append("– where there is no interval, since the fit is not at the optimum of this likelihood.")
    return " ".join(said)


def _objective(found: Estimated) -> Table:
    def over(values: Sequence[float | None], decimals: int) -> Cell:
        there = [v for v in values if v is not None]
        if not there:
            return None
        ends = [f"{v:.{decimals}f}".replace("-", "−") for v in (min(there), max(there))]
        return ends[0] if len(values) == 1 or ends[0] == ends[1] else f"{ends[0]} to {ends[1]}"

    rows: list[Sequence[Cell]] = [[f"OFV, −2 log L without n log 2π, by {found.approximation}", over(found.ofv, 3)]]
    rows += [[f"{name}, with n log 2π", f"{value:.2f}".replace("-", "−")] for name, value in found.criteria.items()]
    rows += [
        ["by how much −2 log L would still fall", over(found.away, 4)],
        ["condition number of the estimates' correlations", over(found.condition, 1)],
        ["people", found.people],
        ["measurements n", found.measurements],
    ]
    if found.between:
        rows.append(["values known between limits", found.between])
    note = "The OFV is of this approximation alone: that of another one is never subtracted from it."
    if found.members > 1:
        note += " Of the members the least and the largest, each of the people that it counted."
    if not found.criteria:
        note += " No AIC or BIC: they count estimated numbers, and here members or a network's weights were fitted beside them."
    return Table("What the fit is worth", ["what", "value"], rows, note=note)


def _by_name(rows: Sequence[Estimate]) -> list[list[Estimate]]:
    names = dict.fromkeys(row.name for row in rows)
    return [[row for row in rows if row.name == name] for name in names]


def _of_members(rows: Sequence[Estimate]) -> list[Cell]:
    def middle(name: str) -> float | None:
        there = [value for row in rows if (value := getattr(row, name)) is not None]
        return statistics.median(there) if there else None

    values = [row.estimate for row in rows]
    numbers = map(_four, (middle("estimate"), min(values), max(values), middle("se")))
    return [rows[0].name, rows[0].unit, *numbers, _percent(middle("rse")), _percent(middle("shrinkage"))]


def _four(value: float | None) -> Cell:
    return None if value is None else f"{value:.4g}".replace("-", "−")


def _percent(value: float | None) -> Cell:
    return None if value is None else f"{100 * value:.1f} %".replace("-", "−")
