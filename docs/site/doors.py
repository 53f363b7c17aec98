"""The pages of the API: every public name of every door, its signature, its shapes, and its docstring read as Markdown.

A door is an `__init__` with `__all__`. A name that several doors offer is told in full at the first of `DOORS`, and linked from
the others. Nothing is listed by hand, so that no name can be forgotten; the docstrings are the source.
"""

import ast
import inspect
import re
import textwrap
from collections.abc import Callable, Iterator
from dataclasses import dataclass, fields, is_dataclass
from functools import cache
from importlib import import_module

DOORS = (
    "physics",
    "physics.shelf",
    "learned",
    "hybrid",
    "hybrid.solve",
    "hybrid.filters",
    "stability",
    "stability.claims",
    "stability.proof",
    "stability.proof.tape",
    "training",
    "training.people",
    "training.people.tables",
    "training.trust",
    "training.trust.recalibration",
    "training.diagnostics",
    "training.inference",
    "training.identify",
    "training.shift",
    "exchange",
    "exchange.program",
    "exchange.imported",
    "twin",
    "twin.log",
    "homeostat.study",
    "homeostat.gallery",
    "homeostat.pictures",
    "homeostat.commands",
)

# what begins a paragraph of a docstring in this house
LABEL = re.compile(
    r"^(Arguments|Attributes|Equation|Returns|Errors|Laws?|Sources?|Trainable|Demands|Why exact|Rounding):", re.M
)


@dataclass(frozen=True)
class Entry:
    """A public name at a door: `door` and `name`; `home`, the door that tells it in full; `value`, what it is."""

    door: str
    name: str
    home: str
    value: object

    @property
    def kind(self) -> str:
        """Of Sphinx's domain of Python."""
        if inspect.isclass(self.value):
            return "exception" if issubclass(self.value, BaseException) else "class"
        if inspect.isfunction(self.value):
            return "function"
        return "module" if inspect.ismodule(self.value) else "data"


@cache
def entries() -> tuple[Entry, ...]:
    """Every public name of every door."""
    homes: dict[tuple[int, str], str] = {}
    found = []
    for door in DOORS:
        module = import_module(door)
        for name in module.__all__:
            value = getattr(module, name)
            found.append(Entry(door, name, homes.setdefault((id(value), name), door), value))
    return tuple(found)


def words(entry: Entry) -> str:
    """What is written of a name: its docstring, or, of a value that can have none, the comment above it; "" for nothing."""
    if entry.kind != "data":
        own = entry.value.__dict__.get("__doc__") if inspect.isclass(entry.value) else entry.value.__doc__
        written = inspect.cleandoc(own or "")
        made_up = is_dataclass(entry.value) and written.startswith(f"{getattr(entry.value, '__name__', '')}(")
        return "" if made_up else written
    return _comment(entry.home, entry.name)


def page(door: str) -> str:
    """The entries of a door as MyST: what is told elsewhere as links, then classes, functions and values, each by its letter."""
    here = [e for e in entries() if e.door == door]
    text = [f"```{{py:module}} {door}\n```\n"]
    elsewhere = [e for e in here if e.home != door]
    if elsewhere:
        links = " · ".join(f"{{py:obj}}`{e.name} <{e.home}.{e.name}>`" for e in elsewhere)
        text.append(f"Also at this door: {links}.\n")
    for title, kinds in (
        ("Classes", ("class", "exception")),
        ("Functions", ("function",)),
        ("Values", ("data", "module")),
    ):
        told = [e for e in here if e.home == door and e.kind in kinds]
        if told:
            text.append(f"## {title}\n")
            text += [_told(e) for e in sorted(told, key=lambda e: e.name.lower())]
    return "\n".join(text)


def _told(entry: Entry) -> str:
    if entry.kind == "data":
        return _directive("data", entry.name, entry.door, f"{_markdown(words(entry))}\n\n{_shown(entry.value)}", 5)
    if entry.kind == "module":
        return _directive("data", entry.name, entry.door, _markdown(words(entry)), 5)
    if entry.kind == "function":
        signature, shapes = _signature(entry.value)
        return _directive("function", entry.name + signature, entry.door, _markdown(words(entry)) + shapes, 5)
    signature, shapes = _built(entry.value)
    inner = "\n".join(_members(entry.value, entry.door))
    bases = [
        b.__name__ for b in entry.value.__bases__ if b.__module__.split(".")[0] in {d.split(".")[0] for d in DOORS}
    ]
    is_a = f"Is a {', '.join(f'`{b}`' for b in bases)}.\n\n" if bases else ""
    return _directive(
        entry.kind, entry.name + signature, entry.door, f"{is_a}{_markdown(words(entry))}{shapes}\n\n{inner}", 6
    )


def methods(cls: type) -> Iterator[tuple[str, str, Callable[..., object]]]:
    """The public methods and properties of a class's own, with the kind that Sphinx gives them."""
    for name, value in vars(cls).items():
        if name.startswith("_"):
            continue
        if isinstance(value, property) and value.fget is not None:
            yield name, "property", value.fget
        elif isinstance(value, classmethod):
            yield name, "classmethod", value.__func__
        elif isinstance(value, staticmethod):
            yield name, "staticmethod", value.__func__
        elif inspect.isfunction(value):
            yield name, "method", value


