"""Command lines and sweep files as points: what is refused, how points are counted, and what they are called."""

from __future__ import annotations

import shlex
from pathlib import Path

import pytest

from harness.compose.compose import collect, sweep_points
from harness.compose.overrides import quoted
from harness.core.errors import InputError

BUILDS_ON = "defaults: [config, _self_]\n"
LAUGHS = "".join(f"{b}: &{b} [{', '.join([f'*{a}'] * 10)}]\n" for a, b in zip("abcdefghi", "bcdefghij", strict=True))
BAD_FILES = {
    "warmpu: 0.25": "warmpu=0.25: unknown key; did you mean warmup?",
    "base: {pek: 1e-2}": "base.pek=0.01: unknown key; did you mean base.peak?",
    "optimiser: {weight_decay: 0}": "did you mean optimizer?",
    "optimizer: {beta: [0.9, 0.95]}": "did you mean optimizer.betas?",
    "corpus: {sampel: 0.1}": "did you mean corpus.sample?",
    "launch: {worker: 2}": "did you mean launch.workers?",
    "launch: {partition: gpu}": "not a key of the launch that was chosen; it belongs to launch=slurm",
    "schedule: {anneal: 0.1}": "it belongs to schedule=",
    "shift: {further: {x: /tmp}}": "it belongs to shift=local",
    "1: 2": "1=2: unknown key",
    "batch: 8": "give batch.sequences=8",
    "batch:": "batch=null: it has keys",
    "schedule: wsd": "choose it in the file's defaults (override schedule: wsd) or in grids",
    "lr: {a: 1}": "a mapping where one value is due",
    "seed: [0, 1]": "put seed into grids",
    "warmup: ???": "line 2: ??? stands for a value",
    "lr: ${nope}": "Interpolation key 'nope' not found",
    "lr: ${oc.env:NOT_SET_ANYWHERE}": "NOT_SET_ANYWHERE",
    "grids:\n\t- {peak: [0.5, 1]}": "sweep.yaml, line 3: a tab where YAML wants blanks",
    "grids: [{peak: [1, 2}]": "sweep.yaml, line 2: expected",
    "lr: 1e-3\nlr: 1e-4": "line 3: found duplicate key lr",
    "lr: !!python/object/apply:os.getcwd []": "line 2: a YAML tag",
    "lr: !mine 3": "line 2: a YAML tag (!mine)",
    "lr: 1\0": "line 2: character 0x0 is not allowed",
    "stages: &a [*a]": "line 2: an anchor that contains itself",
    "a: &a [1, 1, 1, 1, 1, 1, 1, 1, 1, 1]\n" + LAUGHS: "write out to 1.23e+10 values",
    "lr: " + "[" * 5000: "nested too deeply",
    "lr: " + "[" * 200 + "]" * 200: "nested 201 levels deep, more than 32",
    "a0: &a0 1\n" + "".join(f"a{i}: &a{i} [*a{i - 1}]\n" for i in range(1, 2000)): "levels deep, more than 32",
    f"grids: [{{lr{'.x' * 300}: [1]}}]": "nested more than 32 levels deep",
    "'': 1": "''=1: a key without a name",
    "grids: [{lrr: [1]}]": "did you mean lr?",
    "grids: [{base: [{pek: 1}]}]": "did you mean base.peak?",
    "grids: [{schedule: [wsd, wds]}]": "schedule=wds: no such choice",
    "hydra: {run: {dir: here}}": "hydra.run.dir=here: the program sets Hydra's own settings",
    "hydra: {job: {chdir: true}}": "hydra.job.chdir=True",
    "hydra: {callbacks: {mine: {_target_: os.getcwd}}}": "hydra.callbacks",
    "hydra: {searchpath: ['file:///nowhere']}": "put your own choices into the folder of -cd",
}
BAD_DEFAULTS = {
    "[sweep, _self_]": "its defaults name each other in a circle",
    "[_self_, config]\nwarmup: 0.25": "config comes after _self_ and overrides what the file sets; put _self_ last",
    "[_self_]\nlr: 1": "missing: nothing sets this key; begin the file with `defaults: [config, _self_]`",
    "[config, override schedule: wds, _self_]": "schedule=wds: no such choice; known: cosine, constant",
    "[config, override schedul: wsd, _self_]": "did you mean schedule?",
    "[config, override shift: ../model/mini, _self_]": "shift.layers=2: unknown key",
    "[config, override hydra/launcher: joblib, _self_]": "use launch=local or launch=slurm",
    "3": "defaults must be a list",
}


