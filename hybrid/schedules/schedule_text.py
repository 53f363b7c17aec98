"""Schedules as text: the one language in which doses and inputs are typed, in commands, streams and reports.

`parse_schedule` reads it, `format_schedule` writes it, `hybrid.schedules.grammar` says what it is. Statements act from
left to right on a base schedule and, like `Schedule.do`, leave alone everything that they do not name.
"""

import itertools
from collections.abc import Callable, Mapping, Sequence
from typing import Generic, Literal, Protocol, TypeVar

from hybrid.schedules.dose import Dose, as_float, slack
from hybrid.schedules.grammar import KEYWORDS, STATEMENTS, name_text, unit_text
from hybrid.schedules.schedule_tokens import Reader, ScheduleTextError, Token
from hybrid.schedules.signal import Signal
from hybrid.schedules.steady import Steady
from physics import Backbone

_MOST = 10_000  # more doses than this are a slip
_KEPT = {"rate": " rate kept", "always": " always"}

S = TypeVar("S", bound="Given")


class Given(Protocol):
    """A schedule, as far as its text needs it: `hybrid.schedules.schedule` reads texts itself, and so is not known here."""

    @property
    def start(self) -> float: ...
    @property
    def doses(self) -> Sequence[Dose]: ...
    @property
    def inputs(self) -> Mapping[str, Signal]: ...
    @property
    def resets(self) -> tuple[float, ...]: ...
    @property
    def steady(self) -> tuple[Steady, ...]: ...
    def into(self, state: str) -> Sequence[Dose]: ...
    def begun_anew(self: S, *, resets: Sequence[float] = (), steady: Sequence[Steady] = ()) -> S: ...
    def do(self: S, *changes: Mapping[str, Sequence[Dose]], inputs: Mapping[str, Signal] | None = None) -> S: ...
    def added(self: S, *doses: Dose) -> S: ...
    def scaled(self: S, state: str, factor: float, *, history: bool = True) -> S: ...
    def split(self: S, state: str, parts: int, interval: float) -> S: ...
    def onwards(self: S, time: float, change: Callable[[S], S]) -> S: ...


def schedule_units(backbone: Backbone) -> dict[str, str]:
    """The units of a model for `parse_schedule`: UCUM codes by the name of each state and input, and of "time"."""
    names = (*backbone.states, *backbone.inputs)
    return {**dict(zip(names, (*backbone.state_units, *backbone.input_units), strict=True)), "time": backbone.time_unit}


def parse_schedule(
    text: str,
    *,
    states: Sequence[str] | None,
    inputs: Sequence[str] | None = (),
    base: S,
    units: Mapping[str, str] | None = None,
    onwards: bool = False,
) -> S:
    """The schedule that `text` (see `GRAMMAR`) makes of `base`.

    Arguments: `states` and `inputs`, the names that may be used, None for any; `base`, what is changed, with the record's start;
    `units`, as from `schedule_units`: a typed unit must be equal to the one here; `onwards`, whether the base is what is given
    from its start on of a longer schedule, as after "from", which messages then say.
    Returns: a new schedule, its doses sorted by time, those of one time in the order in which they were typed.
    Errors: `ScheduleTextError`, a `ValueError` that shows the text, a caret where it stops making sense, and what to
    write there.
    Law: `parse_schedule(format_schedule(s), base=Schedule(start=s.start), …)` is s where the doses of s are sorted by
    time; what the text does not name is the base's.
    """
    known, driving = (None if given is None else tuple(given) for given in (states, inputs))
    return _Parser(text, known, driving, dict(units or {}), base, onwards).schedule()


