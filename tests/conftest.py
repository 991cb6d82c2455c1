"""What many test modules start from."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.tiny import write_texts


@pytest.fixture(scope="session")
def texts(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with texts of two kinds, upstream/ and downstream/, that no test changes."""
    folder = tmp_path_factory.mktemp("texts")
    write_texts(folder)
    return folder
