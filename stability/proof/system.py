"""A system as the checker sees it: arrays and shapes verified, the digest computed anew; and whether a claim is about it."""

import hashlib
import math
import struct
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from stability.proof.arithmetic import Array
from stability.proof.branches import Named, activation_bytes, arrays_of, branch_bytes, read_branches
from stability.proof.budget import Meter
from stability.proof.feedback import closed, read_policy
from stability.proof.reading import Unusable, array, get, has, number, sequence, shown, unlike_any
from stability.proof.tape import NUMBERED, Tape, read_tape
from stability.proof.units import UNITS, Activation, Network, beside, read_activation, slope_ends, slope_hull

NEEDED, OPTIONAL = ("A", "weights", "biases"), ("activation", "B", "input_weights", "skip")  # as `Lure` takes them
KNOWN = ("tape", "theta", "theta_upper")
# of the scale, by which the search judges what is round, nothing is proved
_PARTS = {*NEEDED, *OPTIONAL, *KNOWN, "branches", "policy", "scale"}


@dataclass(frozen=True)
class Flat:
    """An array whose leading axes broadcast, seen as (V, …) with one leading axis; only what is asked for is copied."""

    held: Array
    leading: tuple[int, ...]
    rank: int  # of what each of the V systems has

    @property
    def shape(self) -> tuple[int, ...]:
        return (math.prod(self.leading), *self.held.shape[self.held.ndim - self.rank :])

    def __getitem__(self, which: "int | slice | NDArray[np.int64]") -> Array:
        core = self.held.shape[self.held.ndim - self.rank :]
        if self.held.shape == self.leading + core:
            return self.held.reshape(self.shape)[which]
        whole = np.broadcast_to(self.held, self.leading + core)
        index = np.arange(*which.indices(self.shape[0])) if isinstance(which, slice) else which
        return whole[np.unravel_index(index, self.leading)]


@dataclass(frozen=True)
class Stack:
    """A system's arrays as the checker sees them: shapes verified, leading axes flattened to V, branches as one network."""

    A: Flat  # (V, n, n)
    weights: tuple[Flat, ...]  # (V, out, in)
    linear: tuple[Flat, ...]  # what adds up to the linear part, each (V, n, n): A, a skip, a weight without hidden units
    activation: Activation
    leading: tuple[int, ...]
    digest: str
    largest: float  # the largest magnitude that enters the inequality
    biases: tuple[Flat, ...]  # (V, out); these three enter regional claims alone
    B: Flat | None  # (V, n, m)
    input_weights: Flat | None  # (V, h_1, m)
    tape: Tape | None = None
    theta: tuple[Flat, Flat] | None = None  # of the tape, (V, q): every θ between the two, which may be one
    wide: bool = False  # whether they are two
    feedback: str = ""  # how a sentence names the policy under which the system is; empty where it is under none

    @property
    def count(self) -> int:
        return self.A.shape[0]

    @property
    def widths(self) -> list[int]:
        return [w.shape[1] for w in self.weights[:-1]]

    @property
    def units(self) -> int:
        """H, all hidden units."""
        return sum(self.widths)

    @property
    def slopes(self) -> tuple[Array, Array]:
        """α and β (H,), each unit's own."""
        return slope_ends(self.activation, self.widths)

    @property
    def slope_range(self) -> tuple[float, float]:
        """The least and the largest slope of any unit."""
        return slope_hull(self.activation)

    @property
    def inputs(self) -> int:
        """m."""
        arrays = max(0 if a is None else a.shape[-1] for a in (self.B, self.input_weights))
        return arrays if self.tape is None else len(self.tape.inputs)