def refusal(*arguments: str) -> str:
    with pytest.raises(InputError) as caught:
        collect(arguments)
    message = str(caught.value)
    assert "\n" not in message
    return message


@pytest.mark.parametrize("content", BAD_FILES)
def test_a_sweep_file_is_refused_by_key_or_by_line(content: str, tmp_path: Path) -> None:
    (tmp_path / "sweep.yaml").write_text(BUILDS_ON + content + "\n")
    assert BAD_FILES[content] in refusal("-cd", str(tmp_path), "-cn", "sweep")


@pytest.mark.parametrize("content", BAD_DEFAULTS)
def test_the_defaults_of_a_sweep_file_are_refused_in_one_line(content: str, tmp_path: Path) -> None:
    (tmp_path / "sweep.yaml").write_text(f"defaults: {content}\n")
    assert BAD_DEFAULTS[content] in refusal("-cd", str(tmp_path), "-cn", "sweep")


def test_a_sweep_file_that_is_not_utf8_is_refused_with_its_line(tmp_path: Path) -> None:
    (tmp_path / "sweep.yaml").write_bytes(BUILDS_ON.encode() + "# grüße\n".encode("latin-1"))
    assert "sweep.yaml, line 2: byte 0xfc is not UTF-8" in refusal("-cd", str(tmp_path), "-cn", "sweep")


def test_a_misspelt_key_is_found_wherever_it_was_included_from(tmp_path: Path) -> None:
    (tmp_path / "shared.yaml").write_text(BUILDS_ON + "warmpu: 0.25\n")
    (tmp_path / "sweep.yaml").write_text("defaults: [shared, _self_]\n")
    assert "did you mean warmup?" in refusal("-cd", str(tmp_path), "-cn", "sweep")


def test_names_that_a_user_makes_up_are_allowed(tmp_path: Path) -> None:
    (tmp_path / "sweep.yaml").write_text(
        "defaults: [config, override shift: local, override launch: slurm, _self_]\n"
        "shift: {further: {letters: /data/letters}}\n"
        "launch: {sbatch: {mail-type: FAIL}, sizes: [{parameters: 1e9, gpus_per_node: 8}]}\n"
        "base: {schedule: {name: wsd, anneal: 0.2}}\n"
    )
    (point,) = collect(["-cd", str(tmp_path), "-cn", "sweep", "shift.further.more=/data/more"])
    assert point.config["shift"]["further"] == {"letters": "/data/letters", "more": "/data/more"}
    assert point.config["launch"]["sbatch"] == {"mail-type": "FAIL"}
    (point,) = collect(["shift=local", "shift.further={third: /data/third}"])
    assert point.config["shift"]["further"] == {"third": "/data/third"}


