"""A small made-up hospital in MIMIC-III's tables, whose true risks of readmission are known."""

from readmit_spark.demo.hospital import Hospital, make_hospital
from readmit_spark.demo.tables import write_hospital

__all__ = ["Hospital", "make_hospital", "write_hospital"]
