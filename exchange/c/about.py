"""The remark at the top of a header: what the model is, what is claimed of it, whose its defaults are, what steps cost."""

from importlib.metadata import PackageNotFoundError, version

import torch

from exchange.bundle.bundle import Bundle
from exchange.bundle.calibration import stated
from exchange.bundle.contents import content_hash
from exchange.bundle.typical import by_member, typical_theta
from exchange.c.numbers import Real
from exchange.export import certified, claimed
from exchange.files.names import one_line
from exchange.selection import Selected, Selection
from stability import Claim

# What is measured in tests/exchange/c/test_steps.py, in parts of the largest number
PHI_ERROR = 1e-13
_DIGITS = {"double": "double, some 16 digits", "float": "float, some 7 digits"}

_CALLS = """\
Calls. {p}_bind holds theta and c of someone under a member (0: the defaults), and everything else is asked of that person:
    {p}_person person;
    {p}_real u[{n}] = {{0}}, after[{p}_STATES];
    if ({p}_bind(&person, 0, 0, 0) == 0)
        {p}_step_rk4(&person, {p}_default_start[0], u, 0, h, after);
Of a person there are {p}_field, _directional (J vx + (df/du) vu), _adjoint, _jacobian, _observe, _observe_directional, \
_variance, _diffusion and _initial; of others of the population {p}_theta and {p}_context. No heap and no state: one person may \
be read by many threads. What is written may not overlap what is read. An array of size 0 is declared with 1 element."""

_STEPS = """\
Steps, inputs and infusions held over each; cut them where doses and inputs jump.
- {p}_step_rk4 is the classic Runge-Kutta method. Its error in one step is of order h^5 (of a component with dx/dt = r x, \
|h r|^5/120 of x), along a path of order h^4; it blows up where h times the fastest rate exceeds 2.78.
- {p}_step_exponential, after {p}_prepare, is Krogstad's method (2005). L x is exact but for rounding: e^hL and its functions \
phi_1 to phi_3 are made by the Taylor series at a norm of 1/2 or less and doubling, for a stable L within {phi:g} of their \
largest number where |hL| <= 1000{single}. What is not in L costs an error of order h^5 in one step and h^4 along a path, \
and of order h^3 or less where a fast rate meets it.
To measure the error of one long step: 16/15 of its difference from two steps of half its length, as far as the order holds."""


def about_header(bundle: Bundle, chosen: Selected, selection: Selection, prefix: str, real: Real) -> str:
    """The whole remark, plain lines."""
    return "\n\n".join(
        [
            _model(bundle, chosen, prefix, real),
            _claims(bundle, selection, real),
            _names(bundle, chosen),
            stated(bundle.calibration, "calibration.json of the bundle"),
            _whose(bundle, chosen, selection),
            _CALLS.format(p=prefix, n=f"{prefix}_INPUTS" if chosen.model.backbone.inputs else "1"),
            _STEPS.format(p=prefix, phi=PHI_ERROR, single=", and within 1e-4 in float" if real == "float" else ""),
            _rest(bundle),
        ]
    )


def _model(bundle: Bundle, chosen: Selected, prefix: str, real: Real) -> str:
    model = chosen.model
    mechanism = model.mechanism
    parts = {
        "known": mechanism.name if mechanism is not None else type(model.backbone).__name__,
        "beside it": ", ".join(type(term).__name__ for term in model.known),
        "learned": "nothing" if model.residual.vanishes else type(model.residual).__name__,
        "population": type(model.population).__name__,
        "observed": type(model.observation).__name__,
        "noise of a measurement": type(model.noise).__name__,
        "process noise": "none" if model.process is None else type(model.process).__name__,
    }
    said = "; ".join(f"{name}: {value}" for name, value in parts.items() if value)
    try:
        by = f"homeostat {version('homeostat')}"
    except PackageNotFoundError:
        by = "homeostat"
    equation = (
        "dx/dt = f(x, u; theta) + learned(x, u, c)"
        if model.curved
        else "dx/dt = A(theta) x + B(theta) u + learned(x, u, c)"
    )
    return (
        f"{prefix}: a trained model in C99, written by {by} from a bundle; do not edit.\n{equation}\n{said}.\n"
        f"Members of the ensemble here: {len(chosen.members)} of {max(bundle.model.members, len(bundle.personal.mode))} "
        f"({', '.join(map(str, chosen.members[:20]))}{', ...' if len(chosen.members) > 20 else ''}, as the bundle counts them); "
        f"members are never averaged in their weights. Numbers: {_DIGITS[real]}."
    )


