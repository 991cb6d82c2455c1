"""How commands read options: `--key value`, `--key=value` and `key=value` are one.

`python -m harness` and its sweeps read theirs by `overrides.call_of`, in Hydra's grammar.

    parser = Parser(prog="python -m harness.peek"); parser.add_argument("--root", type=path)
    options, words = parser.read(arguments)            # words: what is no option, in order
"""

from __future__ import annotations

import argparse
import difflib
import re
import sys
from collections.abc import Collection, Sequence
from pathlib import Path
from typing import Any, NoReturn

from harness.core.errors import InputError
from harness.core.files import user_path
from harness.core.units import parse

KEY = re.compile(r"([A-Za-z][\w.-]*)=(.*)", re.DOTALL)


class Parser(argparse.ArgumentParser):
    """Says what is wrong in one line, as the rest of the command line does."""

    def read(self, arguments: Sequence[str], keep: Collection[str] = ()) -> tuple[argparse.Namespace, list[str]]:
        """The options, and the words that are none. `keep`: names of options that mean a knob of a sweep instead."""
        self._require_command(arguments)
        options, words = self.parse_known_args(self._spelt(arguments, keep))
        for word in words:
            if word.startswith("-") and word != "-":
                raise self._unknown(word, self._chosen(arguments))
        return options, words

    def error(self, message: str) -> NoReturn:
        """What argparse found, as one line about the option in question."""
        about = re.fullmatch(r"argument (\S+?)(?:/\S+)?: (.*)", message, re.DOTALL)
        field, why = (about[1], about[2]) if about else ("arguments", message)
        value = re.search(r"value: '(.*)'$|invalid choice: '?(.*?)'? \(", why, re.DOTALL)
        remedy = f"see `{self.prog} --help`"
        given = (value[1] or value[2] or "") if value else ""
        if value and (known := re.findall(r"'([^']+)'|([\w-]+)", why.partition("choose from ")[2])):
            names = [quoted or bare for quoted, bare in known]
            near = difflib.get_close_matches(given, names, n=1)
            why, remedy = "no such choice", f"did you mean {near[0]}?" if near else f"known: {', '.join(names)}"
        elif value:
            why = {"int": "not a whole number", "float": "not a number", "amount": "not a number"}.get(
                why.split()[1], why.partition(" value:")[0]
            )
        elif about is None:
            given = " ".join(sys.argv[1:]) or "none"
        raise InputError(field, given, why, remedy)

    def _chosen(self, arguments: Sequence[str]) -> Parser:
        """The parser of the command that the arguments name, if this one has commands."""
        for action in self._actions:
            if isinstance(action, argparse._SubParsersAction):
                named = next((word for word in arguments if word in action.choices), None)
                parser = self if named is None else action.choices[named]
                assert isinstance(parser, Parser)
                return parser
        return self

    def _require_command(self, arguments: Sequence[str]) -> None:
        """InputError for a command that is missing or misspelt, before its options are told to be none."""
        for action in self._actions:
            if isinstance(action, argparse._SubParsersAction) and not {"-h", "--help"} & {*arguments}:
                words = [word for word in arguments if not word.startswith("-") and not KEY.fullmatch(word)]
                name = action.metavar or action.dest
                if not words and arguments:
                    self.error(f"the following arguments are required: {name}")
                if words and not any(word in action.choices for word in words):
                    near = (word for word in words if difflib.get_close_matches(word, action.choices, n=1))
                    word, known = next(near, words[0]), ", ".join(map(repr, action.choices))
                    self.error(f"argument {name}: invalid choice: {word!r} (choose from {known})")

    def _get_value(self, action: argparse.Action, arg_string: str) -> Any:
        """A value by its `type=`; an InputError of that says more than argparse, which knows of no remedy."""
        try:
            return super()._get_value(action, arg_string)
        except argparse.ArgumentError as error:
            if isinstance(told := error.__context__, InputError):
                field = next((name for name in action.option_strings if len(name) > 2), action.metavar or action.dest)
                raise InputError(str(field), arg_string, told.why, told.remedy) from None
            raise

    def _spelt(self, arguments: Sequence[str], keep: Collection[str]) -> list[str]:
        """The arguments, each option as `--key=value`. InputError for one without its value."""
        known = self._chosen(arguments)._option_string_actions
        spelt, left = list[str](), list(arguments)
        while left:
            word = left.pop(0)
            pair = KEY.fullmatch(word)
            if pair is not None and pair[1] not in keep:
                word = _option(pair[1], known) + f"={pair[2]}" if _option(pair[1], known) else word
            flag, equals, value = word.partition("=")
            flag = _option(flag.lstrip("-"), known) or flag if flag.startswith("--") else flag
            action = known.get(flag)
            if action is None and flag.startswith("--") and not any(name.startswith(flag) for name in known):
                raise self._unknown(word, self._chosen(arguments))
            if action is None or (action.nargs == 0 and not equals):
                spelt.append(word)
            elif action.nargs == 0:
                if value.lower() not in ("true", "false"):
                    raise InputError(flag, value, "not true or false", f"give {flag}")
                spelt += [flag] if value.lower() == "true" else []
            else:
                if not equals and not left:
                    raise InputError(flag, "", "nothing follows it", f"give {flag} {action.metavar or 'VALUE'}")
                value = value if equals else left.pop(0)
                if not value:
                    raise InputError(flag, "", "nothing is given", f"give {flag} {action.metavar or 'VALUE'}")
                if not equals and value.startswith("--") and _option(value.partition("=")[0][2:], known):
                    raise InputError(flag, "", f"{value} follows, and no value", f"give {flag} VALUE")
                spelt.append(f"{flag}={value}")
        return spelt

    def _unknown(self, word: str, chosen: Parser) -> InputError:
        flag, _, value = word.partition("=")
        near = difflib.get_close_matches(flag, [name for name in chosen._option_string_actions if len(name) > 2], n=1)
        remedy = f"did you mean {near[0]}?" if near else f"see `{chosen.prog} --help`"
        return InputError(flag, value, "no such option", remedy)


def path(text: str) -> Path:
    """`type=` of an option that names a file or a folder."""
    return user_path("", text)


def amount(text: str) -> float:
    """`type=` of an option that takes an amount of tokens or parameters: 600000, 0.6M."""
    return parse(text)


def refuse_words(words: Sequence[str], parser: Parser, arguments: Sequence[str]) -> None:
    """InputError for the first word where none is due, with the option that it may stand for."""
    for word in words:
        key, _, value = word.partition("=")
        options = {name.lstrip("-"): name for name in parser._chosen(arguments)._option_string_actions if len(name) > 2}
        near = difflib.get_close_matches(key, options, n=1)
        remedy = f"did you mean {options[near[0]]}?" if near else f"see `{parser._chosen(arguments).prog} --help`"
        field, given = (key, value) if "=" in word else ("argument", word)
        raise InputError(field, given, "not known here", remedy)


def _option(key: str, known: Collection[str]) -> str:
    """The option that a key stands for, `most_epochs` for `--most-epochs`; empty if it is none."""
    names = (f"--{key}", f"--{key.replace('_', '-')}")
    return next((name for name in names if name in known), "")
