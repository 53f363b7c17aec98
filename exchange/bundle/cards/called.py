"""What a card calls those whom a model is of: people who are given doses, or records of a system that is driven."""

from dataclasses import dataclass

from exchange.bundle.bundle import Bundle


@dataclass(frozen=True)
class Called:
    """The words of a card.

    `one` and `many` of them, "whom" or "which" of these · `dosed`, whether doses are spoken of · what is `given`, and its verb
    (`are`) · what may lie `outside` of what was seen · what is `decided` about them.
    """

    one: str
    many: str
    whom: str
    dosed: bool
    given: str
    are: str
    outside: str
    decided: str


_PEOPLE = Called("person", "people", "whom", True, "a schedule", "is", "People, doses, inputs", "a person's treatment")
_DRIVEN = Called("person", "people", "whom", False, "inputs", "are", "People, inputs", "a person's treatment")
_RECORDS = Called("record", "records", "which", False, "inputs", "are", "Inputs", "the system")


def called(bundle: Bundle) -> Called:
    """Records where the model has inputs, nobody a coordinate of their own, and nobody a dose; people everywhere else.

    People who are driven by inputs, and of whom none was given a dose, have no words about doses.
    """
    dosed = any(person.schedule.given for person in bundle.people)
    if dosed or not bundle.model.backbone.inputs:
        return _PEOPLE
    return _DRIVEN if bundle.model.personal else _RECORDS
