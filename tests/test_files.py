from __future__ import annotations

import resource
from collections.abc import Iterator
from pathlib import Path

import pytest

from narvl.errors import UsageError
from narvl.files import named_when_full, write_whole


@pytest.fixture
def small_files() -> Iterator[None]:
    """No file may grow beyond 100 bytes."""
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (100, hard))
    yield
    resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))


@pytest.mark.usefixtures("small_files")
def test_a_full_disk_names_the_file_and_leaves_it_as_it_was(tmp_path: Path) -> None:
    path = tmp_path / "table.csv"
    write_whole(path, "old")
    with pytest.raises(UsageError, match=r"table\.csv: cannot be written \(File too large\)\. Free space"):
        write_whole(path, "x" * 101)
    assert path.read_text() == "old"


@pytest.mark.parametrize(("code", "full"), [(28, True), (122, True), (27, True), (13, False), (2, False), (32, False)])
def test_other_errors_stay_what_they_are(code: int, full: bool) -> None:
    with pytest.raises(UsageError if full else OSError) as error, named_when_full(Path("x")):
        raise OSError(code, "word")
    assert str(error.value).startswith("x: cannot be written (word)") == full
