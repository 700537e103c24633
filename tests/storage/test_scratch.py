"""Scratch folders are private, and the next run removes those of killed ones."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from readmit_spark.errors import UserError
from readmit_spark.storage.scratch import make_scratch, private_folder

PRIVATE = f"readmit-spark-{os.getuid()}"


@pytest.fixture(autouse=True)
def open_umask() -> Iterator[None]:
    before = os.umask(0o022)
    yield
    os.umask(before)


def scratch_of_a_killed_process(parent: Path) -> Path:
    """Return the scratch folder of a process that was killed, with a file in it."""
    code = (
        "import sys, time; from pathlib import Path; "
        "from readmit_spark.storage.scratch import make_scratch; "
        f"scratch = make_scratch(Path({str(parent)!r})); (scratch.path / 'spill').touch(); "
        "print(scratch.path, flush=True); time.sleep(60)"
    )
    process = subprocess.Popen([sys.executable, "-c", code], stdout=subprocess.PIPE, text=True)
    assert process.stdout is not None
    path = Path(process.stdout.readline().strip())
    process.send_signal(signal.SIGKILL)
    process.wait()
    assert (path / "spill").exists()
    return path


def test_only_this_user_can_enter_a_scratch_folder(tmp_path: Path) -> None:
    scratch = make_scratch(tmp_path)
    assert scratch.path.parent == tmp_path / PRIVATE / "scratch"
    folders = (scratch.path, *scratch.path.parents[:2])
    assert {oct(folder.stat().st_mode & 0o777) for folder in folders} == {"0o700"}
    scratch.remove()
    assert not scratch.path.exists()


def test_an_open_folder_of_this_user_is_closed(tmp_path: Path) -> None:
    (tmp_path / PRIVATE).mkdir(mode=0o755)
    assert private_folder(tmp_path).stat().st_mode & 0o777 == 0o700


def test_the_next_run_removes_the_scratch_of_a_killed_one_and_no_other(tmp_path: Path) -> None:
    running = make_scratch(tmp_path)
    killed = scratch_of_a_killed_process(tmp_path)
    next_run = make_scratch(tmp_path)
    assert (killed.exists(), running.path.exists(), next_run.path.exists()) == (False, True, True)
    running.remove()
    next_run.remove()


def test_a_run_in_the_scratch_of_another_shares_its_private_folder(tmp_path: Path) -> None:
    outer = make_scratch(tmp_path)
    inner = make_scratch(outer.path)
    assert inner.path.parent == outer.path.parent
    assert private_folder(inner.path / "a") == tmp_path / PRIVATE


def test_a_link_is_refused(tmp_path: Path) -> None:
    (tmp_path / "elsewhere").mkdir()
    (tmp_path / PRIVATE).symlink_to(tmp_path / "elsewhere")
    with pytest.raises(UserError, match="is a link or belongs to another user; remove it"):
        make_scratch(tmp_path)
