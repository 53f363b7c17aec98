"""Arguments that cannot be used, said in a sentence: what was given, what is needed, what to write."""

import inspect
import math
import os
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from types import EllipsisType
from typing import Any

import torch
from torch import Tensor


class InputError(ValueError):
    """An argument or a file that cannot be used: the `problem`, and the `cure` in Python's words and in the shell's.

    As text it is the problem and Python's cure. At the shell it is `problem_at_shell` and `cure_at_shell`: what has other words
    there, an argument that is an option, is said in those.
    """

    def __init__(self, problem: str, cure: str, cure_at_shell: str | None = None, problem_at_shell: str | None = None) -> None:
        super().__init__(f"{problem}; {cure}")
        self.problem, self.cure = problem, cure
        self.problem_at_shell, self.cure_at_shell = problem_at_shell or problem, cure_at_shell or cure

    def about(self, where: object) -> "InputError":
        """The same, naming first the file or the place that it is about."""
        at_shell = f"{where}: {self.problem_at_shell}"
        return InputError(f"{where}: {self.problem}", self.cure, self.cure_at_shell, at_shell)


def quote(value: object, most: int = 120) -> str:
    """The value as Python writes it, with its middle left out where that is long: an array or a file may be of any size."""
    if type(value).__name__ in ("ndarray", "Tensor", "Parameter", "Buffer") and getattr(value, "ndim", None):
        return f"an array of shape {tuple(getattr(value, 'shape', ()))}"
    if not isinstance(value, str | bytes | int | float | list | tuple | dict | None) and getattr(value, "ndim", 1) != 0:
        return f"a {type(value).__name__}"  # what it holds may be anything, and long
    text = repr(value).replace("\n", " ")
    return text if len(text) <= most else f"{text[: most - 25]} … {text[-20:]}"


def shortened(text: str, most: int = 100) -> str:
    """A name or a text as it stands, with its middle left out where it is as long as a page."""
    return text if len(text) <= most else f"{text[: most - 25]} … {text[-20:]}"


def counted(count: int, one: str, many: str) -> str:
    """How many of what, in words: "one person", "7 people"."""
    return f"one {one}" if count == 1 else f"{count} {many}"


def require_kind(value: object, kind: type | tuple[type, ...], what: str, write: str) -> None:
    """Raise `ValueError` unless the value is of this kind; `write` is the line that gives one."""
    if not isinstance(value, kind):
        kinds = kind if isinstance(kind, tuple) else (kind,)
        raise ValueError(f"{what} must be a {' or '.join(k.__name__ for k in kinds)}, and is {quote(value)}; write {write}")


def require_number(
    value: object,
    what: str,
    *,
    above: float = -math.inf,
    least: float = -math.inf,
    most: float = math.inf,
    whole: bool = False,
) -> None:
    """Raise `ValueError` unless the value is one finite number (a tensor or array without axes holds one) in the range.

    The range is above `above`, and from `least` to `most`; with `whole` the number is an integer.
    """
    single: Any = value.detach() if isinstance(value, Tensor) else value
    odd = isinstance(single, str | bytes | bool | type) or not hasattr(single, "__float__") or getattr(single, "ndim", None)
    if odd or str(getattr(single, "dtype", "")) in ("bool", "torch.bool"):
        hint = "; write it without quotes" if isinstance(value, str) else ""
        raise ValueError(f"{what} must be one number, and is {quote(value)}{hint}")
    try:
        number = float(single)
    except (OverflowError, TypeError, ValueError, RuntimeError) as error:  # beyond float64, complex, of no device
        raise ValueError(f"{what} must be one number, and is {quote(value)}") from error
    kind = "whole" if whole else "finite"
    if not math.isfinite(number) or (whole and number != int(number)):
        raise ValueError(f"{what} must be a {kind} number, and is {number:g}")
    if not (number > above and least <= number <= most):
        needed = [f"above {above:g}"] if above > -math.inf else [f"at least {least:g}"] if least > -math.inf else []
        needed += [f"at most {most:g}"] if most < math.inf else []
        raise ValueError(f"{what} must be {' and '.join(needed)}, and is {number:g}")


def require_flag(value: object, what: str) -> None:
    """Raise `ValueError` unless the value is True or False."""
    if not isinstance(value, bool):
        raise ValueError(f"{what} is True or False, and is {quote(value)}")


def require_choice(value: object, choices: Iterable[object], what: str) -> None:
    """Raise `ValueError` unless the value is one of the choices: words, or None."""
    choices = list(choices)
    if not (value is None or isinstance(value, str)) or value not in choices:
        *first, last = map(repr, choices)
        others = f"{', '.join(first)} or " if first else ""
        raise ValueError(f"{what} is {others}{last}, got {quote(value)}")


