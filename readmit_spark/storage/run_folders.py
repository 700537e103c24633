"""Run folders and what marks them as made by this program: nothing else is ever deleted."""

from __future__ import annotations

import re
from collections.abc import Collection
from datetime import datetime

from readmit_spark.storage.files import Files

MARKER = "_run.json"  # in each run folder; from publishing on it holds the manifest
_NAME = re.compile(r"\d{8}T\d{6}-[0-9a-f]{6}")


def run_name(now: datetime, token: str) -> str:
    """Return the name of a run folder. token: 6 hexadecimal digits."""
    return f"{now:%Y%m%dT%H%M%S}-{token}"


def make_run_folder(files: Files, folder: str) -> None:
    """Make a run folder and mark it."""
    files.touch(f"{folder}/{MARKER}")


def run_folders(files: Files, parent: str) -> list[str]:
    """Return the folders in `parent` that are named like run folders, by their names."""
    return [f"{parent}/{name}" for name in files.names(parent) if _NAME.fullmatch(name)]


def delete_run_folders(
    files: Files,
    parent: str,
    keep: Collection[str | None] = (),
    known: Collection[str | None] = (),
) -> None:
    """Delete the run folders in `parent` that this program made, but those of `keep`.

    It made what has its marker and, because earlier versions set none, the folders of `known`. An
    empty folder is one of a run that was killed before it set the marker.
    """
    for folder in run_folders(files, parent):
        if folder in keep:
            continue
        names = files.names(folder)
        if not names or MARKER in names or folder in known:
            delete_run_folder(files, folder)


def delete_run_folder(files: Files, folder: str) -> None:
    """Delete a run folder, its marker last: what could not be deleted is left to the next run."""
    for name in files.names(folder):
        if name != MARKER:
            files.delete(f"{folder}/{name}")
    if files.names(folder) in ([], [MARKER]):
        files.delete(folder)
