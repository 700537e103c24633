"""Write the demo hospital under data/: ADMISSIONS, NOTEEVENTS, PATIENTS and the true risks."""

from __future__ import annotations

import sys
from pathlib import Path

from readmit_spark import cli
from readmit_spark.config import Config
from readmit_spark.demo.hospital import make_hospital
from readmit_spark.demo.tables import write_hospital
from readmit_spark.errors import UserError
from readmit_spark.progress import Progress


def main(config: Config) -> None:
    progress = Progress("demo_data", 1)
    folder = Path(config.output_root) / "data"
    if folder.exists() and not config.output.overwrite:
        raise UserError(f"output.root: {folder} exists; set output.overwrite=true to replace it")
    with progress.stage(f"{config.demo.patients:,} patients"):
        hospital = make_hospital(config.demo.patients, config.demo.seed, config.demo.days)
        write_hospital(hospital, folder)
    progress.say(
        f"{len(hospital.admissions):,} admissions, {len(hospital.notes):,} notes in {folder}"
    )


if __name__ == "__main__":
    sys.exit(cli.run("demo_data", __doc__, main, sys.argv[1:]))
