"""Matplotlib, imported whatever the environment asks it to draw with.

A notebook sets MPLBACKEND for its own window, and every program started from it inherits that: where the named
backend is not installed, importing matplotlib fails. Pictures here have Agg canvases of their own
(`style.new_figure`), so the variable is set aside while matplotlib loads, and given back to a caller who can use it.
"""

import contextlib
import os
import sys
from types import ModuleType


def matplotlib_whatever_the_backend() -> ModuleType:
    """Matplotlib; its choice of backend is what it would have been, where that can be chosen at all."""
    loaded, asked = "matplotlib" in sys.modules, os.environ.pop("MPLBACKEND", None)
    try:
        import matplotlib
    finally:
        if asked is not None:
            os.environ["MPLBACKEND"] = asked
    if asked and not loaded:
        with contextlib.suppress(ValueError):  # not installed: no picture here needs it
            matplotlib.rcParams["backend"] = asked
    return matplotlib


matplotlib = matplotlib_whatever_the_backend()
