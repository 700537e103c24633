"""Short notation for the schemas of tables and nested columns."""

from __future__ import annotations

from pyspark.sql.types import DataType, StructField, StructType


def struct_type(**fields: DataType) -> StructType:
    """Return a struct of these nullable fields, in this order.

    >>> from pyspark.sql.types import LongType
    >>> struct_type(hadm_id=LongType()).simpleString()
    'struct<hadm_id:bigint>'
    """
    return StructType([StructField(name, kind) for name, kind in fields.items()])
