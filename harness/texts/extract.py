"""Prose and code of one source file, as blocks ready for deduplication.

Pure functions of text. `harness.texts.embedded` applies them to installed files. A regular expression finds strings and
comments in one pass (ten times as fast as `ast` and `tokenize`, which would take the whole time budget):

    prose, code = python_blocks(text)       # paragraphs of docstrings and comments; definitions without them
    prose, code = cpp_blocks(text)
"""

from __future__ import annotations

import re

_PYTHON_TOKEN = re.compile(
    r'#[^\n]*|"""(?:[^"\\]|\\.|"(?!""))*+"""|\'\'\'(?:[^\'\\]|\\.|\'(?!\'\'))*+\'\'\''
    r'|"(?:[^"\\\n]|\\.)*+"|\'(?:[^\'\\\n]|\\.)*+\'',
    re.DOTALL,
)
_CPP_TOKEN = re.compile(
    r'//[^\n]*|/\*(?:[^*]|\*(?!/))*+\*/|R"\((?:[^)]|\)(?!"))*+\)"|"(?:[^"\\\n]|\\.)*+"|(?<!\w)\'(?:[^\'\\\n]|\\.)*+\'',
    re.DOTALL,
)
_BLANK_LINES = re.compile(r"\n[ \t]*\n\s*")
_LICENCE = re.compile(
    r"copyright|licen[sc]e|warrant(?:y|ies)|all rights reserved|redistribut|spdx|merchantab", re.IGNORECASE
)
_RULE = re.compile(r"(?m)^[\W_]*$\n?")  # lines without a letter or digit: underlines of headings, table borders
_PRAGMA = re.compile(r"(?:type|mypy|pyre\S*|pyright|pylint|ruff|flake8|isort|fmt|yapf)\s*:|noqa|NOLINT|clang-|-\*-")
_DOCTEST = re.compile(r"(?m)^(?:>>>|\.\.\. |In \[\d|\.\. [a-z-]+::|@\w+\()")
# A block of code ends at an empty line before a definition, or before anything at the left margin.
_PYTHON_BLOCK = re.compile(r"\n\n+(?=[^\s)\]}]|[ \t]+(?:def|class|async|@)\b)")
_CPP_BLOCK = re.compile(r"\n\n+(?=[^\s)\]}])")
_BODY_FOLLOWS = re.compile(r"(?:[ \t]*(?:#[^\n]*)?\n)*([ \t]*)\S")

_STOP_WORD_LIST = (
    "a about after all also an and any are as at be been before but by can could do does each either else for from "
    "given has have here how if in instead into is it its itself may might more most must no not of on one only or "
    "other otherwise out over same see should since so some such than that the their them then there these they this "
    "those to two under until up use used using was we what when where whether which while will with within without "
    "would you your"
)
_STOP_WORDS = frozenset(_STOP_WORD_LIST.split())
_NOT_LETTERS = bytes(i for i in range(128) if not chr(i).isalpha())
_SPACES = b" \t\n\r\f\v"
_DIGITS = b"0123456789"

SHORTEST_PROSE_WORDS = 8
LONGEST_LITERAL = 200  # characters; longer string literals are text or data, not code
SHORTEST_COMPARED = 40  # letters; below that a block is an idiom, not a copy


def normalised(block: str) -> bytes:
    """What deduplication compares: the letters, in lower case; empty for blocks too short to compare."""
    letters = block.lower().encode().translate(None, _NOT_LETTERS)
    return letters if len(letters) >= SHORTEST_COMPARED else b""


def paragraphs(text: str) -> list[str]:
    """The paragraphs of `text` that are English prose, each line stripped."""
    found = []
    for raw in _BLANK_LINES.split(text):
        # A cheap look first: most paragraphs of comments are far too short.
        if raw.count(" ") < SHORTEST_PROSE_WORDS - 1:
            continue
        paragraph = _RULE.sub("", "\n".join(map(str.strip, raw.split("\n")))).strip()
        if is_prose(paragraph):
            found.append(paragraph)
    return found


def is_prose(paragraph: str) -> bool:
    """At least 8 words, a fifth of them stop words, 82 % letters; no licence, no doctest, no directive."""
    words = paragraph.lower().split()
    if len(words) < SHORTEST_PROSE_WORDS or 5 * sum(word in _STOP_WORDS for word in words) < len(words):
        return False
    content = paragraph.encode(errors="ignore")
    visible = len(content.translate(None, _SPACES))
    if len(content.translate(None, _NOT_LETTERS)) < 0.82 * visible:
        return False
    return not _LICENCE.search(paragraph) and not _DOCTEST.search(paragraph)


