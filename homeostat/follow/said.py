"""What is printed of a change: one JSON object on one line."""

from typing import Any

from homeostat.plain_text import json_line
from twin import Change, Estimate
from twin.log import Event, time_text


def change_in_json(line: int, change: Change, *, first: bool, shifted: bool = True) -> str:
    """The estimate behind an event, what the event was, and what it changed of what had been said before.

    `line`, its number in the stream; `first`: it is the first line about this person, which says what the certificate covers;
    `shifted`: whether, and why, the person does not look like the training is said in full, and not by `flagged` alone.
    """
    said: dict[str, Any] = {} if change.estimate is None else _estimate(change.estimate, first=first, shifted=shifted)
    said.setdefault("patient", change.event.patient)
    said["changed"] = [
        {"channel": name, "before": m.before, "after": m.after, "unit": m.unit, "time": time_text(m.time)}
        for name, m in change.moved.items()
    ]
    said |= {"line": line, "event": _event(change.event), "replayed": change.replayed}
    if change.estimate is not None and change.estimate.arrived is not None:
        true = change.event.time if change.effective is None else change.effective
        said["lag"] = (change.estimate.arrived - true) / 1e6
    if change.reason:
        said["reason"] = change.reason
    return json_line(said)


def present_in_json(estimate: Estimate) -> str:
    """What is known of somebody before the first line."""
    return json_line({**_estimate(estimate, first=True, shifted=True), "changed": []})


def kind_of_shift(estimate: Estimate) -> tuple[object, ...]:
    """What of a flag is news when it changes: whether it is raised, for which reasons, and what was looked at."""
    shift = estimate.shift
    return shift.flagged, shift.looked, tuple((reason.look, reason.name) for reason in shift.reasons)


def _estimate(estimate: Estimate, *, first: bool, shifted: bool) -> dict[str, Any]:
    said = {**estimate.to_dict(), "level": estimate.level, "flagged": estimate.shift.flagged}
    if not (first or shifted):
        said.pop("shift")
    if not first:
        said.pop("certified", None)
    if len(estimate.evidence) > 1:
        said["evidence"] = list(estimate.evidence)
    return said


def _event(event: Event) -> dict[str, Any]:
    return {
        "source": event.source,
        "id": event.id,
        "version": event.version,
        "kind": event.kind,
        "time": time_text(event.time),
    }

