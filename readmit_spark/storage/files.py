"""Files of output.root, wherever it is."""

from __future__ import annotations

from pathlib import Path

from pyspark.sql import SparkSession

from readmit_spark.storage.hadoop_files import HadoopFiles
from readmit_spark.storage.local_files import LocalFiles

Files = LocalFiles | HadoopFiles


def open_files(spark: SparkSession, root: str) -> Files:
    """Return the files below `root`: a path or URI as Spark reads it, on a disk, HDFS or S3."""
    path = spark._jvm.org.apache.hadoop.fs.Path(root)
    system = path.getFileSystem(spark._jsc.hadoopConfiguration())
    if str(system.getUri().getScheme()) == "file":
        return LocalFiles(root, Path(str(system.makeQualified(path).toUri().getPath())))
    return HadoopFiles(spark, root)
