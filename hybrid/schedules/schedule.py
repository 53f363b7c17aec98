"""What is done to one person: doses, infusions and input signals, and `do`, the question "what if we did this?"."""

import inspect
import itertools
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import cached_property
from typing import Any

from torch import Tensor

from hybrid.schedules.dose import Dose, as_float, next_after, no_earlier, part_of, slack
from hybrid.schedules.schedule_text import parse_schedule
from hybrid.schedules.signal import Signal
from hybrid.schedules.steady import Steady
from physics.arguments import quote, require_callable, require_flag, require_kind, require_number, require_text
from physics.glance import Summary, brief, glance


def _summary(schedule: Any) -> Summary:
    into: dict[str, list[Dose]] = {}
    for dose in schedule.doses:
        into.setdefault(dose.state, []).append(dose)
    doses = ", ".join(f"{state} ({len(given)})" for state, given in into.items())
    inputs = f"; inputs {', '.join(schedule.inputs)}" if schedule.inputs else ""
    inputs += f"; emptied {len(schedule.resets)} times" if schedule.resets else ""
    return f"Schedule from {schedule.start:g}: {f'doses into {doses}' if doses else 'no doses'}{inputs}", [
        *((f"into {state}", tuple(_words(dose) for dose in given)) for state, given in into.items()),
        *schedule.inputs.items(),
        ("emptied at", ", ".join(brief(t) for t in schedule.resets)),
        ("steady", tuple(_settled_words(one) for one in schedule.steady) or None),
    ]


_KEPT = {"duration": "", "rate": ", its rate kept", "cut": ", a part", "always": ", never stopped"}


def _words(dose: Dose) -> str:
    slowly = f" over {brief(dose.duration)}" if isinstance(dose.duration, Tensor) or dose.duration else ""
    slowly = f", its {dose.modelled} the model's" if dose.modelled else slowly + _KEPT[dose.kept]
    late = f", {brief(dose.lag)} late" if isinstance(dose.lag, Tensor) or dose.lag else ""
    return f"{brief(dose.amount)} at {brief(dose.time)}{slowly}{late}"


def _settled_words(one: Steady) -> str:
    slowly = f" over {brief(one.duration)}" + _KEPT[one.kept] if one.duration else ""
    return f"{brief(one.amount)} into {one.state} every {brief(one.every)}{slowly}, at {brief(one.time)}{', added' * one.added}"


