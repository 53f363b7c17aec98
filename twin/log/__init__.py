"""The log: events with two clocks, their canonical order, and where they are kept."""

from twin.log.canonical import Timed, canonical
from twin.log.events import Event, as_line, read_event
from twin.log.judging import Receipt
from twin.log.sqlite import SqliteLog
from twin.log.times import read_time, time_text

__all__ = ["Event", "Receipt", "SqliteLog", "Timed", "as_line", "canonical", "read_event", "read_time", "time_text"]
