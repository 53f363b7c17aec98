"""The bundle as a Functional Mock-up Unit."""

import hashlib
import html
import os
import platform
import tempfile
from collections.abc import Sequence
from dataclasses import dataclass, replace
from importlib import resources
from pathlib import Path
from typing import ClassVar, Literal

from exchange.bundle.bundle import Bundle
from exchange.bundle.calibration import stated
from exchange.c.compiled import FLAGS, compiler, shared_library
from exchange.c.header import header_of
from exchange.c.identifiers import require_prefix
from exchange.export import Export, Written, certified, claimed, target_of
from exchange.fmu.archive import write_fmu
from exchange.fmu.description import Head, build_description, described
from exchange.fmu.extra import FOLDER, extra_files, hashes
from exchange.fmu.model_header import model_header
from exchange.fmu.variables import Variables, variables_of
from exchange.selection import TYPICAL, Selected, Selection, selected
from physics.arguments import quote, require_flag, require_kind
from physics.glance import glance

_SOURCES = {3: ("fmi3.c", "adjoint.h", "fmi3_lacking.h", "fmi3_running.h"), 2: ("fmi2.c", "fmi2_running.h")}
# no rounding that differs from one machine to another (-ffp-contract), nothing of the build in the file
_FLAGS = (*FLAGS, "-Werror=implicit-function-declaration", "-g0", "-ffp-contract=off", "-fvisibility=hidden")


@dataclass(frozen=True)
class Fmu(Export):
    """A Functional Mock-up Unit of FMI 3.0 or 2.0, for Model Exchange and Co-Simulation: plain C99 and, where a compiler is
    found, a binary of it for this platform; claims, calibration and card under `extra/org.homeostat/`.

    `selection`, which members (all of several: an ensemble of M·n states), and whose θ and c it starts with; without a person
    the population's map is in it too, behind the parameter `by_population`, unless `fixed_theta` · `fmi`, the version · `step`,
    by which it integrates in co-simulation: "exponential" (Krogstad; the linear part exactly) or "rk4", both of order 4 ·
    `prefix`, the identifier of its files and C names, by default the file's stem · `binary`: False for the sources alone ·
    `replace` a file that is there.
    In co-simulation two solutions go on side by side, by internal steps (parameter `step`) taken whole, and as two halves each;
    the second is kept, and `step_error.STATE` is twice the largest distance between the two so far: an estimate of the error
    (30 times it, where the order is reached), and no bound.
    """

    name: ClassVar[str] = "fmu"
    suffix: ClassVar[str] = ".fmu"
    selection: Selection = TYPICAL
    fmi: Literal[3, 2] = 3
    step: Literal["exponential", "rk4"] = "exponential"
    prefix: str | None = None
    fixed_theta: bool = False
    binary: bool = True
    replace: bool = False

    __repr__, _repr_html_ = glance()

    def __post_init__(self) -> None:
        require_kind(self.selection, Selection, "Fmu: selection", "Selection(member=0)")
        if type(self.fmi) is not int or self.fmi not in (3, 2):
            raise ValueError(f"Fmu: fmi is 3 or 2, got {quote(self.fmi)}; write Fmu(fmi=3)")
        if self.step not in ("exponential", "rk4"):
            raise ValueError(f'Fmu: step is "exponential" or "rk4", got {quote(self.step)}; write Fmu(step="rk4")')
        if self.prefix is not None:
            require_prefix(self.prefix, "Fmu: prefix, or the file's stem,")
        require_flag(self.fixed_theta, "Fmu: fixed_theta")
        require_flag(self.binary, "Fmu: binary")
        require_flag(self.replace, "Fmu: replace")

    def write(self, bundle: Bundle, path: str | os.PathLike[str]) -> Written:
        """Write the FMU. The same bundle gives the same bytes, with the same compiler.

        Errors: `ValueError` for what the header cannot hold, by its name, for names that FMI has no place for, an identifier that
        is none, and a target that exists; `OSError`, naming the file.
        """
        require_kind(bundle, Bundle, "Fmu: bundle", 'load("model.twin")')
        target = target_of(self, path, "Fmu")
        prefix = require_prefix(self.prefix or target.stem, "Fmu: prefix, or the file's stem,")
        chosen = selected(bundle, self.selection)
        mapped = not self.fixed_theta and self.selection.person is None and _maps(chosen)
        variables = variables_of(bundle, chosen, by_population=mapped)
        said = [] if certified(bundle) else [*claimed(bundle)[:1]]
        entries = self._entries(bundle, chosen, variables, prefix)
        if self.binary and compiler() is None:
            said.append("no C compiler was found: the FMU holds sources only, which have to be built where it runs")
        elif self.binary:
            entries |= _binary(entries, prefix, self.fmi)
        entries[f"{FOLDER}/hashes.json"] = hashes(entries)
        write_fmu(target, entries)
        return Written(target, (*said, *chosen.said))

    def _entries(self, bundle: Bundle, chosen: Selected, variables: Variables, prefix: str) -> dict[str, bytes]:
        model, header = chosen.model, f"{prefix}_model.h"
        text = header_of(bundle, chosen, self.selection, prefix=prefix).encode()
        sources = {header: text, **{name: _source(name) for name in ("instance.h", "setting.h", *_SOURCES[self.fmi])}}
        files = extra_files(bundle, chosen, variables)
        head = Head(prefix, prefix, "", _about(bundle, chosen), (_SOURCES[self.fmi][0],))
        content = hashlib.sha256(described(self.fmi, head, variables))
        for name, source in sorted(sources.items()):
            content.update(name.encode() + b"\0" + source + b"\0" + self.step.encode())
        digest = content.hexdigest()
        head = replace(head, token=f"{{{digest[:8]}-{digest[8:12]}-{digest[12:16]}-{digest[16:20]}-{digest[20:32]}}}")
        sources["model.h"] = model_header(
            model,
            variables,
            prefix=prefix,
            header=header,
            token=head.token,
            members=len(chosen.members),
            exponential=self.step == "exponential",
        ).encode()
        entries = {"modelDescription.xml": described(self.fmi, head, variables), **files}
        entries |= {f"sources/{name}": source for name, source in sources.items()}
        if self.fmi == 3:
            entries["sources/buildDescription.xml"] = build_description(head)
        said = (*claimed(bundle), _stated(bundle))
        entries["documentation/index.html"] = _page(prefix, files[f"{FOLDER}/card.md"].decode(), said)
        return entries


