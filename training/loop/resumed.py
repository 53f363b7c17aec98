"""A search on disk: saved as it goes, and gone on with."""

from collections.abc import Generator, Iterator, Mapping

from hybrid import HybridModel
from training.loop.descent import Descended, Descent
from training.machinery.checkpoint import Checkpoint, Saved, fingerprint_of
from training.people.cohort import Cohort


def kept(
    path: Iterator[Descended],
    search: Descent,
    checkpoint: Checkpoint,
    model: HybridModel,
    cohort: Cohort,
    settings: Mapping[str, object],
) -> Generator[Descended, None, None]:
    """The same path, begun where the checkpoint's file says, and saved there every so many steps and when the loop ends.

    Errors: `ValueError` for the file of another fit, by the name of what differs.
    Law: stop, save and resume is never stopped, bit for bit on a CPU.
    """
    fingerprint = fingerprint_of(model, cohort, settings)
    found = checkpoint.read(fingerprint)
    if found:
        search.restore(found[0].index, found[0].tensors)
    written, last = search.index if found else 0, None
    try:
        for step in path:
            last = Saved(search.index, {}, search.saved())  # before the caller sees it: an interrupt there loses nothing
            yield step
            if last.index % checkpoint.every == 0 and last.index != written:
                checkpoint.write(fingerprint, last)
                written = last.index
    finally:
        if last is not None and last.index != written:
            checkpoint.write(fingerprint, last)
