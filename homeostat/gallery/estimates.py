"""What a fit estimated, and how well it is known: its section of a page."""

import statistics
from collections.abc import Sequence
from pathlib import Path

from homeostat.gallery.figures import written
from homeostat.gallery.report import Section
from homeostat.gallery.table import Cell, Table
from homeostat.pictures.estimates import Known, estimates_axes, estimates_in_words
from homeostat.study.estimated import Estimate, Estimated
from physics.arguments import counted

SHOWN = 40  # rows on a page; the files have all


def estimates_section(folder: Path, found: Estimated, *, fitted_on: bool) -> Section:
    """The section of a page; `fitted_on`, whether its people are those of the fit."""
    notes = [] if fitted_on else ["All of this is of the people whom the model was fitted on, as its bundle has it."]
    pictures = []
    known = known_of(found)
    if known:
        one = found.members == 1
        title = "How well is each number known?"
        what = f"{100 * found.level:g} % intervals" if one else f"the estimates of {found.members} members"
        caption = (
            f"Intervals from the curvature of −2 log L by {found.approximation}."
            if one
            else "Each dot is a member, fitted on people drawn with replacement."
        )
        axes = estimates_axes(known, title=title, subtitle=f"{what[:1].upper()}{what[1:]}")
        pictures.append(
            written([axes], folder, "estimates", title=title, caption=caption, alt=estimates_in_words(known, what))
        )
    words = "Estimates, standard errors, shrinkage, and what the likelihood is worth."
    return Section("What was estimated", words, [*notes, *found.sentences], pictures, estimate_tables(found))


def known_of(found: Estimated) -> list[Known]:
    """The numbers that a picture of ratios can show: positive ones, that have an interval or several members."""
    shown = []
    for rows in _by_name(found.rows):
        if any(row.estimate <= 0.0 or row.scale != "log" for row in rows):
            continue
        first, values = rows[0], tuple(row.estimate for row in rows)
        if len(rows) > 1:
            shown.append(Known(first.name, first.unit, statistics.median(values), min(values), max(values), values))
        elif first.low is not None and first.high is not None:
            shown.append(Known(first.name, first.unit, first.estimate, first.low, first.high))
    return shown


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
        columns = [
            "number",
            "unit",
            "median",
            "least",
            "largest",
            "SD of members",
            "RSD",
            "SE by curvature",
            "shrinkage",
        ]
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
            "Each member was fitted on people drawn with replacement, so that their standard deviation (SD, and RSD by the "
            f"median) is a bootstrap's standard error, of {found.members} resamples, and itself known to about "
            f"{100 / (2 * (found.members - 1)) ** 0.5:.0f} %; where there is a network its own luck is in it too. By curvature: "
            "the median of the members that have one; the file has every member. An ensemble is trained with everyone's own "
            "coordinates at their best, and not by this likelihood, so that its members need not lie at its optimum."
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
    rows += [[f"{_by(name, found)}, with n log 2π", f"{v:.2f}".replace("-", "−")] for name, v in found.criteria.items()]
    small = all(v is not None and v < 5e-5 for v in found.away)
    rows += [
        ["by how much −2 log L would still fall", "below 0.0001" if small else over(found.away, 4)],
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


def _by(name: str, found: Estimated) -> str:
    """A criterion by what it counts: n of the table is measurements alone, and limits count too in a logarithm."""
    counts = {
        "BIC, n the people": f"BIC, log of {counted(found.people, 'person', 'people')}",
        "BIC, n the measurements": f"BIC, log of {found.measurements + found.between} measurements",
        "BIC, n the measurements and limits": f"BIC, log of {found.measurements + found.between} measurements and limits",
    }
    return counts.get(name, name)


def _by_name(rows: Sequence[Estimate]) -> list[list[Estimate]]:
    names = dict.fromkeys(row.name for row in rows)
    return [[row for row in rows if row.name == name] for name in names]


def _of_members(rows: Sequence[Estimate]) -> list[Cell]:
    def middle(name: str) -> float | None:
        there = [value for row in rows if (value := getattr(row, name)) is not None]
        return statistics.median(there) if there else None

    values = [row.estimate for row in rows]
    spread, centre = statistics.stdev(values) if len(values) > 1 else None, statistics.median(values)
    relative = None if spread is None or centre == 0.0 else spread / abs(centre)
    numbers = map(_four, (centre, min(values), max(values), spread))
    return [
        rows[0].name,
        rows[0].unit,
        *numbers,
        _percent(relative),
        _four(middle("se")),
        _percent(middle("shrinkage")),
    ]


def _four(value: float | None) -> Cell:
    return None if value is None else f"{value:.4g}".replace("-", "−")


def _percent(value: float | None) -> Cell:
    return None if value is None else f"{100 * value:.1f} %".replace("-", "−")
