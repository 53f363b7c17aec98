"""Compartments: amounts that flow from one to another and out, said by the flows alone."""

import re
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import numpy as np

from physics.arguments import quote, require_kind, require_number, require_text
from physics.mechanism import Mechanism, require_tuple
from physics.tape import Tape
from physics.trace import Named, trace

Rate = str | Callable[[Any, Any, Any], Any]
Flow = tuple[str | None, str | None, Rate]
_WRITE = '("plasma", None, "CL/V")'


class Compartments(Mechanism):
    """dx_i/dt = Σ flows into i − Σ flows out of i: a mechanism that is said by its flows, so that nothing is lost by a slip.

    A class of one's own sets what every mechanism does but `scale` and `signs`, which follow, and
    - `flows`: tuples (from, to, rate); from or to is None for what comes from outside, or leaves. The rate is
        - a text, of a flow out of a compartment: the rate constant per time that its content is multiplied by, a parameter, or a
          product or quotient of several, "ka", "CL/V";
        - a text, of a flow from outside: the flow, an input or parameter, or a product or quotient of several, "infusion";
        - a function (x, u, theta) that gives the flow itself, written as `Mechanism.rate` is. It is 0 where the compartment that
          it leaves is empty.
    - `amount`: a typical dose or content, in the unit of the states: the `scale` of every state.
    `signs` are +1 where every flow depends on the content of the compartment that it leaves alone, and does not fall as that
    grows: more in one compartment then never means less in another. Where a rate is a function this is tried at the typical θ.
    Errors: `ValueError`, when it is made, for a set of compartments that nothing leaves, by their names; for names that there are
    none of; for a function whose flow leaves an empty compartment.
    Laws: Σ dx_i/dt = Σ flows from outside − Σ flows that leave. Where every rate is a text, A(θ) is Hurwitz for every positive θ
    exactly if a path of flows leads out from every compartment.
    Source: Foster & Jacquez, Math. Biosci. 26 (1975) 89; Jacquez & Simon, SIAM Rev. 35 (1993) 43.
    """

    flows: Sequence[Flow]
    amount: float

    def __init__(self) -> None:
        name = self.name
        for what, write in (
            ("states", 'states = {"plasma": "mg"}'),
            ("flows", f"flows = ({_WRITE},)"),
            ("amount", "amount = 100.0"),
        ):
            if not hasattr(self, what):
                raise ValueError(f"{name}: {what} is not set; write {write} in the body of the class")
        require_kind(self.states, Mapping, f"{name}: states", '{"plasma": "mg"}')
        require_number(self.amount, f"{name}: amount, a typical dose", above=0.0)
        self.scale = dict.fromkeys(self.states, float(self.amount))
        require_flows(self)
        own = [_rises_with_its_own(self, *one) for one in self.flows if not isinstance(one[2], str)]
        self.signs = dict.fromkeys(self.states, 1) if all(own) else None

    def rate(self, x: Any, u: Any, theta: Any) -> Mapping[str, Any]:
        found: dict[str, Any] = {}
        for source, to, rate in self.flows:
            amount = self._stated(rate, source, u, theta) if isinstance(rate, str) else rate(x, u, theta)
            if source is not None:
                amount = amount * x[source] if isinstance(rate, str) else amount
                found[source] = found[source] - amount if source in found else -amount
            if to is not None:
                found[to] = found[to] + amount if to in found else amount
        return {state: found.get(state, 0.0) for state in self.states}

    def _stated(self, rate: str, source: str | None, u: Any, theta: Any) -> Any:
        """The product that a text names: a rate constant, or a flow from outside."""
        found: Any = None
        for one, power in factors(rate):
            value = u[one] if source is None and one in self.inputs else theta[one]
            found = value if found is None else found * value if power > 0 else found / value
        return found


