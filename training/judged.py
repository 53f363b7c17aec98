"""Which measurements judge a fit instead of teaching it: the tail of every record, blocks of it, or whole people."""

import math
from collections.abc import Sequence

import torch
from torch import Tensor

from physics.arguments import quote, require_generator, require_kind, require_names, require_number
from training.people.cohort import Cohort


def judged_tail(cohort: Cohort, share: float = 0.2) -> Tensor:  # (N, T) bool
    """The last measured times of everyone: `share` of them, at least one, and never all.

    What was measured at the same time as the first of them judges too. Of who was measured at one time alone nothing judges.
    A model is then judged by how it goes on: everyone's own coordinates come from what was measured before.
    Errors: `ValueError` for a share outside (0, 1), and a cohort in which nobody was measured at two times.
    """
    share = _share(share, "judged_tail", cohort)
    there, judged = cohort.informative.any(-1), torch.zeros_like(cohort.times, dtype=torch.bool)  # (N, T)
    for measured, times, row in zip(there, cohort.times, judged, strict=True):
        own = times[measured]
        distinct = torch.unique(own)
        if len(distinct) > 1:
            begin = own[-max(1, math.floor(share * len(own)))]
            row |= (times >= torch.maximum(begin, distinct[1])) & measured
    return _some(judged, "judged_tail", "nobody was measured at two times or more, so that a tail would leave nothing of anybody")


def judged_blocks(
    cohort: Cohort,
    generator: torch.Generator,
    *,
    length: int,
    share: float = 0.2,
) -> Tensor:  # (N, T) bool
    """Whole stretches of everyone's record: of its blocks of `length` measured times, about `share` drawn at random.

    A model is then judged by how it fills gaps: everyone's own coordinates come from what was measured before and after. Of who
    has one block alone nothing judges, of who has more at least one does, and never all.
    Errors: `ValueError` for a share outside (0, 1), a length below 1, and a cohort in which nobody has two blocks.
    """
    share = _share(share, "judged_blocks", cohort)
    require_number(length, "judged_blocks: length, a number of measured times,", least=1.0, whole=True)
    require_generator(generator, "judged_blocks: generator")
    there, judged = cohort.informative.any(-1), torch.zeros_like(cohort.times, dtype=torch.bool)  # (N, T)
    for measured, row in zip(there, judged, strict=True):
        own = torch.nonzero(measured)[:, 0]
        blocks = own.split(min(int(length), len(own) + 1))  # torch takes no length beyond 64 bits
        if len(blocks) > 1:
            count = min(len(blocks) - 1, max(1, round(share * len(blocks))))
            for k in torch.randperm(len(blocks), generator=generator, device=generator.device)[:count].tolist():
                row[blocks[k]] = True
    return _some(judged, "judged_blocks", f"nobody has more than {int(length)} measured times; write a shorter length")


def judged_people(cohort: Cohort, generator: torch.Generator, share: float = 0.2) -> Tensor:  # (N, T) bool
    """Everything of some people, `share` of all, at least one and never all, drawn at random.

    A model is then judged by people of whom it knows what they were given, and nothing that was measured.
    Errors: `ValueError` for a share outside (0, 1), and fewer than two people who were measured.
    """
    share = _share(share, "judged_people", cohort)
    require_generator(generator, "judged_people: generator")
    there = cohort.informative.any(-1)  # (N, T)
    who = torch.nonzero(there.any(1))[:, 0]
    count = min(len(who) - 1, max(1, round(share * len(who))))
    chosen = torch.zeros_like(there[:, 0])
    if count > 0:
        chosen[who[torch.randperm(len(who), generator=generator, device=generator.device)[:count].to(who.device)]] = True
    return _some(there & chosen[:, None], "judged_people", "fewer than two people were measured, so that nobody would teach")


def judged_records(cohort: Cohort, ids: Sequence[str]) -> Tensor:  # (N, T) bool
    """Everything of the records with these ids.

    Errors: `ValueError` for an id that the cohort has not, and for ids of which nothing was measured.
    """
    require_kind(cohort, Cohort, "judged_records: cohort", "judged_records(cohort, ['7', '9'])")
    ids = require_names(ids, "judged_records: ids", "['7', '9']")
    unknown = [one for one in ids if one not in cohort.ids]
    if unknown:
        raise ValueError(f"judged_records: the cohort has no {quote(unknown[0])}; its ids are {quote(list(cohort.ids), 200)}")
    chosen = torch.tensor([one in ids for one in cohort.ids], device=cohort.y.device)
    judged = cohort.informative.any(-1) & chosen[:, None]
    return _some(judged, "judged_records", "nothing was measured of these; give others")


def _share(share: float, name: str, cohort: Cohort) -> float:
    require_kind(cohort, Cohort, f"{name}: cohort", f"{name}(Cohort.of(records, model), …)")
    require_number(share, f"{name}: share", above=0.0)
    if not share < 1.0:
        raise ValueError(f"{name}: share is {share:g}, and what is left must teach; write share=0.2")
    return float(share)


def _some(judged: Tensor, name: str, why: str) -> Tensor:
    if not bool(judged.any()):
        raise ValueError(f"{name}: {why}")
    return judged