@dataclass(frozen=True)
class Schedule:
    """Everything done to one person: `doses`, `inputs` by name, and `start`, the time at which the record begins.

    `resets`: times at which everything is as if nothing had ever been given: the model's own start of somebody of whom nothing
    was measured. Infusions that run then end, and what was given before and has yet to arrive does not. `steady`: steady states
    that are reached at a time without the doses that led there. At one time observations come first, then a reset, then steady
    states, then doses; a steady state before which nothing was given is there at its own time already.

    Law: `do` keeps everything that it does not name, and with `since` everything before that time; cutting an infusion in two
    changes nothing; what is simulated up to t and from there on by `since(t)` is what is simulated at once. A dose that comes
    before t by rounding alone, `SAME` of the longest time, comes at t.
    """

    doses: tuple[Dose, ...] = ()
    inputs: Mapping[str, Signal] = field(default_factory=dict)
    start: float = 0.0
    resets: tuple[float, ...] = ()
    steady: tuple[Steady, ...] = ()

    __repr__, _repr_html_ = glance(_summary)

    def __post_init__(self) -> None:
        require_number(self.start, "schedule: start, the time at which the record begins,")
        if isinstance(self.doses, str | Mapping | set) or not isinstance(self.doses, Dose | Iterable):
            raise ValueError(f"schedule: doses is a list of doses, and is {quote(self.doses)}; write Schedule() for none")
        doses = (self.doses,) if isinstance(self.doses, Dose) else tuple(self.doses)
        object.__setattr__(self, "doses", doses)
        for dose in doses:
            require_kind(dose, Dose, "schedule: each of doses", 'Schedule((Dose("gut", 0.0, 320.0),))')
        if not isinstance(self.inputs, Mapping) or not all(
            isinstance(name, str) and isinstance(s, Signal) for name, s in self.inputs.items()
        ):
            raise ValueError(
                f"schedule: inputs are signals by name, as {{'glucose': Signal(times, values)}}, got {quote(self.inputs)}"
            )
        early = [d for d in self.doses if as_float(d.time) < self.start]
        if early:
            raise ValueError(
                f"schedule starts at {self.start:g} and a dose into {early[0].state} is at {as_float(early[0].time):g}; "
                "start the record earlier or leave the dose out"
            )
        self._require_anew()

    def _require_anew(self) -> None:
        """Resets and steady states, sorted, none of them before the start, and none that another of its time undoes."""
        if isinstance(self.resets, str | bytes | Mapping | set) or not isinstance(self.resets, Iterable):
            raise ValueError(f"schedule: resets is a list of times, and is {quote(self.resets)}; write resets=(168.0,)")
        resets = tuple(self.resets)
        for time in resets:
            require_number(time, "schedule: each of resets, a time,")
        object.__setattr__(self, "resets", tuple(sorted({as_float(time) for time in resets})))
        if isinstance(self.steady, str | bytes | Mapping | set) or not isinstance(self.steady, Steady | Iterable):
            raise ValueError(
                f"schedule: steady is a list of steady states, and is {quote(self.steady)}; write "
                "steady=(Steady('gut', 0.0, 320.0, every=24.0),)"
            )
        steady = (self.steady,) if isinstance(self.steady, Steady) else tuple(self.steady)
        for one in steady:
            require_kind(one, Steady, "schedule: each of steady", "Steady('gut', 0.0, 320.0, every=24.0)")
        object.__setattr__(self, "steady", tuple(sorted(steady, key=lambda one: (one.time, one.added))))
        replacing = [one.time for one in self.steady if not one.added]
        twice = next((t for t, after in itertools.pairwise(replacing) if t == after), None)
        if twice is not None:
            raise ValueError(
                f"schedule: two steady states replace what is there at {twice:g}, and the second would undo the first; write "
                "added=True for it"
            )
        early = [t for t in (*self.resets, *(one.time for one in self.steady)) if t < self.start]
        if early:
            raise ValueError(
                f"schedule starts at {self.start:g}, and a reset or a steady state is at {early[0]:g}; start the record earlier "
                "or leave it out"
            )
        for one in self.steady:
            over = next_after(self.anew, one.time)
            for dose in self.doses:
                lagged = as_float(dose.lag) > 0.0 or (isinstance(dose.lag, Tensor) and dose.lag.requires_grad)
                if lagged and dose.state == one.state and one.time <= as_float(dose.time) < over:
                    raise ValueError(
                        f"schedule: a dose into {one.state} at {as_float(dose.time):g} arrives {as_float(dose.lag):g} later, and "
                        f"those that led to the steady state at {one.time:g} are taken to arrive when they are given; write the "
                        "earlier doses as doses with their lag, or every dose and the steady state at the times of arrival, "
                        "without a lag"
                    )

    @cached_property
    def compartments(self) -> frozenset[str]:
        """Where anything is given: doses, and those that led to a steady state."""
        return frozenset({*(dose.state for dose in self.doses), *(one.state for one in self.steady)})

    @cached_property
    def given(self) -> tuple[Dose | Steady, ...]:
        """The doses, and the steady states that stand for earlier ones: of both, state and amount say what was given where."""
        return (*self.doses, *self.steady)

    def require_unbroken(self, name: str, cure: str) -> None:
        """Raise `ValueError`, beginning with `name`, where there is a reset or a steady state, for who has no place for one."""
        require_text(name, "require_unbroken: name, who refuses,", '"windows"')
        require_text(cure, "require_unbroken: cure, what to write,", '"take it out"')
        if self.resets or self.steady:
            what, when = ("a reset", self.resets[0]) if self.resets else ("a steady state", self.steady[0].time)
            raise ValueError(f"{name}: the schedule has {what} at {when:g}, which has no place here; {cure}")

    @cached_property
    def anew(self) -> tuple[float, ...]:
        """The times, ascending, at which what was before is forgotten: resets, and steady states that replace what is there."""
        return tuple(sorted({*self.resets, *(one.time for one in self.steady if not one.added)}))

    @cached_property
    def arriving(self) -> tuple[Dose, ...]:
        """The doses as far as they arrive before everything begins anew, in their order: infusions end there, and what was given
        and had yet to arrive does not.
        """
        if not self.anew:
            return self.doses
        found = []
        for dose in self.doses:
            after = next_after(self.anew, as_float(dose.time))
            if as_float(dose.arrival) < after:
                whole = dose.bolus or after == float("inf")
                found.append(dose if whole else _until(replace(dose, time=dose.arrival, lag=0.0), after, 0.0))
        return tuple(found)

    def do(
        self,
        *changes: Dose | str | Mapping[str, Sequence[Dose]],
        inputs: Mapping[str, Signal] | None = None,
        since: float | None = None,
    ) -> "Schedule":
        """A new schedule in which something else is done, and all that is not named as before.

        Arguments
        - `changes`: doses, which replace those into their compartments; or a mapping from compartments to their doses, [] for
          none; or a text of `homeostat grammar`, as "scale gut by 2", without units: no model is known here to check them by.
        - `inputs`: signals that replace those of their names.
        - `since`: from when on. What was given before stays, also where it has yet to arrive; a running infusion into a
          compartment that is named goes on until then, and its rest is replaced as later doses are.
        Errors: `ValueError` for a dose before `since`, and for what is no change.
        Law: before `since` nothing changes.
        """
        if since is not None:
            require_number(since, "do: since, the time from which on something else is done,")
            return self.onwards(as_float(since), lambda later: later._done(changes, inputs, onwards=True))
        return self._done(changes, inputs)

    def _done(
        self,
        changes: Sequence[Dose | str | Mapping[str, Sequence[Dose]]],
        inputs: Mapping[str, Signal] | None,
        onwards: bool = False,
    ) -> "Schedule":
        """`do`; `onwards`: this is what is given from its start on of a longer schedule, whose past stays."""
        if inputs is not None and not isinstance(inputs, Mapping):
            raise ValueError(f"do: inputs go by name, got {quote(inputs)}; write inputs={{'glucose': Signal(times, values)}}")
        if len(changes) == 1 and isinstance(changes[0], str):
            return parse_schedule(changes[0], states=None, inputs=None, base=self, onwards=onwards).do(inputs=inputs)
        doses: dict[str, list[Dose]] = {}
        for change in changes:
            if not isinstance(change, Mapping | Dose):
                raise ValueError(
                    f"do: a change is a dose, a mapping from compartments to their doses, or one text, and is {quote(change)}; "
                    'write do(Dose("gut", 0.0, 320.0)), do({"gut": []}) or do("scale gut by 2")'
                )
            for state, group in ({change.state: change} if isinstance(change, Dose) else change).items():
                if isinstance(group, str) or not isinstance(group, Dose | Iterable):
                    raise ValueError(f"do: what goes into {quote(state, 60)} is a list of doses, and is {quote(group)}; write []")
                doses.setdefault(state, []).extend([group] if isinstance(group, Dose) else group)
        for state, group in doses.items():
            for k, dose in enumerate(group):
                require_kind(dose, Dose, "do: each dose", 'do({"gut": [Dose("gut", 0.0, 320.0)]})')
                if dose.state != state:
                    raise ValueError(f"do: a dose into {dose.state} stands under another compartment's name; move it")
                if onwards and as_float(dose.time) < self.start - self._slack(as_float(dose.time)):
                    raise ValueError(
                        f"do: since is {self.start:g} and a dose into {state} is at {as_float(dose.time):g}; what was given "
                        f"before since stays: write a time from {self.start:g} on"
                    )
                group[k] = no_earlier(dose, self.start) if onwards else dose
        kept = [d for d in self.doses if d.state not in doses]
        new = _sorted([*kept, *(d for group in doses.values() for d in group)])
        return replace(self, doses=new, inputs={**self.inputs, **(inputs or {})})

    def added(self, *doses: Dose) -> "Schedule":
        """The same with these doses besides."""
        for dose in doses:
            require_kind(dose, Dose, "added: each dose", 'added(Dose("gut", 0.0, 320.0))')
        return replace(self, doses=_sorted([*self.doses, *doses]))

    def begun_anew(self, *, resets: Sequence[float] = (), steady: Sequence[Steady] = ()) -> "Schedule":
        """The same with these resets and steady states besides."""
        more = Schedule(start=self.start, resets=resets, steady=steady)  # type: ignore[arg-type]  # made tuples there
        return replace(self, resets=(*self.resets, *more.resets), steady=(*self.steady, *more.steady))

    def since(self, time: float) -> "Schedule":
        """What arrives and drives from `time` on, on the same clock: later doses, the rest of a running infusion, the inputs.

        A dose that was given before and arrives later is one without a lag, at its arrival; at `time` itself it is still to come.
        What is still to come by a lag of the model's own (`physics.Administered`) nobody knows here: of such a model simulate the
        whole schedule.
        Errors: `ValueError` for a time before the start, and a dose before it whose rate or duration is the model's.
        Law: from the state at `time`, it goes on as the whole schedule does.
        """
        time, near = self._from(time, "since")
        rest = []
        for dose in self.arriving:
            begin = as_float(dose.arrival)
            if dose.modelled and as_float(dose.time) < time - near:
                raise ValueError(_unknown("since", dose, time))
            if begin >= time - near:
                given = as_float(dose.time) >= time - near
                rest.append(no_earlier(dose if given else replace(dose, time=dose.arrival, lag=0.0), time))
            elif not dose.bolus and begin + as_float(dose.duration) > time + near:
                left = dose.arrival + dose.duration - time
                begun = replace(dose, time=time, lag=0.0)
                rest.append(part_of(begun, dose.amount * (left / dose.duration), left))
        inputs = {name: signal.since(time) for name, signal in self.inputs.items()}
        return Schedule(_sorted(rest), inputs, time, *self._anew_since(time))

    def _anew_since(self, time: float) -> tuple[tuple[float, ...], tuple[Steady, ...]]:
        """The resets and steady states from `time` on."""
        near = self._slack(time)
        resets = tuple(max(t, time) for t in self.resets if t >= time - near)
        return resets, tuple(replace(one, time=max(one.time, time)) for one in self.steady if one.time >= time - near)

    def onwards(self, time: float, change: Callable[["Schedule"], "Schedule"]) -> "Schedule":
        """The same with `change` made to what is given from `time` on; what was given before stays.

        `change` gets the later doses, the rest of infusions that run, and the inputs, as a schedule that starts at `time`.
        Infusions into compartments whose later doses it leaves as they are stay in one piece. Doses that it leaves out are not
        given; an input that it leaves out drives as before. The start of the schedule that it gives back is not read.
        Errors: `ValueError` for a time before the start, and a dose before `time` in what `change` gives back.
        """
        if not inspect.isroutine(change):
            raise ValueError(f"Schedule.onwards: change is a function, and is {quote(change)}; write lambda later: later.do(…)")
        require_callable(change, "Schedule.onwards: change", "lambda later: later.do(…)", self)
        time, near = self._from(time, "do")
        later = []
        for dose in self.doses:
            if as_float(dose.time) >= time - near:
                later.append(no_earlier(dose, time))
            elif dose.modelled:
                later.append(replace(dose, time=time))  # it may run: who changes it is told that nobody can cut it
            elif not dose.bolus and as_float(dose.time) + as_float(dose.duration) > time + near:
                left = dose.time + dose.duration - time
                later.append(part_of(replace(dose, time=time), dose.amount * (left / dose.duration), left))
        inputs = {name: signal.since(time) for name, signal in self.inputs.items()}
        before = Schedule(_sorted(later), inputs, time, *self._anew_since(time))
        after = change(before)
        require_kind(after, Schedule, "onwards: what change gives back", "lambda later: later.do(…)")
        early = [d for d in after.doses if as_float(d.time) < time - near]
        if early:
            raise ValueError(
                f"Schedule.onwards: change puts a dose into {early[0].state} at {as_float(early[0].time):g}, and what was given "
                f"before {time:g} stays; write a time from {time:g} on"
            )
        alike = [
            state
            for state in {d.state for d in (*before.doses, *after.doses)}
            if [id(d) for d in before.into(state)] == [id(d) for d in after.into(state)]
        ]
        past = [
            d if d.state in alike else _until(d, time, near)
            for d in self.doses
            if d.state in alike or as_float(d.time) < time - near
        ]
        inputs = dict(self.inputs)
        for name, signal in after.inputs.items():
            if signal is not before.inputs.get(name):
                inputs[name] = inputs[name].followed(signal, time) if name in inputs else signal
        for d in past:
            if d.modelled and d.state not in alike:
                raise ValueError(_unknown("onwards", d, time))
        new = [no_earlier(d, time) for d in after.doses if d.state not in alike]
        first = time - near
        return replace(
            self,
            doses=_sorted([*past, *new]),
            inputs=inputs,
            resets=(*(t for t in self.resets if t < first), *after.resets),
            steady=(*(one for one in self.steady if one.time < first), *after.steady),
        )

    def _from(self, time: float, name: str) -> tuple[float, float]:
        """The time as a plain number, no earlier than the start, and how far from it another is the same."""
        require_number(time, f"{name}: since, a time,")
        plain = as_float(time)
        near = self._slack(plain)
        if plain < self.start - near:
            raise ValueError(f"{name}: the schedule starts at {self.start:g} and since is {plain:g}; write a later time")
        return max(plain, float(self.start)), near

    def _slack(self, time: float) -> float:
        return slack(time, self.start, *(as_float(d.time) for d in self.doses))

    def scaled(self, state: str, factor: float, *, history: bool = True) -> "Schedule":
        """Every dose into `state` times `factor`; with `history` those that led to a steady state too.

        Errors: `ValueError` for a factor below 0, or where nothing goes into `state`.
        """
        require_number(factor, "scaled: factor", least=0.0)
        require_flag(history, "scaled: history")
        if not (history and any(s.state == state for s in self.steady)):
            self._require_some(state)
        steady = tuple(replace(s, amount=s.amount * factor) if history and s.state == state else s for s in self.steady)
        return replace(self.do({state: [replace(d, amount=d.amount * factor) for d in self.into(state)]}), steady=steady)

    def split(self, state: str, parts: int, interval: float) -> "Schedule":
        """Every dose into `state` in `parts` equal ones, `interval` apart, the first at the old time."""
        require_number(parts, "split: parts", least=1.0, most=1e5, whole=True)
        require_number(interval, "split: interval", above=0.0)
        self._require_some(state)
        new = [
            replace(d, time=d.time + k * interval, amount=d.amount / parts)
            for d in self.into(state)
            for k in range(int(parts))
        ]
        return self.do({state: new})

    def _require_some(self, state: str) -> None:
        if not self.into(state):
            there = sorted({d.state for d in self.doses})
            raise ValueError(f"no dose goes into {quote(state)}; this schedule's go into {there or 'nothing'}")

    def into(self, state: str) -> list[Dose]:
        """The doses into one compartment."""
        require_text(state, "Schedule.into: state, a compartment,", '"gut"')
        return [d for d in self.doses if d.state == state]


def _sorted(doses: Iterable[Dose]) -> tuple[Dose, ...]:
    """By time; those of one time stay in their order."""
    return tuple(sorted(doses, key=lambda d: as_float(d.time)))


def _unknown(name: str, dose: Dose, time: float) -> str:
    """Why a dose that the model alone knows the duration of cannot be cut."""
    return (
        f"{name}: how much of the dose into {dose.state} at {as_float(dose.time):g} is given by {time:g} is the model's to say "
        f"(its {dose.modelled}), and not known here; give it a duration, or change nothing that goes into {dose.state}"
    )


def _until(dose: Dose, time: float, near: float) -> Dose:
    """What of a dose is given before `time`; `near`: how far from it another time is the same."""
    if dose.bolus or as_float(dose.time) + as_float(dose.duration) <= time + near:
        return dose
    given = time - dose.time
    return part_of(dose, dose.amount * (given / dose.duration), given)
