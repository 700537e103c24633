"""Monitor: the published nights to control charts, alarms and a page."""

from __future__ import annotations

import json
import sys
import tempfile
from collections.abc import Callable, Sequence
from datetime import datetime
from pathlib import Path
from typing import Any

import pandas as pd
from pyspark.sql import SparkSession
from pyspark.sql import functions as F

from readmit_spark.config import Config, to_dict
from readmit_spark.errors import UserError
from readmit_spark.nightly.control_charts import Chart, Rules, drift_charts
from readmit_spark.nightly.in_house import known_by
from readmit_spark.nightly.monitor_page import Monitor, alarm_rows, render_monitor
from readmit_spark.nightly.monitor_stays import TABLES, last_scores, new_stays, settled
from readmit_spark.nightly.night_risk import outcomes
from readmit_spark.nightly.outcome_charts import outcome_charts
from readmit_spark.nightly.published_nights import NIGHT_NAME, PublishedNight, find_nights
from readmit_spark.notes.cohort import label_admissions
from readmit_spark.notes.prepare_job import all_admissions
from readmit_spark.progress import Progress
from readmit_spark.storage.publish import Publication
from readmit_spark.storage.session import tasks_done

STAGES = 3
FRONT = ("monitor.html", "monitor.json")


def monitor(
    spark: SparkSession,
    config: Config,
    as_of: datetime | None,
    progress: Progress,
    now: Callable[[], datetime],
) -> str:
    """Publishes the page under output.root, and gives the lines that a person reads at the end.

    as_of: nothing later is looked at; None is the last published night.
    """
    rules = Rules(
        config.monitor.reference_nights, config.monitor.false_alarm_rate, config.split.seed
    )
    publication = Publication(spark, config.output_root, "monitor", True, now)
    try:
        with progress.stage("nights", tasks_done(spark)):
            nights = _comparable(spark, config, as_of, progress)
            stays = pd.DataFrame(new_stays(spark, nights).toPandas())
            stays["night"] = pd.to_datetime(stays.night, format=NIGHT_NAME)
        times = [night.as_of for night in nights]
        with progress.stage("outcomes", tasks_done(spark)):
            known = _outcomes(spark, config, nights)
        with progress.stage("charts and page"):
            charts = drift_charts(stays, times, rules)
            charts += outcome_charts(known, times, rules, config.label.horizon_days)
            page = Monitor(
                nights=times,
                rules=rules,
                charts=charts,
                stays=stays,
                outcomes=known,
                facts=_facts(nights),
                horizon_days=config.label.horizon_days,
            )
            alarms = alarm_rows(charts)
            with tempfile.TemporaryDirectory() as folder:
                files = [Path(folder) / name for name in FRONT]
                files[0].write_text(render_monitor(page), encoding="utf-8")
                files[1].write_text(json.dumps(_record(charts, times), indent=1), encoding="utf-8")
                for file in files:
                    publication.put(file, file.name)
                facts = {
                    "as_of": times[-1].isoformat(),
                    "finished": now().isoformat(timespec="seconds"),
                    "config": to_dict(config),
                    "nights": len(times),
                    "alarms": [row for row in alarms if row["night"] == times[-1].isoformat()],
                    "seconds": progress.seconds,
                }
                publication.publish(facts, front=files)
    finally:
        publication.abandon()  # what has not been published
    return _told(times, rules, charts, config.output_root)


def _comparable(
    spark: SparkSession, config: Config, as_of: datetime | None, progress: Progress
) -> list[PublishedNight]:
    """The nights with the basis of the last one, oldest first: another model, chunking or vote has
    scores, tokens and a reference of its own."""
    until = as_of or datetime.max
    nights = find_nights(spark, config.output_root, until, sys.maxsize, progress.say, TABLES).used[
        ::-1
    ]
    if not nights:
        raise UserError(
            f"output.root: {config.output_root} holds no complete night; run jobs/nightly.py first"
        )
    basis = nights[-1].facts["basis"]
    same = [night for night in nights if night.facts["basis"] == basis]
    start = config.monitor.reference_from
    used = [night for night in same if start is None or f"{night.as_of:%Y-%m-%d}" >= start]
    if not used:
        raise UserError(f"monitor.reference_from: no night is as late as {start}")
    if len(same) < len(nights):
        progress.say(
            f"{len(nights) - len(same):,} nights of another model or preparation are left out"
        )
    progress.say(f"{len(used):,} nights, the first {config.monitor.reference_nights} as reference")
    return used


def _outcomes(
    spark: SparkSession, config: Config, nights: Sequence[PublishedNight]
) -> pd.DataFrame:
    """score, alerted, label, dischtime of the stays whose outcome is settled by the last night."""
    as_of, basis = nights[-1].as_of, nights[-1].facts["basis"]
    horizon = config.label.horizon_days
    distinct, _ = all_admissions(spark, config)
    labelled = label_admissions(known_by(distinct, as_of), config)
    found = outcomes(last_scores(spark, nights), labelled, as_of, basis, horizon)
    # Times travel as text: pyspark would shift them into this machine's zone.
    told = (
        settled(found, as_of, horizon)
        .orderBy("hadm_id")
        .select("score", "alerted", "label", F.col("dischtime").cast("string").alias("dischtime"))
    )
    rows = pd.DataFrame(told.toPandas())
    rows["dischtime"] = pd.to_datetime(rows.dischtime, format="ISO8601")
    return rows


def _record(charts: Sequence[Chart], nights: Sequence[datetime]) -> dict[str, Any]:
    """monitor.json: every chart as lists, a night each; None where there is no figure."""

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


def _facts(nights: Sequence[PublishedNight]) -> dict[str, str]:
    last = nights[-1].facts
    nightly = last["config"]["nightly"]
    return {
        "model": last["model"],
        "window": nightly["window"],
        "nights": f"{len(nights):,}, {nights[0].as_of} to {nights[-1].as_of}",
        "alert": f"{nightly['alert']} {nightly['alert_value']:g}",
    }


def _told(nights: Sequence[datetime], rules: Rules, charts: Sequence[Chart], root: str) -> str:
    rows = [row for row in alarm_rows(charts) if row["night"] == nights[-1].isoformat()]
    if len(nights) <= rules.reference_nights:
        head = f"{len(nights)} of {rules.reference_nights} reference nights: nothing is tested yet"
    else:
        head = f"night of {nights[-1].isoformat()}: {len(rows)} alarms"
    lines = [f"ALARM     {row['what']}: {row['said']}" for row in rows]
    return "\n".join([head, *lines, f"page      {root}/{FRONT[0]}"])
