"""Times as whole microseconds since 1970 in UTC, and as RFC 3339 and ISO 8601 write them; no float on the way."""

import re
from datetime import date

from physics.arguments import quote

Microseconds = int
SECOND = 1_000_000
DAY = 86_400 * SECOND
_EPOCH = date(1970, 1, 1).toordinal()
# Who lived before 1900 needs no twin. Clocks that were never set say 0001 or 1601, and 9999 is written for "never".
EARLIEST = (date(1900, 1, 1).toordinal() - _EPOCH) * DAY
LATEST = (date(2200, 1, 1).toordinal() - _EPOCH) * DAY

_TIME = re.compile(
    r"([0-9]{4})-([0-9]{2})-([0-9]{2})[Tt ]([0-9]{2}):([0-9]{2}):([0-9]{2})(?:\.([0-9]{1,30}))?([Zz]|[+-][0-9]{2}:[0-9]{2})?"
)
_DURATION = re.compile(
    r"P(?:([0-9]{1,9})D)?(?:T(?=[0-9])(?:([0-9]{1,9})H)?(?:([0-9]{1,9})M)?(?:([0-9]{1,12})(?:\.([0-9]{1,30}))?S)?)?"
)


def in_json(value: object) -> str:
    """What was seen, for a message: as Python writes it, but null, true and false as a line of JSON has them."""
    return (
        {None: "null", True: "true", False: "false"}[value]
        if value is None or isinstance(value, bool)
        else quote(value)
    )


def read_time(text: object, what: str = "time") -> Microseconds:
    """RFC 3339 with a zone as µs since 1970-01-01T00:00:00Z: "2026-11-27T08:00:00.5+01:00".

    Errors: `ValueError`, naming `what`, for another form, no zone, a day or an hour that there is not, a leap second, more than
    six decimals of a second (zeros may follow), and years before 1900 or after 2199.
    """
    write = f'write "{what}": "2026-11-27T08:00:00Z"'
    if not isinstance(text, str):
        hint = "microseconds are for Python; " if isinstance(text, int | float) else ""
        raise ValueError(f'"{what}" must be a text, and is {in_json(text)}; {hint}{write}')
    found = _TIME.fullmatch(text)
    if found is None:
        raise ValueError(f'"{what}" is {in_json(text)}, which is no time of RFC 3339; {write}')
    year, month, day, hour, minute, second = map(int, found.groups()[:6])
    fraction, zone = found[7] or "", found[8]
    if zone is None:
        raise ValueError(f'"{what}" is {in_json(text)}, without a zone; write it with Z, or with one as +01:00')
    if len(fraction) > 6 and fraction[6:].strip("0"):
        raise ValueError(f'"{what}" is {in_json(text)}, finer than a microsecond; write six decimals at most')
    if second == 60:
        raise ValueError(
            f'"{what}" is {in_json(text)}, a leap second, which microseconds of UTC skip; write :59 or :00'
        )
    shift = 0
    if zone not in "Zz":
        hours, minutes = int(zone[1:3]), int(zone[4:6])
        if hours > 23 or minutes > 59:
            raise ValueError(
                f'"{what}" is {in_json(text)}, and there is no zone {zone}; write it with Z, or with one as +01:00'
            )
        shift = (hours * 60 + minutes) * (-1 if zone[0] == "-" else 1)
    if hour > 23 or minute > 59 or second > 59:
        raise ValueError(f'"{what}" is {in_json(text)}, and there is no such hour; {write}')
    try:
        days = date(year, month, day).toordinal() - _EPOCH
    except ValueError as error:
        raise ValueError(f'"{what}" is {in_json(text)}, and there is no such day; {write}') from error
    whole = days * DAY + ((hour * 60 + minute - shift) * 60 + second) * SECOND + int(fraction[:6].ljust(6, "0"))
    require_stamp(whole, what)
    return whole


def time_text(time: Microseconds) -> str:
    """The time as RFC 3339 in UTC, with six decimals where there are any. Law: `read_time(time_text(t)) == t`.

    Errors: `ValueError` for what is not whole microseconds since 1970, from 1900 to 2199.
    """
    require_stamp(time, "time")
    days, rest = divmod(time, DAY)
    seconds, micro = divmod(rest, SECOND)
    fraction = f".{micro:06d}" if micro else ""
    clock = f"{seconds // 3600:02d}:{seconds // 60 % 60:02d}:{seconds % 60:02d}{fraction}Z"
    return f"{date.fromordinal(_EPOCH + days).isoformat()}T{clock}"


def require_stamp(time: object, what: str) -> None:
    """Raise `ValueError` unless the time is whole microseconds since 1970 that lie from 1900 to 2199."""
    if type(time) is not int:
        raise ValueError(
            f'"{what}" must be whole microseconds since 1970, and is {in_json(time)}; write read_time("2026-11-27T08:00:00Z")'
        )
    if not EARLIEST <= time < LATEST:
        raise ValueError(f'"{what}" is not from 1900 to 2199; ask whether the clock that wrote it was ever set')


def read_duration(text: object, what: str = "duration") -> Microseconds:
    """An ISO 8601 duration of days, hours, minutes and seconds in µs: "PT1H30M". Errors: `ValueError`, naming `what`."""
    write = f'write "{what}": "PT30M", or as "P1D", "PT1H30M", "PT0.5S"'
    found = _DURATION.fullmatch(text) if isinstance(text, str) else None
    if found is None or text == "P":
        raise ValueError(
            f'"{what}" is {in_json(text)}, which is no duration of ISO 8601 in days, hours, minutes and seconds; {write}'
        )
    days, hours, minutes, seconds = (int(part or 0) for part in found.groups()[:4])
    fraction = found[5] or ""
    if len(fraction) > 6 and fraction[6:].strip("0"):
        raise ValueError(f'"{what}" is {in_json(text)}, finer than a microsecond; write six decimals at most')
    return days * DAY + ((hours * 60 + minutes) * 60 + seconds) * SECOND + int(fraction[:6].ljust(6, "0"))


def duration_text(duration: Microseconds) -> str:
    """The duration as ISO 8601. Law: `read_duration(duration_text(d)) == d`, for d ≥ 0."""
    seconds, micro = divmod(duration, SECOND)
    hours, minutes, seconds = seconds // 3600, seconds // 60 % 60, seconds % 60
    fraction = f".{micro:06d}".rstrip("0") if micro else ""
    last = f"{seconds}{fraction}S" if seconds or micro or not duration else ""
    return "PT" + (f"{hours}H" if hours else "") + (f"{minutes}M" if minutes else "") + last
