"""How far can the C-peptide forecasts of `cpeptide.py` be trusted? Their intervals, before and after recalibration.

    python examples/cpeptide_uncertainty.py [--data DIR] [--device cpu] [--seed 0]

From the samples of the first hour to those at 90 and 120 min, with the same network, steps and weights as there. Two things
differ: members are trained on bootstrap draws of people, since a spread by first weights alone is no measure of ignorance,
and β is drawn from its Laplace posterior, not taken at its mode.

The factors that recalibrate come from the training people, each forecast by members that never saw them. They are judged twice:
on those people, everyone scaled by the others' factors; and on the published test people, whom nothing above has seen and for
whom nothing was chosen. The band holds all gates of the page together, and allows for other calibration people.
"""

import argparse
import sys
from collections.abc import Sequence
from dataclasses import dataclass, replace

import torch
from rich.console import Console
from rich.table import Table

from homeostat.c_peptide.model import FORECAST_FROM, STEPS, people
from homeostat.c_peptide.study import forecast, forecast_unseen, train_ensembles
from homeostat.data import ohashi
from hybrid import Prediction
from training import Cohort
from training.people import Ohashi, read_ohashi
from training.trust import (
    Gate,
    Horizons,
    Outcome,
    PairedDifference,
    UncertaintyReport,
    mean_scores,
    paired_difference,
    uncertainty_report,
)
from training.trust.recalibration import CrossScaling, Scaling

MEMBERS, FOLDS, DRAWS = 8, 5, 16
HORIZONS = Horizons((75.0, 105.0, 135.0))  # min: the samples at 90 and at 120 min
LEVELS = (0.8, 0.95)


@dataclass(frozen=True)
class Judged:
    """One group of people: the report of their forecast `before` and `after` recalibration, and by how much scores `change`."""

    before: UncertaintyReport
    after: UncertaintyReport
    change: dict[str, PairedDifference]  # "nll", "crps": after minus before


def judge(
    prediction: Prediction, cohort: Cohort, calibration: Scaling | CrossScaling, generator: torch.Generator
) -> Judged:
    """Both reports and the paired differences, on the samples after the first hour."""
    stated = Outcome.of(prediction, cohort.after(FORECAST_FROM))
    mended = replace(stated, prediction=calibration.apply(prediction, cohort.ids))
    before, after = (
        uncertainty_report(
            outcome, generator=generator, horizons=HORIZONS, levels=LEVELS, calibration=by, resample="bootstrap"
        )
        for outcome, by in ((stated, None), (mended, calibration))
    )
    first, second = mean_scores(stated), mean_scores(mended)
    change = {name: paired_difference(second[name], first[name], cohort.ids, generator=generator) for name in first}
    return Judged(before, after, change)


def study(data: Ohashi, steps: int, seed: int, device: str, console: Console) -> tuple[dict[str, Judged], Scaling]:
    """Train the ensemble beside its cross-validation; forecast, recalibrate and judge the training and the test people."""
    generator = torch.Generator().manual_seed(seed)
    trained = train_ensembles(
        data.train, members=MEMBERS, folds=FOLDS, steps=steps, generator=generator, device=device, console=console
    )
    cohort = trained.cohort
    unseen = forecast_unseen(trained, DRAWS, generator)
    outcome = Outcome.of(unseen, cohort.after(FORECAST_FROM))
    cross = CrossScaling.fit(outcome, folds=min(10, len(cohort.ids)), generator=generator)
    scaling = Scaling.fit(outcome)
    found = {"training people, cross-validated": judge(unseen, cohort, cross, generator)}
    test = people(data.test, trained.final)
    found["test people"] = judge(forecast(trained.final, test, test, DRAWS, generator), test, scaling, generator)
    return found, scaling


def inside(share: Gate) -> str:
    """A share beside its band, which as a band over many gates may go beyond 0 and 1."""
    return f"{share.observed:.0%} [{max(share.lower, 0.0):.0%}, {min(share.upper, 1.0):.0%}]"


def table_of(name: str, judged: Judged) -> Table:
    """Coverage by horizon and overall beside its band, gates and scores, before and after."""
    reports = (judged.before, judged.after)
    table = Table(title=f"{judged.after.people} {name}\nshares inside, beside the band over all gates")
    for column in ("", "before", "after"):
        table.add_column(column, no_wrap=True)
    channels = [r.channels[0] for r in reports]
    for rows in zip(*(c.coverage_by_horizon for c in channels), strict=True):
        what = f"{rows[0].level:.0%} interval, {rows[0].horizon} min\nmean width, nmol/L"
        table.add_row(what, *(f"{inside(r.share)}\n{r.sharpness:.2f}" for r in rows))
    table.add_row("gates outside one band", *(f"{r.failed} of {r.gates}" for r in reports))
    for score in ("nll", "crps"):
        change = judged.change[score]
        table.add_row(
            f"{score.upper()}\nchange [95 % over people]",
            f"{getattr(channels[0], score):.3f}",
            f"{getattr(channels[1], score):.3f}\n{change.difference:+.3f} [{change.lower:+.3f}, {change.upper:+.3f}]",
        )
    for part in ("aleatoric", "epistemic", "personal"):
        shares = []
        for c in channels:
            whole = sum(r.count * (r.aleatoric + r.epistemic + r.personal) for r in c.split_by_horizon)
            shares.append(sum(r.count * getattr(r, part) for r in c.split_by_horizon) / whole)
        table.add_row(f"of the variance {part}", *(f"{share:.0%}" for share in shares))
    return table


def main(arguments: Sequence[str] | None = None) -> int:
    """Read, fit, recalibrate, judge. Returns the exit code."""
    parser = argparse.ArgumentParser(description="C-peptide forecasts: are their intervals right?")
    parser.add_argument(
        "--data", default=str(ohashi()), help="a folder with the Ohashi tables; by default the bundled one"
    )
    parser.add_argument("--device", default="cpu")
    parser.add_argument("--seed", type=int, default=0)
    options = parser.parse_args(arguments)
    try:
        data = read_ohashi(options.data)
    except ValueError as error:
        print(f"{error}.\nWithout --data the tables of the package are read, which are CC BY 4.0.", file=sys.stderr)
        return 2
    console = Console()
    found, scaling = study(data, STEPS, options.seed, options.device, console)
    for name, judged in found.items():
        console.print(table_of(name, judged))
        for verdict in judged.after.verdicts:
            console.print(f"{verdict}", markup=False)
    for sentence in scaling.sentences():
        console.print(sentence)
    return 0


if __name__ == "__main__":
    sys.exit(main())
