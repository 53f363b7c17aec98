"""A header's functions called from Python: compiled into a shared library, by ctypes, on numpy arrays."""

import ctypes
import os
import re
import tempfile
from collections.abc import Sequence
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from exchange.c.compiled import FLAGS, shared_library
from physics.arguments import quote, require_path

Array = NDArray[np.floating[Any]]
_P = ctypes.c_void_p
# every function that a person is given to: its arrays and numbers in order, r: read, w: written, h: one number
_OF_PERSON = {
    "field": "rrrw",
    "beside": "rrrw",
    "directional": "rrrrw",
    "adjoint": "rrrww",
    "jacobian": "rrw",
    "observe": "rw",
    "observe_directional": "rrw",
    "variance": "rrrw",
    "variance_directional": "rrrrrrw",
    "diffusion": "rw",
    "step_rk4": "rrrhw",
}
_WRAPPER = """\
#include <stddef.h>
#include "{header}"
size_t called_sizes(int which) {{ return which ? sizeof({p}_plan) : sizeof({p}_person); }}
int called_bind(void *o, int m, const {R} *theta, const {R} *c) {{ return {p}_bind(o, m, theta, c); }}
void called_theta(int m, const {R} *eta, const {R} *known, {R} *theta) {{ {p}_theta(m, eta, known, theta); }}
void called_context(const {R} *latents, const {R} *known, {R} *c) {{ {p}_context(latents, known, c); }}
int called_initial(const void *o, const {R} *baseline, {R} *x) {{ return {p}_initial(o, baseline, x); }}
int called_prepare(void *plan, const void *o, {R} h) {{ return {p}_prepare(plan, o, h); }}
void called_step_exponential(const void *plan, const void *o, const {R} *x, const {R} *u, const {R} *infused, {R} *after)
{{ {p}_step_exponential(plan, o, x, u, infused, after); }}
const {R} *called_default(int which)
{{ return which == 0 ? &{p}_default_theta[0][0] : which == 1 ? &{p}_default_context[0][0] : &{p}_default_start[0][0]; }}
"""


class CompiledHeader:
    """A header of ours, compiled: sizes by their names, and `bind`, which gives someone whose field can be called.

    Arguments: the header's `path`; `flags` of the compiler.
    Errors: `ValueError` for a file that is no such header, where there is no compiler, and where it refuses.
    """

    def __init__(self, path: str | os.PathLike[str], *, flags: Sequence[str] = FLAGS) -> None:
        require_path(path, "CompiledHeader: path", "CompiledHeader('model.h')")
        self.path = Path(path)
        text = self.path.read_text(encoding="utf-8")
        guard, real = (
            re.search(r"^#ifndef (\w+)_INCLUDED$", text, re.M),
            re.search(r"^typedef (double|float) ", text, re.M),
        )
        if guard is None or real is None:
            raise ValueError(
                f"{self.path}: no header that was exported from a bundle; write one with `homeostat export --to c`"
            )
        self.prefix, self.real = guard[1], real[1]
        self.dtype: Any = np.float64 if self.real == "double" else np.float32
        self.sizes = {
            name: int(size) for name, size in re.findall(rf"^#define {self.prefix}_([A-Z]+) (\d+)$", text, re.M)
        }
        source = _WRAPPER.format(header=self.path.name, p=self.prefix, R=self.real)
        for name, kinds in _OF_PERSON.items():
            words = [f"{'const ' * (k == 'r')}{self.real} {'' if k == 'h' else '*'}a{i}" for i, k in enumerate(kinds)]
            given = "".join(f", a{i}" for i in range(len(kinds)))
            source += f"void called_{name}(const void *o, {', '.join(words)}) {{ {self.prefix}_{name}(o{given}); }}\n"
        with tempfile.TemporaryDirectory() as folder:
            made = shared_library(source, Path(folder) / "called.so", flags=flags, include=[self.path.parent])
            self._library = ctypes.CDLL(str(made))
        self._library.called_sizes.restype = ctypes.c_size_t
        self._library.called_default.restype = ctypes.POINTER(self.number)

    @property
    def number(self) -> Any:
        """The type of its numbers, for ctypes."""
        return ctypes.c_double if self.real == "double" else ctypes.c_float

    @cached_property
    def defaults(self) -> dict[str, Array]:
        """θ (M, q), c (M, r) and start (M, n) that the header holds."""
        sizes = {"theta": self.sizes["PARAMETERS"], "context": self.sizes["CONTEXT"], "start": self.sizes["STATES"]}
        return {
            name: np.ctypeslib.as_array(self._library.called_default(k), (self.sizes["MEMBERS"], max(1, size)))[
                :, :size
            ].copy()
            for k, (name, size) in enumerate(sizes.items())
        }

    def read(self, values: Any) -> Any:
        """An array to be read by C, held as long as the result is; None for NULL."""
        if values is None:
            return None
        held = np.ascontiguousarray(values, dtype=self.dtype)
        return held if held.size else np.zeros(1, self.dtype)

    def call(self, name: str, *arguments: Any) -> int:
        """Call one of the exported functions; arrays by their place in memory."""
        given = [a.ctypes.data_as(_P) if isinstance(a, np.ndarray) else a for a in arguments]
        return int(getattr(self._library, f"called_{name}")(*given) or 0)

    def theta(self, member: int, eta: Any, covariates: Any) -> Array:  # (d,), (k,) to (q,)
        """θ of someone of the population."""
        found = np.empty(max(1, self.sizes["PARAMETERS"]), self.dtype)
        self.call("theta", member, self.read(eta), self.read(covariates), found)
        return found[: self.sizes["PARAMETERS"]]

    def context(self, latents: Any, covariates: Any) -> Array:  # to (r,)
        """c of someone."""
        found = np.empty(max(1, self.sizes["CONTEXT"]), self.dtype)
        self.call("context", self.read(latents), self.read(covariates), found)
        return found[: self.sizes["CONTEXT"]]

    def bind(self, member: int = 0, theta: Any = None, c: Any = None) -> "BoundPerson":
        """Someone with these θ and c under one member, by default the header's own.

        Errors: `ValueError` for a member that is not there, and a number that is not finite.
        """
        return BoundPerson(self, member, theta, c)


