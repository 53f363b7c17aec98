"""Is the population right? Its pictures, its tables, and what they say."""

from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np
import torch

from homeostat.gallery.figures import written
from homeostat.gallery.report import Section
from homeostat.gallery.table import Cell, Table
from homeostat.pictures import Picture, curves_axes, eta_axes, npde_axes, predictive_check_axes, residuals_axes
from homeostat.pictures.diagnostics.in_words import (
    curves_in_words,
    eta_in_words,
    npde_in_words,
    predictive_check_in_words,
    residuals_in_words,
)
from homeostat.study.diagnosed import PEOPLE, Diagnosed
from homeostat.wording import with_unit
from physics.arguments import counted
from training.trust.null_band import NullBand
from training.trust.verdicts import Verdict

_HAVE = ("measurement has", "measurements have")
SHOWN = 24  # rows of a table on a page; the files have all


def diagnostics_section(folder: Path, found: Diagnosed, since: str, *, fitted_on: bool) -> Section:
    """The section of a page. `since`, what times count from; `fitted_on`: the model was fitted on these people."""
    notes = []
    if fitted_on:
        notes.append(
            "The model was fitted on these people: a picture that is right is needed here and proves little, one "
            "that is wrong shows a "
            "fault."
        )
    notes += [*population_sentences(found), *found.missing]
    return Section(
        "Is the population right?",
        "Whole cohorts drawn from the model beside what was measured, and what its predictions leave.",
        notes,
        _pictures(folder, found, since),
        _tables(found, since),
    )


def population_sentences(found: Diagnosed) -> list[str]:
    """What predictive checks and NPDE say, a sentence each."""
    said = []
    for channel, kinds in found.checks.items():
        for kind, one in kinds.items():
            far = one.strays.observed is not None and one.strays.observed > one.strays.upper
            said.append(
                f"Predictive check of {channel}, {kind}: {one.strays.observed:.0f} of {one.strays_of} quantiles lie "
                f"outside their bands, "
                f"where 95 % of right models have up to "
                f"{one.strays.upper:.0f}{': the population is not as the model says' if far else ''}."
                + (f" {counted(one.left_out, *_HAVE)} no place in it: {one.why}." if one.left_out else "")
            )
    return said


def population_verdicts(found: Diagnosed | None) -> list[Verdict]:
    """Where the prediction distribution errors of a channel are not those of a right model; nothing where they are."""
    if found is None or found.errors is None:
        return []
    verdicts = []
    for channel, bands in found.errors.statistics.items():
        wrong = {name: b for name, b in bands.items() if b.observed is not None and not b.lower <= b.observed <= b.upper}
        if wrong:
            said = "; ".join(
                f"{name} {b.observed:.3g}, of right models {b.lower:.2g} to {b.upper:.2g}" for name, b in wrong.items()
            )
            detail = f"Of its prediction distribution errors (NPDE): {said}. {_cause(wrong)}".replace("-", "−")
            verdicts.append(
                Verdict(f"The population does not describe {channel} as it was measured", False, detail, ("population", channel))
            )
    return verdicts


def _cause(wrong: Mapping[str, NullBand]) -> str:
    band = wrong.get("standard deviation")
    if band is not None and band.observed is not None:
        narrow = "The spread between people, or the noise, is stated too narrow, or the curve has another shape."
        return "The spread between people, or the noise, is stated too wide." if band.observed < band.lower else narrow
    return "Look along time and prediction for where."