def require_text(value: object, what: str, write: str) -> None:
    """Raise `ValueError` unless the value is a text with something in it."""
    if not isinstance(value, str) or not value.strip():
        raise ValueError(f"{what} is a text, and is {quote(value)}; write {write}")


def require_names(values: object, what: str, write: str) -> tuple[str, ...]:
    """The names in a list. Errors: `ValueError` for one name alone, or for what is no name."""
    if isinstance(values, str | bytes | Mapping | set | frozenset) or not isinstance(values, Iterable):
        raise ValueError(f"{what} are names in a list, even one, and are {quote(values)}; write {write}")
    names = tuple(values)
    for name in names:
        require_text(name, f"{what}: each", write)
    return names


def require_ids(ids: object, people: int, what: str) -> tuple[str, ...] | None:
    """Whose each row is, in a tuple; None where nobody knows. Errors: `ValueError` for another number of ids than people."""
    if ids is None:
        return None
    found = require_names(ids, what, "cohort.ids, or None")
    if len(found) != people:
        raise ValueError(f"{what} names {len(found)} people, and there are {people}; write cohort.ids, or None")
    return found


def require_same_people(known: Sequence[str] | None, given: Sequence[str] | None, what: str, needed: str) -> None:
    """Raise `ValueError`, which names the first that differs, where two values are of other people, or in another order.

    None is a value that does not know whose it is, and passes; another number of people is for the caller to say. `what`:
    "Outcome.of: prediction and cohort"; `needed`: what to write.
    """
    if known is None or given is None or len(known) != len(given):
        return
    for i, (a, b) in enumerate(zip(known, given, strict=True)):
        if a != b:
            raise ValueError(
                f"{what} are of other people, or in another order: number {i} is {shortened(a)} in the first and {shortened(b)} "
                f"in the second; {needed}"
            )


def require_shape(
    value: object,
    what: str,
    *sizes: int | str | EllipsisType,
    write: str,
    whole: bool = False,
    like: Tensor | None = None,
) -> None:
    """Raise `ValueError` unless the value is a tensor of real numbers (`whole`: of whole ones) with these axes.

    `sizes`: a number for an axis that must have it, a letter for one of any size, `...` first for any axes before;
    `like`: a tensor on whose device it must be.
    """
    if isinstance(value, Tensor):
        have = tuple(value.shape)
        tail = sizes[1:] if sizes and sizes[0] is ... else sizes
        fits = len(have) == len(sizes) or (len(tail) < len(sizes) and len(have) >= len(tail))
        if fits:  # a loop: this is asked in every stage of every step
            for n, h in zip(tail, have[len(have) - len(tail) :], strict=True):
                if n != h and not isinstance(n, str):
                    fits = False
                    break
        kind = not (value.is_floating_point() or value.is_complex() or value.dtype.itemsize == 1) if whole else (
            value.is_floating_point()
        )
        if fits and kind and not value.is_meta and (like is None or like.device == value.device):
            return
        seen = f"{value.dtype} of shape {have} on {value.device}".removeprefix("torch.")
    else:
        seen = quote(value)
    shape = ", ".join("..." if n is ... else str(n) for n in sizes) + ("," if len(sizes) == 1 else "")
    needed = f"a tensor of {'whole' if whole else 'real'} numbers of shape ({shape})"
    needed += "" if like is None else f" on {like.device}"
    raise ValueError(f"{what} must be {needed}, and is {seen}; write {write}")


def require_together(first: Tensor, second: Tensor, what: str) -> None:
    """Raise `ValueError` unless the axes before the last of two tensors broadcast, and both are on one device."""
    pairs = zip(first.shape[-2::-1], second.shape[-2::-1], strict=False)
    if first.device != second.device or not all(a == b or 1 in (a, b) for a, b in pairs):
        raise ValueError(
            f"{what} go together, person by person, and have the shapes {tuple(first.shape)} on {first.device} and "
            f"{tuple(second.shape)} on {second.device}; give both for the same people"
        )


def require_covariates(values: object, people: int | None, what: str) -> None:
    """Raise `ValueError` unless the values are tensors of real numbers by name, one number a person or one for all."""
    require_kind(values, Mapping, what, "cohort.conditions.covariates")
    for name, value in values.items():  # type: ignore[attr-defined]  # just found to be a mapping
        require_text(name, f"{what}: a name", '{"WT": torch.tensor([70.0])}')
        require_shape(value, f"{what}: {quote(name)}", "N", write="torch.tensor([70.0]), one number a person")
        # not len(value): a length that is open while a program is exported would become a number
        if people is not None and value.shape[0] not in (1, people):
            raise ValueError(f"{what}: {quote(name)} has {len(value)} numbers and there are {people} people; give one each")


