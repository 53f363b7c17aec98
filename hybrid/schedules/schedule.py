"""What is done to one person: doses, infusions and input signals, and `do`, the question "what if we did this?"."""

import inspect
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

from torch import Tensor

from hybrid.schedules.dose import Dose, as_float, no_earlier, slack
from hybrid.schedules.schedule_text import parse_schedule
from hybrid.schedules.signal import Signal
from physics.arguments import quote, require_callable, require_kind, require_number, require_text
from physics.glance import Summary, brief, glance


def _summary(schedule: Any) -> Summary:
    into: dict[str, list[Dose]] = {}
    for dose in schedule.doses:
        into.setdefault(dose.state, []).append(dose)
    doses = ", ".join(f"{state} ({len(given)})" for state, given in into.items())
    inputs = f"; inputs {', '.join(schedule.inputs)}" if schedule.inputs else ""
    return f"Schedule from {schedule.start:g}: {f'doses into {doses}' if doses else 'no doses'}{inputs}", [
        *((f"into {state}", tuple(_words(dose) for dose in given)) for state, given in into.items()),
        *schedule.inputs.items(),
    ]


def _words(dose: Dose) -> str:
    slowly = f" over {brief(dose.duration)}" if isinstance(dose.duration, Tensor) or dose.duration else ""
    slowly = f", its {dose.modelled} the model's" if dose.modelled else slowly
    late = f", {brief(dose.lag)} late" if isinstance(dose.lag, Tensor) or dose.lag else ""
    return f"{brief(dose.amount)} at {brief(dose.time)}{slowly}{late}"


@dataclass(frozen=True)
class Schedule:
    """Everything done to one person: `doses`, `inputs` by name, and `start`, the time at which the record begins.

    Law: `do` keeps everything that it does not name, and with `since` everything before that time; cutting an infusion in two
    changes nothing; what is simulated up to t and from there on by `since(t)` is what is simulated at once. A dose that comes
    before t by rounding alone, `SAME` of the longest time, comes at t.
    """

    doses: tuple[Dose, ...] = ()
    inputs: Mapping[str, Signal] = field(default_factory=dict)
    start: float = 0.0

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
        for dose in self.doses:
            begin = as_float(dose.arrival)
            if dose.modelled and as_float(dose.time) < time - near:
                raise ValueError(_unknown("since", dose, time))
            if begin >= time - near:
                given = as_float(dose.time) >= time - near
                rest.append(no_earlier(dose if given else replace(dose, time=dose.arrival, lag=0.0), time))
            elif not dose.bolus and begin + as_float(dose.duration) > time + near:
                left = dose.arrival + dose.duration - time
                rest.append(Dose(dose.state, time, dose.amount * (left / dose.duration), left))
        return Schedule(_sorted(rest), {name: signal.since(time) for name, signal in self.inputs.items()}, time)

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
                later.append(replace(dose, time=time, amount=dose.amount * (left / dose.duration), duration=left))
        before = Schedule(_sorted(later), {name: signal.since(time) for name, signal in self.inputs.items()}, time)
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
        return replace(self, doses=_sorted([*past, *new]), inputs=inputs)

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

    def scaled(self, state: str, factor: float) -> "Schedule":
        """Every dose into `state` times `factor`.

        Errors: `ValueError` for a factor below 0, or where nothing goes into `state`.
        """
        require_number(factor, "scaled: factor", least=0.0)
        self._require_some(state)
        return self.do({state: [replace(d, amount=d.amount * factor) for d in self.into(state)]})

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
    return replace(dose, amount=dose.amount * (given / dose.duration), duration=given)