class BoundPerson:
    """Someone whose θ and c are held under a member of a compiled header: what C says of them."""

    def __init__(self, header: CompiledHeader, member: int, theta: Any, c: Any) -> None:
        self.header = header
        self._person = ctypes.create_string_buffer(header.call("sizes", 0))
        if header.call("bind", self._person, member, header.read(theta), header.read(c)):
            raise ValueError(f"{header.path}: bind refuses member {member} with theta {quote(theta)} and c {quote(c)}")

    def __call__(self, name: str, *given: Any, sizes: Sequence[int] | None = None) -> Any:
        """A function of the header by its name without the prefix: what it reads, in order; returns what it writes."""
        h, kinds = self.header, _OF_PERSON[name]
        counts = sizes or _WRITTEN.get(name, ("STATES",))
        written = [np.empty(max(1, h.sizes[word] if isinstance(word, str) else word), h.dtype) for word in counts]
        values, left, arguments = iter(given), iter(written), []
        for kind in kinds:
            one = next(left) if kind == "w" else next(values)
            arguments.append(h.number(one) if kind == "h" else one if kind == "w" else h.read(one))
        h.call(name, self._person, *arguments)
        found = [w[: h.sizes[word] if isinstance(word, str) else word] for w, word in zip(written, counts, strict=True)]
        return found[0] if len(found) == 1 else tuple(found)

    def field(self, x: Any, u: Any, infused: Any = None) -> Array:  # (n,)
        """dx/dt."""
        found: Array = self("field", x, u, infused)
        return found

    def jacobian(self, x: Any, u: Any) -> Array:  # (n, n)
        """∂(dx/dt)/∂x."""
        n = self.header.sizes["STATES"]
        found: Array = self("jacobian", x, u).reshape(n, n)
        return found

    def initial(self, baseline: Any) -> Array | None:  # (n,)
        """The start, None where C cannot say it."""
        x = np.empty(self.header.sizes["STATES"], self.header.dtype)
        return None if self.header.call("initial", self._person, self.header.read(baseline), x) else x

    def exponential(self, x: Any, u: Any, h: float, infused: Any = None) -> Array:  # (n,)
        """One exponential step. Errors: `ValueError` where the plan is refused."""
        header = self.header
        plan = ctypes.create_string_buffer(header.call("sizes", 1))
        if header.call("prepare", plan, self._person, header.number(h)):
            raise ValueError(f"{header.path}: no exponential step of the length {h!r} can be prepared")
        after = np.empty(header.sizes["STATES"], header.dtype)
        header.call("step_exponential", plan, self._person, header.read(x), header.read(u), header.read(infused), after)
        return after


_WRITTEN = {
    "adjoint": ("STATES", "INPUTS"),
    "jacobian": ("SQUARE",),
    "observe": ("CHANNELS",),
    "observe_directional": ("CHANNELS",),
    "variance": ("CHANNELS",),
    "variance_directional": ("CHANNELS",),
}