def _maps(chosen: Selected) -> bool:
    """Is there anything by which people differ?"""
    return bool(chosen.model.personal or chosen.covariates)


def _about(bundle: Bundle, chosen: Selected) -> str:
    members = f"{len(chosen.members)} members" if len(chosen.members) > 1 else f"member {chosen.members[0] + 1}"
    status = "claims are in extra/org.homeostat/proof.json" if certified(bundle) else "not certified"
    time = chosen.model.backbone.time_unit
    what = f"dx/dt = A(θ)x + B(θ)u + learned and known terms, {members}; time counts in {time}; {status}"
    return f"{what}. {_stated(bundle)}"


def _stated(bundle: Bundle) -> str:
    return stated(bundle.calibration, f"{FOLDER}/calibration.json")


def _source(name: str) -> bytes:
    return resources.files("exchange.fmu").joinpath("sources", name).read_bytes()


def _binary(entries: dict[str, bytes], prefix: str, fmi: int) -> dict[str, bytes]:
    """The shared library under the folder of this platform."""
    sources = {name.removeprefix("sources/"): data for name, data in entries.items() if name.startswith("sources/")}
    with tempfile.TemporaryDirectory() as folder:
        for name, data in sources.items():
            (Path(folder) / name).write_bytes(data)
        built = shared_library(
            [Path(folder) / _SOURCES[fmi][0]], Path(folder) / f"{prefix}.so", flags=_FLAGS, include=[folder]
        )
        return {f"binaries/{_platform(fmi)}/{prefix}{_extension()}": built.read_bytes()}


def _platform(fmi: int) -> str:
    """FMI 3: architecture and system; FMI 2: system and bits."""
    system = {"Linux": "linux", "Darwin": "darwin", "Windows": "windows"}.get(
        platform.system(), platform.system().lower()
    )
    machine = {"AMD64": "x86_64", "arm64": "aarch64"}.get(platform.machine(), platform.machine())
    if fmi == 3:
        return f"{machine}-{system}"
    return {"linux": "linux64", "darwin": "darwin64", "windows": "win64"}.get(system, system)


def _extension() -> str:
    return {"Darwin": ".dylib", "Windows": ".dll"}.get(platform.system(), ".so")


def _page(name: str, card: str, said: Sequence[str]) -> bytes:
    items = "".join(f"<li>{html.escape(sentence)}</li>" for sentence in said)
    return (
        f'<!DOCTYPE html>\n<html lang="en"><head><meta charset="utf-8"><title>{html.escape(name)}</title></head><body>\n'
        f"<h1>{html.escape(name)}</h1>\n<ul>{items}</ul>\n<pre>{html.escape(card)}</pre>\n</body></html>\n"
    ).encode()
