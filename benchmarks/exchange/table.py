"""The table: for each part and each of its figures the median, the worst, and which bundle that was."""

from collections.abc import Mapping
from statistics import median
from typing import Any

PARTS = (
    *("header float64", "header float32", "FMU 3", "CasADi 3", "FMU 2", "CasADi 2"),
    *("ONNX float64", "ONNX float32", "torch float64", "SBML"),
)
# what is to be reached, by part and figure; figures that are not here are shown without
_FMU = {"messages": 0.0, "ME gap": 1e-6, "CS gap over what it states": 1.0, "Jacobian gap": 1e-12, "eigenvalue": 1e-9}
_CASADI = {"path gap": 1e-6, "rate gap": 1e-12}
_GRAPHS = {f"{name} gap": 1e-12 for name in ("field", "jacobian", "step", "observe", "person")}
TARGETS: Mapping[str, Mapping[str, float]] = {
    "header float64": {
        f"{name} gap": 1e-12 for name in ("rate", "Jacobian", "directional", "adjoint", "observation", "theta")
    },
    "FMU 3": _FMU,
    "FMU 2": _FMU,
    "CasADi 3": _CASADI,
    "CasADi 2": _CASADI,
    "ONNX float64": _GRAPHS,
    "ONNX float32": dict.fromkeys(_GRAPHS, 5e-6),
    "torch float64": _GRAPHS,
    "SBML": {"path gap": 1e-6},
}
_ENDS = ("refused", "error")


def table_of(rows: Mapping[tuple[int, str], Mapping[str, Any]]) -> str:
    """Markdown: a line a figure, and below it everything that was refused or failed, by its sentence."""
    lines = ["| part | figure | bundles | median | worst | to reach | of |", "|---|---|---|---|---|---|---|"]
    told: list[str] = []
    for part in PARTS:
        mine = {seed: row for (seed, name), row in sorted(rows.items()) if name == part}
        good = {seed: row for seed, row in mine.items() if not set(_ENDS) & row["found"].keys()}
        figures = dict.fromkeys(f for row in good.values() for f, v in row["found"].items() if isinstance(v, float))
        for figure in figures:
            values = {s: row["found"][figure] for s, row in good.items() if isinstance(row["found"].get(figure), float)}
            worst = max(values, key=lambda s: values[s])
            target = TARGETS.get(part, {}).get(figure)
            missed = sum(value > target for value in values.values()) if target is not None else 0
            shown = f"**{values[worst]:.2g}, missed by {missed}**" if missed else f"{values[worst]:.2g}"
            reach = "" if target is None else f"{target:g}"
            lines.append(
                f"| {part} | {figure} | {len(values)} | {median(values.values()):.2g} | {shown} | {reach} | {worst}: "
                f"{good[worst]['of'] if missed else ''} |"
            )
        for seed, row in mine.items():
            for end in _ENDS:
                if end in row["found"]:
                    told.append(f"- {part}, {end}, {seed}: {row['of']}: {row['found'][end]}")
    return "\n".join([*lines, "", *told])
