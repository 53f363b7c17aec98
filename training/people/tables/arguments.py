"""What a reader of tables is given, looked at before anything is read."""

from collections.abc import Mapping, Sequence

from hybrid.frames import is_frame
from physics.arguments import InputError, quote, require_choice, require_kind, require_names, require_path, require_text
from training.people.tables.convention import NEEDED
from training.people.tables.event_table import listed, short


def require_reading(
    path: object,
    *,
    units: Mapping[str, str],
    compartments: Mapping[int, str] | Mapping[int | str, str],
    channels: Mapping[int, str] | Mapping[int | str, str],
    covariates: Sequence[str] | None,
    order: str | None,
    channel_column: str | None,
    signed: Sequence[str],
    ignore: Sequence[str],
) -> tuple[tuple[str, ...] | None, tuple[str, ...], tuple[str, ...]]:
    """The arguments of `read_table`: `covariates` (None where nobody named any), `ignore` and `signed` as names.

    Errors: `ValueError` for what is no path and no frame, or cannot be what it stands for.
    """
    if not is_frame(path):
        require_path(path, "read_nonmem: path", "read_nonmem('people.csv', units=…), or the pandas DataFrame itself")
    require_choice(order, (None, "observation-first", "dose-first", "file"), "read_nonmem: order")
    require_choice(channel_column, (None, "CMT", "DVID", "YTYPE"), "read_nonmem: channel_column")
    for argument, mapping, write in (
        ("units", units, '{"TIME": "h", "AMT": "mg", "DV": "mg/L"}'),
        ("compartments", compartments, '{1: "gut", 2: "plasma"}'),
        ("channels", channels, '{2: "concentration"}'),
    ):
        require_kind(mapping, Mapping, f"read_nonmem: {argument}", write)
        for key, name in mapping.items():
            if isinstance(key, bool) or not isinstance(key, str if argument == "units" else (int, str)):
                raise ValueError(f"read_nonmem: {argument} goes by {quote(key)}, which is no name; write {write}")
            require_text(name, f"read_nonmem: {argument}[{quote(key, 60)}]", write)
    if not compartments or not channels:
        raise InputError(
            f"read_nonmem: needs a compartment and a channel, got {dict(compartments)}, {dict(channels)}",
            'write compartments={1: "gut"}, channels={2: "concentration"}',
            "write --compartments 1=gut --channels 2=concentration",
            "a table needs a compartment and a channel",
        )
    names_of: dict[str, tuple[str, ...] | None] = {"covariates": None}
    for argument, given in (("covariates", covariates), ("ignore", ignore), ("signed", signed)):
        if given is not None:
            if isinstance(given, str):
                raise ValueError(
                    f"read_nonmem: {argument} is a list of names, got {short(given)}; write {argument}=[{short(given)}]"
                )
            names_of[argument] = require_names(given, f"read_nonmem: {argument}", f'{argument}=["WT"]')
        elif argument != "covariates":
            raise ValueError(f"read_nonmem: {argument} is a list of names, and is None; leave it out for none")
    kept, away, below = names_of["covariates"], names_of["ignore"] or (), names_of["signed"] or ()
    names = tuple(dict.fromkeys(channels.values()))
    unknown = set(below) - set(names)
    if unknown:
        problem = f"signed names {listed(sorted(unknown))}"
        known = f"the channels are {listed(names)}"
        raise InputError(f"read_nonmem: {problem}", known, f"{known}, and --channels names more", f"--{problem}")
    needed = [name for name in away if name.upper() in NEEDED]
    if needed:
        problem = f"ignore names {listed(needed)}, and {', '.join(NEEDED)} are needed"
        cure = "leave them out of"
        raise InputError(f"read_nonmem: {problem}", f"{cure} ignore", f"{cure} --ignore", f"--{problem}")
    return kept, away, below
