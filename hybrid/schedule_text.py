"""Schedules as text: the one language in which doses and inputs are typed, in commands, streams and reports.

`parse_schedule` reads it, `format_schedule` writes it, `GRAMMAR` is the text that help pages quote. Statements act from
left to right on a base schedule and, like `Schedule.do`, leave alone everything that they do not name.
"""

import itertools
import math
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Literal, NoReturn

from hybrid.schedule import Dose, Schedule, Signal, as_float
from physics import Backbone
from physics.arguments import shortened

EXAMPLES = (
    "dose 320 mg -> gut @ 0",
    "dose 100 -> gut @ 0 every 8 h x 3",
    "dose 200 mg -> plasma @ 1.5 over 2 h; clear gut",
    "scale gut by 2",
    "split gut in 2 every 12 h",
    "set glucose = 5.0 @ 0, 9.1 @ 30 linear",
    "set glucose = 5.0 @ 0, 9.1 @ 30 held; set basal = 0.4",
)

GRAMMAR = """\
schedule  = statement { ";" statement }
statement = dose | scale | split | clear | set | nothing
dose      = "dose" amount "->" state "@" time [ "every" duration "x" count ] [ "over" duration ]
scale     = "scale" state "by" number
split     = "split" state "in" count "every" duration
clear     = "clear" state
set       = "set" input "=" value [ "@" time ] { "," value "@" time } [ "linear" | "held" ]
amount, value, time, duration = number [ unit ]

dose   replaces the doses into that compartment; several dose statements into one compartment add up.
       every 8 h x 3: three doses in all, 8 h apart. over 2 h: an infusion at a constant rate.
scale  multiplies every dose into the compartment; split cuts each into equal ones, the first at the old time.
clear  takes the doses into the compartment away.
set    replaces an input signal: linear between its points (default), or held from each to the next. One value
       without a time holds throughout.
What is not named stays as it is. Units may be left out; typed, they must be the model's own. Names with other signs
than letters, digits and _ stand in double quotes.

examples
""" + "\n".join(f"  {example}" for example in EXAMPLES)

_TOKEN = re.compile(
    r"(?P<number>[+-]?(?:\d+\.?\d*|\.\d+)(?:[eE][+-]?\d+)?)"
    r"|(?P<arrow>->|→)"
    r"|(?P<sign>[;,@=])"
    r'|"(?P<quoted>[^"]*)"'
    r'|(?P<word>(?:(?!->)[^\s;,@="→])+)'
)
_STATEMENTS = ("dose", "scale", "split", "clear", "set")
_KEYWORDS = ("every", "over", "x", "×", "by", "in", "linear", "held", *_STATEMENTS)
_SHOWN, _WORD = 100, 60  # characters of a line, and of a word in it, that a message quotes
_MOST = 10_000  # more doses than this are a slip


class ScheduleTextError(ValueError):
    """A text that is no schedule: `at` is the place in the text, counted from 0, to which its caret points."""

    def __init__(self, message: str, at: int) -> None:
        super().__init__(message)
        self.at = at


def schedule_units(backbone: Backbone) -> dict[str, str]:
    """The units of a model for `parse_schedule`: UCUM codes by the name of each state and input, and of "time"."""
    names = (*backbone.states, *backbone.inputs)
    return {**dict(zip(names, (*backbone.state_units, *backbone.input_units), strict=True)), "time": backbone.time_unit}


def parse_schedule(
    text: str,
    *,
    states: Sequence[str],
    inputs: Sequence[str] = (),
    base: Schedule,
    units: Mapping[str, str] | None = None,
) -> Schedule:
    """The schedule that `text` (see `GRAMMAR`) makes of `base`.

    Arguments: `states` and `inputs`, the names that may be used; `base`, what is changed, with the record's start;
    `units`, as from `schedule_units`: a typed unit must be equal to the one here.
    Returns: a new schedule, its doses sorted by time, those of one time in the order in which they were typed.
    Errors: `ScheduleTextError`, a `ValueError` that shows the text, a caret where it stops making sense, and what to
    write there.
    Law: `parse_schedule(format_schedule(s), base=Schedule(start=s.start), …)` is s where the doses of s are sorted by
    time; what the text does not name is the base's.
    """
    return _Parser(text, tuple(states), tuple(inputs), dict(units or {}), base).schedule()


