"""A bundle as SBML, where its model is mechanism or linear and no network."""

import os
from dataclasses import dataclass
from typing import ClassVar

from exchange.bundle.bundle import Bundle
from exchange.bundle.calibration import stated
from exchange.bundle.contents import contents_of
from exchange.export import NOT_CERTIFIED, Export, Written, certified, claimed, target_of
from exchange.files.archive import content_of
from exchange.files.names import one_line
from exchange.files.whole_file import whole_file
from exchange.sbml.checked import require_consistent
from exchange.selection import TYPICAL, Selected, Selection, selected
from hybrid import HybridModel
from hybrid.observation import require_held
from physics.arguments import require_flag, require_kind

_UNSAID = (
    "This document states means alone: variances are not in it. Process noise and the map from a person's covariates to θ "
    "are not in it either."
)


@dataclass(frozen=True)
class Sbml(Export):
    """SBML Level 3 Version 2 core: dx/dt = f(x, u, θ) as rate rules, of one member whose residual vanishes.

    States are parameters with a rate rule each: the formula of the rate is the one that a certificate speaks of. (Reactions would
    need flows, which a bundle does not keep, and a rate that is no flow has none.) θ `theta_…`, inputs `u_…` and what runs into a
    state `infused_…` (0) are parameters that a reader may change; what is observed, `y_…`, are assignment rules.
    `selection`: one member, and whose θ and start · `replace` a file that is there.
    Errors of `write`: `ValueError` for a model with a network or a part that no listed operation says, for several members, for
    names that become one identifier, a target that exists, and where libSBML is not installed or finds an error.
    Law: a solver of SBML gives our solution.
    Source: Hucka et al., J. Integr. Bioinform. 16 (2019) 20190021 (SBML Level 3 Version 2 core, release 2).
    """

    name: ClassVar[str] = "sbml"
    suffix: ClassVar[str] = ".xml"
    selection: Selection = TYPICAL
    replace: bool = False

    def __post_init__(self) -> None:
        require_kind(self.selection, Selection, "Sbml: selection", "Selection(member=0)")
        require_flag(self.replace, "Sbml: replace")

    def write(self, bundle: Bundle, path: str | os.PathLike[str]) -> Written:
        require_kind(bundle, Bundle, "Sbml.write: bundle", 'load("model.twin")')
        target = target_of(self, path, "Sbml.write")
        _require_no_network(bundle.model)
        require_held(bundle.model.observation, "Sbml")
        chosen = selected(bundle, self.selection)
        if len(chosen.members) > 1:
            raise ValueError(
                f"Sbml: the bundle has {len(chosen.members)} members, and an SBML document is one model; choose one, "
                "Selection(member=0), --member 0"
            )
        said = (*_about(bundle, chosen, self.selection), *claimed(bundle), *chosen.said)
        # here, since tracing takes half a second to import
        from exchange.sbml.text import text_of

        text, lacking = text_of(chosen, target.stem, said=said, facts=_facts(bundle))
        require_consistent(text, "Sbml")
        with whole_file(target) as partial:
            partial.write_text(text, encoding="utf-8")
        warned = () if certified(bundle) else claimed(bundle)[:1]
        units = (
            (f"SBML has no unit for {', '.join(lacking)}: nothing states it there but the notes",) if lacking else ()
        )
        return Written(target, (*warned, *chosen.said, *units))


def _require_no_network(model: HybridModel) -> None:
    if not model.residual.vanishes:
        raise ValueError(
            f"Sbml: the model has a learned residual, {type(model.residual).__name__}, and SBML holds mechanisms and linear "
            "models without a network; export another form, --to fmu, --to c or --to onnx"
        )


def _about(bundle: Bundle, chosen: Selected, selection: Selection) -> tuple[str, ...]:
    who = "a typical person" if selection.person is None else f"person {one_line(selection.person, 100)}"
    backbone = chosen.model.backbone
    known = type(backbone).__name__ if chosen.model.mechanism is None else chosen.model.mechanism.name
    states = ", ".join(f"{name} in {unit}" for name, unit in zip(backbone.states, backbone.state_units, strict=True))
    return (
        f"dx/dt = f(x, u, theta) of {known}, time in {backbone.time_unit}; states: {states}.",
        f"theta_…, the start of the states and y_… are of {who}, member {chosen.members[0]} of {bundle.model.members}: the start "
        "belongs to these theta and does not follow them.",
        "A dose into a state is an event that adds to it, or infused_…, in the state's unit per time; inputs u_… may be set.",
        stated(bundle.calibration, "calibration.json of the bundle"),
        _UNSAID,
    )


def _facts(bundle: Bundle) -> dict[str, str]:
    """What the annotation carries for a program to read: the hash of the bundle's content; its claims and what they are about."""
    contents = contents_of(bundle)
    proof = contents.get("proof.json")
    return {
        "contentHash": content_of(contents),
        "certificate": "claimed" if certified(bundle) else NOT_CERTIFIED,
        **({} if proof is None else {"proof": proof.decode()}),
    }
