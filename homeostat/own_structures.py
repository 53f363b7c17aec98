"""Classes of the user's own that a bundle may name, by where their code is. To name one is to run that code."""

import importlib
import importlib.util
import inspect
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from types import ModuleType
from typing import Any

from torch import nn

from exchange import BUILTIN


def own_structures(places: Sequence[str]) -> Mapping[str, type[nn.Module]]:
    """What a bundle may name: the built-in classes, and those at `places`, each FILE.py:NAME or MODULE:NAME.

    Runs the file, or imports the module. A class answers to its own name, which is what a bundle writes.
    Errors: `ValueError` for a place of another form, code that is not there or fails, a name that is no class of a module of
    torch, one that is built in, and two classes of one name.
    """
    found: dict[str, type[nn.Module]] = {}
    for place in places:
        given = own_class(place, "--structures", nn.Module)
        if found.setdefault(given.__name__, given) is not given:
            raise ValueError(f"--structures {place!r}: two classes are called {given.__name__}; a bundle could mean either")
    return {**BUILTIN, **found}


def own_class(place: str, option: str, *kinds: type[Any]) -> type[Any]:
    """The class at FILE.py:NAME or MODULE:NAME, whose code is run; it extends one of `kinds` and takes no name of ours.

    Errors: `ValueError`, which begins with the option, as `own_structures` has them.
    """
    where, _, name = place.rpartition(":")
    if not where or not name.isidentifier():
        raise ValueError(f"{option} {place!r} is not of the form FILE.py:NAME or MODULE:NAME")
    given: Any = getattr(_module(where, option), name, None)
    if not (inspect.isclass(given) and issubclass(given, kinds)):
        named = ("torch.nn.Module" if k is nn.Module else f"{k.__module__.partition('.')[0]}.{k.__name__}" for k in kinds)
        whole = " or ".join(named)
        raise ValueError(f"{option} {place!r}: {name} is no class of {where} that extends {whole}; name one")
    if inspect.isabstract(given):
        kind = next(k.__name__ for k in kinds if issubclass(given, k))
        lacking = ", ".join(sorted(getattr(given, "__abstractmethods__", ())))
        raise ValueError(f"{option} {place!r}: {name} has no {lacking} yet, which every {kind} has; add it")
    if given.__name__ in BUILTIN:
        cure = "rename yours" + (", and save the bundle again" if option == "--structures" else "")
        raise ValueError(f"{option} {place!r}: {given.__name__} is the name of a class of homeostat; {cure}")
    found: type[Any] = given
    return found


def _module(where: str, option: str) -> ModuleType:
    if where.endswith(".py") and not Path(where).is_file():
        raise ValueError(f"{option}: there is no file {where}; check the path, seen from {Path.cwd()}")
    try:
        if not where.endswith(".py"):
            return importlib.import_module(where)
        path = Path(where).resolve()
        name = f"homeostat structures {path}"  # no import statement can mean it
        if name in sys.modules:
            return sys.modules[name]
        spec = importlib.util.spec_from_file_location(name, path)
        if spec is None or spec.loader is None:
            raise ImportError("it is no file of Python")
        module = importlib.util.module_from_spec(spec)
        sys.modules[name] = module  # dataclasses look for the module of their class
        try:
            spec.loader.exec_module(module)
        except BaseException:
            del sys.modules[name]
            raise
        return module
    except (Exception, SystemExit) as error:  # whatever the code does; ending the program is not an answer either
        if isinstance(error, ModuleNotFoundError) and error.name and f"{where}.".startswith(f"{error.name}."):
            raise ValueError(f"{option}: there is no module {where}; check its name, or write FILE.py:NAME") from error
        found = f"{type(error).__name__}: {error}".splitlines()[0][:200]
        raise ValueError(f"{option}: {where} cannot be run ({found}); correct the path or the code") from error
