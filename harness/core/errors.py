"""The two errors a user meets: wrong input, and a damaged file.

The command line prints either as one line; `InputError` ends with exit status 2.
"""

from __future__ import annotations

LONGEST = 300  # characters of a value in a message


class InputError(ValueError):
    """What a user gave cannot be used. One line: field, value, why, remedy."""

    def __init__(self, field: str, value: object, why: str, remedy: str) -> None:
        self.field, self.value, self.why, self.remedy = field, value, why, remedy
        shown = str(value) if len(str(value)) <= LONGEST else f"{str(value)[:LONGEST]}..."
        super().__init__(" ".join(f"{field}={shown}: {why}; {remedy}".splitlines()))

    def __reduce__(self) -> tuple[type[InputError], tuple[str, object, str, str]]:
        return (InputError, (self.field, self.value, self.why, self.remedy))  # worker processes send it to the parent


class CorruptError(RuntimeError):
    """A stored file does not hold what its checksum says. The message names the file."""
