"""What a file is that is not a table of this convention: recognised by how it begins, and said."""

import re

_MAGIC = (
    (b"PK\x03\x04", "an Excel workbook (.xlsx) or another zip archive; save the sheet as CSV"),
    (b"\xd0\xcf\x11\xe0", "an old Excel workbook (.xls); save the sheet as CSV"),
    (
        b"HEADER RECORD*******LIB",
        "a SAS transport file (.xpt); write it as CSV, in Python pandas.read_sas(path).to_csv(...)",
    ),
    (b"\x00" * 12 + b"\xc2\xea\x81\x60", "a SAS data set (.sas7bdat); write it as CSV, in Python pandas.read_sas(...)"),
    (b"PAR1", "a Parquet file; write it as CSV, in Python pandas.read_parquet(path).to_csv(...)"),
    (b"ARROW1", "an Arrow or Feather file; write it as CSV, in Python pandas.read_feather(path).to_csv(...)"),
    (b"\x89HDF", "an HDF5 file; write the table as CSV"),
    (b"SQLite format 3", "an SQLite database; write the table as CSV"),
    (b"$FL2", "an SPSS file (.sav); write it as CSV"),
    (b"<stata_dta>", "a Stata file; write it as CSV"),
    (b"RDX", "an R workspace; write the table in R: write.csv(table, path, row.names = FALSE, na = '.')"),
    (b"\x1f\x8b", "a gzip archive, as R's .rds files are too; unpack it, or write the table in R: write.csv(...)"),
    (b"%PDF", "a PDF; a table needs to be a text file"),
    (b"\xff\xfe", "text in UTF-16, as Excel's 'Unicode text' is; save it as CSV UTF-8"),
    (b"\xfe\xff", "text in UTF-16, as Excel's 'Unicode text' is; save it as CSV UTF-8"),
)
_ROWS = "this reader takes rows of ID, TIME, AMT, DV: make one row for each dose and each measured value"


def kind_of(data: bytes) -> str | None:
    """What the file is and what to do, in words, where it is a known kind that is no table of events; else None.

    Recognised: Excel, SAS, SPSS, Stata, R, Parquet, Arrow, HDF5, SQLite, archives, PDF, UTF-16, web pages, JSON (FHIR and
    Nightscout by name), and the exports of Dexcom Clarity, LibreView and CareLink.
    """
    for magic, what in _MAGIC:
        if data.startswith(magic):
            return what
    start = data[:20_000].decode("utf-8", errors="replace").lstrip("\ufeff \t\r\n")
    lower = start.lower()
    if lower.startswith(("{", "[{", "[\n", "[\r", "[ ", "[]")):
        if '"resourcetype"' in lower:
            return f"FHIR resources in JSON; {_ROWS}"
        if '"sgv"' in lower:
            return f"Nightscout entries in JSON; {_ROWS}"
        return f"JSON; {_ROWS}"
    if lower.startswith(("<!doctype html", "<html")):
        return "a web page, perhaps the sign-in page of a download; save the table itself"
    if lower.startswith("<?xml"):
        return f"XML; {_ROWS}"
    lines = [line for line in lower.splitlines()[:12] if not line.startswith("#")]
    if any({"id", "time", "dv"} <= set(re.split(r"[\s,;\"]+", line)) for line in lines):
        return None  # a table of this convention may speak of anything
    head = "\n".join(lines)
    if "dexcom" in head or ("event subtype" in head and "glucose value" in head):
        return f"an export of Dexcom Clarity; {_ROWS}, with DV the glucose value"
    if "freestyle libre" in head or ("record type" in head and ("historic glucose" in head or "scan glucose" in head)):
        return f"an export of LibreView (FreeStyle Libre); {_ROWS}, with DV the historic glucose"
    if "sensor glucose" in head and "bolus volume delivered" in head:
        return f"an export of CareLink; {_ROWS}, with DV the sensor glucose"
    return None
