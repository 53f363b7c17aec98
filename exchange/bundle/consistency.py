"""Whether the parts of a bundle fit each other, and whether its names can be shown."""

from collections.abc import Iterator, Mapping

import torch

from exchange.bundle.bundle import Bundle
from exchange.bundle.structures import describe
from exchange.files.names import require_names
from hybrid import rollout


def require_named(bundle: Bundle) -> None:
    """Raise `ValueError` unless everything that a person would be called by is one line of text, and shows what it is."""
    require_names((p.id for p in bundle.people), "a person's id")
    require_names({name for p in bundle.people for name in p.covariates}, "the name of a covariate")
    require_names(filter(None, _texts(describe(bundle.model))), "a name in the model")


def _texts(value: object) -> Iterator[str]:
    if isinstance(value, str):
        yield value
    elif isinstance(value, Mapping):
        for name, inner in value.items():
            yield name
            yield from _texts(inner)
    elif isinstance(value, list | tuple):
        for inner in value:
            yield from _texts(inner)


def require_fit(bundle: Bundle) -> None:
    """Every part meets every other one once, at the start of the records, so that what does not fit is found here."""
    ids = [p.id for p in bundle.people]
    if len(set(ids)) < len(ids):
        raise ValueError(f"the people's ids must differ, and {sorted({i for i in ids if ids.count(i) > 1})} repeat")
    channels = len(bundle.model.observation.channels)
    for person in bundle.people:
        if len(person.baseline) != channels or person.covariates.keys() != bundle.people[0].covariates.keys():
            raise ValueError(
                f"person {person.id} has {len(person.baseline)} baseline values and the covariates "
                f"{sorted(person.covariates)}; {channels} values and the same covariates for everyone are needed"
            )
    if bundle.people:
        with torch.no_grad():
            rollout(bundle.model, bundle.conditions(), bundle.personal.mode)