def _pictures(folder: Path, found: Diagnosed, since: str) -> list[Picture]:
    pictures: list[Picture] = []
    several = len(found.checks) > 1
    for k, (channel, kinds) in enumerate(found.checks.items()):
        stem, whose = (f"-channel{k + 1}", f": {channel}") if several else ("", "")
        alone = f"Of {channel} alone. " if several else ""
        if kinds:
            one = next(iter(kinds.values()))
            title = f"Would the model have measured this?{whose}"
            subtitle = f"{found.draws} cohorts of the same people drawn from {one.about.members}, {one.binning}"
            axes = predictive_check_axes(kinds, title=title, subtitle=subtitle, since=since)
            caption = (
                f"{alone}A visual predictive check: quantiles of what was measured, over where 95 of 100 cohorts drawn from "
                "the model have the same quantile; of the whole law, not cut at 0. Prediction-corrected: doses and covariates no "
                "longer add to the spread. Ticks on the axis of time part the bins."
            )
            pictures.append(
                written(
                    axes, folder, f"predictive-check{stem}", title=title, caption=caption, alt=predictive_check_in_words(kinds)
                )
            )
        errors = found.errors
        if errors is not None and channel in errors.statistics:
            c, title = errors.about.channels.index(channel), f"Where does each measurement lie among its draws?{whose}"
            subtitle = f"Prediction distribution errors (NPDE) among {found.draws} draws from {errors.about.members}"
            axes = npde_axes(errors, channel=c, title=title, subtitle=subtitle, since=since)
            caption = (
                f"{alone}Of a right population they are standard normal, along time and along the prediction. "
                + ("" if errors.decorrelated else "Too many of each person to be decorrelated: dots of one person go together. ")
                + "The grey of the first panel is of independent numbers, each point by itself."
            )
            pictures.append(written(axes, folder, f"npde{stem}", title=title, caption=caption, alt=npde_in_words(errors, c)))
        left = found.residuals
        c = left.about.channels.index(channel) if left is not None else 0
        if left is not None and bool(torch.isfinite(left.cwres[..., c]).any()):
            title, subtitle = f"What do the predictions leave?{whose}", f"Weighted residuals under {left.about.members}"
            axes = residuals_axes(left, channel=c, title=title, subtitle=subtitle, since=since)
            caption = (
                f"{alone}PRED is of the typical person with these doses and covariates, IPRED of each with their own "
                f"parameters. CWRES, "
                "linearised at each person's own, are near standard normal of a right model; IWRES are narrower, the fewer data "
                "each person has."
            )
            pictures.append(
                written(axes, folder, f"residuals{stem}", title=title, caption=caption, alt=residuals_in_words(left, c))
            )
        curves = found.curves
        if curves is not None:
            c, people = curves.about.channels.index(channel), range(len(curves.about.ids))
            title = f"Everyone beside the typical person{whose}"
            means = f"Means over {curves.about.members}" if "mixture" in curves.about.members else None
            axes = curves_axes(curves, people, channel=c, title=title, subtitle=means, since=since)
            caption = f"{alone}The individual fit, and the person with η = 0, the same doses and the same covariates."
            if len(people) == PEOPLE:
                caption += f" The first {PEOPLE} people at most are drawn."
            alt = curves_in_words(curves, people, c)
            pictures.append(written(axes, folder, f"curves{stem}", title=title, caption=caption, alt=alt))
    if found.eta is not None and bool(np.isfinite(found.eta.chance).any()):
        title = "Do covariates tell people apart?"
        axes = eta_axes(
            found.eta, title=title, subtitle="Everyone's η, in standard deviations of the population, mean over the members"
        )
        caption = (
            "A covariate that moves a parameter, and that the model does not know of, shows as a slope here. Chance: "
            "how often people "
            "shuffled at random have a rank correlation as far from 0; of many pairs one in twenty is below .05 by chance."
        )
        pictures.append(written(axes, folder, "eta", title=title, caption=caption, alt=eta_in_words(found.eta)))
    return pictures


def _tables(found: Diagnosed, since: str) -> list[Table]:
    tables = [_measurements(found, since)] if found.residuals is not None or found.errors is not None else []
    if any(found.checks.values()):
        tables.append(_quantiles(found, since))
    if found.eta is not None:
        tables.append(_pairs(found))
    return tables


