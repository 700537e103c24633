"""Keep MLflow's sqlite database with the artifacts beside it, wherever both were moved or copied.

MLflow stores absolute places. Those of a copy would lead back into the first folder.
"""

from __future__ import annotations

import sqlite3
from contextlib import closing
from pathlib import Path

SQLITE = "sqlite:///"
# Tables and columns of MLflow 3 that hold places of artifacts.
_PLACES = (
    ("experiments", "artifact_location"),
    ("runs", "artifact_uri"),
    ("logged_models", "artifact_location"),
    ("model_versions", "source"),
    ("model_versions", "storage_location"),
)


def artifacts_beside(uri: str) -> str:
    """Return the URI of the artifacts' folder beside a sqlite database."""
    return _folder(uri).as_uri()


def follow_move(uri: str) -> None:
    """Let a sqlite database name the artifacts beside it, if it names those of another place.

    Do nothing for other databases, or if there are no artifacts beside it.
    """
    if not uri.startswith(SQLITE) or not _folder(uri).is_dir():
        return
    present = artifacts_beside(uri)
    with closing(sqlite3.connect(uri.removeprefix(SQLITE))) as database, database:
        for former in _former_places(database, present):
            for table, column in _PLACES:
                database.execute(
                    f"update {table} set {column} = ? || substr({column}, ?) "
                    f"where {column} = ? or substr({column}, 1, ?) = ?",
                    (present, len(former) + 1, former, len(former) + 1, former + "/"),
                )


def _former_places(database: sqlite3.Connection, present: str) -> list[str]:
    rows = database.execute("select distinct artifact_location from experiments").fetchall()
    places = [place for (place,) in rows if place and place != present]
    return [place for place in places if place.endswith("/mlartifacts")]


def _folder(uri: str) -> Path:
    return Path(uri.removeprefix(SQLITE)).absolute().parent / "mlartifacts"
