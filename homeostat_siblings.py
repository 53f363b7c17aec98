"""Whether `import physics` finds the package that came with homeostat, or something else of that name.

The packages of this house have common names, and Python looks into the folder of the running script (in a notebook, the
notebook's; with `python -m`, the present one) before it looks at what is installed. A `physics.py` of a user's own is then
imported in the place of ours, and the error is about a module that they have never heard of. So the doors `hybrid`,
`training`, `exchange` and `twin`, and the program, ask here first. A folder without an `__init__.py` hides nothing: Python
prefers a package to it.

This is a module of its own, since each package of the house may be the one that is hidden. It needs the standard library alone.
"""

import sys
from importlib.util import find_spec
from pathlib import Path

HOUSE = ("physics", "learned", "hybrid", "stability", "training", "exchange", "twin")


def require_siblings(asker: str, names: tuple[str, ...]) -> None:
    """Raise `ImportError` where a package that `asker` needs is not the one beside this file, and say which file is in its place.

    Nothing is imported: who has a package of one of these names, and does not need ours, keeps it.
    """
    home = Path(__file__).resolve().parent
    for name in names:
        found = _place(name)
        if found is None:
            raise ImportError(
                f"{asker} needs the package {name}, which was installed with it into {home}, and it is not there; "
                "install homeostat anew: pip install --force-reinstall --no-deps homeostat"
            )
        if found.parent != home:
            raise ImportError(
                f"{asker} needs the package {name} that was installed with it, and Python finds {found} in its place; "
                "rename that one, or run where it is not found: from another folder, and with python -P (PYTHONSAFEPATH=1), "
                "which leaves the script's own folder out of the search"
            )


def _place(name: str) -> Path | None:
    """The folder of the package, or the file of the module, that `import name` gives; None: nothing has that name."""
    if name in sys.modules:  # imported before: another search would change nothing
        file = getattr(sys.modules[name], "__file__", None)
    else:
        spec = find_spec(name)
        file = None if spec is None else spec.origin
    if file is None:  # absent, or a folder without __init__.py, which is no package of ours
        return None
    path = Path(file).resolve()
    return path.parent if path.stem == "__init__" else path
