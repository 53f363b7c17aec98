"""The checker fed with junk: every leaf of every kind of claim and of its system in turn something that does not belong there.

Claim: no exception, no call that takes longer than five seconds, no more memory than 200 MB above the ordinary files', and
nothing accepted (junk may be right, or of no weight) that the judges of `claim_mutations.py` find false.
A leaf is a number, a word or a null, and every list and dictionary as a whole; leaves of arrays take turns with the junk until
the count is reached. To these come claims whose files are small and whose arrays would not be: axes that broadcast to millions of
systems, long chains of one unit, tens of thousands of inputs.
"""

import copy
import resource
import sys
import time
from collections.abc import Callable, Iterator
from typing import Any

import numpy as np

from benchmarks import race
from benchmarks.oracles.claim_mutations import EXTREMES, Original, consistent, originals, true
from stability import Lure
from stability.proof import weighted_l1
from stability.proof.checker import prove
from stability.proof.verdict import Verdict

COUNT, QUICK = 25_000, 1_000
SLOW, LARGE = 5.0, 200.0  # seconds, MB
Path = tuple[str | int, ...]


def main() -> int:
    """Run the benchmark; the exit code."""
    setup = race.settings("junk", __doc__)
    report = race.Report("junk", "Junk in every leaf")
    rng, everything = np.random.default_rng(0), originals()
    for one in everything:
        if not prove(one.claim, one.system):
            raise ValueError(f"an original of the kind {one.kind!r} is not accepted as it stands")
    ordinary, count = peak(), QUICK if setup.quick else COUNT
    worst = {"seconds": 0.0, "exceptions": 0, "accepted": 0, "accepted though false": 0, "not decided": 0, "tried": 0}
    slowest = ""

    def tell(one: Original, what: str, *, judged: bool = True) -> None:
        nonlocal slowest
        begin = time.perf_counter()
        try:
            verdict: Verdict | None = prove(one.claim, one.system)
        except Exception as error:
            verdict = None
            report.notes.append(f"{what}: {type(error).__name__}: {str(error)[:200]}")
        took = time.perf_counter() - begin
        slowest, worst["seconds"] = (what, took) if took > worst["seconds"] else (slowest, worst["seconds"])
        worst["tried"] += 1
        worst["exceptions"] += verdict is None
        worst["accepted"] += bool(verdict)
        if verdict and judged:
            worst["accepted though false"] += not true(one, rng)
        worst["not decided"] += verdict is not None and not verdict.decided

    for one, what in bombs():
        tell(one, what, judged=False)  # true by construction, and more than the rationals' judges are made for
    for step, (one, what) in enumerate(mutants(everything, rng, count - int(worst["tried"]))):
        if step % 1000 == 0:
            setup.progress(f"junk: {step:,}")
        tell(one, what)
    above = peak() - ordinary
    report.figures = {name: float(v) for name, v in worst.items()} | {"MB above ordinary files": above}
    tried = int(worst["tried"])
    report.notes.append(f"The slowest: {slowest}.")
    wrong = int(worst["accepted though false"])
    report.target(f"none of {int(worst['accepted']):,} accepted is found false", f"{wrong}", not wrong)
    report.target(f"no exception in {tried:,}", f"{int(worst['exceptions'])}", not worst["exceptions"])
    report.target(f"none takes longer than {SLOW:g} s", f"{worst['seconds']:.2f} s", worst["seconds"] <= SLOW)
    report.target(f"at most {LARGE:g} MB above ordinary files", f"{above:.0f} MB", above <= LARGE)
    report.wrong = bool(worst["exceptions"] or wrong)
    return setup.finish(report)


def peak() -> float:
    """The most memory that this process has held so far, MB."""
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / (1 if sys.platform != "darwin" else 1024) / 1024


def nested(depth: int) -> list[Any]:
    """A list in a list in a list …"""
    found: list[Any] = []
    for _ in range(depth):
        found = [found]
    return found


