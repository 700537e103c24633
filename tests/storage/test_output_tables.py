"""The list of published tables is consistent with itself."""

from __future__ import annotations

import pytest
from pyspark.sql import types as T

from readmit_spark.storage.output_tables import (
    EXAMPLES,
    EXPLAINED,
    INGEST,
    OUTPUT_TABLES,
    PASSAGE,
    OutputTable,
    check_schema,
    examples_name,
    output_table,
)
from readmit_spark.storage.schemas import struct_type

TABLES = [
    pytest.param(table, id=f"{job}/{name}")
    for job, tables in OUTPUT_TABLES.items()
    for name, table in tables.items()
]


@pytest.mark.parametrize("table", [*TABLES, pytest.param(EXAMPLES, id="pretrain/examples")])
def test_key_and_partition_columns_are_columns_and_names_are_distinct(table: OutputTable) -> None:
    names = table.schema.names
    assert len(set(names)) == len(names)
    assert set(table.key) <= set(names)
    assert set(table.partition_by) <= set(names)


@pytest.mark.parametrize("table", TABLES)
def test_every_table_but_those_of_ingest_has_a_key_of_distinct_columns(table: OutputTable) -> None:
    # Ingest copies rows as they are, repeated ones too. Later jobs count those.
    assert bool(table.key) == (table not in INGEST.values())
    assert len(set(table.key)) == len(table.key)


def test_columns_keep_their_order() -> None:
    assert PASSAGE.simpleString() == "struct<row_id:bigint,category:string,start:int,end:int>"


def test_explanations_are_published_without_texts_and_token_ids() -> None:
    schema = output_table("explain", "explanations").schema
    assert set(EXPLAINED.names) - set(schema.names) == {"input_ids"}
    words, published = EXPLAINED["words"].dataType, schema["words"].dataType
    assert isinstance(words, T.ArrayType) and isinstance(published, T.ArrayType)
    assert set(words.elementType.names) - set(published.elementType.names) == {"text"}


def test_a_table_is_found_by_job_and_name() -> None:
    assert output_table("prepare", "exclusions").key == ("hadm_id",)
    assert output_table("pretrain", examples_name(128)) is EXAMPLES
    with pytest.raises(KeyError, match="examples_128"):
        output_table("prepare", "examples_128")
    with pytest.raises(KeyError, match="audit"):
        output_table("audit", "leaks")


def test_schemas_are_compared_by_name_order_and_type_but_not_by_nullability() -> None:
    table = OutputTable(struct_type(hadm_id=T.LongType(), score=T.DoubleType()), key=("hadm_id",))
    required = T.StructType(
        [T.StructField("hadm_id", T.LongType(), False), T.StructField("score", T.DoubleType())]
    )
    check_schema(required, table, "score/x")
    for other in (
        struct_type(score=T.DoubleType(), hadm_id=T.LongType()),
        struct_type(hadm_id=T.IntegerType(), score=T.DoubleType()),
        struct_type(hadm_id=T.LongType()),
        struct_type(hadm_id=T.LongType(), score=T.DoubleType(), label=T.IntegerType()),
    ):
        with pytest.raises(RuntimeError, match=r"score/x has the columns .* and readers expect"):
            check_schema(other, table, "score/x")