def is_code(block: str) -> bool:
    """Not a table of data: enough letters, few digits, lines of a length that someone wrote."""
    content = block.encode(errors="ignore")
    visible = len(content.translate(None, _SPACES))
    letters = len(content.translate(None, _NOT_LETTERS))
    digits = visible - len(content.translate(None, _SPACES + _DIGITS))
    return letters >= 0.45 * visible and digits <= 0.15 * visible and len(block) <= 200 * (block.count("\n") + 1)


def python_blocks(text: str) -> tuple[list[str], list[str]]:
    """(paragraphs of docstrings, comments and long literals; blocks of code without them) of Python source."""
    prose: list[str] = []
    code: list[str] = []
    comment: list[str] = []
    comment_end = done = 0
    for match in _PYTHON_TOKEN.finditer(text):
        start, end = match.span()
        first = text[start]
        if first == "#":
            line = text.rfind("\n", 0, start) + 1
            alone = not text[line:start].strip()
            if alone and comment and not text[comment_end:start].strip() and text.count("\n", comment_end, start) == 1:
                comment.append(text[start:end])
            else:
                prose += _comment_paragraphs(comment)
                comment = [text[start:end]] if alone else []
            comment_end = end
            code.append(text[done : line if alone else start])
            done = end + 1 if alone else end
            continue
        triple = text.startswith(first * 3, start) and end - start >= 6
        if not triple and end - start <= LONGEST_LITERAL and text[start - 1 : start] not in ("\n", " ", "\t"):
            continue
        opened = start
        while opened and text[opened - 1] in "rRbBuUfF":
            opened -= 1
        prefix = text[opened:start].lower()
        line = text.rfind("\n", 0, opened) + 1
        indent = text[line:opened]
        before = _last_character(code, text[done:line]) if not indent.strip() else "="
        after = text.find("\n", end)
        alone = not text[end : after if after >= 0 else len(text)].strip()
        documents = alone and (before in ("", ":") or (triple and before not in "([{,=+%\\|&"))
        if triple and end - start > 40 and not set(prefix) & set("bf"):
            prose += paragraphs(_content(text[start + 3 : end - 3], prefix))
        if documents:
            code.append(text[done:line])
            follows = _BODY_FOLLOWS.match(text, after + 1) if after >= 0 else None
            if before == ":" and (follows is None or len(follows.group(1)) < len(indent)):
                code.append(f"{indent}pass\n")  # a body that was its docstring
            done = after + 1 if after >= 0 else len(text)
        elif end - start > LONGEST_LITERAL:
            code.append(text[done:start] + '""')
            done = end
    prose += _comment_paragraphs(comment)
    code.append(text[done:])
    return prose, _code_blocks("".join(code), _PYTHON_BLOCK)


def cpp_blocks(text: str) -> tuple[list[str], list[str]]:
    """(paragraphs of comments; blocks of code without them) of C or C++ source."""
    prose: list[str] = []
    code: list[str] = []
    comment: list[str] = []
    comment_end = done = 0
    for match in _CPP_TOKEN.finditer(text):
        start, end = match.span()
        if text[start] != "/":
            continue
        line = text.rfind("\n", 0, start) + 1
        alone = not text[line:start].strip()
        if text.startswith("/*", start):
            prose += paragraphs(re.sub(r"(?m)^[ \t]*[*!]+", "", text[start + 2 : end - 2]).replace("\\brief", ""))
        elif alone and comment and not text[comment_end:start].strip() and text.count("\n", comment_end, start) == 1:
            comment.append(text[start:end])
            comment_end = end
        else:
            prose += _comment_paragraphs(comment)
            comment, comment_end = [text[start:end]] if alone else [], end
        code.append(text[done : line if alone else start])
        done = end + 1 if alone and text[end : end + 1] == "\n" else end
    prose += _comment_paragraphs(comment)
    code.append(text[done:])
    return prose, _code_blocks("".join(code), _CPP_BLOCK)


def _comment_paragraphs(lines: list[str]) -> list[str]:
    if not lines:
        return []
    texts = (line.lstrip("#/!").strip().removeprefix("\\brief ") for line in lines)
    return paragraphs("\n".join(text for text in texts if not _PRAGMA.match(text)))


def _last_character(code: list[str], since: str) -> str:
    """The last visible character of the code so far, in which comments are gone."""
    return next((piece.rstrip()[-1] for piece in (since, *reversed(code)) if not piece.isspace() and piece), "")


def _content(literal: str, prefix: str) -> str:
    if "\\" not in literal or "r" in prefix:
        return literal
    return literal.replace("\\\n", "").replace("\\n", "\n").replace("\\\\", "\\")


def _code_blocks(code: str, border: re.Pattern[str]) -> list[str]:
    tidy = re.sub(r"[ \t]+(?=\n)", "", code.replace("\r\n", "\n"))
    tidy = re.sub(r"\n{4,}", "\n\n\n", tidy).strip("\n")
    return [block for block in border.split(tidy) if block.strip() and is_code(block)]
