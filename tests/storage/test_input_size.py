"""Spark's settings follow the size of the input."""

from __future__ import annotations

from pathlib import Path

import pytest
from pyspark.sql import SparkSession

from readmit_spark.config_file import load_config
from readmit_spark.storage import input_size
from readmit_spark.storage.input_size import fit_to_input, partitions
from tests.spark_options import submit_options
from tests.tables_in import note, stay, write_csv

pytestmark = pytest.mark.spark4

MEGABYTE = 1 << 20


@pytest.mark.parametrize(
    ("megabytes", "slots", "expected"),
    [(1, 16, 1), (10, 16, 3), (1_000, 16, 16), (100_000, 16, 1563), (1_000, 400, 250)],
)
def test_partitions_hold_four_to_sixty_four_megabytes(
    megabytes: int, slots: int, expected: int
) -> None:
    assert partitions(megabytes * MEGABYTE, slots) == expected


def test_a_small_input_is_planned_once_and_its_expressions_are_not_compiled(
    spark: SparkSession, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def settings() -> list[str | None]:
        keys = ("adaptive.enabled", "codegen.factoryMode")
        return [spark.conf.get(f"spark.sql.{key}") for key in keys]

    paths = [
        f"data.admissions={write_csv(tmp_path / 'A.csv', [stay(1, 11, '2020-01-01', None)])}",
        f"data.notes={write_csv(tmp_path / 'N.csv', [note(1, 1, 11, 'a')])}",
    ]
    own = ["true", "FALLBACK"]
    fit_to_input(spark, load_config())  # no tables: nothing is known
    assert settings() == own
    fit_to_input(spark, load_config(overrides=paths))
    assert settings() == ["false", "NO_CODEGEN"]
    assert "spark.sql.shuffle.partitions=2" in submit_options()
    assert spark.conf.get("spark.sql.shuffle.partitions") == "2"  # as it was given
    monkeypatch.setattr(input_size, "_SMALL", 100)  # bytes
    fit_to_input(spark, load_config(overrides=paths))
    assert settings() == own
