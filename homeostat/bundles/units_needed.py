"""The units that a table of other people needs for a bundle's model: said, asked for all at once, and taken from the bundle."""

from collections.abc import Mapping
from pathlib import Path

from exchange import Bundle
from hybrid import HybridModel
from physics.arguments import InputError, shortened


def inputs_in_words(model: HybridModel) -> str:
    """The model's inputs with their units, "" where it has none."""
    pairs = zip(model.backbone.inputs, model.backbone.input_units, strict=True)
    return ", ".join(f"{name} [{unit}]" for name, unit in pairs)


def own_units(bundle: Bundle) -> dict[str, str]:
    """The model's own units, as a table in them would be said to be; AMT where people of the bundle are dosed."""
    backbone, seen = bundle.model.backbone, bundle.model.observation
    found = {"TIME": backbone.time_unit}
    if not bundle.people or any(one.schedule.doses for one in bundle.people):
        found["AMT"] = backbone.state_units[0]
    one = len(set(seen.units)) == 1
    found |= {"DV": seen.units[0]} if one else dict(zip(seen.channels, seen.units, strict=True))
    return found | dict(zip(backbone.inputs, backbone.input_units, strict=True))


def how_to_forecast(bundle: Bundle) -> str:
    """What a table of other people holds for this model, and what is typed."""
    inputs = inputs_in_words(bundle.model)
    rows = f" Each input stands in rows of its own, its name in CMT and its value in DV: {inputs}." if inputs else ""
    reads = ", ".join(f"{name} in {unit}" if unit not in (None, "", "1") else name for name, unit in bundle.model.uses.items())
    columns = f" A column for each of {reads}, one number a person." if reads else ""
    return (
        f"Other people are forecast by `homeostat report model.twin --data table.csv {_typed(bundle)}`, from a table with ID, "
        f"TIME, AMT and DV (AMT is . where nothing was given).{rows}{columns}"
    )


def units_for(bundle: Bundle, path: Path, typed: Mapping[str, str]) -> Mapping[str, str]:
    """The units of the table's columns and inputs: those that were typed, else the bundle's where they are of such a table.

    Errors: `ValueError` where the bundle's are of other columns, and one for all inputs whose unit nobody stated: an input would
    else be read in the unit of DV.
    """
    model = bundle.model
    units = typed or _stated_in(bundle, path)
    lacking = [name for name in model.backbone.inputs if name not in units]
    if lacking:
        whose = "--units says" if typed else "the bundle's units say"
        raise InputError(
            f"{path}: its model needs inputs in rows of their own ({inputs_in_words(model)}), and {whose} nothing of "
            f"{', '.join(lacking)}",
            f"state the unit that each has in the table; in the model's own: units={own_units(bundle)}",
            f"state the unit that each has in the table; in the model's own: {_typed(bundle)}",
        )
    return units


def _typed(bundle: Bundle) -> str:
    return "--units " + ",".join(f"{name}={unit}" for name, unit in own_units(bundle).items())


def _stated_in(bundle: Bundle, path: Path) -> Mapping[str, str]:
    """The units of the table that the bundle was made from, as it says; they must be of TIME and of what is measured."""
    units = bundle.provenance.get("units", {})
    if not isinstance(units, Mapping) or not all(isinstance(unit, str) for unit in units.values()):
        raise ValueError(f"{path}: its provenance does not say the units of a table; state them: {_typed(bundle)}")
    capitals, channels = {name.upper() for name in units}, bundle.model.observation.channels
    if "TIME" in capitals and ("DV" in capitals or all(name in units for name in channels)):
        return units
    said = shortened(", ".join(f"{name} in {unit}" for name, unit in units.items()), 120)
    table = shortened(str(bundle.provenance.get("table", "")), 60)
    of = f"are those of {table or 'the table that it was made from'} ({said})" if said else "are not stated"
    cure = "state the units of your table's columns; in the model's own"
    raise InputError(
        f"{path}: the units in the bundle {of}, which say nothing of TIME and DV",
        f"{cure}: units={own_units(bundle)}",
        f"{cure}: {_typed(bundle)}",
    )
