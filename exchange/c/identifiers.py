"""Names that C, C++ and FMI take: the prefix of a header as it is given, names of the model's parts made legal."""

import re
from collections.abc import Sequence

from physics.arguments import quote, require_text

LEGAL = re.compile(r"[A-Za-z][A-Za-z0-9_]*")
LONGEST = 31  # characters that tell two identifiers with external linkage apart, C99 5.2.4.1
_C = (
    "auto break case char const continue default do double else enum extern float for goto if inline int long register "
    "restrict return short signed sizeof static struct switch typedef union unsigned void volatile while"
)
_CPP = (
    "alignas alignof and and_eq asm bitand bitor bool catch class compl constexpr const_cast decltype delete dynamic_cast "
    "explicit export false friend mutable namespace new noexcept not not_eq nullptr operator or or_eq private protected public "
    "reinterpret_cast static_assert static_cast template this thread_local throw true try typeid typename using virtual wchar_t "
    "xor xor_eq"
)
# words of C++ too: a header is read by both
RESERVED = frozenset(f"{_C} {_CPP}".split())


def require_prefix(name: object, what: str) -> str:
    """The name itself. Errors: `ValueError`, beginning with `what`, for one that begins no identifier, with one that does."""
    require_text(name, what, 'prefix="model"')
    text = str(name)
    if not LEGAL.fullmatch(text) or len(text) > LONGEST or text in RESERVED:
        legal = identifier(text)[:LONGEST]
        legal = legal if LEGAL.fullmatch(legal) and legal not in RESERVED else "model"
        raise ValueError(
            f"{what} is a letter and then letters, digits and _, {LONGEST} characters at most and no word of C or C++, and is "
            f"{quote(text, 60)}; write {legal!r}"
        )
    return text


def identifier(name: str) -> str:
    """The name with everything that C does not take replaced by _; it can stand behind a prefix, not at the beginning."""
    return re.sub(r"[^A-Za-z0-9_]", "_", name)


def identifiers(names: Sequence[str], what: str) -> tuple[str, ...]:
    """The identifiers of several names, in their order.

    Errors: `ValueError`, beginning with `what`, for two that become one, naming both.
    """
    found: dict[str, str] = {}
    for name in names:
        short = identifier(name)
        if short in found:
            raise ValueError(
                f"{what} {quote(found[short], 60)} and {quote(name, 60)} are one name in C, {quote(short, 60)}; rename one"
            )
        found[short] = name
    return tuple(found)
