"""θ: typical values, spread, box, and everyone's own, as values and as tables."""

from collections.abc import Sequence

import numpy as np
import torch
from numpy.typing import NDArray

from homeostat.gallery.table import Cell, Table
from homeostat.pictures import Theta
from homeostat.pictures.theta import on_scale
from homeostat.wording import with_unit
from hybrid import HybridModel
from training import AtEnd, Cohort, Personal, at_ends

SHOWN = 60  # people in the page's table; the files have everybody



def theta_of(model: HybridModel, cohort: Cohort, personal: Personal) -> Theta | None:
    """θ of these people at the coordinates that were found for them; None for a model without physical parameters."""
    backbone, population, M = model.backbone, model.population, model.members
    q = len(backbone.physical)
    if not q:
        return None
    units = dict(getattr(population, "covariates", {}))
    given = None
    if population.dimension == 0 and not any(p.requires_grad for p in population.parameters()):
        known = cohort.conditions.covariates
        given = {with_unit(k, u): known[k].detach().cpu().double().numpy() for k, u in units.items() if k in known}
    with torch.no_grad():
        # where θ changes on the way a person is shown as the median over their pieces
        own = model.theta(*cohort.conditions.by_piece(personal.mode)).cpu()
        own = own.unflatten(1, (personal.mode.shape[1], -1)).median(2).values if len(cohort.ids) else own
        typical = population.theta(personal.mode.new_zeros(M, 1, population.dimension), cohort.conditions.middle)[:, 0].cpu()
        spread = None if population.omega is None else population.omega.detach().cpu()
    N = len(cohort.ids)
    return Theta(
        tuple(p.name for p in backbone.physical),
        tuple(p.unit for p in backbone.physical),
        population.box.detach().cpu().double().numpy(),
        typical.expand(M, q).double().numpy(),
        None if spread is None else spread.expand(M, q).double().numpy(),
        population.learn_spread,
        cohort.ids,
        own.expand(M, N, q).double().numpy(),
        personal.converged.cpu().all(0).numpy(),
        () if given is not None else at_ends(model, cohort, personal.mode),
        given,
        population.scales,
    )


def typical_table(theta: Theta) -> Table:
    """Typical values, spread and box, one parameter a row."""
    if theta.given is not None:
        return _given_table(theta)
    rows: list[Sequence[Cell]] = []
    for j, (name, unit) in enumerate(zip(theta.names, theta.units, strict=True)):
        own = _omega(theta, j)
        between = _between(theta, j)
        rows.append(
            [
                name,
                _unit(unit),
                f"{theta.typical[:, j].mean():.4g}",
                _apart(theta.typical[:, j].mean(), theta.typical[:, j].std(ddof=1)) if theta.members > 1 else None,
                None if own is None else f"{own:.3g}",
                None if between is None else f"{between:.3g}",
                f"{theta.box[j, 0]:.4g}",
                f"{theta.box[j, 1]:.4g}",
                "; ".join(dict.fromkeys(_end(e) for e in theta.ends if e.name == name)) or "no",
            ]
        )
    logs = all(theta.scale(j) == "log" for j in range(len(theta.names)))
    sd = "SD of ln θ" if logs else "SD on its scale"
    columns = ["parameter", "unit", "typical", "± over members", "ω", sd, "box from", "box to", "at an end"]
    full: list[Sequence[Cell]] = [
        [
            name,
            _unit(unit),
            float(theta.typical[:, j].mean()),
            float(theta.typical[:, j].std(ddof=1)) if theta.members > 1 else None,
            _omega(theta, j),
            _between(theta, j),
            _written(theta.box[j, 0]),
            _written(theta.box[j, 1]),
            rows[j][-1],
        ]
        for j, (name, unit) in enumerate(zip(theta.names, theta.units, strict=True))
    ]
    whole = "fitted" if theta.learned else "given, not fitted"
    what = f"ω (no unit) is the standard deviation of ln θ between people that the model expects ({whole}); SD of ln θ (no unit)"
    if not logs:
        kinds = {"log": "of ln θ", "logit": "of the logit of θ within its box", "linear": "of θ itself, in its unit"}
        each = "; ".join(
            f"{words}: {', '.join(n for j, n in enumerate(theta.names) if theta.scale(j) == kind)}"
            for kind, words in kinds.items()
            if any(theta.scale(j) == kind for j in range(len(theta.names)))
        )
        what = f"ω is the standard deviation between people that the model expects ({whole}), {each}; SD on its scale"
    note = (
        "Typical: of a person with η = 0 and the median covariates, mean over the members; ±, box and typical value are in the "
        f"parameter's unit. {what} is that of the people's own most likely values, which are drawn towards the typical one. At "
        "an end: the outermost twentieth of the box, where the box speaks and not the data."
    )
    title = "Typical values, spread and box"
    return Table(title, columns, rows, note=note, full=Table(title, columns, full))


