"""`homeostat inspect`."""

from homeostat.commands.answer import Answer, Command
from homeostat.options import BundleFile, Json, Structures


def inspect(bundle: BundleFile, structures: Structures = None, as_json: Json = False) -> Answer:
    """Say what is in a bundle: structure, units, people, certificate, calibration, provenance."""
    from homeostat.bundles.inspected import inspect_bundle
    from homeostat.own_structures import own_structures

    about, text = inspect_bundle(bundle, own_structures(structures or []))
    return Answer(about, text)


INSPECT = Command(inspect, "homeostat inspect runs/theophylline/model.twin")
