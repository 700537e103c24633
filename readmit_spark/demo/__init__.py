"""A small synthetic hospital as MIMIC-III tables, with known true risks of readmission."""

from readmit_spark.demo.hospital import Hospital, make_hospital
from readmit_spark.demo.tables import write_hospital

__all__ = ["Hospital", "make_hospital", "write_hospital"]
