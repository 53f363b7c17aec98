"""Closing the loop: a system whose inputs follow its state by a policy, as a system of its own with the inputs that remain."""

from collections.abc import Sequence

from stability.arguments import kind, listed, number, shown
from stability.lure import Lure, System
from stability.policy import Feedback, Policy


def close_loop(
    system: System,
    policy: Policy,
    inputs: Sequence[int | str] | None = None,
) -> Lure:
    """The system under u = κ(x): what is proved of it is proved for any signals of the inputs that the policy does not give.

    Arguments: `system`, an open loop; `policy`, of its states; `inputs`, which inputs the policy gives, in the order of its
    outputs: positions, or names where the system has a tape; None for all of them.
    Returns a `Lure` that keeps the open loop and the policy beside it: both are in its digest and in what it writes, the checker
    puts the closed loop together from them itself, and a claim names the policy. Nothing is rounded by it (`proof/feedback.py`).
    Errors: ValueError for a policy of other states or another number of inputs, an input that nothing reads, or a policy that no
    tape can hold (gelu).
    Law: the closed loop's rate at x is the open loop's at (x, κ(x)).
    """
    system = Lure.of(system)
    kind(policy, Policy, "the policy", "Policy.linear(K), Policy.saturating(K, lower=…) or Policy(weights=…, biases=…)")
    if system.feedback is not None:
        raise ValueError("the system is under a policy already; give one policy for all the inputs, to the open loop.")
    m = system.inputs
    if not m:
        raise ValueError("the system has no inputs, so that no policy can give one; ask certify or regional_rate of it as it is.")
    if inputs is None:
        fed = list(range(m))
    else:
        names = [] if system.tape is None else list(system.tape["inputs"])
        fed = [_position(one, names, m) for one in listed(inputs, "inputs", "a list of positions or names")]
    if policy.states != system.states:
        raise ValueError(f"the policy sees {policy.states} states and the system has {system.states}.")
    if policy.outputs != len(fed) or len(set(fed)) < len(fed) or not fed:
        which = f"{shown(inputs)}, which are {len(fed)}" if inputs is not None else f"all {m} inputs of the system"
        raise ValueError(f"the policy gives {policy.outputs} inputs, and is to give {which}; name as many, each once.")
    for k in fed:
        if not reads(system, k):
            raise ValueError(f"nothing in the system reads input {k}: under the policy it would be the same.")
    return Lure.closed(Feedback(system, policy, tuple(fed)))


def reads(system: Lure, k: int) -> bool:
    """Whether the input is read by B, a network, or a line of the tape."""
    arrays = [system.B, system.input_weights, *(one.input_weights for one in system.branches)]
    if any(a is not None and a[..., k].any() for a in arrays):
        return True
    return system.tape is not None and ["input", k] in [list(line) for line in system.tape["code"]]


def _position(one: object, names: list[str], m: int) -> int:
    if isinstance(one, str):
        if one not in names:
            known = f"its inputs are {', '.join(names)}" if names else "it has no tape, so its inputs have positions alone"
            raise ValueError(f"the system has no input {shown(one)}; {known}.")
        return names.index(one)
    return int(number(one, "an input", f"a position from 0 to {m - 1}, or a name", least=0, most=m - 1, whole=True))
