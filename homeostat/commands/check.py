"""`homeostat check`."""

from homeostat.commands.answer import Answer, Command
from homeostat.options import BundleFile, Json, Structures


def check(bundle: BundleFile, structures: Structures = None, as_json: Json = False) -> Answer:
    """Prove a bundle's certificate again, in outward-rounded arithmetic, against its own weights, and hold it beside what its
    own people do: exit 0 proved and covering them, 1 not. A rate on a region is proved too, and is no certificate: alone it is 1.
    """
    from homeostat.bundles.checked import examine_bundle
    from homeostat.own_structures import own_structures

    found = examine_bundle(bundle, own_structures(structures or []))
    return Answer(found.to_dict(), found.text, 0 if found.good else 1)


CHECK = Command(check, "homeostat check runs/theophylline/model.twin")