def test_choices_of_ones_own_are_held_against_the_choice_they_are_like(tmp_path: Path) -> None:
    for group, name, content in (
        ("launch", "cluster", "defaults: [slurm, _self_]\npartition: gpu\n"),
        ("launch", "misspelt", "defaults: [slurm, _self_]\npartiton: gpu\n"),
        ("model", "short", "name: short\nlayers: 2\nhidden: 64\n"),
        ("schedule", "mine", "defaults: [wsd, _self_]\nanneal: 0.3\n"),
        ("site", "lab", "# @package _global_\nlaunch: {workers: 2}\n"),
        ("site", "typo", "# @package _global_\nlaunch: {wokers: 2}\n"),
    ):
        (tmp_path / group).mkdir(exist_ok=True)
        (tmp_path / group / f"{name}.yaml").write_text(content)
    folder = ["-cd", str(tmp_path)]
    assert collect([*folder, "launch=cluster"])[0].config["launch"]["partition"] == "gpu"
    assert collect([*folder, "schedule=mine"])[0].config["schedule"]["anneal"] == 0.3
    assert collect([*folder, "+site=lab"])[0].config["launch"]["workers"] == 2
    assert "did you mean launch.partition?" in refusal(*folder, "launch=misspelt")
    assert "model.heads=missing" in refusal(*folder, "model=short")
    assert "did you mean launch.workers?" in refusal(*folder, "+site=typo")


def test_a_name_that_the_program_has_already_is_refused_and_not_passed_over(tmp_path: Path) -> None:
    (tmp_path / "model").mkdir()
    (tmp_path / "model" / "mini.yaml").write_text("name: mini\nlayers: 99\n")
    (tmp_path / "config.yaml").write_text("lr: 1\n")
    assert "in the program's conf; rename yours" in refusal("-cd", str(tmp_path), "-cn", "config")
    (tmp_path / "config.yaml").rename(tmp_path / "sweep.yaml")
    assert "model=mini: it is in" in refusal("-cd", str(tmp_path), "model=mini")


@pytest.mark.parametrize(
    "value",
    ["/x/epoch=1", "/x/a,b", "/a(b)", "/a{b", "{b}", "/a b", "/$HOME/${x}", "/a#b", "~/x", "Köln", "a'b", 'a"b', "[1"],
)
def test_a_value_reaches_the_program_as_it_is_or_quoted_as_the_refusal_says(value: str) -> None:
    def read(override: str) -> object:
        return collect(["shift=local", override])[0].config["upstream"]

    (typed,) = shlex.split(quoted("upstream", value))
    assert read(typed) == value
    if value not in ("/a b", "{b}", "~/x"):
        message = refusal("shift=local", f"upstream={value}")
        assert quoted("upstream", value) in message or "escape it: \\${" in message
    elif value in ("/a b", "~/x"):
        assert read(f"upstream={value}") == value


def test_a_number_with_underscores_is_kept_as_it_was_typed() -> None:
    (point,) = collect(["shift=local", "upstream=2024_10"])
    assert point.config["upstream"] == "2024_10"


@pytest.mark.parametrize(
    ("arguments", "count"),
    [
        (["-m", "lr=range(1,100000000)"], "99,999,999"),
        (["-m", "lr=range(0,1,1e-12)"], "1,000,000,000,000"),
        (["-m", "seed=range(0,400)", "init=range(0,400)"], "160,000"),
        (["grids=[{seed: [0,1,2], order: [0,1]}]", "max_points=5"], "6"),
        (["-m", "seed=0,1,2", "grids=[{order: [0,1]}]", "max_points=5"], "6"),
    ],
)
def test_points_are_counted_before_they_are_made(arguments: list[str], count: str) -> None:
    assert f"{count} points are asked for; ask for fewer, or raise it" in refusal(*arguments)


def test_a_grid_of_ten_million_points_is_counted(tmp_path: Path) -> None:
    hundred = ", ".join(map(str, range(1, 217)))
    (tmp_path / "sweep.yaml").write_text(f"{BUILDS_ON}grids: [{{seed: &n [{hundred}], order: *n, init: *n}}]\n")
    assert "10,077,696 points" in refusal("-cd", str(tmp_path), "-cn", "sweep")


def labels(*arguments: str) -> list[str]:
    return [point.label for point in collect(arguments)]


def test_labels_are_the_choices_by_which_points_differ() -> None:
    assert labels("lr=1e-3") == [""]
    assert labels("-m", "lr=1e-3") == [""]
    assert labels("-m", "seed=0,1") == ["seed=0", "seed=1"]
    assert labels("-cn", "scalable_replay", "seed=1")[:2] == ["replay=0", "replay=0.005"]
    both = labels("-cn", "rewarm_warmup", "-m", "seed=0,1")
    assert both[0] == "seed=0 warmup=0"
    assert len(set(both)) == 8
    assert labels("grids=[{start: scratch, lr: [1, 2]}]") == ["lr=1", "lr=2"]