def _measurements(found: Diagnosed, since: str) -> Table:
    """Every measurement with all predictions and residuals, one a row."""
    first = found.residuals if found.residuals is not None else found.errors
    if first is None:
        raise ValueError("nothing was computed of any measurement")
    about, y, times = first.about, first.y.cpu(), first.times.cpu()
    named: dict[str, torch.Tensor] = {}
    if found.residuals is not None:
        left = found.residuals
        named |= {"PRED": left.pred, "CPRED": left.cpred, "IPRED": left.ipred, "IWRES": left.iwres, "CWRES": left.cwres}
    there = torch.isfinite(y)
    if found.errors is not None:
        named |= {"EPRED": found.errors.epred, "pd": found.errors.pd, "NPDE": found.errors.npde}
        there = there | torch.isfinite(found.errors.pd.cpu())
    units = dict.fromkeys(about.units)
    one = next(iter(units)) if len(units) == 1 else ""
    measured = ("measured", "PRED", "CPRED", "IPRED", "EPRED")
    columns = ["person", with_unit("time", about.time_unit), "channel", with_unit("measured", one)]
    columns += [with_unit(name, one) if name in measured else name for name in named]
    if len(units) > 1:
        columns.append("unit of the channel")
    values = [v.cpu() for v in named.values()]
    rows: list[Sequence[Cell]] = []
    for i, t, c in torch.nonzero(there).tolist():
        cells = [float(v[i, t, c]) for v in (y, *values)]
        row: list[Cell] = [about.ids[i], float(times[i, t]), about.channels[c], *(None if v != v else v for v in cells)]
        rows.append([*row, about.units[c]] if len(units) > 1 else row)
    note = (
        f"Times since the {since}; of {about.members}. PRED: of η = 0; CPRED: the population's mean linearised at "
        f"each person's η; EPRED: mean of "
        "the draws; IPRED: of each person's own η. IWRES, CWRES and NPDE are in standard deviations. Without a "
        "measured value: known by a limit "
        "alone."
    )
    return Table("Predictions and residuals of every measurement", columns, rows, note=note, most=SHOWN)


def _quantiles(found: Diagnosed, since: str) -> Table:
    rows: list[Sequence[Cell]] = []
    for channel, kinds in found.checks.items():
        for kind, one in kinds.items():
            for j, level in enumerate(one.levels):
                for b in range(len(one.at)):
                    numbers = (
                        one.edges[b],
                        one.edges[b + 1],
                        one.at[b],
                        one.observed[j, b],
                        one.middle[j, b],
                        one.low[j, b],
                        one.high[j, b],
                    )
                    cells = [None if v != v else float(v) for v in numbers]
                    rows.append([channel, kind, one.unit, *cells[:3], int(one.count[b]), float(level), *cells[3:]])
    clock = next(one for kinds in found.checks.values() for one in kinds.values()).about.time_unit
    columns = [
        "channel",
        "kind",
        "unit",
        *(with_unit(name, clock) for name in ("from", "to", "median time")),
        "measurements",
        "level",
    ]
    columns += ["measured", "simulated", "95 % from", "95 % to"]
    note = (
        f"Times since the {since}. Quantiles in the channel's unit; simulated: the median over {found.draws} cohorts, and where "
        "95 % lie."
    )
    return Table("Quantiles of the predictive check", columns, rows, note=note, most=SHOWN)


def _pairs(found: Diagnosed) -> Table:
    eta = found.eta
    if eta is None:
        raise ValueError("there are no covariates")
    rows: list[Sequence[Cell]] = [
        [name, covariate, *(None if v != v else float(v) for v in (eta.correlation[j, k], eta.chance[j, k]))]
        for j, name in enumerate(eta.effects)
        for k, covariate in enumerate(eta.covariates)
    ]
    note = "Spearman's correlation of ranks over people; chance: the share of random pairings that are as far from 0."
    return Table("η and covariates", ["η of", "covariate", "rank correlation", "chance"], rows, note=note)
