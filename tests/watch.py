"""Look at the modes of files again and again while a job runs."""

from __future__ import annotations

import os
import threading
from contextlib import suppress
from pathlib import Path
from types import TracebackType
from typing import NamedTuple


class Sighting(NamedTuple):
    """A file or folder as it was seen. reachable: other users can enter all folders above it."""

    path: Path
    mode: int
    reachable: bool


class Watch:
    """Records every new file and folder below `folder`, with each of its modes, in a `with` block.

    word: the files in which it was seen are recorded too.
    """

    def __init__(self, folder: Path, word: str) -> None:
        self.seen: set[Sighting] = set()
        self.with_word: set[Sighting] = set()
        self._folder, self._word = folder, word.encode()
        self._old = set(folder.rglob("*"))
        self._searched: set[tuple[Path, int]] = set()
        self._ended = threading.Event()
        self._thread = threading.Thread(target=self._watch)

    def __enter__(self) -> Watch:
        self._thread.start()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self._ended.set()
        self._thread.join()

    def open_to_others(self) -> set[Sighting]:
        """Return what the group or others could read."""
        return {found for found in self.seen if found.reachable and found.mode & 0o077}

    def has(self, pattern: str) -> bool:
        """Return whether a file or folder such as `shuffle_*.data` was seen."""
        return any(found.path.match(pattern) for found in self.seen)

    def _watch(self) -> None:
        while not self._ended.wait(0.01):
            self._look(self._folder, reachable=True)

    def _look(self, folder: Path, reachable: bool) -> None:
        with suppress(OSError):  # it was deleted meanwhile
            for entry in os.scandir(folder):
                with suppress(OSError):
                    self._look_at(entry, reachable)

    def _look_at(self, entry: os.DirEntry[str], reachable: bool) -> None:
        path, status = Path(entry.path), entry.stat(follow_symlinks=False)
        found = Sighting(path, status.st_mode & 0o777, reachable)
        if path not in self._old:
            self.seen.add(found)
        if entry.is_dir(follow_symlinks=False):
            self._look(path, reachable and bool(found.mode & 0o011))
        elif (path, status.st_size) not in self._searched:
            self._searched.add((path, status.st_size))
            if self._word in path.read_bytes().lower():
                self.with_word.add(found)