def test_labels_tell_points_apart_that_are_one_run() -> None:
    assert labels("-m", "peak=1,1.0") == ["peak=1", "peak=1.0"]
    assert labels("-m", "lr=1e-3,0.001") == ["lr=0.001 (point 1)", "lr=0.001 (point 2)"]
    assert labels("grids=[{seed: 0}, {order: 0}, {seed: 0}]") == ["seed=0 (point 1)", "order=0", "seed=0 (point 3)"]
    two = [point.label for point in sweep_points(["demo", "rewarm_warmup"], [])]
    assert len(set(two)) == len(two)
    assert two[-1] == "sweep=rewarm_warmup warmup=0.02"
    assert "peak=0.25" in two


def test_an_interpolation_sees_the_knobs_of_its_point(tmp_path: Path) -> None:
    (tmp_path / "sweep.yaml").write_text(BUILDS_ON + "tokens: ${base.tokens}\ngrids: [{base.tokens: [1000, 2000]}]\n")
    assert [p.config["tokens"] for p in collect(["-cd", str(tmp_path), "-cn", "sweep"])] == [1000, 2000]
    command = ["-m", "base.tokens=1000,2000", "tokens=${base.tokens}"]
    assert [p.config["tokens"] for p in collect(command)] == [1000, 2000]


def test_a_mapping_that_holds_a_swept_knob_is_refused() -> None:
    assert "this sweep file sweeps it" in refusal("grids=[{base.peak: [1, 2]}]", "base={peak: 3}")
    assert "this sweep file sweeps it" in refusal("grids=[{base: [{peak: 1}]}]", "base.peak=3")
    (point,) = collect(["grids=[{schedule: wsd}]", "schedule.anneal=0.2"])
    assert point.config["schedule"] == {"name": "wsd", "anneal": 0.2}


def test_flags_of_two_dialects() -> None:
    for arguments in (["lr=1e-3", "seed=3"], ["--lr", "1e-3", "--seed=3"], ["--lr=1e-3", "+seed=3"]):
        (point,) = collect(arguments)
        assert (point.config["lr"], point.config["seed"]) == (0.001, 3)


@pytest.mark.parametrize("text", ["lr=" + "[" * 300 + "]" * 300, "grids=" + "[" * 40 + "]" * 40, f"lr{'.x' * 3000}=1"])
def test_what_is_nested_without_end_is_refused_in_a_short_line(text: str) -> None:
    refused = refusal(text)
    assert "nested more than 32 levels deep" in refused
    assert len(refused) < 500


def test_a_line_is_short_whatever_was_given() -> None:
    assert len(refusal("a" * 100_000)) < 2000


def test_flags_that_show_something_may_stand_anywhere(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as leaving:
        collect(["--info", "lr=1e-3"])
    assert leaving.value.code in (None, 0)
    assert "lr" in capsys.readouterr().out


@pytest.mark.parametrize(
    "given",
    [
        ["base.peak=3e-4"],
        ["base.min_ratio=0.2", "model=pythia-70m"],
        ["base={peak:3e-4}"],
        ["-m", "base.peak=1e-3,2e-3"],
        ["grids=[{base.min_ratio:[0.1,0.2]}]"],
    ],
)
def test_a_rate_of_the_base_is_refused_where_the_start_brings_it(given: list[str]) -> None:
    with pytest.raises(InputError, match=r"^base\.(peak|min_ratio)=.*: a published Pythia brings its own"):
        collect(["start=pythia", "model=pythia-410m", *given])
    collect(["start=pretrain", *given])
    collect(["start=pythia", "model=pythia-410m", "base.tokens=1e9", "min_ratio=0.2", "peak=2"])