def format_schedule(schedule: Given, *, units: Mapping[str, str] | None = None) -> str:
    """The text of a schedule: one statement for each dose and input, with units where `units` has them.

    Numbers are written with every digit that counts, so that reading them back is exact; gradients of tensors are lost.
    Errors: `ValueError` for a name with a double quote in it.
    """
    units = units or {}

    def amount(value: float, name: str) -> str:
        number = repr(float(value)).removesuffix(".0")
        return f"{number} {unit_text(units[name])}" if name in units else number

    def slowly(what: Dose | Steady) -> str:
        over = as_float(what.duration)
        return f" over {amount(over, 'time')}" + _KEPT.get(what.kept, "") if over else ""

    parts = []
    for dose in schedule.doses:
        statement = f"dose {amount(as_float(dose.amount), dose.state)} -> {name_text(dose.state)}"
        statement += f" @ {amount(as_float(dose.arrival), 'time')}"
        parts.append(statement + (f" over {dose.modelled}" if dose.modelled else slowly(dose)))
    for one in schedule.steady:
        statement = f"steady {amount(as_float(one.amount), one.state)} -> {name_text(one.state)} @ {amount(one.time, 'time')}"
        statement += f" every {amount(one.every, 'time')}" + slowly(one)
        parts.append(statement + (" added" if one.added else ""))
    parts += [f"reset @ {amount(time, 'time')}" for time in schedule.resets]
    for name, signal in schedule.inputs.items():
        points = [f"{amount(v, name)} @ {amount(t, 'time')}" for t, v in zip(signal.times, signal.values, strict=True)]
        parts.append(f"set {name_text(name)} = {', '.join(points)} {signal.kind}")
    return "; ".join(parts)


