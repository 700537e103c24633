"""Monitor: compute control charts and alarms from the published nights, and publish a page."""

from __future__ import annotations

import json
import sys
from collections.abc import Sequence
from datetime import datetime
from typing import Any

import pandas as pd
from pyspark.sql import functions as F

from readmit_spark.errors import UserError
from readmit_spark.nightly.control_charts import Chart, Rules, drift_charts
from readmit_spark.nightly.in_house import admissions_at
from readmit_spark.nightly.monitor_page import Monitor, alarm_rows, render_monitor
from readmit_spark.nightly.monitor_stays import TABLES, last_scores, new_stays
from readmit_spark.nightly.night_risk import outcomes
from readmit_spark.nightly.outcome_charts import outcome_charts
from readmit_spark.nightly.published_nights import NIGHT_NAME, find_nights
from readmit_spark.notes.admissions import all_admissions
from readmit_spark.notes.cohort import label_admissions
from readmit_spark.storage.manifests import Night
from readmit_spark.storage.run import Run
from readmit_spark.storage.ward_actions import acted_on

STAGES = 3
PAGE = "monitor.html"


def monitor(run: Run, as_of: datetime | None) -> str:
    """Publish the page and return the summary lines.

    as_of: the last night to monitor; None is the last published one.
    """
    config = run.config
    rules = Rules(
        config.monitor.reference_nights, config.monitor.false_alarm_rate, config.split.seed
    )
    with run.stage("nights"):
        nights = _comparable_nights(run, as_of)
        stays = pd.DataFrame(new_stays(run.spark, nights).toPandas())
        stays["night"] = pd.to_datetime(stays.night, format=NIGHT_NAME)
    times = [night.as_of for night in nights]
    with run.stage("outcomes"):
        outcomes = _settled_outcomes(run, nights)
    with run.stage("charts and page"):
        charts = drift_charts(stays, times, rules)
        charts += outcome_charts(outcomes, times, rules, config.label.horizon_days)
        page = Monitor(
            nights=times,
            rules=rules,
            charts=charts,
            new_admissions=stays,
            outcomes=outcomes,
            facts=_facts(nights),
            horizon_days=config.label.horizon_days,
        )
        last = times[-1].isoformat()
        facts = {
            "as_of": last,
            "nights": len(times),
            "alarms": [row for row in alarm_rows(charts) if row["night"] == last],
            "verdict": _verdict(times, rules, charts),
        }
        record = json.dumps(_record(charts, times), indent=1)
        run.publish(facts, {PAGE: render_monitor(page), "monitor.json": record})
    return _summary_lines(times, rules, charts, config.output_root)


def _comparable_nights(run: Run, as_of: datetime | None) -> list[Night]:
    """Return the nights with the basis of the last one, oldest first. Scores of another model,
    chunking or vote cannot be compared."""
    config = run.config
    nights = find_nights(run, as_of or datetime.max, sys.maxsize, TABLES).used[::-1]
    if not nights:
        raise UserError(
            f"output.root: {config.output_root} has no complete night; run jobs/nightly.py first"
        )
    comparable = [night for night in nights if night.basis == nights[-1].basis]
    start = config.monitor.reference_from
    used = [night for night in comparable if start is None or f"{night.as_of:%Y-%m-%d}" >= start]
    if not used:
        raise UserError(f"monitor.reference_from: no night is as late as {start}")
    if len(comparable) < len(nights):
        run.say(
            f"{len(nights) - len(comparable):,} nights of another model or preparation are left out"
        )
    run.say(f"{len(used):,} nights, the first {config.monitor.reference_nights} as reference")
    return used


def _settled_outcomes(run: Run, nights: Sequence[Night]) -> pd.DataFrame:
    """Return subject_id, score, risk, alerted, label, dischtime of the stays whose outcome
    is settled by the last night; with `nightly.actions` also acted: whether anybody acted on it."""
    last = nights[-1]
    horizon = run.config.label.horizon_days
    distinct, _ = all_admissions(run)
    labelled = label_admissions(admissions_at(distinct, last.as_of), run.config)
    settled = outcomes(last_scores(run.spark, nights), labelled, last.as_of, last.basis, horizon)
    # Times are collected as text: pyspark would convert them to the local time zone.
    columns = settled.orderBy("hadm_id").select(
        "subject_id", "hadm_id", "score", "risk", "alerted", "label",
        F.col("dischtime").cast("string").alias("dischtime"),
    )  # fmt: skip
    rows = pd.DataFrame(columns.toPandas())
    rows["dischtime"] = pd.to_datetime(rows.dischtime, format="ISO8601")
    if run.config.nightly.actions:
        done = acted_on(run.spark, run.config).collect()
        rows["acted"] = rows.hadm_id.isin([row["hadm_id"] for row in done])
    return rows.drop(columns="hadm_id")


def _record(charts: Sequence[Chart], nights: Sequence[datetime]) -> dict[str, Any]:
    """Return the content of monitor.json: for each chart, lists of one value (or None) a night."""

    def plain(values: Any) -> list[float | None]:
        return [None if pd.isna(v) else float(v) for v in values]

    return {
        "nights": [night.isoformat() for night in nights],
        "charts": [
            {
                "statistic": chart.name,
                "nights_together": chart.span,
                "n": chart.n.tolist(),
                **{key: plain(getattr(chart, key)) for key in ("values", "low", "high", "shown")},
                "reference": plain([chart.reference])[0],
                "alarm": chart.alarms.tolist(),
            }
            for chart in charts
        ],
    }


def _facts(nights: Sequence[Night]) -> dict[str, str]:
    last = nights[-1]
    nightly = last.config.nightly
    return {
        "model": last.model,
        "window": nightly.window,
        "nights": f"{len(nights):,}, {nights[0].as_of} to {last.as_of}",
        "alert": f"{nightly.alert} {nightly.alert_value:g}",
    }


def _verdict(nights: Sequence[datetime], rules: Rules, charts: Sequence[Chart]) -> str:
    if len(nights) <= rules.reference_nights:
        return f"{len(nights)} of {rules.reference_nights} reference nights: nothing is tested yet"
    alarms = [row for row in alarm_rows(charts) if row["night"] == nights[-1].isoformat()]
    return f"night of {nights[-1].isoformat()}: {len(alarms)} alarms"


def _summary_lines(
    nights: Sequence[datetime], rules: Rules, charts: Sequence[Chart], root: str
) -> str:
    rows = [row for row in alarm_rows(charts) if row["night"] == nights[-1].isoformat()]
    lines = [f"ALARM     {row['what']}: {row['said']}" for row in rows]
    return "\n".join([_verdict(nights, rules, charts), *lines, f"page      {root}/{PAGE}"])
