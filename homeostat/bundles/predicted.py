"""The mesh of a bundle's predictions, and how long they may be."""

from exchange import Bundle
from exchange.bundle.forecasts import mesh_for, steps_over_mesh
from hybrid import Mesh
from hybrid.cutting.mesh import MOST_STEPS

_MOST_CUTS = 20_000  # steps of a mesh in one prediction, all of which are in memory


def most_steps(bundle: Bundle) -> int:
    """How many of the mesh's longest steps a prediction may go through."""
    return _MOST_CUTS if steps_over_mesh(bundle.model, bundle.solver) else MOST_STEPS


def mesh_of(bundle: Bundle) -> Mesh:
    """The mesh that the bundle's predictions are cut by: none where they adapt their steps."""
    return mesh_for(bundle.model, bundle.mesh, bundle.solver)
