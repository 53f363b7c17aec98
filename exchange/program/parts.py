"""The parts of a model as programs: its maps from a person to numbers, what is known of its field, what is measured."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from types import MappingProxyType

import torch
from torch import Tensor

from exchange.program.lines import Lines
from exchange.program.of_tape import of_tape
from exchange.program.program import Program
from exchange.program.tracing import Traced, exported
from hybrid import HybridModel
from hybrid.observation import require_held
from learned import LayeredResidual, select
from learned.of_theta import with_theta
from physics.arguments import require_kind, require_number
from physics.glance import glance


@dataclass(frozen=True)
class Parts:
    """One member of a model, part by part; every group is a row of numbers in the model's order and units.

    `theta` (eta, covariates → theta) · `context` (latents, covariates → c) · `matrices` (theta → A, B), row by row · `initial`
    (theta, baseline → x), NaN for what was not measured · `observe` (x, theta → y) · `variance` (y, x, u → variance), of a
    measurement · `diffusion` (x → g) · `known` (x, u, theta, c → rate): the known terms, and of a mechanism the whole of it;
    without a mechanism A x + B u stands beside it · `residual` (x, u, c, and theta where it sees it → rate), where it has no
    layers. None for what there is none of.
    `covariates`: their names, in the order of the group · `whole`: whether A x + B u is inside `known` · `without`: of a part
    that could not be had, why.
    """

    theta: Program
    context: Program
    matrices: Program
    initial: Program | None
    observe: Program
    variance: Program
    diffusion: Program | None
    known: Program | None
    residual: Program | None
    covariates: tuple[str, ...]
    whole: bool
    without: Mapping[str, str] = field(default_factory=lambda: MappingProxyType({}))

    __repr__, _repr_html_ = glance()


def parts_of(model: HybridModel, member: int) -> Parts:
    """The parts of one member.

    Errors: `ValueError` for a member that there is not, and for a part that does what the listed operations cannot, by its name
    and the operation's. A start alone may be missing: `without` says why.
    Law: each program evaluated equals what the model computes.
    """
    require_kind(model, HybridModel, "parts_of: model", "bundle.model")
    require_number(member, "parts_of: member", least=0.0, most=model.members - 1.0, whole=True)
    return parts_of_members(model, (int(member),))[0]


def parts_of_members(model: HybridModel, members: Sequence[int] | None = None) -> tuple[Parts, ...]:
    """The parts of these members, or of all: torch looks at each part once, and the members put in their numbers."""
    require_kind(model, HybridModel, "parts_of_members: model", "bundle.model")
    if model.dtype != torch.float64 or model.device.type != "cpu":
        raise ValueError(
            f"parts_of: the model is {model.dtype} on {model.device}; write model.to('cpu', torch.float64)"
        )
    require_held(model.observation, "parts_of")
    members = range(model.members) if members is None else members
    require_kind(members, Sequence, "parts_of_members: members", "(0, 1), or None for all")
    for one in members:
        require_number(one, "parts_of_members: a member", least=0.0, most=model.members - 1.0, whole=True)
    all_parts = [select(model, torch.tensor([k])) for k in members] if model.members > 1 else [model for _ in members]
    made = _traced(all_parts[0])
    return tuple(_parts(one, made) for one in all_parts)


def _parts(model: HybridModel, made: tuple[dict[str, Traced], dict[str, str]]) -> Parts:
    numbers = {name: value.detach() for name, value in model.named_parameters()}
    programs = {name: one.program(numbers) for name, one in made[0].items()}
    if model.curved is not None:
        own = of_tape(model.curved.mechanism.tape)
        programs["known"] = _together(own, programs.get("known"), {"c": model.sees})
    return Parts(
        programs["theta"],
        programs["context"],
        programs["matrices"],
        programs.get("initial"),
        programs["observe"],
        programs["variance"],
        programs.get("diffusion"),
        programs.get("known"),
        programs.get("residual"),
        tuple(model.uses),
        whole=model.curved is not None,
        without=made[1],
    )


def _together(own: Program, others: Program | None, more: Mapping[str, int]) -> Program:
    """The rate of a mechanism and of what stands beside it."""
    lines = Lines({**own.inputs, **more})
    first = lines.copy_of(own)
    ends = [first[i] for i in own.outputs["rate"]]
    if others is not None:
        second = lines.copy_of(others)
        ends = [lines.write("add", a, second[i]) for a, i in zip(ends, others.outputs["rate"], strict=True)]
    return lines.program({"rate": ends})


def _traced(model: HybridModel) -> tuple[dict[str, Traced], dict[str, str]]:
    """What torch wrote down of every part, and why of which it did not."""
    n, m, q = len(model.backbone.states), len(model.backbone.inputs), len(model.backbone.physical)
    p, r, d, names = len(model.observation.channels), model.sees, model.population.dimension, tuple(model.uses)
    found: dict[str, Traced] = {}

    def trace(
        part: str, function: Callable[..., Tensor | tuple[Tensor, ...]], outputs: Sequence[str], **shapes: int
    ) -> None:
        lead = {"eta": 2, "latents": 2, "x": 2, "u": 2, "theta": 2, "c": 2, "baseline": 1, "y": 3}
        rows = {name: (1,) * lead.get(name, 0) + (size,) for name, size in shapes.items()}
        owner = _OWNERS.get(part, lambda model: model)(model)
        found[part] = exported(
            function, rows, outputs, name=f"the part {part!r} of the model, {type(owner).__name__}", module=model
        )

    def by_name(covariates: Tensor) -> dict[str, Tensor]:
        return {name: covariates[i : i + 1] for i, name in enumerate(names)}

    trace(
        "theta", lambda eta, known: model.population.theta(eta, by_name(known)), ["theta"], eta=d, covariates=len(names)
    )
    trace(
        "context",
        lambda latents, known: model.context(torch.cat([latents.new_zeros(1, 1, d), latents], -1), by_name(known)),
        ["c"],
        latents=model.latents,
        covariates=len(names),
    )
    trace("matrices", lambda theta: model.backbone.matrices(theta), ["A", "B"], theta=q)
    trace("observe", lambda x, theta: model.observation.mean(x[:, :, None], theta), ["y"], x=n, theta=q)
    trace(
        "variance",
        lambda y, x, u: model.noise.variance(y, x[:, :, None], u[:, :, None]),
        ["variance"],
        y=p,
        x=n,
        u=m,
    )
    process = model.process
    if process is not None:
        trace("diffusion", lambda x: process.diffusion(x), ["g"], x=n)
    if model.known:
        trace("known", lambda x, u, theta, c: _summed(model, x, u, theta, c), ["rate"], x=n, u=m, theta=q, c=r)
    residual = model.residual
    if not residual.vanishes and not isinstance(residual, LayeredResidual):
        if residual.sees_theta:
            both = lambda x, u, c, theta: residual(x, u, with_theta(residual, theta, c))  # noqa: E731, one beside the other
            trace("residual", both, ["rate"], x=n, u=m, c=r, theta=q)
        else:
            trace("residual", lambda x, u, c: residual(x, u, c), ["rate"], x=n, u=m, c=r)
    without = {}
    try:
        trace("initial", lambda theta, baseline: model.initial(theta, baseline), ["x"], theta=q, baseline=p)
        found["initial"].program()
    except ValueError as error:
        found.pop("initial", None)
        without["initial"] = str(error)
    return found, without


def _summed(model: HybridModel, x: Tensor, u: Tensor, theta: Tensor, c: Tensor) -> Tensor:
    first, *others = (term.at(theta, c).rate(x, u) for term in model.known)
    for rate in others:
        first = first + rate
    return first


_OWNERS: Mapping[str, Callable[[HybridModel], object]] = MappingProxyType(
    {
        "theta": lambda model: model.population,
        "matrices": lambda model: model.backbone,
        "initial": lambda model: model.backbone,
        "observe": lambda model: model.observation,
        "variance": lambda model: model.noise,
        "diffusion": lambda model: model.process,
        "residual": lambda model: model.residual,
    }
)
