"""Contestants are checked, then timed in turn: A B C, A B C, …; medians; a table in Markdown and the same in JSON."""

import argparse
import gc
import importlib.metadata
import json
import os
import platform
import sys
import time
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from statistics import median

import torch

from benchmarks.peers.reference import Answer, Errors, errors

Work = Callable[[], object]

OK, WRONG, SKIPPED, MISSED = 0, 1, 77, 3  # exit codes; 2 is argparse's, 77 is automake's for a skipped test
EXIT_CODES = (
    "exit code: 0 measured · 1 our answer is wrong · 2 usage · 3 a target is missed, with --strict · "
    "77 not possible here"
)


@dataclass(frozen=True)
class Contestant:
    """`work` does the value and the gradient once; `answer` reads what it returned, outside of the timing."""

    name: str
    work: Work
    answer: Callable[[object], Answer]
    ours: bool = False


@dataclass(frozen=True)
class Row:
    """One contestant's figures, times in ms; `first` is the first call, which compiles where there is something to
    compile. Without times, the answer was too wrong to be timed."""

    name: str
    ours: bool
    value_error: float
    gradient_error: float
    first: float
    median: float | None = None
    low: float | None = None
    high: float | None = None
    runs: int = 0


@dataclass(frozen=True)
class Target:
    """What a claim asks for and what came out."""

    claim: str
    measured: str
    reached: bool


@dataclass
class Report:
    """What one script found: `cases` by title, the `targets`, and `notes` in words."""

    name: str
    title: str
    notes: list[str] = field(default_factory=list)
    cases: dict[str, list[Row]] = field(default_factory=dict)
    targets: list[Target] = field(default_factory=list)
    figures: dict[str, float] = field(default_factory=dict)
    wrong: bool = False

    def markdown(self) -> str:
        lines = [f"## {self.title}", "", *self.notes, ""]
        for title, rows in self.cases.items():
            best = min((r.median for r in rows if r.ours and r.median), default=None)
            lines += [f"**{title}**", "", "| | error | gradient error | first call, ms | median, ms | range | ÷ ours |"]
            lines += ["|---|---|---|---|---|---|---|"]
            for r in sorted(rows, key=lambda r: r.median or float("inf")):
                name = f"**{r.name}**" if r.ours else r.name
                start = f"| {name} | {r.value_error:.1e} | {r.gradient_error:.1e} | {r.first:,.0f} |"
                if r.median is None or r.low is None or r.high is None:
                    lines.append(f"{start} not timed: too wrong | | |")
                    continue
                ratio = f"{r.median / best:.2f}" if best else ""
                lines.append(f"{start} {_ms(r.median)} | {_ms(r.low)}–{_ms(r.high)} | {ratio} |")
            lines.append("")
        if self.figures:
            lines += ["| figure | |", "|---|---|", *(f"| {k} | {v:,.4g} |" for k, v in self.figures.items()), ""]
        for t in self.targets:
            lines.append(f"- {'reached' if t.reached else '**missed**'}: {t.claim}; measured {t.measured}")
        return "\n".join(lines) + "\n"

    def target(self, claim: str, measured: str, reached: bool) -> None:
        """Note a claim's outcome."""
        self.targets.append(Target(claim, measured, reached))


@dataclass(frozen=True)
class Settings:
    """What every script's command line says."""

    quick: bool
    runs: int
    threads: int
    out: Path
    json: bool
    strict: bool

    @property
    def cache(self) -> Path:
        """Where reference solutions are kept."""
        return self.out / "reference"

    def progress(self, text: str) -> None:
        """One line that says where we are, on stderr: rewritten in a terminal, one after the other elsewhere."""
        terminal = sys.stderr.isatty()
        print(f"\r\x1b[K{text}" if terminal else text, end="" if terminal else "\n", file=sys.stderr, flush=True)

    def finish(self, report: Report) -> int:
        """Write and print the report; the exit code."""
        if sys.stderr.isatty():
            print("\r\x1b[K", end="", file=sys.stderr)
        self.out.mkdir(parents=True, exist_ok=True)
        report.notes.append(_machine(self.threads))
        data = json.dumps(asdict(report), indent=1)
        (self.out / f"{report.name}.json").write_text(data + "\n")
        (self.out / f"{report.name}.md").write_text(report.markdown())
        print(data if self.json else report.markdown())
        if report.wrong:
            return WRONG
        return MISSED if self.strict and not all(t.reached for t in report.targets) else OK


