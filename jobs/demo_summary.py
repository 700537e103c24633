"""Print the demo's metrics beside what is attainable, and where its files are."""

from __future__ import annotations

import json
import sys
from pathlib import Path

import pandas as pd

from readmit_spark import cli
from readmit_spark.config import Config
from readmit_spark.demo.ceilings import READERS, attainable
from readmit_spark.errors import UserError
from readmit_spark.evaluation.summary_table import ENOUGH, metrics_table, recovered_share


def main(config: Config) -> None:
    root = Path(config.output_root)
    metrics = json.loads((root / "metrics.json").read_text())
    counts = json.loads((root / "_manifests" / "score.json").read_text())["counts"]
    shares = {window: recovered_share(values) for window, values in metrics.items()}
    ceilings = attainable(pd.read_csv(str(config.data.truth)))
    print(metrics_table(counts, metrics))
    print("attainable AUROC of a reader who knows")
    for name, auroc in ceilings.items():
        print(f"  {name:<36}{auroc:.3f}")
    print("recovered of the attainable above 0.5: " + ", ".join(
        f"{window} {share:.0%}" for window, share in shares.items()))  # fmt: skip
    print(f"report    {root}/report.html")
    print(f"pictures  {root}/roc_*.png, {root}/pr_*.png")
    print(f"MLflow    .venv/bin/mlflow ui --backend-store-uri {config.tracking_uri}")
    low = [window for window, share in shares.items() if share < ENOUGH]
    if low:
        raise UserError(
            f"the model recovers less than {ENOUGH:.0%} of what is attainable on {', '.join(low)}; "
            f"{READERS['RISK_WORDS']} attain {ceilings[READERS['RISK_WORDS']]:.3f}; raise "
            "train.epochs or demo.patients"
        )


if __name__ == "__main__":
    sys.exit(cli.run("demo_summary", __doc__, main, sys.argv[1:]))
