"""One fitted person under a changed schedule."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
from torch import nn

from exchange import BUILTIN, Bundle, load
from homeostat import gallery
from homeostat.bundles.predicted import most_steps
from homeostat.bundles.said import cut_short_in, not_converged_in
from homeostat.bundles.uncertified import outside_certificates, outside_in_words
from homeostat.study.logarithms import logarithm_notes, measured_as
from hybrid import Schedule
from hybrid.schedules.dose import as_float
from hybrid.schedules.schedule_text import format_schedule, parse_schedule, schedule_units
from physics.arguments import shortened
from training.people.clock import counts_from, origin_of, since

_MOST_STRETCHES = 5_000  # between doses and printed times, of one person: half of the steps that a solver tries


def _require_short(bundle: Bundle, schedule: Schedule, start: float, end: float, points: int) -> None:
    """Refuse what would take minutes or all memory, before anything is made of it."""
    step, unit = bundle.mesh.step, bundle.model.backbone.time_unit
    most = most_steps(bundle)
    if step is not None and (end - start) / step > most:
        raise ValueError(
            f"--until {end:g} {unit} is {(end - start) / step:.3g} steps of the model's {step:.3g} {unit}, more than "
            f"{most:,}, which is a slip of the end or of the unit of time; write an earlier one"
        )
    given = [d for d in schedule.doses if as_float(d.arrival) < end]
    bends = sum(start < t < end for signal in schedule.inputs.values() for t in signal.times)
    count = points + len(given) + sum(not d.bolus for d in given) + bends
    if count > _MOST_STRETCHES:
        raise ValueError(
            f"{len(given)} doses, {points} times and {bends} points of inputs cut the time to {end:g} {unit} more than "
            f"{_MOST_STRETCHES:,} times; ask for fewer --points, fewer doses or an earlier --until"
        )


def simulate_person(
    path: Path,
    text: str,
    *,
    person: str | None,
    until: float | None,
    points: int,
    level: float,
    picture: Path | None,
    structures: Mapping[str, type[nn.Module]] = BUILTIN,
) -> tuple[dict[str, Any], str]:
    """One fitted person under a changed schedule: plain JSON values, and a table as text.

    Times, those of `text` and `until` too, are since the person's first dose as it was given (or their start).
    Errors: `ValueError` for an unknown person or a text that is no schedule.
    """
    bundle = load(path, structures)
    if not bundle.people:
        raise ValueError(f"{path}: the bundle holds no person to simulate")
    if person is not None and not person.strip():
        raise ValueError(
            "--person names nobody; write an id, as `homeostat inspect` lists them, or leave it out for the first"
        )
    index = 0 if person is None else bundle.person(person)
    who, backbone = bundle.people[index], bundle.model.backbone
    units = schedule_units(backbone)
    # a script may have kept the table's clock
    given, _ = since(who.schedule, np.array([who.schedule.start]), origin_of(who.schedule))
    schedule = parse_schedule(text, states=backbone.states, inputs=backbone.inputs, base=given, units=units)
    start, began = given.start, counts_from(given)
    end = 24.0 if until is None else until
    if not start < end < np.inf:
        raise ValueError(
            f"--until {end:g} {backbone.time_unit} is no time after the record's start, which is at {start:g} "
            f"{backbone.time_unit} since the {began}"
        )
    _require_short(bundle, schedule, start, end, points)
    times = np.linspace(start, end, points).tolist()
    prediction = bundle.forecast(who.id, schedule, times)
    low, high = prediction.interval(level)
    for j, name in enumerate(bundle.model.observation.channels):
        if name in bundle.nonnegative:  # the quantiles of max(y, 0)
            low[..., j], high[..., j] = low[..., j].clamp_min(0.0), high[..., j].clamp_min(0.0)
    channels, channel_units = bundle.model.observation.channels, bundle.model.observation.units
    schedules = {"as given": given, "what if": schedule}
    beyond = gallery.beyond_training(bundle, index, schedules, end)
    assert prediction.shift is not None  # a bundle always says it, or that it is not known
    shift = prediction.shift[0]
    uncertified = outside_certificates(bundle, index, schedules)
    answer: dict[str, Any] = {
        "person": who.id,
        "schedule": format_schedule(schedule, units=units),
        "time": times,
        "time_unit": backbone.time_unit,
        "time_since": began,
        "cut_short": cut_short_in(bundle),
        "level": level,
        "beyond_training": beyond["what if"].to_dict(),
        "shift": shift.to_dict(),
        "outside_certificates": uncertified["what if"],
        "channels": {
            name: {
                "unit": channel_units[j],
                "mean": prediction.point[0, :, j].tolist(),
                "lower": low[0, :, j].tolist(),
                "upper": high[0, :, j].tolist(),
                "aleatoric_sd": prediction.aleatoric[0, :, j].sqrt().tolist(),
                "epistemic_sd": prediction.epistemic[0, :, j].sqrt().tolist(),
                "personal_sd": prediction.personal[0, :, j].sqrt().tolist(),
                "cut_at_zero": name in bundle.nonnegative,
            }
            for j, name in enumerate(channels)
        },
    }
    lines = [
        f"person {shortened(who.id)}: {shortened(answer['schedule'], 400) or 'nothing given'}",
        f"times in {backbone.time_unit} since the {began}{' as it was given' if given.doses else ''}",
    ]
    if beyond["what if"]:
        lines.append(beyond["what if"].sentence())
        if beyond["what if"].spans:
            lines.append("The times at which the state is there are marked with *.")
    if shift.flagged is not False:
        lines.append(f"{shift.sentence()[:1].upper()}{shift.sentence()[1:]}.")
    if uncertified["what if"]:
        lines.append(outside_in_words(uncertified["what if"]))
    if cut_short_in(bundle):
        lines.append(f"this model's training was cut short ({cut_short_in(bundle)})")
    elif not_converged_in(bundle):
        lines.append(f"of this model: {not_converged_in(bundle)}")
    if {as_float(d.arrival) for d in schedule.doses} & set(times):
        lines.append("At the time of a dose stands the value before it.")
    for name, values in answer["channels"].items():
        unit = values["unit"]
        time, value, band = f"time [{backbone.time_unit}]", f"mean {name} [{unit}]", f"{100 * level:g} % interval"
        lines.append(
            f"{time:>12}  {value:>22}  {band:>18}  {'noise':>8} {'model':>8} {'person':>8}  (standard deviations)"
            f"{'' if unit in ('', '1') else f', all in {unit}'}"
        )
        keys = ("mean", "lower", "upper", "aleatoric_sd", "epistemic_sd", "personal_sd")
        for t, m, a, b, noise, model, own in zip(times, *(values[k] for k in keys), strict=True):
            mark = "  *" if beyond["what if"].at(t) else ""
            lines.append(
                f"{t:12.2f}  {m:22.3f}  {f'{a:.3f} to {b:.3f}':>18}  {noise:8.3f} {model:8.3f} {own:8.3f}{mark}"
            )
    # quantiles go through exp, and means do not
    middle = prediction.quantile((0.5,))[0, 0]
    for name, (quantity, own_unit) in measured_as(bundle.model).items():
        j = list(channels).index(name)
        ends = {"median": middle[:, j], "lower": low[0, :, j], "upper": high[0, :, j]}
        own = {key: value.exp().tolist() for key, value in ends.items()}
        answer["channels"][name]["measured"] = {"channel": quantity, "unit": own_unit, **own}
        heads = (f"time [{backbone.time_unit}]", f"median {quantity} [{own_unit}]", f"{100 * level:g} % interval")
        lines.append("{:>12}  {:>28}  {:>22}".format(*heads))
        for t, m, a, b in zip(times, *own.values(), strict=True):
            lines.append(f"{t:12.2f}  {m:28.4g}  {f'{a:.4g} to {b:.4g}':>22}")
    lines += logarithm_notes(bundle.model)
    if bundle.nonnegative:
        lines.append(gallery.cut_note(bundle.nonnegative))
    if picture is not None:
        fine = np.linspace(start, end, 145).tolist()
        found = [bundle.forecast(who.id, one, fine) for one in schedules.values()]
        from homeostat.pictures import figure_of, save, what_if_axes

        axes = what_if_axes(
            dict(zip(schedules, found, strict=True)),
            title=f"What if, for person {shortened(who.id)}: {shortened(text) or 'nothing changed'}",
            schedules=schedules,
            time_unit=backbone.time_unit,
            since=began,
            nonnegative=bundle.nonnegative,
            beyond={name: one.spans for name, one in beyond.items() if one},
            uncertified=[name for name, said in uncertified.items() if said],
            largest=gallery.largest_doses(beyond),
            until=who.until if who.until is not None and who.until < end else None,
        )
        lines.append(f"picture: {save(figure_of(axes), picture)}")
    return answer, "\n".join(lines)
