"""A corpus is a config, and a shift is two names."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from harness.compose.compose import collect
from harness.config.run import Run, read_run
from harness.core.errors import InputError
from harness.plan.plan import compile_points
from harness.texts.listed import FilesSource, MegatronSource
from harness.texts.recipe import EmbeddedSource, LocalSource
from tests.repository import REPOSITORY

TOKENIZER = next((REPOSITORY / "tests" / "golden" / "store").rglob("tokenizer.json"))
SLIMPAJAMA = {  # PAPERS: the weights of the authors' config, per cent
    "CommonCrawl": 52.087671651,
    "C4": 26.688499472,
    "Github": 5.224141056,
    "Arxiv": 4.428184641,
    "Book": 4.203131326,
    "Wikipedia": 3.997293125,
    "StackExchange": 3.371078725,
}
OWN = """kind: files
files: {folder}/data/*.jsonl
text: body.text
parts:
  A: {{weight: 0.25, where: {{body.set: [A, 1]}}}}
  rest: {{weight: 0.75}}
validation: 0.1
tokens: 2M
"""


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    (tmp_path / "corpus").mkdir()
    (tmp_path / "data").mkdir()
    for number in range(2):
        (tmp_path / "data" / f"{number}.jsonl").write_text(json.dumps({"text": f"{number}"}) + "\n")
    (tmp_path / "corpus" / "mine.yaml").write_text(OWN.format(folder=tmp_path))
    return tmp_path


def run(*arguments: str) -> Run:
    (point,) = collect(arguments)
    return read_run(point.config)


def refusal(*arguments: str) -> str:
    with pytest.raises(InputError) as caught:
        run(*arguments)
    assert "\n" not in str(caught.value)
    return str(caught.value)


def test_any_two_corpora_are_a_shift(folder: Path) -> None:
    for pair in ("docs_to_cpp", "sympy_to_sympy"):
        made = run(f"shift={pair}")
        assert f"{made.upstream}_to_{made.downstream}" == pair
        assert made.name.startswith(pair)
    made = run("-cd", str(folder), "shift=docs_to_mine", f"tokenizer={TOKENIZER}")
    assert isinstance(made.recipes["docs"].source, EmbeddedSource)
    source = made.recipes["mine"].source
    assert isinstance(source, FilesSource)
    assert [(p.name, p.weight, p.where) for p in source.parts] == [
        ("A", 0.25, (("body.set", ("A", "1")),)),
        ("rest", 0.75, ()),
    ]
    assert (source.text, source.tokens, len(source.train.files)) == ("body.text", 2_000_000, 2)
    assert made.recipes["mine"].validation == 0.1
    assert (
        run("-cd", str(folder), "downstream=mine", f"tokenizer={TOKENIZER}").recipes["mine"].key
        == made.recipes["mine"].key
    )


def test_a_record_holds_the_corpora_that_it_names(folder: Path) -> None:
    embedded = run("shift=docs_to_cpp").config["corpus"]
    assert set(embedded) == {"sample", "vocab_size", "longest_document"}, "as before there were others"
    own = run("-cd", str(folder), "downstream=mine", f"tokenizer={TOKENIZER}", "corpus.mine.tokens=1M").config["corpus"]
    assert set(own) - set(embedded) == {"mine"}
    assert own["mine"]["tokens"] == "1M"
    assert own["mine"]["unit_bytes"] == 1 << 30


def test_paths_and_urls_stand_where_names_do(folder: Path) -> None:
    made = run(f"upstream={folder}/data/0.jsonl", f"downstream=law={folder}/data/1.jsonl")
    assert (made.upstream, made.downstream, made.name.split("-")[0]) == ("upstream", "law", "upstream_to_law")
    assert all(isinstance(recipe.source, LocalSource) for recipe in made.recipes.values())
    same = run("shift=local", f"upstream={folder}/data/0.jsonl", f"downstream={folder}/data/1.jsonl")
    assert [made.recipes[name].key for name in ("upstream", "law")] == [recipe.key for recipe in same.recipes.values()]
    made = run(f"downstream=law=file://{folder}/data/*.jsonl", f"tokenizer={TOKENIZER}", "corpus.law.text=body")
    assert isinstance(made.recipes["law"].source, FilesSource)
    assert made.recipes["law"].source.text == "body"
    sets = f"evaluate.sets=[sympy, 'more={folder}/data/0.jsonl']"
    assert set(run(sets, f"tokenizer={TOKENIZER}").recipes) == {"docs", "python", "sympy", "more"}


def test_what_is_only_measured_changes_no_tokenizer_and_so_no_address(folder: Path) -> None:
    data = folder / "data"
    (data / "law.csv").write_text("text\nlaw\n")
    law = f"evaluate.sets=['law={data}/law.csv']"
    lines = {
        "shift=local": (f"upstream={data}/0.jsonl", f"downstream={data}/1.jsonl"),
        "shift=docs_to_python": (f"upstream=old={data}/0.jsonl", f"downstream=new={data}/1.jsonl"),
        "peak=1": (),
        "seed=3": (f"downstream=new={data}/1.jsonl", f"tokenizer={TOKENIZER}"),
    }
    for first, more in lines.items():
        plain, measured = run(first, *more), run(first, *more, law)
        (one,), (other,) = compile_points([("", plain)]), compile_points([("", measured)])
        assert (one.program.address(), one.key) == (other.program.address(), other.key)
        assert {name: recipe.key for name, recipe in plain.recipes.items()}.items() <= {
            name: recipe.key for name, recipe in measured.recipes.items()
        }.items()
        assert measured.recipes["law"].tokenizer == plain.recipes[plain.upstream].tokenizer
    pair = lines["shift=docs_to_python"]
    embedded = run(*pair, "evaluate.sets=[cpp]")  # packages, in the tokens of one's own texts
    assert embedded.recipes["cpp"].tokenizer == run(*pair).recipes["old"].tokenizer
    local = lines["shift=local"]
    named = run("-cd", str(folder), "shift=local", *local, f"evaluate.sets=[cpp, mine, law=file://{data}/law.csv]")
    assert {recipe.tokenizer for recipe in named.recipes.values()} == {named.recipes["upstream"].tokenizer}
    assert list(named.recipes) == ["upstream", "downstream", "cpp", "mine", "law"]
    assert list(run("shift=local", *local).recipes) == ["upstream", "downstream"]
    with pytest.raises(InputError, match=r"^evaluate.sets=law=file.*: the same texts as mine"):
        run("shift=local", *local, f"evaluate.sets=[mine=file://{data}/law.csv, law=file://{data}/law.csv]")
    files = run("-cd", str(folder), "evaluate.sets=[mine]")  # listed files, in those of the packages
    assert files.recipes["mine"].tokenizer == run("peak=1").recipes["docs"].tokenizer


def test_the_corpora_of_the_papers() -> None:
    made = run("scale=paper", "evaluate.sets=[german, pile_pythia]")
    assert (made.upstream, made.downstream) == ("pile", "slimpajama")
    source = made.recipes["slimpajama"].source
    assert isinstance(source, FilesSource)
    assert {part.name: part.weight for part in source.parts} == pytest.approx(
        {name: weight / 100 for name, weight in SLIMPAJAMA.items()}, rel=1e-9
    )
    assert {v for part in source.parts for _, values in part.where for v in values} == {
        "RedPajamaCommonCrawl",
        "RedPajamaC4",
        "RedPajamaGithub",
        "RedPajamaArXiv",
        "RedPajamaBook",
        "RedPajamaWikipedia",
        "RedPajamaStackExchange",
    }
    german = made.recipes["german"].source
    assert isinstance(german, FilesSource)
    assert german.text == "content"
    assert isinstance(made.recipes["pile_pythia"].source, MegatronSource)
    for name, files in (
        ("pile", "monology/pile-uncopyrighted/train/"),
        ("slimpajama", "cerebras/SlimPajama-627B/train/"),
    ):
        assert made.config["corpus"][name]["files"].startswith(f"hf://datasets/{files}")


def test_domain_by_domain() -> None:
    made = run("scale=paper", "shift=slimpajama_domains")
    trained = [(stage.mixture[0][0], stage.steps * made.tokens_per_step) for stage in made.stages[1:]]
    assert [name for name, _ in trained] == [f"slimpajama.{name}" for name in SLIMPAJAMA]
    for name, tokens in trained:
        share = SLIMPAJAMA[name.partition(".")[2]] / 100
        assert tokens == pytest.approx(share * 299.28e9, rel=2e-4)
        source = made.recipes[name].source
        assert isinstance(source, FilesSource)
        assert [part.name for part in source.parts] == [name.partition(".")[2]]
    assert (made.upstream, made.downstream) == ("pile", "slimpajama")


def test_the_same_data_at_every_scale() -> None:
    assert [run(f"scale={scale}", "shift=same").name.split("-")[0] for scale in ("mini", "paper")] == [
        "docs_to_docs",
        "pile_to_pile",
    ]


def test_files_of_ones_own_name_their_place_in_a_sweep_file(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TEXTS", str(folder / "data"))
    (folder / "corpus" / "set.yaml").write_text("kind: files\nfiles: ${oc.env:TEXTS}/*.jsonl\n")
    given = ("-cd", str(folder), "downstream=set", f"tokenizer={TOKENIZER}")
    assert run(*given).recipes["set"].key == run(*given, f"corpus.set.files={folder}/data").recipes["set"].key


BAD = {
    "downstream=null shift=docs_to_pyton": "shift.downstream=pyton: no such corpus as pyton; did you mean python?",
    "downstream=pil": "downstream=pil: no such corpus as pil; did you mean pile?",
    "downstream=law=docs": "law=./docs",
    "downstream=docs replay=0.1": "upstream and downstream are both docs",
    "corpus.mine.filez=x": "corpus.mine.filez=x: not a key of a corpus of kind files; did you mean corpus.mine.files?",
    "corpus.mine.format=xml": "corpus.mine.format=xml: unknown format; known are jsonl,",
    "corpus.mine.format=megatron": "say kind: megatron",
    "corpus.mine.kind=folder": "corpus.mine.kind=folder: no such kind",
    "corpus.mine.files=[]": "says no files",
    "corpus.mine.files=[1]": "corpus.mine.files=1: neither a path nor a URL",
    "corpus.mine.files=none/*.jsonl": "matches no file",
    "corpus.mine.parts={A:{weight:0.5},B:{weight:0.4}}": "the weights of its 2 parts sum up to 0.9; make it 1, or 100",
    "corpus.mine.parts={A:{weight:0.5},B:{}}": "corpus.mine.parts.B=null: the other parts have weights",
    "corpus.mine.parts={A:{weigth:0.5}}": "corpus.mine.parts.A=weigth: not a key of a part",
    "corpus.mine.parts={A:{weight:-1}}": "corpus.mine.parts.A.weight=-1: not above 0",
    "corpus.mine.parts={A:{where:[x]}}": "corpus.mine.parts.A.where=['x']: not a mapping",
    "corpus.mine.parts={A:{},B:{where:{set:[b]}}}": "corpus.mine.parts.A.where=null: it has no where, so it takes all",
    "corpus.mine.parts={A:{weight:0.5},B:{weight:0.5}}": "corpus.mine.parts.A.where=null: it has no where",
    "corpus.mine.parts={A:{where:{set:[a,b]}},B:{where:{set:[b],x:[1]}}}": ".parts.B.where={set: [b], x: [1]}: A",
    "text=body": "text=body: no corpus of this run is read by it; say corpus.mine.text=body",
    "text=body downstream=cpp": "text=body: no corpus of this run is read by it; leave it out",
    "corpus.mine.parts=[A]": "not a mapping of parts",
    "corpus.mine.tokens=many": "corpus.mine.tokens=many: not a number",
    "corpus.mine.unit_bytes=0.5": "corpus.mine.unit_bytes=0.5: below 1",
    "corpus.mine.validation=2": "corpus.mine.validation=2: above 0.9",
    "corpus.nine.files=x": "corpus.nine=files: no such corpus as nine; did you mean mine?",
    "corpus.docs.files=x": "not a key of a corpus of kind embedded",
    "evaluate.sets=[mine.B]": "evaluate.sets=mine.B: mine has no part B; known: A, rest",
    "evaluate.sets=[./texts]": "it needs a name in tables; give texts=./texts",
    "tokenizer=null": "no vocabulary is trained on mine",
}


@pytest.mark.parametrize("given", BAD)
def test_what_a_corpus_config_cannot_be(given: str, folder: Path) -> None:
    arguments = [f"tokenizer={TOKENIZER}", "downstream=mine", *given.split()]
    assert BAD[given] in refusal("-cd", str(folder), *arguments)


def test_a_corpus_of_ones_own_has_a_name_of_its_own(folder: Path) -> None:
    (folder / "corpus" / "pile.yaml").write_text(OWN.format(folder=folder))
    assert "pile: it is in" in refusal("-cd", str(folder), "downstream=pile")
    (folder / "corpus" / "none.yaml").write_text("files: x\n")
    assert "says no kind" in refusal("-cd", str(folder), "downstream=none")
    (folder / "corpus" / "tab.yaml").write_text("kind: files\n\tfiles: x\n")
    assert "tab.yaml, line 2: a tab where YAML wants blanks" in refusal("-cd", str(folder), "downstream=tab")


BROKEN = {
    b"kind: files\nfiles: a\nfiles: b\n": ", line 3: found duplicate key files",
    b"kind: files\nparts: {A: {weight: 1}, A: {weight: 2}}\n": ", line 2: found duplicate key A",
    b"kind: files\n[a]: b\n": ", line 2: found unhashable key",
    b"kind: files\n<<: 3\n": ", line 2: expected a mapping",
    b"kind: files\nnull: a\n": "Incompatible key type 'NoneType'; ",
    b"kind: files\nfiles: ${\n": "no viable alternative at input '${' (key files); ",
    b"kind: files\nfiles: *a\n": ", line 2: found undefined alias",
    b"kind: files\nfiles: &a [*a]\n": ", line 2: an anchor that contains itself",
    b"kind: files\nfiles: " + b"[" * 500 + b"]" * 500: "nested too deeply",
    b"kind: files\nfiles: \xff\n": ", line 2: byte 0xff is not UTF-8",
    b"kind: files\ntokens: " + b"9" * 5000: "Exceeds the limit",
    b"kind: [files]\nfiles: a\n": "corpus.bad.kind=['files']: no such kind of corpus",
    b"- kind\n": ", line 1: not a mapping of keys",
}


def test_a_broken_file_of_a_corpus_is_one_line_that_names_it(folder: Path) -> None:
    file = folder / "corpus" / "bad.yaml"
    for content, why in BROKEN.items():
        file.write_bytes(content)
        said = refusal("-cd", str(folder), "downstream=bad", f"tokenizer={TOKENIZER}")
        assert why in said
        assert said.startswith((f"file={file}", "corpus.bad.kind="))