def read_system(
    system: object,
    *,
    tapes: bool = False,
    mixed: bool = False,
    policies: bool = False,
    meter: Meter | None = None,
) -> Stack:
    """The system's arrays, verified: of a Lure, of what `Lure.to_dict` writes, or of the arrays that `Lure` is made from.

    `tapes`, `mixed`, `policies`: whether the caller's proof sees a tape, units of different activations, or a system under a
    policy; a system that has one, or such, is refused by any other. Under a policy it is the closed loop, put together here.
    `meter`: whose budget is asked before networks and a policy are put together; `NotDecided` where it does not suffice.
    Errors: Unusable for what is not a system, has a part that the proof would not see, or arrays that do not fit together.
    """
    system, given_policy = opened(system)
    _require_system(system)
    if not policies and given_policy is not None:
        raise Unusable("the system is under a policy, which this kind of claim does not see; it is not proved of such systems")
    if not tapes and get(system, "tape", None) is not None:
        raise Unusable("the system has a tape, which this kind of claim does not see; it is not proved of such systems")
    own = get(system, "activation", "tanh")
    if isinstance(own, str) and own not in UNITS:
        raise Unusable(f"the activation {shown(own)} is not one of {', '.join(UNITS)}")
    A = array(get(system, "A"), "A")
    weights = [array(w, f"weights[{k}]") for k, w in enumerate(sequence(get(system, "weights")))]
    biases = [array(b, f"biases[{k}]") for k, b in enumerate(sequence(get(system, "biases")))]
    given = {name: get(system, name, None) for name in ("B", "input_weights", "skip")}
    inputs = {name: None if v is None else array(v, name) for name, v in given.items()}
    named: list[tuple[str, Array | None, int]] = [("A", A, 2), ("B", inputs["B"], 2)]
    named += [(f"weights[{k}]", w, 2) for k, w in enumerate(weights)]
    named += [(f"biases[{k}]", b, 1) for k, b in enumerate(biases)]
    named += [("input_weights", inputs["input_weights"], 2)]
    if inputs["skip"] is not None:
        named += [("skip", inputs["skip"], 2)]
    for name, entries, rank in named:
        if entries is not None and (entries.ndim < rank or not np.isfinite(entries).all()):
            raise Unusable(f"{name} has too few axes, or values that are not finite")
    _check_chain(A, weights, biases)
    linear = [A] + ([] if inputs["skip"] is None else [inputs["skip"]]) + (weights if len(weights) == 1 else [])
    if any(matrix.shape[-2:] != A.shape[-2:] for matrix in linear):
        raise Unusable("the skip does not have the shape of A")
    activation = read_activation(own, [w.shape[-2] for w in weights[:-1]])
    branches = read_branches(get(system, "branches", None), A.shape[-1])
    _check_inputs(A, weights, inputs["B"], [inputs["input_weights"], *(one.input_weights for one in branches)])
    felt = [inputs["B"], inputs["input_weights"], *(one.input_weights for one in branches)]
    own_tape, ends = _read_known(system, A.shape[-1], felt)
    further = [part for k, one in enumerate(branches) for part in arrays_of(one, f"branches[{k}]")]
    try:
        leading = np.broadcast_shapes(
            *(a.shape[: a.ndim - rank] for _, a, rank in [*named, *ends, *further] if a is not None)
        )
    except ValueError as error:
        raise Unusable("the leading axes of the system's arrays do not broadcast together") from error
    count = math.prod(leading)
    if count == 0:
        raise Unusable("the list of systems is empty")

    def flat(entries: Array, rank: int = 2) -> Flat:
        return Flat(entries, leading, rank)

    networks = _networks(Network(tuple(weights), tuple(biases), activation, inputs["input_weights"]), branches, given_policy)
    B, tape, policy, after = inputs["B"], own_tape, None, b""
    if given_policy is not None:
        m = len(own_tape.inputs) if own_tape is not None else max((a.shape[-1] for a in felt if a is not None), default=0)
        policy = read_policy(given_policy, A.shape[-1], m)
        B, networks, tape = closed(B, networks, tape, policy, meter)
        after = policy.bytes()
    digest = _digest(activation, named, own_tape, ends, branches, after)
    whole = beside(networks, meter) if networks else Network((), (), activation, None)
    if not (mixed or isinstance(whole.activation, str)):
        raise Unusable("the system has units of different activations, which this kind of claim does not see")
    largest = max(float(np.abs(a).max()) for a in (*linear, *whole.weights))
    return Stack(
        flat(A),
        tuple(map(flat, whole.weights)),
        tuple(map(flat, linear)),
        whole.activation,
        leading,
        digest,
        largest,
        tuple(flat(b, 1) for b in whole.biases),
        None if B is None else flat(B),
        None if whole.input_weights is None else flat(whole.input_weights),
        tape,
        None if tape is None else (flat(low := _given(ends[0]), 1), flat(low if ends[1][1] is None else ends[1][1], 1)),
        tape is not None and ends[1][1] is not None,
        "" if policy is None else policy.words,
    )


