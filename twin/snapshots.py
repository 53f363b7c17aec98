"""What is believed of one person at times of their canonical log: packed as bytes, thinned with age."""

import struct
from bisect import bisect_left
from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray

from twin.clock import Microseconds
from twin.joining import Course, Infusion
from twin.log.canonical import Key

Array = NDArray[np.float64]

RECENT = 8  # of the newest times all are kept: what is late is most often a little late
GAP = 1 / 8  # of its age: how far apart older ones may be, so that a replay is longer by an eighth at most

_HEAD = struct.Struct("<8q?4i")


@dataclass(frozen=True)
class Believed:
    """Of one person under M members: `mean` (M, z), lower `root` (M, z, z) and `particles` (M, z, P) where the filter has them ·
    `evidence` (M,), the log-likelihood of everything that was seen · `nis` (M,) and `seen` of the last measurement, `total`
    (M,) and `counted` of all · `held`: None, or when the last good belief was, which this is since a prediction diverged ·
    `restarts`.
    """

    mean: Array
    root: Array
    evidence: Array
    nis: Array
    total: Array
    seen: int = 0
    counted: int = 0
    held: Microseconds | None = None
    restarts: int = 0
    particles: Array | None = None


@dataclass(frozen=True)
class State:
    """A person at `course.time`: the course, and the belief where the filter has started."""

    course: Course
    belief: Believed | None

    def packed(self) -> bytes:
        """Every bit. Law: `State.unpacked(state.packed(), …)` is the same state."""
        c, b = self.course, self.belief
        none = -(2**62)
        ints = [
            *(c.time, none if c.origin is None else c.origin, c.since, none if c.measured is None else c.measured, c.missed),
            *((0, none, 0) if b is None else (b.counted, none if b.held is None else b.held, b.restarts)),
        ]
        P = 0 if b is None or b.particles is None else b.particles.shape[-1]
        M, seen = (0, 0) if b is None else (len(b.mean), b.seen)
        head = _HEAD.pack(*ints, b is not None, len(c.infusions), P, seen, M)
        lasting = b"".join(struct.pack("<qid", i.end, i.state, i.rate) for i in c.infusions)
        numbers = [np.array([*c.inputs, *c.arriving])]
        if b is not None:
            lower = np.tril_indices(b.mean.shape[1])
            numbers += [b.mean.ravel(), b.root[:, lower[0], lower[1]].ravel(), b.evidence, b.nis, b.total]
            numbers += [] if b.particles is None else [b.particles.ravel()]
        return head + lasting + np.concatenate(numbers).astype("<f8").tobytes()

    @staticmethod
    def unpacked(data: bytes, states: int, inputs: int, size: int) -> "State":
        """The inverse of `packed`, for n states, m inputs and z states and coordinates."""
        time, origin, since, measured, missed, counted, held, restarts, there, lasting, P, seen, M = _HEAD.unpack_from(data)
        none = -(2**62)
        at = _HEAD.size
        infusions = tuple(Infusion(*struct.unpack_from("<qid", data, at + 20 * k)) for k in range(lasting))
        numbers = np.frombuffer(data, "<f8", offset=at + 20 * lasting).astype(np.float64)
        place = 0

        def taken(*shape: int) -> Array:
            nonlocal place
            count = int(np.prod(shape))
            place += count
            return numbers[place - count : place].reshape(shape)

        u, arriving = taken(inputs), taken(states)
        course = Course(
            *(time, None if origin == none else origin, since, tuple(u.tolist()), tuple(arriving.tolist()), infusions),
            *(None if measured == none else measured, missed),
        )
        if not there:
            return State(course, None)
        mean, packed = taken(M, size), taken(M, size * (size + 1) // 2)
        root = np.zeros((M, size, size))
        lower = np.tril_indices(size)
        root[:, lower[0], lower[1]] = packed
        evidence, nis, total = taken(M), taken(M), taken(M)
        particles = taken(M, size, P) if P else None
        belief = Believed(
            mean, root, evidence, nis, total, seen, counted, None if held == none else held, restarts, particles
        )
        return State(course, belief)


@dataclass
class Snapshots:
    """Those of one person: after everything up to the canonical `keys`, whose `times` increase, what was believed, `packed`."""

    keys: list[Key] = field(default_factory=list)
    times: list[Microseconds] = field(default_factory=list)
    packed: list[bytes] = field(default_factory=list)

    def before(self, time: Microseconds) -> int | None:
        """The newest that is earlier than this time."""
        k = bisect_left(self.times, time)
        return k - 1 if k else None

    def forget_from(self, time: Microseconds) -> None:
        """Everything of this time and later is no longer true."""
        k = bisect_left(self.times, time)
        del self.keys[k:], self.times[k:], self.packed[k:]

    def forget_before(self, index: int) -> None:
        """What is older than one of them."""
        del self.keys[:index], self.times[:index], self.packed[:index]

    def add(self, key: Key, packed: bytes) -> None:
        """One that is later than all that are there."""
        self.keys.append(key)
        self.times.append(key[0])
        self.packed.append(packed)

    def thin(self) -> None:
        """Leave out whose neighbours are near for their age: the first and the newest stay, and gaps grow with age.

        Which ones are left changes how long a replay takes and nothing else: a belief follows from the canonical log.
        """
        if len(self.times) <= 2 * RECENT:
            return
        kept = thinned(self.times)
        if len(kept) < len(self.times):
            self.keys, self.packed = [self.keys[k] for k in kept], [self.packed[k] for k in kept]
            self.times = [key[0] for key in self.keys]


def thinned(times: list[Microseconds]) -> list[int]:
    """Which of these increasing times stay: the first, the newest, and between them gaps of `GAP` of the age at most, where times
    allow it; a number that grows with the logarithm of the longest age.
    """
    if len(times) <= RECENT + 1:
        return list(range(len(times)))
    now = times[-1]
    kept = list(range(len(times) - RECENT, len(times)))[::-1]  # from the newest back
    for k in range(len(times) - RECENT - 1, 0, -1):
        last = kept[-1]
        # without this one the gap would reach from the one before it to the last that stays
        if times[last] - times[k - 1] > GAP * (now - times[last]):
            kept.append(k)
    return [0, *kept[::-1]]
