"""`homeostat certify`."""

from pathlib import Path
from typing import Annotated

import typer

from homeostat.commands.answer import Answer, Command
from homeostat.options import BundleFile, Json, Structures


def certify(
    bundle: BundleFile,
    rate: Annotated[float | None, typer.Option(help="The rate to prove, in 1/time (default: the best one).")] = None,
    region: Annotated[
        Path | None,
        typer.Option(
            metavar="FILE",
            help='Prove it in a box only, where trajectories stay: JSON {"lower": [...], "upper": [...], "inputs": '
            '{"lower": [...], "upper": [...], "doses": [[...]], "gap": 24}} ("inputs" and its doses may be left out; '
            '"exactly": true beside the gap, doses at its multiples alone; of a mechanism an end may be null: none).',
        ),
    ] = None,
    while_inside: Annotated[
        bool,
        typer.Option(
            "--while-inside",
            help="Of a mechanism, with --region: the rate for as long as trajectories are in the box, and not that they stay "
            "there, which is no certificate.",
        ),
    ] = False,
    seconds: Annotated[float, typer.Option(min=0.1, help="Time limit.")] = 60.0,
    write: Annotated[bool, typer.Option("--write", help="Put it into the bundle; a refusal replaces no certificate.")] = False,
    structures: Structures = None,
    as_json: Json = False,
) -> Answer:
    """Search a new contraction certificate for a bundle's members and people: exit 0 certified, 1 refused.

    Of a bundle with a mechanism: homeostat certify runs/mine/model.twin --region box.json --while-inside --write
    """
    from homeostat.bundles.certified import certify_bundle
    from homeostat.bundles.while_inside import rate_while_inside
    from homeostat.own_structures import own_structures

    own = own_structures(structures or [])
    if while_inside:
        found, text, about = rate_while_inside(bundle, region, rate, seconds, write, own)
        # proved, where that was asked; a certificate is more
        return Answer({"certified": False, "proved": bool(found), **found.to_dict(), **about}, text, 0 if found else 1)
    result, text, about = certify_bundle(bundle, rate, seconds, write, region, own)
    return Answer({"certified": bool(result), "proved": bool(result), **result.to_dict(), **about}, text, 0 if result else 1)


CERTIFY = Command(certify, "homeostat certify runs/theophylline/model.twin --rate 0.03", lambda given: [given["bundle"]])
