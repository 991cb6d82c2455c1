"""Laws of one's own: read from TOML without running anything, one by one; Python only where it is trusted."""

from __future__ import annotations

import json
from dataclasses import asdict
from pathlib import Path

import pytest

from analysis.fitting.fit_file import read_fit
from analysis.laws.law_file import definition
from analysis.laws.library import LAWS, find, find_all
from harness.core.errors import InputError

MINE = """
[mine]
formula = "E + A/N**alpha + B*max(D, D_0)**-beta"
variables = {N = "parameters", D = "tokens"}
linear = ["E", "A", "B"]
starts = {alpha = [0.05, 1.5], beta = [0.05, 1.5], D_0 = [1e3, 1e6]}
bounds = {E = [-inf, inf], alpha = [0, 3]}
log = ["D_0"]
requirements = ["dL/dN < 0"]
shares = ["D"]
source = "a guess"
"""
WRONG = MINE.replace("[mine]", "[wrong]").replace('"B"]', '"B", "C"]')


def test_a_law_of_a_file_is_the_law_it_says(tmp_path: Path) -> None:
    file = tmp_path / "my.toml"
    file.write_text(MINE)
    law = find(f"{file}:mine")
    assert law == find(str(file))
    assert law.name == "mine"
    assert law.parameters == ("E", "A", "alpha", "B", "D_0", "beta")
    assert law.bound("E") == (-float("inf"), float("inf"))
    assert law.bound("beta") == (0.0, float("inf"))
    assert law.value(dict.fromkeys(law.parameters, 2.0), {"N": 2.0, "D": 1.0}) == pytest.approx(2 + 0.5 + 0.5)


def test_a_wrong_law_takes_no_other_with_it_and_is_named_when_it_is_asked_for(tmp_path: Path) -> None:
    file = tmp_path / "my.toml"
    file.write_text(MINE + WRONG)
    assert find(f"{file}:mine").name == "mine"
    with pytest.raises(InputError, match=r"^law wrong of my.toml=.*C does not occur; every name is a variable"):
        find(f"{file}:wrong")
    laws, wrong = find_all(str(file))
    assert [law.name for law in laws] == ["mine"]
    assert [error.field for error in wrong] == ["law wrong of my.toml"]
    with pytest.raises(InputError, match=r"has 2 laws; name one of them.*my.toml:mine: mine \(1 more cannot be used\)"):
        find(str(file))
    with pytest.raises(InputError, match="has no law min; it has mine"):
        find(f"{file}:min")
    file.write_text(MINE + MINE.replace("[mine]", "[other]"))
    assert [law.name for law in find_all(str(file))[0]] == ["mine", "other"]
    with pytest.raises(InputError, match=r"has 2 laws; name one of them, as in .*my.toml:mine: mine, other"):
        find(str(file))


@pytest.mark.parametrize(
    ("old", "new", "message"),
    [
        ("linear", "linar", "law mine of my.toml=linar: is no key of a law; did you mean linear?"),
        ("[mine]", "[mine]\nchecked = 'all'", "checked: is no key of a law; known: formula, variables"),
        ('formula = "E', "formula = 3 # ", "law mine of my.toml=formula = 3: is not a text; put it into quotes"),
        ("starts", "# starts", "law mine of my.toml=starts: is missing; write [mine] formula"),
        ('"A", "B"]', '"A", "B", "A"]', "A is declared twice; every name is a variable"),
        ("starts = {", "starts = {A = [1, 2], ", "A is declared twice; every name is a variable"),
        ('["D_0"]', '["D_0", "D_0"]', "D_0 is twice in log"),
        ('["D"]', '["D", "D"]', "D is twice in shares"),
        ("[0.05, 1.5], beta", "[2.0, 4.0], beta", "starts of alpha = (2.0, 4.0): outside of its bounds, 0 to 3"),
        ("E = [-inf, inf], ", "beta = [0.1, 1.0], ", "starts of beta = (0.05, 1.5): outside of its bounds, 0.1 to 1"),
        ('formula = "E', 'formula = "A*E', "law mine of my.toml=A*E + "),
        ('formula = "E', 'formula = "9**9**9*E', "a part of it is too large; write a simpler one"),
        ("[0.05, 1.5], beta", "[0.05], beta", "starts.alpha = [0.05]: is not two numbers; write starts.alpha = [low"),
        ("[0.05, 1.5], beta", "['a', 1], beta", "starts.alpha = a: is not a number; write it without quotes"),
        ("[0.05, 1.5], beta", "[true, 1], beta", "starts.alpha = True: is not a number"),
        ("[0.05, 1.5], beta", "[nan, 1], beta", "starts.alpha: is not a number up to 1e+300, or inf"),
        ("[0.05, 1.5], beta", f"[1, 1{'0' * 400}], beta", "starts.alpha: is not a number up to 1e+300, or inf"),
        ("[0.05, 1.5], beta", "[1, inf], beta", "starts of alpha = (1.0, inf): no range; give (low, high)"),
        ("[0, 3]", "[3, 0]", "bounds of alpha = (3.0, 0.0): no range of it"),
        ("[0, 3]", "2026-01-01", "bounds.alpha = 2026-01-01: is not two numbers"),
        ('["D_0"]', '"D_0"', "log = D_0: is not a list of texts"),
        ('["D_0"]', '["D_1"]', "law mine of my.toml=D_1: has bounds or a scale"),
        ('["dL/dN < 0"]', '["dL/dX < 0"]', "law mine of my.toml=dL/dX < 0: is no derivative of this law"),
        ('["dL/dN < 0"]', '["dL/d' + "d" * 5000 + '!"]', "is no derivative of this law"),
        ("**alpha", "**alpha***", "law mine of my.toml=formula = E + A/N**alpha*** "),
        ('"tokens"', "7", "variables.D = 7: is not a text"),
        ('"a guess"', '"""a\nguess"""', "source: is not a text of one line"),
        ('"a guess"', '"\\u001b[2J"', "source: is not a text of one line"),
        ('["D"]', '["Z"]', "no name of its shares is a variable"),
        ("[mine]", "[mine", "my.toml: cannot be read as TOML (Expected"),
        ("[mine]", "mine = " + "[" * 5000, "my.toml: cannot be read as TOML ("),
        ("[mine]", f"x = 1{'0' * 100_000}\n[mine]", "my.toml: cannot be read as TOML ("),
    ],
)
def test_what_is_wrong_is_said_with_the_law_and_the_key(old: str, new: str, message: str, tmp_path: Path) -> None:
    file = tmp_path / "my.toml"
    file.write_text(MINE.replace(old, new, 1))
    with pytest.raises(InputError) as refusal:
        find(f"{file}:mine")
    assert message in str(refusal.value)
    assert "\n" not in str(refusal.value)