def settings(name: str, doc: str | None, arguments: Sequence[str] | None = None) -> Settings:
    """Parse the command line that all scripts share, and set torch's threads."""
    parser = argparse.ArgumentParser(
        prog=f"python -m benchmarks.{name}",
        description=doc,
        epilog=f"example: python -m benchmarks.{name} --quick\n{EXIT_CODES}",
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("--quick", action="store_true", help="small sizes and 3 runs: to see that it works")
    parser.add_argument("--runs", type=_positive, help="timed runs of each contestant (7; 3 with --quick)")
    parser.add_argument("--threads", type=_positive, default=2, help="torch's threads; JAX keeps its own default (2)")
    parser.add_argument("--out", type=Path, default=Path("runs/bench"), help="folder for the table and the JSON")
    parser.add_argument("--json", action="store_true", help="print JSON instead of the table")
    parser.add_argument("--strict", action="store_true", help="exit with 3 where a target is missed")
    a = parser.parse_args(arguments)
    torch.set_num_threads(a.threads)
    return Settings(a.quick, a.runs or (3 if a.quick else 7), a.threads, a.out, a.json, a.strict)


def installed(report: Report, *packages: str) -> bool:
    """Whether peers are there; a note in the report says so where they are not."""
    missing = [p for p in packages if not _found(p)]
    if missing:
        report.notes.append(
            f"{' and '.join(missing)} not installed, so left out; python -m pip install -c constraints.txt -e '.[bench]' "
            "brings the peers.\n"
        )
    return not missing


def race(
    contestants: Sequence[Contestant],
    right: Answer,
    case: str,
    report: Report,
    setup: Settings,
    *,
    value: float,
    gradient: float,
) -> list[Row]:
    """Check every contestant's values and gradients against `right`, time those within the bounds, check again, add the case.

    An answer further off than `value` or `gradient`, at the first call or after the timed ones, has no times; if it is
    ours, the report is wrong. The worse of its two errors is shown.
    """
    first: dict[str, tuple[Errors, float]] = {}
    for c in contestants:
        setup.progress(f"{report.name}, {case}: {c.name}, first call")
        begin = time.perf_counter()
        raw = c.work()
        passed = 1e3 * (time.perf_counter() - begin)
        first[c.name] = errors(c.answer(raw), right), passed
        del raw
    sound = [c for c in contestants if first[c.name][0].value <= value and first[c.name][0].gradient <= gradient]
    report.wrong |= any(c.ours for c in contestants if c not in sound)
    for c in sound:
        c.work()  # once more: caches and allocators are warm now
    times = timed({c.name: c.work for c in sound}, f"{report.name}, {case}", setup)
    for c in sound:  # what is fast because it went wrong on the way is not fast
        (before, passed), after = first[c.name], errors(c.answer(c.work()), right)
        worse = Errors(max(before.value, after.value), max(before.gradient, after.gradient))
        first[c.name] = worse, passed
        if worse.value > value or worse.gradient > gradient:
            del times[c.name]
            report.wrong |= c.ours
    rows = []
    for c in contestants:
        error, passed = first[c.name]
        t = times.get(c.name)
        fields = (median(t), min(t), max(t), len(t)) if t else ()
        rows.append(Row(c.name, c.ours, error.value, error.gradient, passed, *fields))
    report.cases[case] = rows
    return rows


def timed(works: dict[str, Work], label: str, setup: Settings) -> dict[str, list[float]]:
    """Times in ms, in turn, so that whatever else the machine does falls on all alike."""
    times: dict[str, list[float]] = {name: [] for name in works}
    setup.progress(f"{label}: {setup.runs} runs of each of {len(works)}")
    for run in range(setup.runs):
        for name, work in works.items():
            if sys.stderr.isatty():
                setup.progress(f"{label}: run {run + 1} of {setup.runs}, {name}")
            gc.collect()
            time.sleep(0.01)  # threads of the one before stop spinning
            begin = time.perf_counter()
            work()
            times[name].append(1e3 * (time.perf_counter() - begin))
    return times


def middle(times: Sequence[float]) -> float:
    """The median."""
    return median(times)


def fastest(rows: Sequence[Row], ours: bool) -> Row:
    """The fastest of ours, or of the peers.

    Errors: `ValueError` where none was timed.
    """
    return min((r for r in rows if r.ours == ours and r.median), key=lambda r: r.median or 0.0)


def _found(package: str) -> bool:
    try:
        importlib.metadata.version(package)
    except importlib.metadata.PackageNotFoundError:
        return False
    return True


def _machine(threads: int) -> str:
    names = [n for n in ("torch", "torchdiffeq", "torchode", "jax", "diffrax", "filterpy") if _found(n)]
    versions = ", ".join(f"{n} {importlib.metadata.version(n)}" for n in names)
    processor = platform.processor() or platform.machine()
    info = Path("/proc/cpuinfo")
    if info.exists():
        models = [line.split(":")[1].strip() for line in info.read_text().splitlines() if line.startswith("model name")]
        processor = models[0] if models else processor
    load = f", load {os.getloadavg()[0]:.1f} at the end" if hasattr(os, "getloadavg") else ""
    return (
        f"{os.cpu_count()} cores of {processor}{load}; torch with {threads} threads, XLA with its default; Python "
        f"{platform.python_version()}, {versions}. Contestants run in turn in one process; medians; first calls apart."
    )


def _ms(value: float) -> str:
    return f"{value:,.1f}" if value < 100 else f"{value:,.0f}"


def _positive(text: str) -> int:
    number = int(text)
    if number < 1:
        raise argparse.ArgumentTypeError(f"needs a whole number ≥ 1, got {text}")
    return number
