"""Set the modes of local files inside Java.

Hadoop sets the mode of each file and folder that it writes. Without its native library, which
PySpark does not bring, it starts the program `chmod` for each of them: up to four times for one
file of a table, and some hundred times in a small job.
"""

from __future__ import annotations

from typing import Any, cast

from pyspark.sql import SparkSession

_CLASS = "readmit_spark.LocalDisk"
# Hadoop's own file system, but for the one method that starts a program.
_SOURCE = """
package readmit_spark;

import java.nio.file.Files;
import java.nio.file.LinkOption;
import org.apache.hadoop.fs.LocalFileSystem;
import org.apache.hadoop.fs.Path;
import org.apache.hadoop.fs.RawLocalFileSystem;
import org.apache.hadoop.fs.permission.FsPermission;

public class LocalDisk extends LocalFileSystem {
    public LocalDisk() {
        super(new Raw());
    }

    public static class Raw extends RawLocalFileSystem {
        public void setPermission(Path path, FsPermission mode) throws java.io.IOException {
            Object bits = Integer.valueOf(mode.toShort() & 07777);
            Files.setAttribute(pathToFile(path).toPath(), "unix:mode", bits, new LinkOption[0]);
        }
    }
}
"""


def set_modes_in_java(spark: SparkSession) -> None:
    """Let this Java process, and so all tasks in local mode, set modes of local files itself.

    The class is compiled by the compiler that Spark brings for its own generated code. Nothing is
    done where Hadoop has its native library.
    """
    jvm = cast(Any, spark._jvm)  # PySpark has no API for Hadoop file systems
    hadoop = jvm.org.apache.hadoop
    if hadoop.io.nativeio.NativeIO.isAvailable():
        return
    configuration = hadoop.conf.Configuration(spark._jsc.hadoopConfiguration())
    disk = jvm.java.net.URI("file:///")
    present = hadoop.fs.FileSystem.get(disk, configuration)
    if present.getClass().getName() == _CLASS:
        return
    compiler = jvm.org.codehaus.janino.SimpleCompiler()
    compiler.setParentClassLoader(configuration.getClassLoader())
    compiler.cook(_SOURCE)
    configuration.setClassLoader(compiler.getClassLoader())
    configuration.set("fs.file.impl", _CLASS)
    # Hadoop has one object for each kind of file system, the first that anybody asks for.
    present.close()
    hadoop.fs.FileSystem.get(disk, configuration)
