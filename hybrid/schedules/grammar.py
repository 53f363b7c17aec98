"""The language of schedules: its grammar as help pages quote it, its words, and how names and units are written in it."""

import re

from hybrid.schedules.schedule_tokens import TOKEN

EXAMPLES = (
    "dose 320 mg -> gut @ 0",
    "dose 100 -> gut @ 0 every 8 h x 3",
    "dose 200 mg -> plasma @ 1.5 over 2 h; clear gut",
    "scale gut by 2",
    "split gut in 2 every 12 h",
    "set glucose = 5.0 @ 0, 9.1 @ 30 linear",
    "set glucose = 5.0 @ 0, 9.1 @ 30 held; set basal = 0.4",
    "from 12 h: clear plasma; dose 50 mg -> gut @ 14",
    "steady 100 mg -> gut @ 0 every 24 h; dose 100 mg -> gut @ 0; reset @ 72 h",
)

GRAMMAR = """\
schedule  = statements { ";" "from" time ":" statements }
statements = statement { ";" statement }
statement = dose | scale | split | clear | set | reset | steady | nothing
dose      = "dose" amount "->" state "@" time [ "every" duration "x" count ] [ over ]
over      = "over" ( duration [ "rate" "kept" ] | "duration" | "rate" )
scale     = "scale" state "by" number
split     = "split" state "in" count "every" duration
clear     = "clear" state
set       = "set" input "=" value [ "@" time ] { "," value "@" time } [ "linear" | "held" ]
reset     = "reset" "@" time
steady    = "steady" amount "->" state "@" time "every" duration [ "over" duration [ "rate" "kept" | "always" ] ] [ "added" ]
amount, value, time, duration = number [ unit ]

dose   replaces the doses into that compartment; several dose statements into one compartment add up.
       every 8 h x 3: three doses in all, 8 h apart. over 2 h: an infusion at a constant rate. over duration, over rate: an
       infusion whose duration or rate the model knows of each person. rate kept: where a model has a fraction of it arrive, the
       rate stays as it is and not the duration.
scale  multiplies every dose into the compartment, those that led to a steady state too, unless a from stands before it; split
       cuts each into equal ones, the first at the old time.
clear  takes the doses into the compartment away. Neither it nor split changes the doses that led to a steady state.
set    replaces an input signal: linear between its points (default), or held from each to the next. One value
       without a time holds throughout.
reset  makes everything at that time as if nothing had ever been given, before a dose of the same time.
steady puts the state at that time where the same dose every so often, for ever, has brought it, just before the next one is
       given (which a dose statement says). always: an infusion over all of the interval that never stopped until then, whose
       rate stays as it is. added: on top of what is there, in a linear model.
from   begins what is done from that time on: what was given before stays, and an infusion that runs is cut there where a
       statement after it names its compartment. It holds for all statements up to the next from.
What is not named stays as it is. Units may be left out; typed, they must be the model's own. Names with other signs
than letters, digits and _ stand in double quotes.

examples
""" + "\n".join(f"  {example}" for example in EXAMPLES)

STATEMENTS = ("dose", "scale", "split", "clear", "set", "reset", "steady")
KEYWORDS = ("every", "over", "rate", "always", "added", "x", "×", "by", "in", "linear", "held", "from", *STATEMENTS)


def name_text(name: str) -> str:
    """A name as it is written, in double quotes where it is no word."""
    if '"' in name or "\n" in name:
        raise ValueError(f"the name {name!r} holds a double quote or a line's end and cannot be written; rename it")
    return name if re.fullmatch(r"[^\W\d]\w*", name) else f'"{name}"'


def unit_text(unit: str) -> str:
    """A unit as it is written, in double quotes where it would not be read as one word."""
    found = TOKEN.match(unit)  # not fullmatch, which would read 10*6/L as one word
    plain = found is not None and found.lastgroup == "word" and found.end() == len(unit) and unit not in KEYWORDS
    return unit if plain else f'"{unit}"'
