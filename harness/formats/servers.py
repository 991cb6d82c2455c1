"""Servers that are asked: tried again while one is busy, its errors told by their kind.

Beneath `harness.texts.remote` (files of any server) and `harness.model.hub_client` (checkpoints of a hub), which say in
a line what was asked for and what to do; the clients beneath them each raise families of their own.

    patiently(lambda: api.model_info(name), lambda error, trouble: InputError("path", name, trouble.kind, "..."))
"""

from __future__ import annotations

import errno
import re
import time
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from typing import TypeVar

from harness.core.errors import InputError

WAITS = (1.0, 2.0, 4.0, 8.0)  # seconds before another try
LONGEST_WAIT = 60.0  # that a server may ask for
BUSY = (408, 429, 500, 502, 503, 504)
OUT_OF_REACH = {"ConnectError", "ConnectTimeout", "ProxyError", "ClientConnectorError", "ConnectionError", "gaierror"}
# Settings that no request can be made of, by what the client of hubs then raises.
UNUSABLE = {"address": {"UnsupportedProtocol", "InvalidURL"}, "token": {"UnicodeEncodeError", "LocalProtocolError"}}
TRANSPORTS = ("httpx", "httpcore", "aiohttp")  # modules whose errors, where nothing was answered, are of a connection
T = TypeVar("T")


class UnreachableError(InputError):
    """Nobody answered: HF_HUB_OFFLINE is set, there is no network, or nothing at that address."""


@dataclass(frozen=True)
class Trouble:
    """What went wrong with a question."""

    kind: str
    """offline, busy, no revision, no file, closed, address, token, unreachable, broke, or other."""
    status: int | None
    """Of the answer, if there was one."""
    seconds: float
    """That the server asks to wait."""
    name: str
    """The kind of error alone: a message may hold a URL, and that a password."""


def patiently(call: Callable[[], T], refusal: Callable[[Exception, Trouble], InputError]) -> T:
    """The answer, after some tries where the server is busy or the connection breaks; else the refusal is raised."""
    for wait in (*WAITS, None):
        try:
            return call()
        except InputError:
            raise
        except Exception as error:  # each client has families of its own, and lets its transport's through
            trouble = trouble_of(error)
            if trouble.kind in UNUSABLE:
                raise _unusable(trouble.kind) from None
            if trouble.kind not in ("busy", "broke") or wait is None:
                raise refusal(error, trouble) from None
            time.sleep(min(max(wait, trouble.seconds), LONGEST_WAIT))
    raise AssertionError("the last try returns or raises")


def trouble_of(error: BaseException) -> Trouble:
    """What kind of error a client raised."""
    chain = list(_chain(error))
    answered = next((found for one in chain if (found := _answer(one))[0] is not None), None)
    status, headers = answered or (None, {})
    asked = str(headers.get("Retry-After", ""))
    names = {type(one).__name__ for one in chain}
    name = type(error.__cause__ or error).__name__
    return Trouble(_kind(chain, names, status), status, float(asked) if asked.isdigit() else 0.0, name)


def of_the_disk(error: OSError, folder: object, field: str = "root") -> InputError:
    """What the file system refuses of a store, or (`field` HF_HOME) of the client's cache."""
    if error.errno in (errno.ENOSPC, errno.EDQUOT):
        return InputError(field, folder, "no space is left on the disk", "free some, and run the command again")
    return InputError(field, folder, f"cannot be written ({error.strerror})", f"name another {field}")


def who_may_read() -> str:
    """What to do about a hub's repository that is not there, or closed."""
    from huggingface_hub import get_token

    own = "the token that is set may not read it" if get_token() else "set HF_TOKEN if it is closed"
    return f"check the name; {own}"


def _unusable(kind: str) -> InputError:
    """The refusal of HF_ENDPOINT or HF_TOKEN; neither a token nor a password is shown."""
    if kind == "token":
        return InputError("HF_TOKEN", "...", "holds characters that no token has", "set it anew, the token alone")
    from huggingface_hub import constants

    shown = re.sub("[^/@]*@", "...@", constants.ENDPOINT)
    return InputError("HF_ENDPOINT", shown, "is no address of a hub", "unset it, or give https://HOST")


def _kind(chain: list[BaseException], names: set[str], status: int | None) -> str:
    if "OfflineModeIsEnabled" in names:
        return "offline"
    if status in BUSY:
        return "busy"
    if "RevisionNotFoundError" in names:
        return "no revision"
    if names & {"EntryNotFoundError", "RemoteEntryNotFoundError"}:
        return "no file"
    if status in (401, 403, 404):
        return "closed"
    http = any(type(one).__module__.startswith("httpx") for one in chain)
    for kind, raised in UNUSABLE.items():
        if names & raised and (http or kind == "token"):
            return kind
    if "TooManyRedirects" in names:
        return "other"
    if names & OUT_OF_REACH:
        return "unreachable"
    transport = any(type(one).__module__.startswith(TRANSPORTS) for one in chain)
    if status is None and (transport or "Consistency check failed" in str(chain[0])):
        return "broke"
    return "other"


def _answer(error: BaseException) -> tuple[int | None, Mapping[str, str]]:
    """The status and the headers of the answer that an error holds."""
    answer = getattr(error, "response", None)
    status = getattr(answer, "status_code", None) or getattr(error, "status", None)
    headers = getattr(answer, "headers", None) or getattr(error, "headers", None) or {}
    return (status, headers) if isinstance(status, int) else (None, {})


def _chain(error: BaseException | None) -> Iterator[BaseException]:
    seen: set[int] = set()
    while error is not None and id(error) not in seen:
        seen.add(id(error))
        yield error
        error = error.__cause__ or error.__context__
