"""`homeostat sign`."""

from collections.abc import Mapping
from pathlib import Path
from typing import Annotated, Any

import typer

from homeostat.commands.answer import Answer, Command
from homeostat.options import BundleFile, Json


def sign(
    bundle: BundleFile,
    key: Annotated[Path, typer.Option(metavar="FILE", help="The private Ed25519 key, a PEM file.")],
    new_key: Annotated[
        bool,
        typer.Option(
            "--new-key",
            help="Make the key first: the private one at --key, for your eyes alone, and the public one beside it, with the "
            "ending .pub. A key that is there is never written over.",
        ),
    ] = False,
    out: Annotated[Path | None, typer.Option(help="The file to write (default: the bundle itself, signed in place).")] = None,
    replace: Annotated[bool, typer.Option("--replace", help="Write over a file that is there at --out.")] = False,
    as_json: Json = False,
) -> Answer:
    """Sign a bundle's file: exit 0 signed, 2 nothing was. Whoever has your public key then knows that it is from you, unchanged:

    homeostat check model.twin --signed-by twin.key.pub

    A signature says who wrote the file, not that what it says is true. What is saved anew (certify --write) is not signed. It
    needs the extra sign: pip install 'homeostat[sign]'
    """
    from homeostat.bundles.signed import sign_bundle

    found = sign_bundle(bundle, key, out, new=new_key, replace=replace)
    return Answer(found.to_dict(), found.text, notes=found.notes)


def _writes(given: Mapping[str, Any]) -> list[Path | None]:
    return [given["out"] or given["bundle"].parent]


SIGN = Command(sign, "homeostat sign runs/theophylline/model.twin --key twin.key --new-key", _writes)
