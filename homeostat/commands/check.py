"""`homeostat check`."""

from pathlib import Path
from typing import Annotated

import typer

from homeostat.commands.answer import Answer, Command
from homeostat.options import Json, Structures


def check(
    file: Annotated[
        Path,
        typer.Argument(
            metavar="FILE", help="A model bundle, as runs/theophylline/model.twin, or an FMU or ONNX graph made of one."
        ),
    ],
    run: Annotated[
        bool,
        typer.Option(
            "--run",
            help="Of an FMU: also rebuild its Jacobian through its own interface. THIS RUNS THE CODE IN THE FMU; without it "
            "nothing of a file is ever run, and that its code is what was certified stays unknown: exit 1.",
        ),
    ] = False,
    signed_by: Annotated[
        Path | None,
        typer.Option(
            metavar="KEY.pub",
            help="Of a bundle: require the signature of this key, the public one of somebody whom you trust. Exit 2, and nothing "
            "is checked, where the file is not signed, was changed since, or is signed with another key.",
        ),
    ] = None,
    structures: Structures = None,
    as_json: Json = False,
) -> Answer:
    """Prove a bundle's certificate again, in outward-rounded arithmetic, against its own weights, and hold it beside what its
    own people do: exit 0 proved and covering them, 1 not. A rate on a region is proved too, and is no certificate: alone it is 1.
    So are systems in proof.json, which others read, that the weights do not give. A card that is not the one that the content
    gives is said and changes no exit status: it proves nothing, and another version's words may be others.

    Of an FMU or an ONNX graph: prove the certificate inside from the weights stored beside it, and ask the file itself, at
    sampled states, whether it is the model that was certified: exit 0 both, 1 not. As homeostat check theophylline.fmu --run
    """
    from homeostat.bundles.kinds import kind_of

    kind = kind_of(file)
    if run and kind != "fmu":
        raise ValueError(f"--run is of an FMU, and {file} is none; leave it out")
    if signed_by is not None and kind != "bundle":
        raise ValueError(f"--signed-by is of a bundle, and {file} is none; leave it out")
    if kind != "bundle":
        from homeostat.bundles.artefacts import examine_artefact

        if structures:
            raise ValueError(f"--structures is of bundles, and {file} is none; leave it out")
        seen = examine_artefact(file, kind, run=run)
        return Answer(seen.values, seen.text, 0 if seen.good else 1)
    from homeostat.bundles.checked import examine_bundle
    from homeostat.own_structures import own_structures

    content = None
    if signed_by is not None:
        from exchange import verify

        content = verify(file, signed_by)
    found = examine_bundle(file, own_structures(structures or []))
    signed = "" if content is None else f"signed with the key of {signed_by}: content SHA-256 {content}\n"
    return Answer({**found.to_dict(), "signed_content": content}, signed + found.text, 0 if found.good else 1)


CHECK = Command(check, "homeostat check runs/theophylline/model.twin")
