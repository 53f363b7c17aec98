"""In which order waiting events are followed: nobody twice at once, and everybody in their own order."""

from collections.abc import Hashable, Sequence


def rounds(people: Sequence[Hashable]) -> list[list[int]]:
    """The places of the events of each round: the first of everybody, then everybody's second, and so on.

    Arguments: `people`, of whom each event is, in the order in which they came. Law: the estimate behind an event is then the
    one right after it, however much was waiting, since people know nothing of each other.
    """
    seen: dict[Hashable, int] = {}
    found: list[list[int]] = []
    for place, person in enumerate(people):
        turn = seen.get(person, 0)
        seen[person] = turn + 1
        if turn == len(found):
            found.append([])
        found[turn].append(place)
    return found
