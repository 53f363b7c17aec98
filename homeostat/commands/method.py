"""`--method` of `homeostat fit`: a population alone, or an ensemble, and what belongs to which."""

from collections.abc import Sequence
from typing import Any

import typer

_OF_ENSEMBLES = ("hidden", "members", "rate", "log")
_OF_POPULATIONS = {"error": "--error", "correlated": "--correlated", "shared": "--shared"}


def alone_of(
    context: typer.Context, method: str, error: str | None, correlated: Sequence[str], shared: Sequence[str]
) -> Any:
    """The population alone that was asked for, None for an ensemble.

    Errors: `ValueError` for a word that is none, and for an option of the other kind of fit.
    """
    from homeostat.options import names
    from homeostat.study.alone import ERRORS, Alone
    from physics.arguments import quote
    from training.inference.approximations import NAMES

    if method == "ensemble":
        given = [option for name, option in _OF_POPULATIONS.items() if typed_in(context, name)]
        if given:
            raise ValueError(f"{given[0]} is of a population alone; write --method focei beside it, or leave it out")
        return None
    if method not in NAMES:
        words = ", ".join(NAMES[:-1])
        raise ValueError(f"--method is ensemble, {words} or {NAMES[-1]}, and is {quote(method)}; write --method focei")
    for name in _OF_ENSEMBLES:
        if typed_in(context, name) and not (name == "hidden" and str(context.params["hidden"]).strip() == "0"):
            raise ValueError(
                f"--method {method} fits a population alone, one model without a learned part, and --{name} is of an ensemble; "
                f"leave --{name} out, or --method"
            )
    if error is not None and error not in ERRORS:
        raise ValueError(
            f"--error is {', '.join(ERRORS[:-1])} or {ERRORS[-1]}, and is {quote(error)}; write --error combined1"
        )
    blocks = tuple(tuple(names(block)) for block in correlated)
    short = [block for block in blocks if len(block) < 2]
    if short:
        raise ValueError(
            f"--correlated names two parameters or more, and names {len(short[0])}; write --correlated CL,V"
        )
    return Alone(method, error or "combined2", blocks, tuple(dict.fromkeys(shared)))


def typed_in(context: typer.Context, name: str) -> bool:
    """Was this option given, and not left at its default?"""
    source = context.get_parameter_source(name)
    return source is not None and source.name not in ("DEFAULT", "DEFAULT_MAP")