class _Parser(Generic[S]):
    """Reads statement after statement and applies each at once."""

    def __init__(
        self,
        text: str,
        states: tuple[str, ...] | None,
        inputs: tuple[str, ...] | None,
        units: dict[str, str],
        base: S,
        since: bool,
    ) -> None:
        self.read, self.states, self.inputs, self.units = Reader(text), states, inputs, units
        self.now, self.since = base, since
        self._forget()

    def _forget(self) -> None:
        self.retold: set[str] = set()  # compartments whose doses in the base are replaced or cleared
        self.altered: set[str] = set()  # compartments whose doses in the base were scaled or split
        self.given: set[str] = set()  # inputs that were set

    def schedule(self) -> S:
        begins = self._begins()
        self._statements(self.now)
        while self.read.peek().kind != "end":
            token = self.read.take()  # "from"
            time = self._quantity("time", "time")[0]
            self.read.need_sign(":", "what is done from then on")
            if time < self._earliest(time):
                self.read.fail(token, f"{begins} at {self.now.start:g}; write that time or a later one")
            self._forget()
            self.since = True
            self.now = self.now.onwards(time, self._statements)
        return self.now

    def _statements(self, base: S) -> S:
        """What the statements up to the end, or to the next "from", make of `base`."""
        self.now, read = base, self.read
        while not self._ends():
            if read.take_sign(";"):
                continue
            self._statement()
            if not self._ends() and not read.take_sign(";"):
                read.fail(read.peek(), f"{read.seen()} does not belong to the statement before it; write ; between two")
        return self.now

    def _ends(self) -> bool:
        token = self.read.peek()
        return token.kind == "end" or (token.kind == "word" and token.text == "from" and self._between())

    def _between(self) -> bool:
        """Is the next token the first of a statement?"""
        before = self.read.tokens[self.read.place - 1] if self.read.place else None
        return before is None or (before.kind == "sign" and before.text in ";:")

    # ---- parts of a statement

    def _name(self, known: tuple[str, ...] | None, what: str) -> str:
        token = self.read.peek()
        if token.kind not in ("word", "quoted") or (known is not None and token.text not in known):
            names = ", ".join(name_text(name) for name in known or ())
            cure = f"the model's are {names}" if known else "write it" if known is None else f"the model has no {what}"
            self.read.fail(token, f"found {self.read.seen()} where the name of one {what} belongs; {cure}")
        return self.read.take().text

    def _count(self, what: str) -> int:
        value, token = self.read.number(what)
        if value != int(value) or value < 1:
            self.read.fail(token, f"the {what} is {token.text}, and a whole number from 1 on is needed")
        if value > _MOST:
            self.read.fail(token, f"the {what} is {token.text}, and at most {_MOST} are read; write a smaller one")
        return int(value)

    def _require_few(self, token: Token, doses: int) -> None:
        """Refuse what repeats beyond reason before it is made: two statements multiply what each of them may ask for."""
        if doses > _MOST:
            self.read.fail(token, f"that would be {doses} doses in all, and at most {_MOST} are read; repeat fewer")

    def _quantity(self, what: str, of: str) -> tuple[float, Token]:
        """A number and, where one is typed, its unit, which must be that of `of`."""
        value, token = self.read.number(what)
        self._unit(of)
        return value, token

    def _unit(self, of: str) -> None:
        token = self.read.peek()
        if token.kind != "quoted" and (token.kind != "word" or token.text in KEYWORDS):
            return
        unit = self.units.get(of)
        if unit is None:
            self.read.fail(token, f"the unit of {of} is not known here, so {token.text} cannot be checked; leave it out")
        if token.text != unit:
            self.read.fail(
                token, f"{of} is in {unit}, and this is {token.text}; convert the number, then write {unit} or nothing"
            )
        self.read.take()

    def _duration(self, what: str) -> float:
        value, token = self._quantity(what, "time")
        if not value > 0.0:
            self.read.fail(token, f"the {what} is {token.text}, and must be longer than 0")
        return value

    # ---- statements

    def _statement(self) -> None:
        token = self.read.peek()
        act = {
            "dose": self._dose,
            "scale": self._scale,
            "split": self._split,
            "clear": self._clear,
            "set": self._set,
            "reset": self._reset,
            "steady": self._steady,
        }.get(token.text if token.kind == "word" else "")
        if act is None:
            begins = ", ".join(STATEMENTS)
            self.read.fail(
                token,
                f"found {self.read.seen()} where a statement begins; it begins with {begins}, or from, as in "
                f"{self._statement_of()}",
            )
        self.read.take()
        try:
            act()
        except ScheduleTextError:
            raise
        except ValueError as error:  # what a schedule itself refuses, such as an amount that overflows
            self.read.fail(token, str(error))

    def _reset(self) -> None:
        self.read.need_sign("@", "the time of the reset", "reset @ 24")
        self.now = self.now.begun_anew(resets=(self._when("reset"),))

    def _steady(self) -> None:
        amount, _, state, _ = self._amount_into("steady")
        time = self._when("steady state")
        example = f"steady 100 -> {self._example()} @ 0 every 24"
        self.read.need_word("every", use="the interval between the doses", example=example)
        every, duration = self._duration("interval"), 0.0
        if self.read.take_word("over"):
            duration = self._duration("duration of the infusion")
        kept: Literal["duration", "rate", "always"] = "duration"
        if duration:
            kept = "always" if self.read.take_word("always") else self._kept()
        added = self.read.take_word("added") is not None
        self.now = self.now.begun_anew(steady=(Steady(state, time, amount, every, duration, added, kept),))

    def _kept(self) -> Literal["duration", "rate"]:
        """What of an infusion a fraction leaves as it was said."""
        if self.read.take_word("rate") is None:
            return "duration"
        self.read.need_word("kept", use="what stays", example="over 2 rate kept")
        return "rate"

    def _when(self, what: str) -> float:
        time, token = self._quantity("time", "time")
        if time < self._earliest(time):
            self.read.fail(token, f"{self._begins()} at {self.now.start:g}; write that time or a later one for the {what}")
        return max(time, self.now.start)

    def _amount_into(self, verb: str) -> tuple[float, Token, str, Token]:
        """An amount, the compartment into which it goes, and the sign before the time, with the tokens of the first two."""
        amount, at_amount = self.read.number("dose")
        if amount < 0.0:
            self.read.fail(at_amount, f"the dose is {at_amount.text}, and a dose cannot be negative; correct the sign")
        # the unit is that of the compartment, whose name comes later
        unit_at = self.read.place
        arrow_follows = self.read.peek(1).kind == "arrow"
        if self.read.peek().kind in ("word", "quoted") and (arrow_follows or self.read.peek().text not in (self.states or ())):
            self.read.take()
        if self.read.peek().kind != "arrow":
            self.read.fail(
                self.read.peek(), f"found {self.read.seen()} where -> and the compartment belong, as in -> {self._example()}"
            )
        self.read.take()
        target = self.read.peek()
        state = self._name(self.states, "compartment")
        after, self.read.place = self.read.place, unit_at
        self._unit(state)
        self.read.place = after
        self.read.need_sign("@", f"the time of the {verb}", f"{verb} {at_amount.text} -> {name_text(state)} @ 0")
        return amount, at_amount, state, target

    def _dose(self) -> None:
        amount, at_amount, state, target = self._amount_into("dose")
        time, at_time = self._quantity("time", "time")
        if time < self._earliest(time):
            self.read.fail(at_time, f"{self._begins()} at {self.now.start:g}; dose at that time or later")
        time = max(time, self.now.start)
        interval, count, duration = 0.0, 1, 0.0
        modelled: Literal["", "rate", "duration"] = ""
        kept: Literal["duration", "rate"] = "duration"
        if self.read.take_word("every"):
            interval = self._duration("interval")
            self.read.need_word("x", "×", use="the number of doses in all")
            count = self._count("number of doses")
        if self.read.take_word("over"):
            if self.read.take_word("duration"):
                modelled = "duration"
            elif self.read.take_word("rate"):
                modelled = "rate"
            else:
                duration = self._duration("duration of the infusion")
                kept = self._kept() if duration else "duration"
        if state in self.altered and state not in self.retold:
            self.read.fail(
                target,
                f"this dose replaces those into {state}, which an earlier statement scaled or split; put the dose "
                "first, or leave that statement out",
            )
        if state not in self.retold:
            self.retold.add(state)
            self.now = self.now.do({state: []})
        self._require_few(at_amount, len(self.now.doses) + count)
        new = [Dose(state, time + k * interval, amount, duration, modelled=modelled, kept=kept) for k in range(count)]
        self.now = self.now.added(*new)  # those of one time stay in the order in which they were typed

    def _dosed(self, verb: str) -> str:
        token = self.read.peek()
        state = self._name(self.states, "compartment")
        behind = verb == "scale" and not self.since and any(s.state == state for s in self.now.steady)
        if not behind and not self.now.into(state):
            when = f" from {self.now.start:g} on, and what was given before stays" if self.since else ""
            write = f"dose 1 -> {name_text(state)} @ {self.now.start if self.since else 0:g}"
            self.read.fail(token, f"there is no dose into {state} to {verb}{when}; give one: {write}")
        return state

    def _scale(self) -> None:
        state = self._dosed("scale")
        self.read.need_word("by", use="the factor", example=f"scale {name_text(state)} by {self.read.number_ahead('2')}")
        factor, token = self.read.number("factor")
        if factor < 0.0:
            self.read.fail(token, f"the factor is {token.text}, and doses cannot be negative; write one from 0 on")
        self.altered.add(state)
        # the doses that led to a steady state were given before what is done from a time on
        self.now = self.now.scaled(state, factor, history=not self.since)

    def _split(self) -> None:
        token, state = self.read.peek(), self._dosed("split")
        self.read.need_word("in", use="the number of parts", example=f"split {name_text(state)} in 2 every 12")
        parts = self._count("number of parts")
        self._require_few(token, len(self.now.doses) + (parts - 1) * len(self.now.into(state)))
        self.read.need_word("every", use="the interval between the parts")
        self.altered.add(state)
        self.now = self.now.split(state, parts, self._duration("interval"))

    def _clear(self) -> None:
        state = self._name(self.states, "compartment")
        self.retold.add(state)
        self.now = self.now.do({state: []})

    def _set(self) -> None:
        token = self.read.peek()
        name = self._name(self.inputs, "input")
        if name in self.given:
            self.read.fail(token, f"{name} is set twice; put all of its points into one statement, separated by commas")
        self.given.add(name)
        self.read.need_sign("=", "the value", f"set {name_text(name)} = {self.read.number_ahead('8')}")
        values = [self._quantity("value", name)[0]]
        if self.read.take_sign("@"):
            times = [self._quantity("time", "time")]
            while self.read.take_sign(","):
                values.append(self._quantity("value", name)[0])
                self.read.need_sign("@", "the time of this value")
                times.append(self._quantity("time", "time"))
        elif self.read.peek().text == ",":
            self.read.fail(self.read.peek(), "several values need their times: value @ time, value @ time")
        else:
            times = [(self.now.start, token)]
        for (before, _), (time, at) in itertools.pairwise(times):
            if time <= before:
                self.read.fail(at, f"time {time:g} does not come after {before:g}; give the points in increasing time")
        kind: Literal["linear", "held"] = "held" if self.read.take_word("linear", "held") == "held" else "linear"
        self.now = self.now.do(inputs={name: Signal(tuple(t for t, _ in times), tuple(values), kind)})

    def _earliest(self, time: float) -> float:
        """The least time that is not before the start, but for rounding."""
        return self.now.start - slack(time, self.now.start, *(as_float(d.time) for d in self.now.doses))

    def _begins(self) -> str:
        return "what is done here begins" if self.since else "the record starts"

    def _statement_of(self) -> str:
        """A statement that this model takes."""
        if self.inputs and not self.now.doses:
            return f"set {name_text(self.inputs[0])} = 8"
        return f"dose 100 -> {self._example()} @ 0"

    def _example(self) -> str:
        return name_text(self.states[0]) if self.states else "gut"