def format_schedule(schedule: Schedule, *, units: Mapping[str, str] | None = None) -> str:
    """The text of a schedule: one statement for each dose and input, with units where `units` has them.

    Numbers are written with every digit that counts, so that reading them back is exact; gradients of tensors are lost.
    Errors: `ValueError` for a name with a double quote in it.
    """
    units = units or {}

    def amount(value: float, name: str) -> str:
        number = repr(float(value)).removesuffix(".0")
        return f"{number} {_unit_text(units[name])}" if name in units else number

    parts = []
    for dose in schedule.doses:
        statement = f"dose {amount(as_float(dose.amount), dose.state)} -> {_name_text(dose.state)}"
        statement += f" @ {amount(as_float(dose.arrival), 'time')}"
        parts.append(statement + (f" over {amount(as_float(dose.duration), 'time')}" if not dose.bolus else ""))
    for name, signal in schedule.inputs.items():
        points = [f"{amount(v, name)} @ {amount(t, 'time')}" for t, v in zip(signal.times, signal.values, strict=True)]
        parts.append(f"set {_name_text(name)} = {', '.join(points)} {signal.kind}")
    return "; ".join(parts)


def _name_text(name: str) -> str:
    if '"' in name or "\n" in name:
        raise ValueError(f"the name {name!r} holds a double quote or a line's end and cannot be written; rename it")
    return name if re.fullmatch(r"[^\W\d]\w*", name) else f'"{name}"'


def _unit_text(unit: str) -> str:
    found = _TOKEN.match(unit)  # not fullmatch, which would read 10*6/L as one word
    plain = found is not None and found.lastgroup == "word" and found.end() == len(unit) and unit not in _KEYWORDS
    return unit if plain else f'"{unit}"'


@dataclass(frozen=True)
class _Token:
    kind: str  # number, arrow, sign, quoted, word or end
    text: str
    at: int


