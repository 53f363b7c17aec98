"""The names that columns have in pharmacometric tables, and what this reader does with each: one table of them.

The convention is that of NONMEM; what PsN, Monolix, nlmixr2/rxode2, mrgsolve, Pumas and PKPD users add to it stands beside it.
A column whose name is not here is a covariate.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from types import MappingProxyType
from typing import Literal

Use = Literal["read", "checked", "left out"]
Unit = Literal["", "TIME", "AMT", "DV", "AMT/TIME"]


@dataclass(frozen=True)
class Column:
    """One column of the convention.

    `name`, the standard one, and `also`, others of the same meaning · `use`: "read"; "checked", refused with its cure where
    a cell says what is not read, and left out where none does; "left out", since it says nothing that matters here ·
    `says`, its meaning, for sentences · `cure`, the line to write where it is refused, {ignore} in it for the way to leave
    the column out · `unit`, the unit in which it must
    be: that of TIME, of DV, or AMT's by TIME's · `core`: never a covariate, not even where one is asked for by this name.
    """

    name: str
    use: Use
    says: str
    also: tuple[str, ...] = ()
    cure: str = ""
    unit: Unit = ""
    core: bool = False


_CENSORED = "mark values beyond it in a column CENS, 1 below the limit in DV and -1 above"
_UNIT = "convert what is in another unit; if only the spelling is another, leave the column out: {ignore}"
_ROUTE = "CMT alone says where a dose goes; give the file a column CMT, or, if all doses go one way, leave this out: {ignore}"

_DURATIONS = (
    *("DURATION", "TINF", "T_INF", "INFDUR", "INF_DUR", "DURINF", "DUR_INF", "INFTIME", "INF_TIME"),
    *("INFUSION_TIME", "INFUSIONTIME", "INFUSION_DURATION", "INFUSIONDURATION"),
)

COLUMNS: tuple[Column, ...] = (
    Column("ID", "read", "the person", core=True),
    Column("TIME", "read", "the time of the event", unit="TIME", core=True),
    Column("DATE", "read", "the day, month/day/year or ISO", core=True),
    Column("DAT1", "read", "the day, day/month/year or ISO", core=True),
    Column("DAT2", "read", "the day, year/month/day or ISO", core=True),
    Column("DAT3", "read", "the day, year/day/month or ISO", core=True),
    Column("AMT", "read", "the dose", unit="AMT", core=True),
    Column("DV", "read", "the measured value", unit="DV", core=True),
    Column("EVID", "read", "what the row is: 0 observation, 1 dose, 2 other, 3 reset, 4 reset and dose", core=True),
    Column("MDV", "read", "1 where the row measured nothing", core=True),
    Column("CMT", "read", "the compartment of a dose or an observation", core=True),
    Column("DVID", "read", "what was measured", core=True),
    Column("YTYPE", "read", "what was measured", also=("YTYP", "DVTYPE", "OBSID"), core=True),
    Column("RATE", "read", "the rate of an infusion", unit="AMT/TIME", core=True),
    Column("DUR", "read", "the duration of an infusion", also=_DURATIONS, unit="TIME"),
    Column("ADDL", "read", "how many more doses follow", core=True),
    Column("II", "read", "the time between them", also=("TAU",), unit="TIME", core=True),
    Column("C", "read", "a row that is commented out", core=True),
    Column("SS", "read", "a steady state of doses every II: 1 instead of what is there, 2 on top of it", core=True),
    Column("CENS", "read", "a value below (1) or above (-1) the limit in DV", also=("CENSORED", "CENSORING", "ALQ"), core=True),
    Column(
        "BLQ",
        "read",
        "a value below LLOQ",
        also=("BQL", "BLOQ", "BLLOQ", "BLQFL", "BLQFLAG", "BLQ_FLAG", "BQLFLAG", "BQL_FLAG"),
        core=True,
    ),
    Column("LIMIT", "read", "the other end of a censored value", unit="DV"),
    Column("LLOQ", "checked", "the limit of quantification", also=("LOQ", "LLQ"), cure=_CENSORED, unit="DV"),
    Column("LOD", "checked", "the limit of detection", also=("LLOD", "DETECTION_LIMIT"), cure=_CENSORED, unit="DV"),
    Column("ULOQ", "checked", "the upper limit of quantification", also=("ULQ",), cure=_CENSORED, unit="DV"),
    Column("ADM", "checked", "the way a dose was given", also=("ADMID",), cure=_ROUTE),
    Column("ROUTE", "checked", "the way a dose was given", also=("ADMINISTRATION",), cure=_ROUTE),
    Column("OCC", "read", "the occasion", also=("OCCASION",)),
    Column("L1", "checked", "NONMEM's grouping of rows into people", cure="write the person into ID"),
    Column(
        "L2",
        "checked",
        "values whose errors go together",
        cure="errors are independent here; to take them so, leave the column out: {ignore}",
    ),
    *(
        Column(name, "checked", says, cure="write every event as a row of its own, and 0 here", core=True)
        for name, says in (
            ("CONT", "a row that goes on in the next one"),
            ("RAW_", "a row for averages, not for data"),
            ("MRG_", "a row for margins, not for data"),
            ("RPT_", "rows to be repeated"),
            ("REPL_", "a person to be repeated"),
        )
    ),
    Column(
        "TIMEU", "checked", "the unit of TIME", also=("TIMEUNIT", "TIMEUNITS", "TIME_UNIT"), cure=_UNIT, unit="TIME"
    ),
    Column(
        "AMTU", "checked", "the unit of AMT", also=("AMTUNIT", "AMTUNITS", "AMT_UNIT", "DOSEU"), cure=_UNIT, unit="AMT"
    ),
    Column(
        "DVU",
        "checked",
        "the unit of DV",
        also=("DVUNIT", "DVUNITS", "DV_UNIT", "UNIT", "UNITS", "AVALU"),
        cure=_UNIT,
        unit="DV",
    ),
    Column("PCMT", "left out", "what is predicted on rows without a value"),
    Column("CALL", "left out", "when NONMEM calls a routine"),
)

STANDARD = frozenset(c.name for c in COLUMNS)
BY_NAME: Mapping[str, Column] = MappingProxyType({n: c for c in COLUMNS for n in (c.name, *c.also)})
NEEDED = ("ID", "TIME", "AMT", "DV")
# what those are called elsewhere: not taken for them, but asked about
LIKELY: Mapping[str, tuple[str, ...]] = MappingProxyType(
    {
        "ID": ("SUBJECT", "SUBJID", "USUBJID", "PATIENT", "PERSON"),
        "TIME": ("T", "HOURS", "DATETIME", "TIMESTAMP"),
        "AMT": ("DOSE", "AMOUNT"),
        "DV": ("Y", "CONC", "CONCENTRATION", "OBS", "VALUE", "OBSERVATION", "CP"),
    }
)
DATES = ("DATE", "DAT1", "DAT2", "DAT3")
ENDPOINTS = ("DVID", "YTYPE")
DROPPED = ("=DROP", "=SKIP", "DROP", "SKIP")  # how NONMEM's own list of columns marks what is not read


def ignored(spelling: str) -> str:
    """How a column is left out, in Python and in the shell."""
    return f"ignore=[{spelling!r}], --ignore {spelling}"


def column_of(spelling: str) -> Column | None:
    """What the convention knows by this name, in any case; None for a covariate."""
    return BY_NAME.get(spelling.upper())


def dropped(spelling: str) -> bool:
    """Does the name itself say that the column is not read: DROP, SKIP, AGE=DROP?"""
    name = spelling.upper().replace(" ", "")
    return name in DROPPED[2:] or name.endswith(DROPPED[:2])
