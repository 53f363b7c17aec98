"""The signs and words of a schedule's text, one after the other, and the caret under the one that makes no sense."""

import math
import re
from dataclasses import dataclass
from typing import NoReturn

from physics.arguments import shortened

TOKEN = re.compile(
    r"(?P<number>[+-]?(?:\d+\.?\d*|\.\d+)(?:[eE][+-]?\d+)?)"
    r"|(?P<arrow>->|→)"
    r"|(?P<sign>[;,@=:])"
    r'|"(?P<quoted>[^"]*)"'
    r'|(?P<word>(?:(?!->)[^\s;,@=:"→])+)'
)
_SHOWN, _WORD = 100, 60  # characters of a line, and of a word in it, that a message quotes


class ScheduleTextError(ValueError):
    """A text that is no schedule: `at` is the place in the text, counted from 0, to which its caret points."""

    def __init__(self, message: str, at: int) -> None:
        super().__init__(message)
        self.at = at


@dataclass(frozen=True)
class Token:
    """A piece of the text at a place in it: its `kind` is number, arrow, sign, quoted, word or end."""

    kind: str
    text: str
    at: int


class Reader:
    """Goes through the tokens of a text; `place` is the next one's."""

    def __init__(self, text: str) -> None:
        self.text, self.place = text, 0
        self.tokens = self._tokens()

    def _tokens(self) -> list[Token]:
        tokens, at = [], 0
        while at < len(self.text):
            if self.text[at].isspace():
                at += 1
                continue
            found = TOKEN.match(self.text, at)
            if found is None:  # only a double quote that is never closed
                self.fail(Token("word", '"', at), "this double quote is never closed; close it")
            kind = found.lastgroup or "word"  # every alternative is named
            tokens.append(Token(kind, found[kind], at))
            at = found.end()
        return [*tokens, Token("end", "", len(self.text))]

    def peek(self, ahead: int = 0) -> Token:
        """The next token, or one of those after it."""
        return self.tokens[min(self.place + ahead, len(self.tokens) - 1)]

    def take(self) -> Token:
        """The next token, which is then behind."""
        token = self.tokens[self.place]
        self.place += token.kind != "end"
        return token

    def seen(self) -> str:
        """The next token in words."""
        token = self.peek()
        return "the end" if token.kind == "end" else repr(token.text)

    def take_sign(self, sign: str) -> bool:
        """Take this sign if it is next."""
        token = self.peek()
        found = token.kind == "sign" and token.text == sign
        self.place += found
        return found

    def take_word(self, *words: str) -> str | None:
        """Take one of these words if it is next."""
        token = self.peek()
        return self.take().text if token.kind == "word" and token.text in words else None

    def need_sign(self, sign: str, use: str, example: str = "") -> None:
        """Take this sign, or fail with an example of the statement."""
        if not self.take_sign(sign):
            self.fail(self.peek(), f"found {self.seen()} where {sign} and {use} belong{_as_in(example)}")

    def need_word(self, *words: str, use: str, example: str = "") -> None:
        """Take one of these words, or fail with an example of the statement."""
        if self.take_word(*words) is None:
            self.fail(self.peek(), f"found {self.seen()} where {words[0]} and {use} belong{_as_in(example)}")

    def number_ahead(self, otherwise: str) -> str:
        """The next number of the statement, as a reader may have meant it."""
        for token in self.tokens[self.place : self.place + 3]:
            if token.kind == "number":
                return token.text
        return otherwise

    def number(self, what: str) -> tuple[float, Token]:
        """The number that is next, and its token."""
        token = self.peek()
        if token.kind != "number":
            self.fail(token, f"found {self.seen()} where the number of the {what} belongs, as in 2.5")
        value = float(self.take().text)
        if not math.isfinite(value):
            self.fail(token, f"the {what} {token.text} is too large to be a number; write a smaller one")
        return value, token

    def fail(self, token: Token, message: str) -> NoReturn:
        """Raise with the line of the text and a caret under the token."""
        line = self.text.count("\n", 0, token.at)
        begin = self.text.rfind("\n", 0, token.at) + 1
        shown, place = self.text.split("\n")[line].replace("\t", " "), token.at - begin
        if len(shown) > _SHOWN:  # of a long line the part around the place
            left = max(0, min(place - _SHOWN // 2, len(shown) - _SHOWN))
            cut = shown[left : left + _SHOWN]
            shown = f"{'… ' if left else ''}{cut}{' …' if left + _SHOWN < len(shown) else ''}"
            place += 2 * bool(left) - left
        if len(token.text) > _WORD:
            message = message.replace(token.text, shortened(token.text, _WORD))
        raise ScheduleTextError(f"schedule: {message}\n  {shown}\n  {' ' * place}^", token.at)


def _as_in(example: str) -> str:
    return f", as in {example}" if example else ""
