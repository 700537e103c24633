"""Run jobs/score.py and record the chunks that its workers score: recorded.py FOLDER ARGUMENT..."""

from __future__ import annotations

import os
import runpy
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any


@dataclass(frozen=True)
class Recorder:
    """Builds the real scorer, which notes the size of each batch in `folder`."""

    folder: str

    def __call__(self, settings: Any) -> Any:
        from readmit_spark.scoring.score_chunks import build_scorer

        return _Recording(build_scorer(settings), Path(self.folder) / str(os.getpid()))


class _Recording:
    def __init__(self, scorer: Any, file: Path) -> None:
        self.scorer, self.file, self.backend = scorer, file, scorer.backend

    def stream(self, batches: Any) -> Iterator[Any]:
        for probabilities in self.scorer.stream(batches):
            with self.file.open("a") as file:
                file.write(f"{len(probabilities)}\n")
            yield probabilities


def recorded(folder: Path) -> int:
    """Return how many chunks were scored."""
    return sum(int(n) for file in folder.iterdir() for n in file.read_text().split())


if __name__ == "__main__":
    from readmit_spark.scoring import kept_scores
    from tests.scoring.recorded import Recorder as Imported  # pickled by name, so built once

    folder, *arguments = sys.argv[1:]
    kept_scores.score_chunks = partial(kept_scores.score_chunks, build=Imported(folder))
    sys.argv = ["jobs/score.py", *arguments]
    runpy.run_path("jobs/score.py", run_name="__main__")