def opened(system: object) -> tuple[object, object]:
    """The open loop, and its policy or None: of a mapping or an object with a policy, or of a `Lure` that `close_loop` made.

    Errors: Unusable where a policy or a feedback stands that would not be seen.
    """
    policy = get(system, "policy", None)
    feedback = None if isinstance(system, Mapping) else get(system, "feedback", None)
    if feedback is None or isinstance(feedback, str):  # a claim has a feedback too, which is a name
        return system, policy
    if policy is not None or not has(feedback, "system"):
        what = f"the system's feedback is {shown(feedback)}"
        raise Unusable(f"{what}; give what close_loop returns, or the open loop with a policy and no feedback")
    inner = get(feedback, "system")
    if get(inner, "policy", None) is not None or get(inner, "feedback", None) is not None:
        raise Unusable("the system is under a policy, and its open loop under another, which the proof would not see")
    return inner, feedback


def _networks(first: Network, branches: list[Network], policy: object) -> list[Network]:
    """All networks that stand beside each other."""
    if len(first.weights) == 1 and (branches or policy is not None):
        raise Unusable("weights has one layer, which is linear: beside branches or under a policy it belongs into A")
    return [*([first] if first.weights else []), *branches]


def _given(named: tuple[str, Array | None, int]) -> Array:
    return np.zeros(0) if named[1] is None else named[1]


def _read_known(system: object, n: int, felt: Sequence[Array | None]) -> tuple[Tape | None, Named]:
    """The tape and θ, verified against each other and the arrays."""
    data = get(system, "tape", None)
    given = {name: get(system, name, None) for name in ("theta", "theta_upper")}
    ends: Named = [(name, None if value is None else array(value, name), 1) for name, value in given.items()]
    if data is None:
        if any(value is not None for value in given.values()):
            raise Unusable("the system has a theta and no tape, to which it belongs")
        return None, []
    tape = read_tape(data)
    q, m = len(tape.parameters), len(tape.inputs)
    if len(tape.states) != n:
        raise Unusable(f"the tape has {len(tape.states)} states and A {n}")
    if ends[0][1] is None:
        if q:
            raise Unusable(f"the tape has {q} parameters, and there is no theta")
        ends[0] = ("theta", np.zeros(0), 1)
    for name, values, _ in ends:
        if values is not None and (values.ndim < 1 or values.shape[-1] != q or not np.isfinite(values).all()):
            raise Unusable(f"{name} is not {q} finite numbers, one for each parameter of the tape")
    if ends[1][1] is not None:
        try:
            ordered = bool((_given(ends[0]) <= ends[1][1]).all())
        except ValueError as error:
            raise Unusable("theta and theta_upper do not broadcast together") from error
        if not ordered:
            raise Unusable("an entry of theta is above that of theta_upper")
    if any(a is not None and a.shape[-1] != m for a in felt):
        raise Unusable(f"the tape has {m} inputs, and B or input_weights another number")
    return tape, ends


def _require_system(system: object) -> None:
    if not has(system, *NEEDED):
        if has(system, "digest", "claim"):
            raise Unusable("a claim stands where the system is needed: the claim comes first, as in prove(claim, system)")
        if has(system, "lure"):
            raise Unusable(f"the system is {shown(system)}; give the arrays that its lure(theta) returns")
        write = "a Lure, what its to_dict writes, or the arrays that model.lure(theta) returns"
        write += "; several become one by Lure.stack" if isinstance(system, list | tuple) else ""
        lacking = [name for name in NEEDED if not has(system, name)]
        lacks = f": it lacks {', '.join(lacking)}" if isinstance(system, Mapping) and len(lacking) < len(NEEDED) else ""
        raise Unusable(unlike_any(system, "system", write) + lacks)
    if isinstance(system, Mapping) and not system.keys() <= _PARTS:
        other = next(name for name in system if name not in _PARTS)
        parts = ", ".join((*NEEDED, *OPTIONAL))
        raise Unusable(f"the system has {shown(other)}, which the proof would not see; its parts are {parts}")


def _check_chain(A: Array, weights: list[Array], biases: list[Array]) -> None:
    n = A.shape[-1]
    sizes = [n] + [w.shape[-2] for w in weights]
    fits = A.shape[-2] == n > 0 and sizes[-1] == n and len(biases) == len(weights) and 0 not in sizes
    fits = fits and all(w.shape[-1] == size for w, size in zip(weights, sizes[:-1], strict=True))
    if not (fits and all(b.shape[-1] == size for b, size in zip(biases, sizes[1:], strict=True))):
        raise Unusable("the shapes of A, the weights and the biases do not fit together")


