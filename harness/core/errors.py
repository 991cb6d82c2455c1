"""The two errors a user meets: wrong input, and a damaged file.

The command line prints either as one line; `InputError` ends with exit status 2.
"""

from __future__ import annotations

from unicodedata import category

LONGEST, LONGEST_TEXT = 300, 1000  # characters of a field or value, and of a why or remedy, in a message


class InputError(ValueError):
    """What a user gave cannot be used. One line: field, value, why, remedy."""

    def __init__(self, field: str, value: object, why: str, remedy: str) -> None:
        self.field, self.value, self.why, self.remedy = field, value, why, remedy
        given, told = (
            f"{_short(field)}={_short(str(value))}",
            f"{_short(why, LONGEST_TEXT)}; {_short(remedy, LONGEST_TEXT)}",
        )
        super().__init__(_plain(" ".join(f"{given}: {told}".splitlines())))

    def __reduce__(self) -> tuple[type[InputError], tuple[str, object, str, str]]:
        return (InputError, (self.field, self.value, self.why, self.remedy))  # worker processes send it to the parent


def _plain(text: str) -> str:
    """What moves a terminal's cursor, or the order of letters, as it is written in Python."""
    return "".join(ascii(letter)[1:-1] if category(letter) in ("Cc", "Cf") else letter for letter in text)


def _short(text: str, most: int = LONGEST) -> str:
    return text if len(text) <= most else f"{text[:most]}..."


class CorruptError(RuntimeError):
    """A stored file does not hold what its checksum says. The message names the file."""
