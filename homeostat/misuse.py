"""Wrong use of the command line in our words: what was written, what is taken there, what to write.

Typer's own sentences change with its versions, and speak of types. What an option takes is read off the command's own signature.
"""

import inspect
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, get_args, get_origin

import typer


def wrong_use(error: Any, given: Sequence[str]) -> tuple[str, str]:
    """What is wrong, and what to write, of one of typer's errors of use and the words that were typed."""
    context = getattr(error, "ctx", None)
    path = context.command_path if context else "homeostat"
    listed = f"`{path} --help` lists what it takes"
    option, known = getattr(error, "option_name", None), getattr(error, "possibilities", None)
    if option is not None and known is not None:
        near = f"write {' or '.join(known)}; " if known else ""
        return f"{path} has no option {option}", f"{near}{listed}"
    words: Mapping[str, Any] = getattr(getattr(context, "command", None), "commands", {})
    unknown = next((word for word in given if not word.startswith("-")), None)
    if words and unknown is not None and unknown not in words:
        return (
            f"there is no command {unknown!r}",
            f"write one of {', '.join(words)}; `{path} --help` says what each does",
        )
    parameter = getattr(error, "param", None)
    if parameter is None:
        return _sentence(str(error.format_message())), listed  # a word too many, or an option without its value
    shown = _name(parameter)
    takes = _takes(getattr(context.command, "callback", None) if context else None, str(parameter.name))
    if type(error).__name__ == "MissingParameter":
        return f"{path} needs {shown}, and it is missing", listed
    written = _written(given, getattr(parameter, "opts", []))
    if takes is None or written is None:
        return f"{shown}: {_sentence(str(error.format_message()))}", listed
    return f"{shown} {written} is not {takes}", listed


def _sentence(text: str) -> str:
    return text.strip().rstrip(".")


def _name(parameter: Any) -> str:
    """As it is typed: an option by its longest name, an argument by what stands for it in the help."""
    options = [one for one in getattr(parameter, "opts", []) if one.startswith("-")]
    return max(options, key=len) if options else str(getattr(parameter, "metavar", None) or parameter.name.upper())


def _written(given: Sequence[str], options: Sequence[str]) -> str | None:
    """What stands behind the option, the last time that it is given."""
    found = None
    for word, behind in zip(given, [*given[1:], None], strict=True):
        name, equals, value = word.partition("=")
        if name in options:
            found = value if equals else behind
    return found


def _takes(command: Any, name: str) -> str | None:
    """What the argument of this name takes, in words, by the annotation that the command gives it."""
    known = inspect.signature(command).parameters if command is not None else {}
    if name not in known or not get_args(known[name].annotation):
        return None
    kind, *about = get_args(known[name].annotation)
    kinds = {kind, *get_args(kind)} if get_origin(kind) is not None or get_args(kind) else {kind}
    words = {int: "a whole number", float: "a number", Path: "a path"}
    found = next((words[one] for one in kinds if one in words), None)
    ends = next((one for one in about if isinstance(one, typer.models.ParameterInfo)), None)
    low, high = getattr(ends, "min", None), getattr(ends, "max", None)
    if found is None or (low is None and high is None):
        return found
    if None not in (low, high):
        return f"{found} from {low:g} to {high:g}"
    return f"{found} of {high:g} or less" if low is None else f"{found} of {low:g} or more"
