"""index.html at output.root: every page there, with its date and its verdict in a line."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import suppress
from dataclasses import dataclass
from typing import Any

from readmit_spark.pages.html import page_environment
from readmit_spark.storage.files import Files
from readmit_spark.storage.manifest_files import DamagedManifest, read_manifest_file

INDEX = "index.html"
_ABOUT = {
    "worklist.html": "The ward's list of the last night",
    "report.html": "How good the scores are",
    "model_card.html": "What the model is for, how good it is, and its limits",
    "compare.html": "The model beside simpler ones",
    "crossval.html": "Figures and subgroups of all folds together",
    "audit.html": "Whether the data give the outcome away",
    "monitor.html": "Whether nights differ from before",
    "over_time.html": "The score after each day of a stay",
    "explain.html": "The words behind the highest scores",
    "explain_text.html": "The words behind the score of a text",
}


@dataclass(frozen=True)
class Entry:
    """One page. finished: when it was made, as ISO time; verdict: of its job; "" if unknown."""

    page: str
    about: str
    finished: str = ""
    verdict: str = ""


def write_index(files: Files) -> None:
    """Write the index of the pages in `files`, if there are any."""
    found = entries(files)
    if found:
        text = page_environment().get_template("pages/index.html.j2").render(entries=found)
        files.write(INDEX, text, "_work/index")


def entries(files: Files) -> list[Entry]:
    """Return the pages of the root, those with a known purpose first."""
    made_by = {page: manifest for manifest in _manifests(files) for page in _pages(manifest)}
    pages = [name for name in files.names("") if name.endswith(".html") and name != INDEX]
    known = list(_ABOUT)
    pages.sort(key=lambda page: (known.index(page) if page in known else len(known), page))
    return [_entry(page, made_by.get(page, {})) for page in pages]


def _entry(page: str, manifest: dict[str, Any]) -> Entry:
    about = _ABOUT.get(page, "")
    if not about and page.startswith("explain_"):
        about = "The words behind the score of one admission"
    finished = str(manifest.get("finished", "")).replace("T", " ")
    return Entry(page, about, finished, str(manifest.get("verdict", "")))


def _manifests(files: Files) -> Iterator[dict[str, Any]]:
    """Read the manifests of all jobs; of the nights only that of the last one."""
    for name in files.names("_manifests"):
        job = name.removesuffix(".json")
        parts = [job] if name != job else [f"{job}/{p}" for p in files.names(f"_manifests/{name}")]
        if job == "nightly":
            parts = parts[-1:]  # whose list is at the root
        for part in parts:
            with suppress(DamagedManifest):  # the job's next run names it
                yield read_manifest_file(files, part.removesuffix(".json")) or {}


def _pages(manifest: dict[str, Any]) -> list[str]:
    return [name for name in manifest.get("files", ()) if name.endswith(".html")]
