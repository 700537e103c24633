"""Progress lines of a job."""

from __future__ import annotations

import io
import re
import time

import pytest

from readmit_spark import progress as progress_module
from readmit_spark.progress import Progress


def test_stages_are_numbered_and_timed() -> None:
    out = io.StringIO()
    progress = Progress("score", 2, out)
    with progress.stage("chunks"):
        progress.say("model demo")
    with progress.stage("report"):
        pass
    lines = re.sub(r"\d+\.\d s", "N s", out.getvalue()).splitlines()
    assert lines == [
        "score: [1/2] chunks ...",
        "score: model demo",
        "score: [1/2] chunks: N s",
        "score: [2/2] report ...",
        "score: [2/2] report: N s",
    ]
    assert list(progress.seconds) == ["chunks", "report"]
    assert all(seconds < 10 for seconds in progress.seconds.values())


def test_a_failed_stage_has_no_duration() -> None:
    progress = Progress("score", 2, io.StringIO())
    with pytest.raises(ZeroDivisionError), progress.stage("chunks"):
        raise ZeroDivisionError
    assert progress.seconds == {}


@pytest.mark.parametrize(("status", "reported"), [("3/8 tasks", True), ("", False)])
def test_a_long_stage_reports_its_status(
    monkeypatch: pytest.MonkeyPatch, status: str, reported: bool
) -> None:
    monkeypatch.setattr(progress_module, "_SECONDS_BETWEEN_LINES", 0.01)
    out = io.StringIO()
    with Progress("score", 2, out).stage("chunks", lambda: status):
        time.sleep(0.2)
    assert ("score: [1/2] chunks ... 3/8 tasks, 0 s" in out.getvalue()) == reported
