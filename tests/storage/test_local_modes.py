"""Java sets the modes of local files itself."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any, cast

import pytest
from pyspark.sql import SparkSession

from readmit_spark.storage.local_modes import set_modes_in_java

pytestmark = pytest.mark.spark4


def test_files_and_folders_have_the_modes_that_hadoop_asks_for(
    spark: SparkSession, tmp_path: Path
) -> None:
    set_modes_in_java(spark)  # again: nothing changes
    hadoop = cast(Any, spark._jvm).org.apache.hadoop.fs
    path = hadoop.Path(f"{tmp_path}/folder/file")
    configuration = cast(Any, spark)._jsc.hadoopConfiguration()
    system = path.getFileSystem(configuration)
    assert system.getClass().getName() == "readmit_spark.LocalDisk"
    system.create(path).close()
    mask = int(configuration.get("fs.permissions.umask-mode"), 8)
    assert (tmp_path / "folder" / "file").stat().st_mode & 0o7777 == 0o666 & ~mask
    for mode in (0o640, 0o1770, 0o400):
        system.setPermission(path, hadoop.permission.FsPermission(mode))
        assert os.stat(tmp_path / "folder" / "file").st_mode & 0o7777 == mode
    assert sorted(os.listdir(tmp_path / "folder")) == [".file.crc", "file"]