# Made anew each time, since a claim may hold on to them.
JUNK: tuple[Callable[[], Any], ...] = (
    *(lambda v=v: v for v in (None, True, False, "", "x", "nan", "1.0", "\x1b[31m", "é" * 10_000)),
    *(lambda v=v: v for v in (float("nan"), float("inf"), float("-inf"), 0, -1, 7, 2**70, 10**400, 1j, b"bytes")),
    *(lambda v=v: v for v in EXTREMES),
    *(list, dict, tuple, object, lambda: [[]], lambda: [None], lambda: ["x"], lambda: {"lower": 1}, lambda: [1.0] * 1000),
    *(lambda: [[1.0], [2.0, 3.0]], lambda: [[[[1.0]]]], lambda: nested(40), lambda: nested(3000), lambda: [0.0, 10**400]),
    *(lambda: [10**5000], lambda: np.zeros((0, 3)), lambda: np.array(["a"]), lambda: np.full(3, np.nan), lambda: np.ones((2, 2))),
    *(lambda: {"kind": "box"}, lambda: "box", lambda: "global", lambda: range(3), lambda: iter([1.0]), lambda: len),
    lambda: np.float64(0.1),
)


def places(tree: Any, path: Path = ()) -> Iterator[Path]:
    """Every key and index, of what holds others too."""
    items = tree.items() if isinstance(tree, dict) else enumerate(tree) if isinstance(tree, list) else ()
    for key, value in items:
        yield (*path, key)
        yield from places(value, (*path, key))


def mutants(everything: list[Original], rng: np.random.Generator, count: int) -> Iterator[tuple[Original, str]]:
    """Junk in leaf after leaf; half of the claims are made consistent again, so that it reaches the arithmetic."""
    leaves = [(one, side, path) for one in everything for side in ("claim", "system") for path in places(getattr(one, side))]
    shift = 0
    while count > 0:
        order = rng.permutation(len(leaves))
        for k in order[:count]:
            one, side, path = leaves[k]
            new = copy.deepcopy(one)
            owner = getattr(new, side)
            for key in path[:-1]:
                owner = owner[key]
            junk = JUNK[(k + shift) % len(JUNK)]()
            if shift % 5 == 4:  # left out, or once more
                owner.pop(path[-1]) if isinstance(owner, dict) else owner.append(owner[path[-1]])
            else:
                owner[path[-1]] = junk
            yield (_fitted(new) if shift % 2 else new), f"{one.kind}, {side}{list(path)}: {type(junk).__name__}"
        count -= len(leaves)
        shift += 1


def _fitted(one: Original) -> Original:
    try:
        return consistent(one)
    except Exception:
        return one


def bombs() -> Iterator[tuple[Original, str]]:
    """Small files that ask for large arrays or long work."""
    for side in (200, 1000, 3000):
        system: dict[str, Any] = {"weights": [], "biases": [], "activation": "tanh", "B": None, "input_weights": None}
        system |= {"A": (-np.ones((side, 1, 1, 1))).tolist(), "skip": np.zeros((1, side, 1, 1)).tolist()}
        arrays = {k: np.array(v) if k in ("A", "skip") else v for k, v in system.items()}
        claim = {"kind": "weighted l1", "rate": 0.5, "weights": [1.0], "slope_range": [0.0, 1.0], "leading": [side, side]}
        claim |= {"digest": Lure(**arrays).digest(), "not_covered": list(weighted_l1.NOT_COVERED)}
        claim |= {"claim": weighted_l1.statement(0.5, 1, side * side)}
        yield Original("weighted l1", claim, system), f"weighted l1 of {side}² systems"
        for kind in ("certificate", "tube", "step"):
            other = {**claim, "kind": kind, "metric": [[1.0]], "multipliers": [], "region": "global", "condition": 1.0}
            other |= {"value": 1.0, "supply": 1.0, "units": [2.0], "output": [], "method": "rk4", "step": 0.1, "factor": 0.99}
            yield Original(kind, other, system | {"B": [[1.0]]}), f"{kind} of {side}² systems"
    for width in (20_000, 200_000):
        layers = {"weights": [np.full((width, 1), 1e-3).tolist(), np.full((1, width), 1e-3).tolist()], "activation": "tanh"}
        wide: dict[str, Any] = {"kind": "lipschitz", "bound": 5.0, "multipliers": [1.0] * width, "slope_range": [0.0, 1.0]}
        wide |= {"digest": "", "claim": "", "region": None}
        yield consistent(Original("lipschitz", wide, layers)), f"a Lipschitz bound of {width} units in a row"


if __name__ == "__main__":
    sys.exit(main())
