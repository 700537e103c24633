"""The JSON files of manifests: where they are, reading them, and how a lost one is put back."""

from __future__ import annotations

import json
from contextlib import suppress
from pathlib import PurePosixPath
from typing import Any

from readmit_spark.errors import UserError
from readmit_spark.storage.files import Files
from readmit_spark.storage.run_folders import run_folders

COPY = "_manifest.json"  # in the run folder of each published run


class DamagedManifest(UserError):
    """A file in the place of a manifest is none."""


def manifest_path(name: str) -> str:
    """Return the path of the manifest of a job, or of `job/part`."""
    return f"_manifests/{name}.json"


def read_manifest_file(files: Files, name: str) -> dict[str, Any] | None:
    """Return the manifest of `name`; None if there is none.

    Raise a DamagedManifest, which says how to mend it, if the file is not a manifest of `name`.
    """
    path = manifest_path(name)
    if not files.is_file(path):
        return None
    try:
        return _parse(files.read(path), name)
    except ValueError as error:
        job = name.partition("/")[0]
        again = f"run jobs/{job}.py again with output.overwrite=true"
        command = _restore_command(files, name)
        mend = f"put its copy back: {command}; or {again}" if command else again
        raise DamagedManifest(
            f"output.root: {files.path(path)} is not a manifest ({error}); {mend}"
        ) from None


def last_published(files: Files, name: str) -> str | None:
    """Return the folder of the last run of `name` that was published and is still there.

    It is the one that none of the others replaced: the clock of a run may have been wrong.
    """
    copies = {}
    for folder in run_folders(files, name):
        if files.is_file(f"{folder}/{COPY}"):
            with suppress(ValueError):  # a damaged copy restores nothing
                copies[folder] = _parse(files.read(f"{folder}/{COPY}"), name)
    replaced = {copy.get("previous") for copy in copies.values()}
    return next((folder for folder in reversed(copies) if folder not in replaced), None)


def check_not_lost(files: Files, name: str) -> None:
    """Raise a UserError if there is no manifest of `name`, but a run that was published."""
    command = _restore_command(files, name)
    if command and not files.is_file(manifest_path(name)):
        raise UserError(
            f"output.root: {files.path(name)} has results, but {files.path(manifest_path(name))}, "
            f"which names the current one, is lost; put its copy back: {command}; or move "
            f"{files.path(name)} away to start anew"
        )


def _restore_command(files: Files, name: str) -> str | None:
    """Return the shell command that puts the manifest of `name` back; None if no copy is left."""
    run = last_published(files, name)
    return files.copy_command(f"{run}/{COPY}", manifest_path(name)) if run else None


def _parse(text: str, name: str) -> dict[str, Any]:
    """Return the manifest; raise a ValueError that says what is wrong without its content."""
    if not text.strip():
        raise ValueError("it is empty")
    try:
        manifest = json.loads(text)
    except (ValueError, RecursionError):
        raise ValueError("it is not JSON, or it is cut off") from None
    if not isinstance(manifest, dict):
        raise ValueError("it is not a JSON object")
    run, tables = manifest.get("run"), manifest.get("tables")
    if not isinstance(run, str) or not isinstance(tables, dict):
        raise ValueError("it names no run and no tables")
    if PurePosixPath(run).parent != PurePosixPath(name) or PurePosixPath(run).name == "..":
        raise ValueError(f"its run is not a folder in {name}")
    if not all(isinstance(t, dict) and isinstance(t.get("files"), dict) for t in tables.values()):
        raise ValueError("its tables have no files")
    return manifest
