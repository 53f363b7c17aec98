"""What of a bundle is exported: which members, and whose θ and c the artefact starts with."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from statistics import median_low

import torch
from torch import Tensor

from exchange.bundle.bundle import Bundle
from exchange.bundle.typical import reference_covariates
from hybrid import HybridModel, conditions_of
from learned import select
from physics.administered import linearised_of
from physics.arguments import require_kind, require_number, require_text
from physics.glance import glance


@dataclass(frozen=True)
class Selection:
    """What of a bundle is exported: `member`, None for all M of them; `person`, an id, or None for the typical person.

    The typical person has η = 0, latents 0 and the reference covariates of the model: those that its powers and its standardised
    covariates are made relative to, and where it states none the middle one of the bundle's people.
    """

    member: int | None = None
    person: str | None = None

    def __post_init__(self) -> None:
        if self.member is not None:
            require_number(self.member, "Selection: member, counted from 0,", least=0.0, whole=True)
        if self.person is not None:
            require_text(self.person, "Selection: person", 'Selection(person="1")')


TYPICAL = Selection()  # all members, and the typical person


@dataclass(frozen=True)
class Selected:
    """What a `Selection` takes of a bundle, on the CPU in float64, and in a copy.

    `model`, with the chosen members alone · `theta` (M, q), `c` (M, r), of the person or of the typical one · `x0` (M, n), the
    state that they start from · `personal` (M, d), their coordinates · `covariates`, those that the model reads, in its units ·
    `baseline` (p,), what x0 was made from, NaN where nothing was measured · `members`, the chosen ones as the bundle counts
    them · `said`, sentences about x0 that a reader needs · `inputs` (m,), the levels that inputs begin at, which belong to
    x0, and `begins`, in words whose they are.
    """

    model: HybridModel
    theta: Tensor
    c: Tensor
    x0: Tensor
    personal: Tensor
    covariates: dict[str, float]
    baseline: tuple[float, ...]
    members: tuple[int, ...]
    said: tuple[str, ...] = ()
    inputs: tuple[float, ...] = ()
    begins: str = ""

    __repr__, _repr_html_ = glance()


def selected(bundle: Bundle, selection: Selection) -> Selected:
    """The model with the chosen members, and θ, c and start of the chosen person.

    A typical person starts from what the model says where nothing was measured; a model that starts from a measured baseline
    takes the middle one of the bundle's people, and a mechanism without an equilibrium at the typical θ the point that it is
    linearised at: `said` says so. Inputs begin at the person's own first levels; those of a typical person at the levels that the
    mechanism is linearised at, or at the first levels of the one from whose baseline it starts, else at 0.
    Errors: `ValueError` for a member or a person that is not there, and a typical person of whom nobody says the covariates.
    """
    require_kind(bundle, Bundle, "selected: bundle", 'load("model.twin")')
    require_kind(selection, Selection, "selected: selection", "Selection()")
    if bundle.model.delivery:
        raise ValueError(
            "selected: in this model θ says how doses arrive (lag, fraction, duration, rate), and no exported form carries that: "
            "who gives doses there would give them as they were said; export a model without them, and simulate this one from "
            "its bundle"
        )
    if bundle.model.noise.correlation() is not None:
        raise ValueError(
            "selected: the errors of this model's channels are correlated (Correlated), and an exported form says the variance "
            "of each channel alone; export a model whose noise is the head within, and score or draw this one from its bundle"
        )
    count = max(bundle.model.members, len(bundle.personal.mode))
    if selection.member is not None and selection.member >= count:
        raise ValueError(
            f"selected: the bundle has members 0 to {count - 1}, and not {selection.member}; write Selection(member=0)"
        )
    members = tuple(range(count)) if selection.member is None else (int(selection.member),)
    own = torch.tensor([m if bundle.model.members > 1 else 0 for m in members])
    model = select(bundle.model, own).to("cpu", torch.float64).requires_grad_(False)
    with torch.no_grad():
        made = _typical if selection.person is None else _person
        return made(bundle, model, members, selection.person)


def _person(bundle: Bundle, model: HybridModel, members: tuple[int, ...], person: str | None) -> Selected:
    index = bundle.person(str(person))
    who, mode = bundle.people[index], bundle.personal.mode.detach().to("cpu", torch.float64)
    known = {name: float(who.covariates[name]) for name in model.uses if name in who.covariates}
    personal = mode[[m if len(mode) > 1 else 0 for m in members], index : index + 1]  # (M, 1, d)
    given = conditions_of(
        model,
        [who.schedule],
        [[who.schedule.start]],
        covariates={name: [value] for name, value in known.items()},
        baseline=torch.tensor([who.baseline], dtype=torch.float64),
        mesh=bundle.mesh,
    )
    theta, c = model.theta(personal, given.covariates), model.context(personal, given.covariates)
    x0 = model.initial(theta, given.baseline, given.segments.u0[:, 0], given.covariates)
    begun = tuple(given.segments.u0[0, 0].tolist()), "the first level of the person whose parameters these are"
    return _found(model, (theta, c, x0, personal), known, who.baseline, members, (), begun)


def _typical(bundle: Bundle, model: HybridModel, members: tuple[int, ...], _: str | None) -> Selected:
    known = reference_covariates(bundle, model)
    covariates = {name: torch.tensor([value], dtype=torch.float64) for name, value in known.items()}
    personal = torch.zeros(len(members), 1, model.personal, dtype=torch.float64)
    theta, c = model.theta(personal, covariates), model.context(personal, covariates)
    nothing = torch.full((1, len(model.observation.channels)), torch.nan, dtype=torch.float64)
    middle = torch.tensor([_middle_baseline(bundle)], dtype=torch.float64) if bundle.people else nothing
    backbone = model.backbone
    linearised = linearised_of(backbone)
    begun = [0.0] * len(backbone.inputs), "0, for nobody says another"
    if linearised is not None:
        begun = linearised.u.tolist(), "the level that the mechanism is linearised at"  # what every start below is made with
    u = torch.tensor([begun[0]], dtype=torch.float64)
    tried: list[tuple[Tensor, Callable[[Tensor], Tensor], tuple[str, ...]]] = [
        (nothing, lambda given: model.initial(theta, given, u, covariates), ()),
        (
            middle,
            lambda given: model.initial(theta, given, u, covariates),
            ("the typical person starts from the middle of what was measured of the bundle's people beforehand",),
        ),
    ]
    if linearised is not None:
        point = linearised.x
        nowhere = "the mechanism has no equilibrium at the typical θ: the typical person starts where it is linearised"
        tried.append((nothing, lambda _: point.expand(*theta.shape[:-1], -1), (nowhere,)))
    why = ""
    for baseline, start, said in tried:
        try:
            x0 = start(baseline)
        except ValueError as error:
            why = str(error)
            continue
        if bool(x0.isfinite().all()):
            given = baseline[0].tolist()
            if baseline is middle and linearised is None:
                begun = _levels_of_the_middle(bundle, given, model), "the first level of the one whose baseline is in the middle"
            return _found(model, (theta, c, x0, personal), known, given, members, said, begun)
    raise ValueError(
        f"selected: no start for the typical person ({why}); choose one of the bundle's people, Selection(person=…)"
    )


def _found(
    model: HybridModel,
    parts: tuple[Tensor, Tensor, Tensor, Tensor],  # θ (M|1, 1, q), c (M|1, 1, r), x0 (M|1, 1, n), personal (M, 1, d)
    covariates: dict[str, float],
    baseline: Sequence[float],
    members: tuple[int, ...],
    said: tuple[str, ...],
    begun: tuple[Sequence[float], str],  # levels of inputs, and whose they are
) -> Selected:
    theta, c, x0, personal = (part.expand(len(members), 1, -1)[:, 0].contiguous() for part in parts)
    return Selected(model, theta, c, x0, personal, covariates, tuple(baseline), members, said, tuple(begun[0]), begun[1])


def _middle_baseline(bundle: Bundle) -> list[float]:
    """What was measured beforehand of the middle one of the people, channel by channel; NaN where it was measured of nobody."""
    found = []
    for values in zip(*(person.baseline for person in bundle.people), strict=True):
        there = [value for value in values if value == value]
        found.append(float(median_low(there)) if there else float("nan"))
    return found


def _levels_of_the_middle(bundle: Bundle, baseline: list[float], model: HybridModel) -> list[float]:
    """The first levels of the inputs of the one person whose first measured channel is the middle one: one course, not a median
    of each input by itself, which would be nobody's.
    """
    channel = next((k for k, value in enumerate(baseline) if value == value), None)
    there = [] if channel is None else [p for p in bundle.people if p.baseline[channel] == baseline[channel]]
    inputs = there[0].schedule.inputs if there else {}
    return [float(inputs[name].values[0]) if name in inputs else 0.0 for name in model.backbone.inputs]


def ranges_of(bundle: Bundle, model: HybridModel) -> dict[str, tuple[float, float]]:
    """Each covariate that the model reads, from the least to the most among the bundle's people; those that nobody has left out.

    Beyond them a map extrapolates, and answers all the same: whoever sets a covariate should see where it was learned.
    """
    seen = {name: [float(p.covariates[name]) for p in bundle.people if name in p.covariates] for name in model.uses}
    return {name: (min(values), max(values)) for name, values in seen.items() if values}
