"""Measure how many notes a second ingest reads from CSV, from FHIR and through a mapping file.

    python bench/ingest.py --text FILE                    10 minutes on 2 idle cores
    python bench/ingest.py --text FILE --notes 500        a quick check, 3 minutes

Claim: ingest of FHIR and of a mapping reads at least as many notes a second as ingest of
MIMIC-III's CSV. The same notes are written in the three shapes: one CSV, one NDJSON file of
DocumentReference with texts in base64, and one CSV of other columns. The job runs as a user runs
it, in a process of its own, on 2 cores; the shapes take turns. Seconds are those of its stages.

Writes bench/results/ingest.json (fewer notes: ingest_small.json).
"""

from __future__ import annotations

import base64
import json
import sys
import tempfile
from pathlib import Path
from statistics import median
from typing import Any

import pandas as pd

sys.path.insert(0, str(Path(__file__).parents[1]))

from bench.common.machine import describe, quiet_libraries, use_cores
from bench.common.processes import run_job
from bench.common.results import write_result
from bench.common.texts import Cohort, load_sentences, parse_options, write_cohort
from bench.common.timing import median_ratio, say

CORES = 2
NOTES = 128_000
ROUNDS = 3
PRIORITIES = {"EMERGENCY": "EM", "URGENT": "UR", "ELECTIVE": "EL", "NEWBORN": "N"}
MAPPING = """
admissions:
  file: stays
  columns: {subject_id: pat, hadm_id: csn, admittime: began, dischtime: ended, admission_type: kind}
  values: {admission_type: {EM: emergency, UR: urgent, EL: elective, N: newborn}}
notes:
  file: notes
  columns: {row_id: note, subject_id: pat, hadm_id: csn, chartdate: day, charttime: charted, storetime: filed, category: kind, text: words}
  values: {category: {"*": same}}
"""  # noqa: E501


def main(arguments: list[str] | None = None) -> int:
    options = parse_options(arguments, __doc__, NOTES)
    quiet_libraries()
    use_cores(CORES)
    machine = describe()
    with tempfile.TemporaryDirectory(prefix="bench-ingest-") as name:
        folder = Path(name)
        cohort = write_cohort(folder / "csv", options.notes, load_sentences(options.text))
        _write_shapes(cohort, folder)
        say(f"{cohort.notes:,} notes written in three shapes")
        result = _measure(cohort, folder)
    path = write_result("ingest", machine, result, full=options.notes >= NOTES)
    print(json.dumps(result, indent=1))
    print(path)
    return 0


def _measure(cohort: Cohort, folder: Path) -> dict[str, Any]:
    settings = {
        "csv": [f"data.{table}={cohort.path(name, 'csv')}" for table, name in (
            ("admissions", "ADMISSIONS"), ("notes", "NOTEEVENTS"))] + ["data.patients=null"],
        "fhir": ["data.format=fhir", f"data.folder={folder}/fhir", "data.time_zone=UTC"],
        "mapping": [f"data.format={folder}/mapping.yaml", f"data.folder={folder}/mapping"],
    }  # fmt: skip
    seconds: dict[str, list[float]] = {shape: [] for shape in settings}
    for _ in range(ROUNDS):
        for shape, given in settings.items():
            out = folder / "out" / shape
            run_job("ingest", [], [*given, f"output.root={out}", "output.overwrite=true"])
            manifest = json.loads((out / "_manifests" / "ingest.json").read_text())
            seconds[shape].append(sum(manifest["seconds"].values()))
            say(f"{shape}: {seconds[shape][-1]:.1f} s")
    return {
        "notes": cohort.notes,
        "notes_per_second": {
            shape: round(cohort.notes / median(times)) for shape, times in seconds.items()
        },
        "times_as_fast_as_csv": {
            shape: median_ratio(seconds["csv"], seconds[shape]) for shape in ("fhir", "mapping")
        },
    }


def _write_shapes(cohort: Cohort, folder: Path) -> None:
    stays = pd.read_parquet(cohort.path("ADMISSIONS", "parquet"))
    notes = pd.read_parquet(cohort.path("NOTEEVENTS", "parquet"))
    notes = notes[notes["ISERROR"].isna()]
    kind = stays["ADMISSION_TYPE"].map(PRIORITIES)
    (folder / "mapping.yaml").write_text(MAPPING)
    (folder / "mapping").mkdir()
    stays.assign(kind=kind).rename(
        columns={"SUBJECT_ID": "pat", "HADM_ID": "csn", "ADMITTIME": "began", "DISCHTIME": "ended"}
    ).to_csv(folder / "mapping" / "stays.csv", index=False)
    notes.rename(
        columns={
            "ROW_ID": "note", "SUBJECT_ID": "pat", "HADM_ID": "csn", "CHARTDATE": "day",
            "CHARTTIME": "charted", "STORETIME": "filed", "CATEGORY": "kind", "TEXT": "words",
        }
    ).to_csv(folder / "mapping" / "notes.csv", index=False)  # fmt: skip
    (folder / "fhir").mkdir()
    patients = [{"resourceType": "Patient", "id": str(s)} for s in set(stays["SUBJECT_ID"])]
    encounters = [_encounter(row, code) for row, code in zip(stays.itertuples(), kind, strict=True)]
    resources = {
        "Patient": patients,
        "Encounter": encounters,
        "DocumentReference": map(_document, notes.itertuples()),
    }
    for name, rows in resources.items():
        with (folder / "fhir" / f"{name}.ndjson").open("w") as file:
            file.writelines(json.dumps(row) + "\n" for row in rows)


def _encounter(row: Any, priority: str) -> dict[str, Any]:
    return {
        "resourceType": "Encounter", "id": str(row.HADM_ID), "status": "finished",
        "class": {"code": "IMP"}, "priority": {"coding": [{"code": priority}]},
        "subject": {"reference": f"Patient/{row.SUBJECT_ID}"},
        "period": {"start": _instant(row.ADMITTIME), "end": _instant(row.DISCHTIME)},
    }  # fmt: skip


def _document(row: Any) -> dict[str, Any]:
    stay = [] if pd.isna(row.HADM_ID) else [{"reference": f"Encounter/{int(row.HADM_ID)}"}]
    data = base64.b64encode(row.TEXT.encode()).decode()
    return {
        "resourceType": "DocumentReference", "id": str(row.ROW_ID), "status": "current",
        "type": {"text": row.CATEGORY}, "subject": {"reference": f"Patient/{row.SUBJECT_ID}"},
        **({} if pd.isna(row.STORETIME) else {"date": _instant(row.STORETIME)}),
        "content": [{"attachment": {"contentType": "text/plain", "data": data}}],
        "context": {"encounter": stay, "period": {"start": str(row.CHARTDATE)}},
    }  # fmt: skip


def _instant(time: Any) -> str:
    return f"{pd.Timestamp(time):%Y-%m-%dT%H:%M:%SZ}"


if __name__ == "__main__":
    sys.exit(main())
