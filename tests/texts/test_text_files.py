"""What a user relies on: a folder is read whole, each file once, and what is left out of it is named."""

from __future__ import annotations

import os
import socket
from pathlib import Path

import pytest

from harness.core.errors import InputError
from harness.texts.recipe import given_tokenizer, local
from harness.texts.text_files import text_files


def write(folder: Path, *names: str) -> Path:
    for name in names:
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_text(f"the text of {name}")
    return folder


def listed(folder: Path) -> list[str]:
    return [file.relative_to(folder).as_posix() for file in text_files(folder, "downstream").files]


def test_a_linked_folder_is_read_like_any_other(tmp_path: Path) -> None:
    data = write(tmp_path / "data", "a.txt", "z/b.txt")
    write(tmp_path / "elsewhere", "c.txt", "deep/d.txt")
    (data / "part2").symlink_to(tmp_path / "elsewhere")
    assert listed(data) == ["a.txt", "part2/c.txt", "part2/deep/d.txt", "z/b.txt"]
    assert text_files(data, "downstream").left_out_text() == ""
    (tmp_path / "link").symlink_to(data)
    assert local("downstream", tmp_path / "link").key == local("downstream", data).key


def test_no_folder_is_read_twice_whatever_leads_to_it(tmp_path: Path) -> None:
    data = write(tmp_path / "data", "a.txt", "sub/b.txt")
    key = local("upstream", data).key
    (data / "sub" / "parent").symlink_to(data)
    (data / "above").symlink_to(tmp_path)  # would bring this folder along once more
    (data / "0").symlink_to(data / "sub")  # comes before the real one
    (data / "self").symlink_to(data / "self")
    assert listed(data) == ["a.txt", "sub/b.txt"]
    assert local("upstream", data).key == key, "a link adds no text that is there already"
    told = text_files(data, "upstream").left_out_text()
    assert "3 links to folders read already (0, above, sub/parent)" in told
    assert "1 links to nothing (self)" in told
    other = write(tmp_path / "other", "c.txt", "inner/d.txt")
    (data / "x").symlink_to(other)
    (data / "y").symlink_to(other / "inner")
    (other / "back").symlink_to(data)
    assert listed(data) == ["a.txt", "sub/b.txt", "x/c.txt", "x/inner/d.txt"]


def test_what_others_leave_in_a_folder_is_left_out_and_named(tmp_path: Path) -> None:
    data = write(tmp_path, "a.txt", ".DS_Store", "_SUCCESS", ".cache/b.txt", "a.txt~", ".a.txt.swp", "#a.txt#", "x.swp")
    (data / ".#a.txt").symlink_to("me@host.1234:99")  # an editor's lock
    (data / "gone.txt").symlink_to(tmp_path / "missing.txt")
    assert listed(data) == ["a.txt"]
    told = text_files(data, "upstream").left_out_text()
    assert "5 hidden (.#a.txt, .DS_Store, .a.txt.swp, ...)" in told
    assert "3 backups of editors and systems (#a.txt#, a.txt~, x.swp)" in told
    assert "1 links to nothing (gone.txt)" in told


def test_a_downloaded_repository_is_read_without_what_lies_beside_its_data(tmp_path: Path) -> None:
    about = ("README.md", "LICENSE", "CITATION.cff", "dataset_infos.json", ".gitattributes", "SHA256SUMS")
    data = write(tmp_path, "train/0.csv.gz", "train/1.tsv", "train/2.tsv.gz", "README.txt", *about, "train/ReadMe.md")
    assert listed(data) == ["README.txt", "train/0.csv.gz", "train/1.tsv", "train/2.tsv.gz"]
    told = text_files(data, "upstream").left_out_text()
    assert "6 files about a repository (CITATION.cff, LICENSE, README.md, ...)" in told
    write(tmp_path, "train/picture.png")
    with pytest.raises(InputError, match=r"picture\.png: unknown suffix"):
        text_files(data, "upstream")


def test_a_folder_of_nothing_but_such_says_so(tmp_path: Path) -> None:
    write(tmp_path, ".a.txt", "b.txt~")
    with pytest.raises(InputError, match=r"^upstream=.*holds no texts; left out are 1 backups.*b\.txt~.*1 hidden"):
        text_files(tmp_path, "upstream")


@pytest.mark.parametrize("name", ["data.csv.bz2", "data.zip", "data.txt.zst"])
def test_a_packed_file_says_unpack(tmp_path: Path, name: str) -> None:
    write(tmp_path, "a.txt", name)
    with pytest.raises(InputError, match=r"^upstream=.*unknown suffix.*unpack it"):
        text_files(tmp_path, "upstream")


@pytest.mark.parametrize("kind", ["pipe", "socket", "device"])
@pytest.mark.parametrize("inside", [True, False])
def test_what_is_no_regular_file_is_refused_at_once(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, kind: str, inside: bool
) -> None:
    place = write(tmp_path / "d", "a.txt") / "b.txt"
    if kind == "pipe":
        os.mkfifo(place)
    elif kind == "socket":
        monkeypatch.chdir(tmp_path)  # the name of a socket must be short
        with socket.socket(socket.AF_UNIX) as made:
            made.bind("d/b.txt")
    else:
        place.symlink_to("/dev/zero")
    with pytest.raises(InputError, match=rf"^downstream=.*b\.txt: is a {kind}, not a regular file"):
        local("downstream", place.parent if inside else place)
    with pytest.raises(InputError, match=rf"^tokenizer=.*b\.txt: is a {kind}, not a regular file"):
        given_tokenizer(place)


@pytest.mark.skipif(os.geteuid() == 0, reason="root reads every folder")
def test_a_folder_that_cannot_be_read_is_named(tmp_path: Path) -> None:
    data = write(tmp_path, "a.txt", "closed/b.txt")
    (data / "closed").chmod(0)
    with pytest.raises(InputError, match=r"^upstream=.*closed: cannot be read"):
        text_files(data, "upstream")
    (data / "closed").chmod(0o700)