def require_people(value: object, count: int, what: str) -> None:
    """Raise `ValueError` unless the value selects from `count` people: a tensor of their positions, or of True and False.

    Positions on another device than the processor are taken as they are: to look at them is to wait.
    """
    if isinstance(value, Tensor) and value.ndim == 1 and not (value.is_floating_point() or value.is_complex() or value.is_meta):
        if value.device.type != "cpu":
            return
        if len(value) == count if value.dtype == torch.bool else bool(((value >= -count) & (value < count)).all()):
            return
    seen = value.tolist() if isinstance(value, Tensor) and not value.is_meta and value.numel() < 20 else value
    among = f"positions among {count} from 0 to {count - 1}" if count > 1 else "and of one person that is 0"
    raise ValueError(
        f"{what} is a tensor of whole numbers, {among}, and is {quote(seen)}; write torch.tensor([{'0, 1' if count > 1 else 0}])"
    )


def positions(index: Tensor, count: int) -> Tensor:
    """The positions, counted from 0, that an index means which `require_people` has let through."""
    return torch.nonzero(index)[:, 0] if index.dtype == torch.bool else torch.where(index < 0, index + count, index)


def require_device(value: object, what: str) -> torch.device:
    """The device of that name. Errors: `ValueError` for one that there is not."""
    try:
        if not isinstance(value, str | torch.device):
            raise ValueError
        device = torch.device(value)
        torch.empty(0, device=device)
        if device.type == "meta":
            raise ValueError
    except (TypeError, ValueError, RuntimeError, AssertionError) as error:
        here = "'cpu'" + (f" or one of {torch.cuda.device_count()} 'cuda'" if torch.cuda.is_available() else "")
        raise ValueError(f"{what} is a device of this machine, {here}, and is {quote(value)}") from error
    return device


def require_tensor(value: object, what: str, write: str) -> None:
    """Raise `ValueError` for what is no tensor, where None stands for a default."""
    if value is not None and (not isinstance(value, Tensor) or value.is_meta or value.is_complex()):
        raise ValueError(f"{what} must be a tensor, and is {quote(value)}; write {write}")


def require_callable(value: object, what: str, write: str, *given: object, **named: object) -> None:
    """Raise `ValueError` for what cannot be called, or not with as many arguments, where None stands for a default."""
    if value is None:
        return
    if not callable(value):
        raise ValueError(f"{what} must be a function, and is {quote(value)}; write {write}")
    try:
        signature = inspect.signature(value)
    except (TypeError, ValueError):  # some of C have none
        return
    try:
        signature.bind(*given, **named)
    except TypeError as error:
        takes = f"{len(given)} argument{'s' if len(given) != 1 else ''}"
        raise ValueError(f"{what} must be a function of {takes}, and takes {quote(str(signature))}; write {write}") from error


def require_generator(value: object, what: str) -> None:
    """Raise `ValueError` for what draws nothing: a draw that nobody can repeat is none."""
    require_kind(value, torch.Generator, what, "torch.Generator().manual_seed(0)")


def drawn_from(generator: torch.Generator | None, what: str) -> torch.Generator:
    """The generator, or one with seed 0 where there is none. Errors: `ValueError`, beginning with `what`."""
    if generator is None:
        return torch.Generator().manual_seed(0)
    require_generator(generator, what)
    return generator


def require_path(value: object, what: str, write: str) -> None:
    """Raise `ValueError` for what names no file or folder."""
    named = isinstance(value, str | os.PathLike) and str(value).strip() and "\0" not in str(value)
    if not named or any(len(os.fsencode(part)) > 255 for part in str(value).split(os.sep)):
        raise ValueError(f"{what} is a path, and is {quote(value)}; write {write}")


@contextmanager
def as_written(data: object, what: str) -> Iterator[None]:
    """Raise `ValueError` where what is read inside is not what `to_dict` of `what` writes."""
    if not isinstance(data, Mapping):
        raise ValueError(f"{what} is read from what its to_dict writes, a mapping, and got {quote(data)}")
    try:
        yield
    except (KeyError, TypeError, AttributeError, IndexError, ValueError, OverflowError, RuntimeError) as error:
        said = f"it lacks {error}" if isinstance(error, KeyError) else str(error)
        raise ValueError(f"this is no {what} as its to_dict writes it: {said[:200]}; save it again") from error


def as_numbers(value: object, what: str, truths: bool) -> Tensor:
    """The value as a tensor of real numbers, or of True and False; `what` it is, in the words of the error."""
    try:
        given = torch.as_tensor(value)
        if given.is_complex() or given.is_meta or (given.dtype == torch.bool and not truths):
            raise TypeError
        return given
    except (TypeError, ValueError, RuntimeError) as error:
        raise ValueError(f"{what} must be numbers in a tensor, and is {quote(value)}") from error