def _claims(bundle: Bundle, selection: Selection, real: Real) -> str:
    lines = [
        f"{'CERTIFICATE' if certified(bundle) else 'NOT CERTIFIED'}",
        *(f"- {one_line(s, 2000)}" for s in claimed(bundle)),
    ]
    missing = [claim for claim in bundle.claims if isinstance(claim, Claim)]
    beyond = dict.fromkeys(text for claim in missing for text in claim.not_covered)
    lines += [f"- not covered: {one_line(text, 2000)}" for text in beyond]
    if missing:
        whose = f"the {len(bundle.people)} people of the bundle" if bundle.people else "the people of the bundle"
        lines.append(
            f"Claims are of the bundle's float64 numbers in real arithmetic, under all its members and for {whose}, and "
            "`homeostat check` of the bundle proves them; they say nothing of rounding and steps here, nor of another theta or c"
            + (
                ""
                if selection.person is not None
                else ", and so nothing of the typical person whose theta and c are the defaults"
            )
            + (", nor of weights rounded to float." if real == "float" else ".")
        )
    return "\n".join(lines)


def _names(bundle: Bundle, chosen: Selected) -> str:
    model = chosen.model
    backbone, observation = model.backbone, model.observation

    def listed(what: str, names: tuple[str, ...], units: tuple[str, ...]) -> str:
        each = ", ".join(f"{name} [{unit}]" for name, unit in zip(names, units, strict=True))
        return f"{what}: {each or 'none'}"

    uses = model.uses
    try:
        theta = typical_theta(bundle, model)
        fitted = [f"fitted: typically {by_member(theta[:, j])}" for j in range(theta.shape[1])]
    except ValueError:  # nobody says the reference covariates
        fitted = ["fitted: of a typical person not known"] * len(backbone.physical)
    lines = [
        f"Units are UCUM codes; time in {backbone.time_unit}.",
        listed("States", tuple(backbone.states), tuple(backbone.state_units)),
        listed("Inputs", tuple(backbone.inputs), tuple(backbone.input_units)),
        listed("Channels", tuple(observation.channels), tuple(observation.units)),
        listed("Covariates", tuple(uses), tuple(unit or "unit not stated" for unit in uses.values())),
        "Parameters theta, fitted at eta = 0 and the reference covariates by each member here, in their order (one number where "
        "all agree), and the reference that the model was written with before it was fitted:",
        *(
            f"    {p.name} [{p.unit}], {own}; reference {p.typical:g} ({one_line(p.source, 200) or 'no source'}); "
            f"never outside {p.low:g} to {p.high:g}"
            for p, own in zip(backbone.physical, fitted, strict=True)
        ),
    ]
    return "\n".join(lines if backbone.physical else [*lines[:-1], "Parameters theta: none"])


def _whose(bundle: Bundle, chosen: Selected, selection: Selection) -> str:
    known = ", ".join(
        f"{name} {value:g} {chosen.model.uses[name] or ''}".strip() for name, value in chosen.covariates.items()
    )
    who = "the typical person (eta = 0)" if selection.person is None else f"person {selection.person} of the bundle"
    text = f"Defaults: theta, c and start are those of {who}{f', {known}' if known else ''}, one row a member."
    if chosen.x0.numel() and not bool(torch.isfinite(chosen.x0).all()):
        text += " The start is not known."
    return "\n".join([text, *(f"{said[0].upper()}{said[1:]}." for said in chosen.said)])


def _rest(bundle: Bundle) -> str:
    held = ", ".join(bundle.calibration) or "nothing"
    return "\n".join(
        [
            f"The bundle holds {len(bundle.people)} people, and of calibration: {held}.",
            f"Its content has the SHA-256 {content_hash(bundle)} (exchange.content_hash).",
            *(
                f"    {one_line(str(name), 100)}: {one_line(str(value), 200)}"
                for name, value in bundle.provenance.items()
            ),
        ]
    )