def _check_inputs(A: Array, weights: list[Array], B: Array | None, felt: Sequence[Array | None]) -> None:
    Wu = felt[0]
    if B is not None and B.shape[-2] != A.shape[-2]:
        raise Unusable("B does not have one row per state")
    if Wu is not None and (not weights or Wu.shape[-2] != weights[0].shape[-2]):
        raise Unusable("input_weights does not have one row per unit of the first layer")
    if len({a.shape[-1] for a in (B, *felt) if a is not None}) > 1:
        raise Unusable("B and input_weights take different numbers of inputs")


def _digest(
    activation: Activation,
    named: Named,
    tape: Tape | None,
    ends: Named,
    branches: Sequence[Network],
    after: bytes,  # of a policy
) -> str:
    """The definition stands at `Lure.digest`; this is the second implementation of it."""
    chunks = [b"lure 1\n", activation_bytes(activation)]
    for name, entries, _ in [*named, ("", None, 0), *ends]:
        if not name:
            chunks += [] if tape is None else _tape_chunks(tape)
            continue
        if entries is None:
            chunks.append(f"{name} none\n".encode("ascii"))
        else:
            shape = ",".join(str(s) for s in entries.shape)
            chunks += [f"{name} {shape}\n".encode("ascii"), entries.astype("<f8").tobytes("C")]
    return hashlib.sha256(b"".join([*chunks, *branch_bytes(branches), after])).hexdigest()


def _tape_chunks(tape: Tape) -> list[bytes]:
    chunks = [b"tape\n"]
    for what, names in (("states", tape.states), ("inputs", tape.inputs), ("parameters", tape.parameters)):
        chunks.append(f"{what} {len(names)}\n".encode("ascii"))
        for name in names:
            text = name.encode("utf-8")
            chunks.append(b"%d %s\n" % (len(text), text))
    chunks.append(f"code {len(tape.code)}\n".encode("ascii"))
    for line in tape.code:
        chunks.append(" ".join((line.operation, *map(str, line.arguments))).encode("ascii") + b"\n")
        if line.operation in NUMBERED:
            chunks.append(struct.pack("<d", line.number))
    chunks.append(f"rate {','.join(map(str, tape.rate))}\n".encode("ascii"))
    return chunks


def another(claim: object, stack: Stack) -> str:
    """That the claim is about another system, if it is; else empty. Asked first where a shape does not fit."""
    if [number(s) for s in sequence(get(claim, "leading"))] != list(stack.leading):
        return f"the leading shape is not that of the system, {stack.leading}: this is another system (other members or people)"
    digest = get(claim, "digest")
    if not isinstance(digest, str) or digest != stack.digest:
        return (
            "the digest is not that of the system: this is another system (other parameters, members or people), or its arrays "
            "were changed after the claim was made"
        )
    return ""


def unlike(claim: object, stack: Stack, sentence: str, not_covered: Sequence[str]) -> str:
    """What a claim of any kind says of its system, its sentence and its exclusions, if it is not so; else empty."""
    slopes = list(stack.slope_range)
    if [number(s) for s in sequence(get(claim, "slope_range"))] != slopes:
        whose = stack.activation if isinstance(stack.activation, str) else "the units"
        return f"the slope range is not that of {whose}, {slopes}"
    other, said = another(claim, stack), get(claim, "claim")
    if other:
        return other
    if not isinstance(said, str) or said != sentence:
        return "the claim is not the sentence that the numbers support"
    if not set(not_covered) <= {s for s in sequence(get(claim, "not_covered")) if isinstance(s, str)}:
        return "the list of what is not covered lacks a sentence"
    return ""


def misnamed(claim: object, stack: Stack) -> str:
    """What a claim says of a box of θ and of the policy, by which it is put in words, if it is not so; else empty."""
    for name, true in (("wide", stack.wide), ("feedback", stack.feedback)):
        said = get(claim, name, type(true)())  # written only where there is something to say
        if type(said) is not type(true) or said != true:
            return f"the claim's {name} is {shown(said)}, and that of the system is {shown(true)}"
    return ""
