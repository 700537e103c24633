"""Small results, published without Spark."""

from __future__ import annotations

import json
from collections.abc import Callable
from datetime import datetime
from pathlib import Path
from typing import Any

from readmit_spark.storage.local_files import LocalFiles
from readmit_spark.storage.manifest_files import read_manifest_file
from readmit_spark.storage.publish import Publication

TABLES = ("cohort", "chunks")


def begin(
    root: Path,
    name: str = "prepare",
    overwrite: bool = True,
    now: Callable[[], datetime] = datetime.now,
) -> Publication:
    return Publication(LocalFiles(str(root)), name, overwrite, now)


def write_tables(publication: Publication, version: int) -> None:
    """Write two tables whose content is the version, and a page."""
    for table in TABLES:
        folder = Path(publication.path) / table / "w=1"
        folder.mkdir(parents=True)
        (folder / "part-0.parquet").write_text(str(version))
        publication.add_table(table, version)
    publication.put(page(publication, version), "metrics.json")


def page(publication: Publication, version: int) -> Path:
    """Write a local file of the run and return its path."""
    path = Path(publication._files.root).parent / f"page-{version}.json"
    path.write_text(str(version))
    return path


def finish(publication: Publication, version: int) -> None:
    """Publish as a job does."""
    publication.publish({"version": version})
    publication.put_root_copy(page(publication, version), "metrics.json")
    publication.close()


def publish(root: Path, version: int, name: str = "prepare") -> Path:
    """Publish a result and return its run folder."""
    publication = begin(root, name)
    write_tables(publication, version)
    finish(publication, version)
    return Path(publication.path)


def manifest_of(root: Path, name: str = "prepare") -> dict[str, Any]:
    manifest = read_manifest_file(LocalFiles(str(root)), name)
    assert manifest is not None
    return manifest


def version_of(root: Path, name: str = "prepare") -> int:
    """Return the version of the current result, which must be complete and of one version."""
    manifest = manifest_of(root, name)
    run = root / manifest["run"]
    versions = {manifest["version"], json.loads((run / "metrics.json").read_text())}
    for table in TABLES:
        sizes = LocalFiles(str(root)).sizes(f"{manifest['run']}/{table}")
        assert sizes == manifest["tables"][table]["files"]
        versions |= {int((run / table / name).read_text()) for name in sizes}
    (version,) = versions
    return int(version)


def files_under(root: Path) -> dict[str, bytes]:
    """Return the content of each file by its name."""
    return {str(p.relative_to(root)): p.read_bytes() for p in root.rglob("*") if p.is_file()}
