"""The index of all pages in output.root."""

from __future__ import annotations

import json
from pathlib import Path

from readmit_spark.pages.index_page import Entry, entries, write_index
from readmit_spark.storage.local_files import LocalFiles


def publish(root: Path, name: str, *pages: str, verdict: str = "") -> None:
    manifest = root / "_manifests" / f"{name}.json"
    manifest.parent.mkdir(parents=True, exist_ok=True)
    facts = {"job": name, "run": f"{name}/1", "tables": {}, "files": [*pages, "data.csv"]}
    manifest.write_text(
        json.dumps({**facts, "finished": "2026-01-02T03:04:05", "verdict": verdict})
    )
    for page in pages:
        (root / page).write_text("")


def test_pages_have_the_date_and_verdict_of_their_job(tmp_path: Path) -> None:
    publish(tmp_path, "score/report", "report.html", verdict="AUROC <0.8>")
    publish(tmp_path, "nightly/2026-01-01T020000", "worklist.html", verdict="1 alert")
    publish(tmp_path, "nightly/2026-01-02T020000", "worklist.html", verdict="2 alerts")
    publish(tmp_path, "explain", "explain_21.html")
    (tmp_path / "explain_11.html").write_text("")  # of an earlier run
    (tmp_path / "_manifests" / "audit.json").write_text("{")
    files = LocalFiles(str(tmp_path))
    made = "2026-01-02 03:04:05"
    one = "The words behind the score of one admission"
    assert entries(files) == [
        Entry("worklist.html", "The ward's list of the last night", made, "2 alerts"),
        Entry("report.html", "How good the scores are", made, "AUROC <0.8>"),
        Entry("explain_11.html", one),
        Entry("explain_21.html", one, made),
    ]
    write_index(files)
    index = (tmp_path / "index.html").read_text()
    assert '<a href="report.html">' in index and "AUROC &lt;0.8&gt;" in index
    assert len(entries(files)) == 4  # the index does not list itself


def test_a_root_without_pages_gets_no_index(tmp_path: Path) -> None:
    write_index(LocalFiles(str(tmp_path)))
    assert list(tmp_path.iterdir()) == []