def _members(cls: type, door: str) -> Iterator[str]:
    """What a class says of its methods; one that says nothing keeps the words of the class that asks for it."""
    for name, kind, function in methods(cls):
        if not function.__doc__:
            continue
        signature, shapes = _signature(function, method=kind != "staticmethod")
        head = name if kind == "property" else name + signature
        flag = {"classmethod": ":classmethod:\n", "staticmethod": ":staticmethod:\n"}.get(kind, "")
        flag += ":abstractmethod:\n" if getattr(function, "__isabstractmethod__", False) else ""
        body = _markdown(inspect.cleandoc(function.__doc__)) + shapes
        yield _directive("property" if kind == "property" else "method", head, door, body, 5, flag)


def _directive(kind: str, head: str, door: str, body: str, ticks: int, options: str = "") -> str:
    fence = "`" * ticks
    return f"{fence}{{py:{kind}}} {head}\n:module: {door}\n{options}\n{body}\n{fence}\n"


def _markdown(docstring: str) -> str:
    """A docstring as Markdown: a paragraph for each label, and no list where a formula's second line begins with its sign."""
    text = re.sub(r"^\+ ", r"\\+ ", docstring, flags=re.M)
    return LABEL.sub(r"\n**\1**:", text)


def _function(function: Callable[..., object]) -> tuple[ast.FunctionDef, list[str]]:
    source = textwrap.dedent(inspect.getsource(inspect.unwrap(function)))
    (node,) = ast.parse(source).body
    assert isinstance(node, ast.FunctionDef)
    return node, source.splitlines()


def _signature(function: Callable[..., object], *, method: bool = False) -> tuple[str, str]:
    """(arguments) -> what it gives, as they are written; and the shapes that stand behind them as comments."""
    node, lines = _function(function)
    if method:
        (node.args.posonlyargs or node.args.args).pop(0)
    given = f" -> {_type(node.returns)}" if node.returns is not None else ""
    for argument in (*node.args.posonlyargs, *node.args.args, *node.args.kwonlyargs):
        if argument.annotation is not None:
            argument.annotation = ast.Name(_type(argument.annotation))
    return f"({ast.unparse(node.args)}){given}", _shapes(node, lines)


def _type(annotation: ast.expr) -> str:
    """As it is meant: a class names itself in quotes, having no name yet."""
    return (
        annotation.value
        if isinstance(annotation, ast.Constant) and isinstance(annotation.value, str)
        else ast.unparse(annotation)
    )


def _shapes(node: ast.FunctionDef, lines: list[str]) -> str:
    arguments = [*node.args.posonlyargs, *node.args.args, *node.args.kwonlyargs]
    said = [(a.arg, _behind(lines[a.end_lineno - 1])) for a in arguments if a.end_lineno]
    if node.returns is not None and node.returns.end_lineno and node.returns.end_lineno < node.body[0].lineno:
        said.append(("returns", _behind(lines[node.returns.end_lineno - 1])))
    listed = [f"- `{name}`: {what}" if name != "returns" else f"- gives {what}" for name, what in said if what]
    return "\n\n" + "\n".join(dict.fromkeys(listed)) if listed else ""


def _behind(line: str) -> str:
    return re.sub(r"^(noqa|type):.*", "", line.partition("  # ")[2].strip())


def _built(cls: type) -> tuple[str, str]:
    """How an object of a class is made: the arguments of its `__init__`, or its fields where it is a dataclass."""
    if is_dataclass(cls):
        written = {}
        for base in reversed(cls.__mro__):
            if is_dataclass(base):
                (node,) = ast.parse(textwrap.dedent(inspect.getsource(base))).body
                assert isinstance(node, ast.ClassDef)
                written |= {
                    n.target.id: n for n in node.body if isinstance(n, ast.AnnAssign) and isinstance(n.target, ast.Name)
                }
        taken = [f for f in fields(cls) if f.init]
        given = [f"{f.name}: {_type(written[f.name].annotation)}{_default(written[f.name].value)}" for f in taken]
        first = next((k for k, f in enumerate(taken) if f.kw_only), None)
        if first is not None:
            given.insert(first, "*")
        return f"({', '.join(given)})", ""
    if "__init__" in vars(cls) and inspect.isfunction(vars(cls)["__init__"]):
        signature, shapes = _signature(vars(cls)["__init__"], method=True)
        return signature.removesuffix(" -> None"), shapes
    return "", ""


def _default(value: ast.expr | None) -> str:
    if value is None:
        return ""
    text = ast.unparse(value)
    return " = ..." if text.startswith("field(") else f" = {text}"


def _comment(door: str, name: str) -> str:
    """The comment above an assignment in the file of a door, or in the file that the door has it from."""
    module = import_module(door)
    for node in ast.parse(inspect.getsource(module)).body:
        if isinstance(node, ast.ImportFrom) and node.module and any((a.asname or a.name) == name for a in node.names):
            return _comment(node.module, name)
    home = getattr(module, "_HOME", {}).get(name)
    if home is not None:
        return _comment(f"{door}.{home}", name)
    lines = inspect.getsource(module).splitlines()
    at = next((k for k, line in enumerate(lines) if re.match(rf"{name}\b(:.*)? = ", line)), None)
    if at is None:
        return ""
    behind = _behind(lines[at])
    while at and lines[at - 1] and not lines[at - 1].startswith(("#", '"', ")", "from", "import")):
        at -= 1
    above: list[str] = []
    while at and lines[at - 1].startswith("#"):
        at -= 1
        above.insert(0, lines[at].lstrip("#: "))
    return " ".join([*above, behind]).strip()


def _shown(value: object) -> str:
    if isinstance(value, dict):
        value = tuple(value)
    if isinstance(value, tuple):
        parts = [getattr(v, "__name__", None) or getattr(v, "name", None) or str(v) for v in value]
        return "Holds " + (", ".join(f"`{p}`" for p in parts) or "none") + "."
    return f"Is `{value}`."