def _omega(theta: Theta, j: int) -> float | None:
    """ω of a parameter, the mean over the members; None of one that everyone shares."""
    return None if theta.spread is None or not theta.spread[:, j].any() else float(theta.spread[:, j].mean())


def _between(theta: Theta, j: int) -> float | None:
    """The standard deviation of the people's own values, on the scale on which they are spread."""
    if len(theta.ids) < 2 or theta.box[j, 0] == theta.box[j, 1]:
        return None
    people = on_scale(theta.values[:, :, j], theta.scale(j), float(theta.box[j, 0]), float(theta.box[j, 1]))
    return float(people.mean(0).std(ddof=1))


def _given_table(theta: Theta) -> Table:
    """Of parameters that nothing was fitted for: what people have, and what the formula may give."""
    values = theta.values.mean(0)  # (N, q): the members have the same
    rows: list[Sequence[Cell]] = [
        [name, _unit(unit), *map(_written, (theta.typical[0, j], values[:, j].min(), values[:, j].max(), *theta.box[j]))]
        for j, (name, unit) in enumerate(zip(theta.names, theta.units, strict=True))
    ]
    columns = ["parameter", "unit", "typical", "lowest", "highest", "box from", "box to"]
    note = (
        f"Not estimated: {computed(theta)}, the same under every member. Typical: of a person with the median covariates; lowest "
        "and highest: of these people; the box is what the formula can give. All in the parameter's unit."
    )
    return Table("θ, which was not estimated", columns, rows, note=note)


def _written(value: float) -> float:
    """A number that came through a logarithm, to the digits that were meant: 0.05, not 0.05000000000000001."""
    return float(f"{float(value):.13g}")


def _counted(values: NDArray[np.float64]) -> list[int] | list[float]:
    """Whole numbers, as years and yes or no, without decimals."""
    return [int(v) for v in values] if np.array_equal(values, np.round(values)) else values.tolist()


def computed(theta: Theta) -> str:
    """What θ comes from where nothing of it is estimated."""
    names = " and ".join(theta.given or ())
    return f"θ is computed from everyone's {names}" if names else "θ is the same constant for everyone"


def people_table(theta: Theta) -> Table:
    """Everyone's θ: the members' mean and standard deviation, and who leans on an end; where it is given, what it comes from."""
    if theta.given is not None:
        named = [with_unit(n, u) for n, u in zip(theta.names, theta.units, strict=True)]
        parts = [*map(_counted, theta.given.values()), *theta.values.mean(0).T.tolist()]
        rows: list[Sequence[Cell]] = [[who, *row] for who, *row in zip(theta.ids, *parts, strict=True)]
        columns, title = ["person", *theta.given, *named], "Everyone's θ, and what it comes from"
        return Table(title, columns, rows, note=f"No measurement had a say: {computed(theta)}.", most=SHOWN)
    columns = ["person"]
    for name, unit in zip(theta.names, theta.units, strict=True):
        columns += [with_unit(name, unit), with_unit(f"± {name}", unit)]
    columns += ["at an end", "search ended well"]
    ended: dict[str, list[str]] = {}
    for end in theta.ends:
        for who in end.people:
            ended.setdefault(who, []).append(f"{end.name}: {_words(end)}")
    mean = theta.values.mean(0)  # (N, q)
    spread = theta.values.std(0, ddof=1) if theta.members > 1 else np.full_like(mean, np.nan)
    whole: list[Sequence[Cell]] = []
    shown: list[Sequence[Cell]] = []
    for i, who in enumerate(theta.ids):
        last: list[Cell] = ["; ".join(ended.get(who, [])) or "no", "yes" if theta.found[i] else "no"]
        pairs = [(float(m), float(s)) for m, s in zip(mean[i], spread[i], strict=True)]
        whole.append([who, *(v for pair in pairs for v in pair), *last])
        shown.append([who, *(v for m, s in pairs for v in (f"{m:.4g}", _apart(m, s))), *last])
    note = (
        "Everyone's most likely θ given their own data, mean over the members; ± is the standard deviation over the members, "
        "which is not a person's standard error: it leaves out what that person's own data do not settle."
    )
    title = "Everyone's θ"
    return Table(title, columns, shown, note=note, most=SHOWN, full=Table(title, columns, whole))


def _apart(mean: float, spread: float) -> str | None:
    """A standard deviation over members; what is only rounding, of members that agree, is 0."""
    return None if spread != spread else f"{0.0 if spread < 1e-12 * abs(mean) else spread:.2g}"


def _unit(unit: str) -> str:
    return "none" if unit in ("", "1") else unit


def _words(end: AtEnd) -> str:
    return "at what it is kept above" if end.end == "bound" else f"{end.end} end"


def _end(end: AtEnd) -> str:
    whose = {"typical": "typical value", "people": f"{len(end.people)} people", "spread": "ω"}[end.what]
    return f"{'1 person' if len(end.people) == 1 else whose}, {_words(end)}"