def test_what_is_no_file_of_laws_is_refused(tmp_path: Path) -> None:
    (tmp_path / "empty.toml").write_text("")
    (tmp_path / "large.toml").write_text("#" * 1_000_001)
    (tmp_path / "plain.toml").write_text("mine = 3")
    for name, why in [
        ("empty.toml", "has no law; write"),
        ("large.toml", "has more than 1,000,000 bytes"),
        ("none.toml", "cannot be read as TOML"),
        (".", "no such law"),
        ("plain.toml:mine", "law mine of plain.toml=3: is not a table of a law"),
    ]:
        with pytest.raises(InputError, match=why):
            find(str(tmp_path / name))


def test_python_is_run_only_where_it_is_trusted(tmp_path: Path) -> None:
    file, mark = tmp_path / "my.py", tmp_path / "was_run"
    file.write_text(f"open({str(mark)!r}, 'w')\n")
    with pytest.raises(
        InputError, match=r"would be run to read a law; write the law as TOML: \[mine\] .* or add --trust"
    ):
        find(f"{file}:mine")
    assert not mark.exists()


def test_a_wrong_law_of_a_python_file_takes_no_other_with_it(tmp_path: Path) -> None:
    file = tmp_path / "my.py"
    law = 'Law("{0}", "{1}", {{"D": "tokens"}}, ("E", "A"), {{"k": (1e-12, 1e-6)}}, log=("k",))\n'
    file.write_text(
        "from analysis.laws.law import Law\n"
        + "before = "
        + law.format("before", "E + A*exp(-k*D)")
        + "wrong = "
        + law.format("wrong", "E + A*exp(-k*T)")
        + "after = "
        + law.format("after", "E + A/(1 + k*D)")
        + "other = 3\n"
    )
    assert [find(f"{file}:{name}", trust=True).name for name in ("before", "after")] == ["before", "after"]
    with pytest.raises(InputError, match=r"law wrong of my.py=.*cannot be loaded .*T is not declared"):
        find(f"{file}:wrong", trust=True)
    with pytest.raises(InputError, match="has no law other; it has after"):
        find(f"{file}:other", trust=True)
    file.write_text("import no_such_module\n" + law)
    with pytest.raises(InputError, match=r"cannot be loaded \(No module named"):
        find(f"{file}:before", trust=True)


def test_every_law_of_the_library_reads_back_from_its_definition() -> None:
    for law in LAWS.values():
        keys = {key: value for key, value in json.loads(json.dumps(asdict(law))).items() if key != "name"}
        bounds = {
            name: [None if abs(end) == float("inf") else end for end in ends] for name, ends in law.bounds.items()
        }
        assert definition({**keys, "bounds": bounds}, law.name, "a fit") == law


def test_a_fit_of_somebody_else_has_no_other_formulas(tmp_path: Path) -> None:
    file = tmp_path / "fit.json"
    given = {"name": "chinchilla", "formula": "E + __import__('os').system('true')", "variables": {}, "linear": ["E"]}
    file.write_text(json.dumps({"schema": "rewarm.fit/1", "definition": {**given, "starts": {}}}))
    with pytest.raises(InputError, match=r"law chinchilla of fit=formula = .*there are no attributes") as refusal:
        read_fit(file)
    assert "\n" not in str(refusal.value)