def require_flows(mechanism: Compartments) -> None:
    """Raise `ValueError` unless the flows run between compartments that there are, and lead out from everywhere."""
    name, states = mechanism.name, list(mechanism.states)
    known = {p.name for p in require_tuple(mechanism.physical, f"{name}: physical")}
    for one in require_tuple(mechanism.flows, f"{name}: flows"):
        if not isinstance(one, tuple) or len(one) != 3:
            raise ValueError(f"{name}: each flow is (from, to, rate), and one is {quote(one)}; write {_WRITE}")
        source, to, rate = one
        for end in (source, to):
            if end is not None and (not isinstance(end, str) or end not in states):
                raise ValueError(
                    f"{name}: a flow has the end {quote(end)}; the compartments are {', '.join(states)}, or None"
                )
        if source == to:
            raise ValueError(f"{name}: a flow from {source} to {to} moves nothing; write {_WRITE}")
        if isinstance(rate, str):
            _require_names(
                rate,
                known if source is not None else known | set(mechanism.inputs),
                f"{name}: the flow {source} → {to}",
            )
        elif not callable(rate):
            raise ValueError(
                f"{name}: the rate of {source} → {to} is a text or a function (x, u, theta), and is {quote(rate)}"
            )
    kept = trapped(mechanism.flows, states)
    if kept:
        raise ValueError(
            f"{name}: nothing leaves {' and '.join(kept)}, so that what is there stays for ever; add a flow out, "
            f'("{kept[-1]}", None, "k"), or leave {"it" if len(kept) == 1 else "them"} out'
        )


def trapped(flows: Sequence[Flow], states: Sequence[str]) -> list[str]:
    """The compartments from which no path of flows leads out: empty exactly if none is a trap, or leads only to traps."""
    out: set[str | None] = {None}
    for _ in states:
        out |= {source for source, to, _ in flows if to in out and source is not None}
    return [state for state in states if state not in out]


def _require_names(rate: str, known: set[str], where: str) -> None:
    require_text(rate, f"{where}: its rate", '"CL/V"')
    unknown = [one for one, _ in factors(rate) if one not in known]
    if unknown:
        raise ValueError(
            f"{where}: its rate {quote(rate, 60)} is no product or quotient of {', '.join(sorted(known)) or 'parameters'}; write "
            f'"CL/V", or a function (x, u, theta) that gives the flow'
        )


def factors(rate: str) -> list[tuple[str, int]]:
    """The names in a product or quotient, "CL/V", each with +1 or −1 for what it is raised to."""
    parts = re.split(r"([*/])", rate.replace(" ", ""))
    return list(zip(parts[::2], [1, *(1 if sign == "*" else -1 for sign in parts[1::2])], strict=True))


def _rises_with_its_own(mechanism: Compartments, source: str | None, to: str | None, rate: Rate) -> bool:
    """Does the flow read no content but that of the compartment that it leaves, and not fall as that grows?

    Errors: `ValueError` for a flow out of an empty compartment.
    """
    name, states = f"{mechanism.name}: the flow {source} → {to}", list(mechanism.states)
    assert not isinstance(rate, str)  # for the type checker: the caller asks for functions alone

    def alone(x: Named, u: Named, theta: Named) -> Mapping[str, Any]:
        return {state: rate(x, u, theta) if state == states[0] else 0.0 for state in states}

    parameters = [p.name for p in mechanism.physical]
    tape: Tape = trace(alone, states, list(mechanism.inputs), parameters, name)
    read = {states[line.arguments[0]] for line in tape.code if line.operation == "state"}
    if source is None:
        return not read
    at = np.tile([mechanism.scale[state] for state in states], (33, 1))
    at[:, states.index(source)] *= np.linspace(0.0, 2.0, 33)
    u = [float(mechanism.typical_inputs.get(one, 0.0)) for one in mechanism.inputs]
    found = tape.plain(at, np.array(u), np.array([p.typical for p in mechanism.physical]))
    flow = np.broadcast_to(found, at.shape)[:, 0]  # a constant has no axis of points
    if not abs(flow[0]) <= 1e-12 * abs(flow[16]):
        raise ValueError(
            f"{name} is {flow[0]:.4g} where {source} is empty, which would take it below 0; make it 0 there, as "
            f"theta.Vmax * saturating(x.{source} / theta.Km) is"
        )
    return read <= {source} and bool((np.diff(flow) >= 0.0).all())
