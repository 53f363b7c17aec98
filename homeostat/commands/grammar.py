"""`homeostat grammar`."""

from homeostat.commands.answer import Answer, Command
from homeostat.options import Json


def grammar(as_json: Json = False) -> Answer:
    """Print the grammar of doses and inputs, as `--do` reads it."""
    from hybrid.schedules.grammar import GRAMMAR

    return Answer({"grammar": GRAMMAR}, GRAMMAR)


GRAMMAR = Command(grammar, "homeostat grammar")
