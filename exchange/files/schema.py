"""The published JSON Schemas of a file's entries, and whether a value is as one of them says."""

import json
from functools import cache
from importlib.resources import files
from typing import Any

from exchange.files.names import one_line


def schema_of(entry: str) -> dict[str, Any]:
    """The JSON Schema (draft 2020-12) of an entry of the present format, by the entry's name: "manifest.json" and the others."""
    text = (
        files("exchange.bundle").joinpath("schemas", entry.replace(".json", ".schema.json")).read_text(encoding="utf-8")
    )
    found: dict[str, Any] = json.loads(text)
    return found


@cache
def _validator(entry: str) -> Any:
    try:
        import jsonschema  # takes a tenth of a second, and is of no use to whoever only writes
    except ImportError as error:
        raise ValueError(
            "reading a bundle needs jsonschema, which is not installed; install it: pip install jsonschema"
        ) from error

    return jsonschema.Draft202012Validator(schema_of(entry))


def require_schema(value: object, entry: str) -> None:
    """Raise `ValueError`, one sentence that says where, unless the JSON value is as the schema of the entry says."""
    validator = _validator(entry)  # says so where the package is not there
    from jsonschema.exceptions import best_match

    error = best_match(validator.iter_errors(value))
    if error is not None:
        where = "/".join(map(str, error.absolute_path))
        raise ValueError(
            f"{entry}{f' at {one_line(where, 80)}' if where else ''}: {one_line(error.message, 200)}; this is not what a "
            "program of ours writes, or it was changed: save it again"
        )
