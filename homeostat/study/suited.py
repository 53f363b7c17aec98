"""Does a table suit a model: one unit, room enough, and what of it the model does not read."""

from collections.abc import Sequence

from homeostat.study.logarithms import logarithm_notes
from hybrid import HybridModel, Mesh
from training import Record, far_covariates

_MOST_IN_TURN = 200_000  # steps of one record, one after the other: ten years in steps of half an hour


_MOST_NUMBERS = 3e8  # of one array of states, 2.4 GB


def require_room(records: Sequence[Record], mesh: Mesh, networks: int, states: int) -> None:
    """Refuse a computation that would take days or gigabytes for each array, before it is begun: a table in minutes that is said
    to be in hours is sixty times as long.
    """
    longest = max(float(r.times[-1]) - r.schedule.start for r in records)
    steps = 0.0 if mesh.step is None else longest / mesh.step
    if steps > _MOST_IN_TURN or steps * len(records) * networks * states > _MOST_NUMBERS:
        unit = records[0].units.get("time", "")
        raise ValueError(
            f"a record of {longest:g} {unit} is {steps:.3g} steps of the model's {mesh.step:.3g} {unit}, and with {len(records)} "
            f"people and {networks} networks more than a machine gets through; is TIME in another unit than --units says? If it "
            "is right, ask for fewer members and folds, or split the table by people"
        )


def require_one_unit(model: HybridModel) -> None:
    """Scores are of all channels together."""
    units = dict(zip(model.observation.channels, model.observation.units, strict=True))
    if len(set(units.values())) > 1:
        said = ", ".join(f"{name} in {unit}" for name, unit in list(units.items())[:5])
        raise ValueError(
            f"the channels are in different units ({said}), and their scores are taken together; give the model its states in "
            "one unit (state_units of --backbone-config), or leave channels out of --channels"
        )


def unstated(records: Sequence[Record], model: HybridModel) -> list[str]:
    """A sentence for each covariate that the model reads in a unit and the table states none of: it is taken to be in that."""
    return [
        f"{name} is taken to be in {unit}, since the table states no unit for it; state it: --units …,{name}={unit}"
        for name, unit in model.uses.items()
        if unit not in (None, "1") and any(name in r.covariates and name not in r.units for r in records)
    ]


def _unused(records: Sequence[Record], model: HybridModel) -> list[str]:
    """A sentence for each covariate that was read and that no part of the model uses: whoever meant it must know."""
    names = dict.fromkeys(name for r in records for name in r.covariates if name not in model.uses)
    return [f"column {name} was read as a covariate and changes nothing: no part of the model uses it." for name in names]


def notes_of(records: Sequence[Record], model: HybridModel) -> list[str]:
    """What a reader of the page must know of its channels, logarithms among them, and of covariates far away or unused."""
    far = (one.sentence() for one in far_covariates(records, model))
    return [*_channel_notes(records), *logarithm_notes(model), *far, *_unused(records, model)]


def _channel_notes(records: Sequence[Record]) -> list[str]:
    """What of the page is about one channel of several."""
    if len(records[0].channels) < 2:
        return []
    return [
        "Every channel has its own pictures of people and of stated and observed frequency. The pictures and the table by "
        f"horizon are of {records[0].channels[0]} alone; the other tables are of all channels together."
    ]