class _Parser:
    """Reads statement after statement and applies each at once."""

    def __init__(
        self, text: str, states: tuple[str, ...], inputs: tuple[str, ...], units: dict[str, str], base: Schedule
    ) -> None:
        self.text, self.states, self.inputs, self.units = text, states, inputs, units
        self.now = base
        self.retold: set[str] = set()  # compartments whose doses in the base are replaced or cleared
        self.altered: set[str] = set()  # compartments whose doses in the base were scaled or split
        self.given: set[str] = set()  # inputs that were set
        self.tokens, self.next = self._tokens(), 0

    def schedule(self) -> Schedule:
        while self._peek().kind != "end":
            if self._take_sign(";"):
                continue
            self._statement()
            if self._peek().kind != "end" and not self._take_sign(";"):
                self._fail(
                    self._peek(), f"{self._seen()} does not belong to the statement before it; write ; between two"
                )
        return self.now

    # ---- tokens

    def _tokens(self) -> list[_Token]:
        tokens, at = [], 0
        while at < len(self.text):
            if self.text[at].isspace():
                at += 1
                continue
            found = _TOKEN.match(self.text, at)
            if found is None:  # only a double quote that is never closed
                self._fail(_Token("word", '"', at), "this double quote is never closed; close it")
            kind = found.lastgroup or "word"  # every alternative is named
            tokens.append(_Token(kind, found[kind], at))
            at = found.end()
        return [*tokens, _Token("end", "", len(self.text))]

    def _peek(self) -> _Token:
        return self.tokens[self.next]

    def _take(self) -> _Token:
        token = self.tokens[self.next]
        self.next += token.kind != "end"
        return token

    def _seen(self) -> str:
        token = self._peek()
        return "the end" if token.kind == "end" else repr(token.text)

    def _take_sign(self, sign: str) -> bool:
        token = self._peek()
        found = token.kind == "sign" and token.text == sign
        self.next += found
        return found

    def _take_word(self, *words: str) -> str | None:
        token = self._peek()
        if token.kind != "word" or token.text not in words:
            return None
        return self._take().text

    def _need_sign(self, sign: str, use: str) -> None:
        if not self._take_sign(sign):
            self._fail(self._peek(), f"found {self._seen()} where {sign} and {use} belong")

    def _need_word(self, *words: str, use: str) -> None:
        if self._take_word(*words) is None:
            self._fail(self._peek(), f"found {self._seen()} where {words[0]} and {use} belong")

    def _fail(self, token: _Token, message: str) -> NoReturn:
        line = self.text.count("\n", 0, token.at)
        begin = self.text.rfind("\n", 0, token.at) + 1
        shown, place = self.text.split("\n")[line].replace("\t", " "), token.at - begin
        if len(shown) > _SHOWN:  # of a long line the part around the place
            left = max(0, min(place - _SHOWN // 2, len(shown) - _SHOWN))
            cut = shown[left : left + _SHOWN]
            shown = f"{'… ' if left else ''}{cut}{' …' if left + _SHOWN < len(shown) else ''}"
            place += 2 * bool(left) - left
        if len(token.text) > _WORD:
            message = message.replace(token.text, shortened(token.text, _WORD))
        raise ScheduleTextError(f"schedule: {message}\n  {shown}\n  {' ' * place}^", token.at)

    # ---- parts of a statement

    def _name(self, known: tuple[str, ...], what: str) -> str:
        token = self._peek()
        if token.kind not in ("word", "quoted") or token.text not in known:
            names = ", ".join(_name_text(name) for name in known)
            cure = f"the model's are {names}" if known else f"the model has no {what}"
            self._fail(token, f"found {self._seen()} where the name of one {what} belongs; {cure}")
        return self._take().text

    def _number(self, what: str) -> tuple[float, _Token]:
        token = self._peek()
        if token.kind != "number":
            self._fail(token, f"found {self._seen()} where the number of the {what} belongs, as in 2.5")
        value = float(self._take().text)
        if not math.isfinite(value):
            self._fail(token, f"the {what} {token.text} is too large to be a number; write a smaller one")
        return value, token

    def _count(self, what: str) -> int:
        value, token = self._number(what)
        if value != int(value) or value < 1:
            self._fail(token, f"the {what} is {token.text}, and a whole number from 1 on is needed")
        if value > _MOST:
            self._fail(token, f"the {what} is {token.text}, and at most {_MOST} are read; write a smaller one")
        return int(value)

    def _require_few(self, token: _Token, doses: int) -> None:
        """Refuse what repeats beyond reason before it is made: two statements multiply what each of them may ask for."""
        if doses > _MOST:
            self._fail(token, f"that would be {doses} doses in all, and at most {_MOST} are read; repeat fewer")

    def _quantity(self, what: str, of: str) -> tuple[float, _Token]:
        """A number and, where one is typed, its unit, which must be that of `of`."""
        value, token = self._number(what)
        self._unit(of)
        return value, token

    def _unit(self, of: str) -> None:
        token = self._peek()
        if token.kind != "quoted" and (token.kind != "word" or token.text in _KEYWORDS):
            return
        unit = self.units.get(of)
        if unit is None:
            self._fail(token, f"the unit of {of} is not known here, so {token.text} cannot be checked; leave it out")
        if token.text != unit:
            self._fail(
                token, f"{of} is in {unit}, and this is {token.text}; convert the number, then write {unit} or nothing"
            )
        self._take()

    def _duration(self, what: str) -> float:
        value, token = self._quantity(what, "time")
        if not value > 0.0:
            self._fail(token, f"the {what} is {token.text}, and must be longer than 0")
        return value

    # ---- statements

    def _statement(self) -> None:
        token = self._peek()
        act = {
            "dose": self._dose,
            "scale": self._scale,
            "split": self._split,
            "clear": self._clear,
            "set": self._set,
        }.get(token.text if token.kind == "word" else "")
        if act is None:
            self._fail(token, f"found {self._seen()} where a statement begins; it begins with {', '.join(_STATEMENTS)}")
        self._take()
        try:
            act()
        except ScheduleTextError:
            raise
        except ValueError as error:  # what a schedule itself refuses, such as an amount that overflows
            self._fail(token, str(error))

    def _dose(self) -> None:
        amount, at_amount = self._number("dose")
        if amount < 0.0:
            self._fail(at_amount, f"the dose is {at_amount.text}, and a dose cannot be negative; correct the sign")
        # the unit is that of the compartment, whose name comes later
        unit_at = self.next
        arrow_follows = self.tokens[min(unit_at + 1, len(self.tokens) - 1)].kind == "arrow"
        if self._peek().kind in ("word", "quoted") and (arrow_follows or self._peek().text not in self.states):
            self._take()
        if self._peek().kind != "arrow":
            self._fail(
                self._peek(), f"found {self._seen()} where -> and the compartment belong, as in -> {self._example()}"
            )
        self._take()
        target = self._peek()
        state = self._name(self.states, "compartment")
        after, self.next = self.next, unit_at
        self._unit(state)
        self.next = after
        self._need_sign("@", "the time of the dose")
        time, at_time = self._quantity("time", "time")
        if time < self.now.start:
            self._fail(at_time, f"the record starts at {self.now.start:g}; dose at that time or later")
        interval, count, duration = 0.0, 1, 0.0
        if self._take_word("every"):
            interval = self._duration("interval")
            self._need_word("x", "×", use="the number of doses in all")
            count = self._count("number of doses")
        if self._take_word("over"):
            duration = self._duration("duration of the infusion")
        if state in self.altered and state not in self.retold:
            self._fail(
                target,
                f"this dose replaces those into {state}, which an earlier statement scaled or split; put the dose "
                "first, or leave that statement out",
            )
        if state not in self.retold:
            self.retold.add(state)
            self.now = self.now.do({state: []})
        self._require_few(at_amount, len(self.now.doses) + count)
        new = [Dose(state, time + k * interval, amount, duration) for k in range(count)]
        # sorting is stable: doses of one time stay in the order in which they were typed
        self.now = replace(self.now, doses=tuple(sorted([*self.now.doses, *new], key=lambda d: as_float(d.time))))

    def _dosed(self, verb: str) -> str:
        token = self._peek()
        state = self._name(self.states, "compartment")
        if not self.now.into(state):
            self._fail(token, f"there is no dose into {state} to {verb}; give one: dose 1 -> {_name_text(state)} @ 0")
        return state

    def _scale(self) -> None:
        state = self._dosed("scale")
        self._need_word("by", use="the factor")
        factor, token = self._number("factor")
        if factor < 0.0:
            self._fail(token, f"the factor is {token.text}, and doses cannot be negative; write one from 0 on")
        self.altered.add(state)
        self.now = self.now.scaled(state, factor)

    def _split(self) -> None:
        token, state = self._peek(), self._dosed("split")
        self._need_word("in", use="the number of parts")
        parts = self._count("number of parts")
        self._require_few(token, len(self.now.doses) + (parts - 1) * len(self.now.into(state)))
        self._need_word("every", use="the interval between the parts")
        self.altered.add(state)
        self.now = self.now.split(state, parts, self._duration("interval"))

    def _clear(self) -> None:
        state = self._name(self.states, "compartment")
        self.retold.add(state)
        self.now = self.now.do({state: []})

    def _set(self) -> None:
        token = self._peek()
        name = self._name(self.inputs, "input")
        if name in self.given:
            self._fail(token, f"{name} is set twice; put all of its points into one statement, separated by commas")
        self.given.add(name)
        self._need_sign("=", "the value")
        values = [self._quantity("value", name)[0]]
        if self._take_sign("@"):
            times = [self._quantity("time", "time")]
            while self._take_sign(","):
                values.append(self._quantity("value", name)[0])
                self._need_sign("@", "the time of this value")
                times.append(self._quantity("time", "time"))
        elif self._peek().text == ",":
            self._fail(self._peek(), "several values need their times: value @ time, value @ time")
        else:
            times = [(self.now.start, token)]
        for (before, _), (time, at) in itertools.pairwise(times):
            if time <= before:
                self._fail(at, f"time {time:g} does not come after {before:g}; give the points in increasing time")
        kind: Literal["linear", "held"] = "held" if self._take_word("linear", "held") == "held" else "linear"
        self.now = self.now.do(inputs={name: Signal(tuple(t for t, _ in times), tuple(values), kind)})

    def _example(self) -> str:
        return _name_text(self.states[0])
