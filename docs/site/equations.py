"""Exponents and indices as they are typed in our Markdown, e^{−λt} and W_{L−1}, set on the site: raised and lowered."""

import re
from collections.abc import Iterator

# behind a letter or a closing bracket: ^ or _, then {anything}, or one letter or digit, or two small letters (J_ij)
RAISED = r"\^(?:\{([^{}]*)\}|([A-Za-z0-9])(?![A-Za-z0-9]))"
LOWERED = r"_(?:\{([^{}]*)\}|([a-z]{2}|[A-Za-z0-9\u0370-\u03ff])(?![a-z_0-9]))"
# a small letter is a variable where it stands alone or behind a Greek one (δz_j): `from_frame` is a name
BASE = r"[A-Z\u0370-\u03ff)\]|‖\u0300-\u036f⁺⁻ẋẏżẍÿ]|(?<![A-Za-z0-9_])[a-z]"
TYPED = re.compile(rf"(?:(?<=[\w)\]|‖*])){RAISED}|({BASE}){LOWERED}|(?<=[a-z])_\{{([^{{}}]*)\}}")


def parts(text: str) -> Iterator[tuple[str, str]]:
    """The text in pieces, each ("", plain), ("up", an exponent) or ("down", an index)."""
    done = 0
    for match in TYPED.finditer(text):
        up, one, base, down, letter, of_a_word = match.groups()
        yield "", text[done : match.start()] + (base or "")
        lowered = down or letter or of_a_word  # the last as in max_{cells}
        yield ("down", lowered) if lowered else ("up", up if up is not None else one)
        done = match.end()
    yield "", text[done:]
