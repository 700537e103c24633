"""How long a job waits for an executor, and what it says. tests/cluster has a job that waits."""

from __future__ import annotations

from readmit_spark.storage.executors import Waiting


def lines(waiting: Waiting, *waits: bool) -> list[tuple[int, str]]:
    """Look once a minute; return the minutes and lines that were printed."""
    looks = ((minute, waiting.look(60.0, waited)) for minute, waited in enumerate(waits, start=1))
    return [(minute, line) for minute, line in looks if line]


def test_it_says_after_a_minute_and_then_every_five() -> None:
    waiting = Waiting(1800.0, "a GPU node")
    said = lines(waiting, *[True] * 13)
    assert [minute for minute, _ in said] == [1, 6, 11]
    assert said[1][1] == (
        "waiting for a GPU node: no executor for 6 minutes; the job stops after 30"
    )
    assert not waiting.too_long


def test_it_stops_at_the_limit_and_for_good() -> None:
    waiting = Waiting(300.0, "a GPU node")
    lines(waiting, *[True] * 5)
    assert waiting.too_long and waiting.seconds == 300.0
    waiting.look(60.0, waits=False)  # an executor that comes now is too late
    assert waiting.too_long
    assert waiting.failure.startswith("no executor for 5 minutes, so the job stopped: it needs a ")


def test_an_executor_or_an_idle_driver_starts_the_count_again() -> None:
    waiting = Waiting(300.0, "a GPU node")
    assert [minute for minute, _ in lines(waiting, True, True, False, True, True, True, True)] == [
        1,
        4,
    ]
    assert waiting.seconds == 240.0 and not waiting.too_long
