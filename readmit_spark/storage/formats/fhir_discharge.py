"""Where a patient went, by the codes of a FHIR Encounter's dischargeDisposition."""

from __future__ import annotations

from pyspark.sql import Column
from pyspark.sql import functions as F

# HL7's codes, and NUBC's. Every other code is `other`.
_DISCHARGES = {
    "died": ("exp", "20", "40", "41", "42"),
    "home": ("home", "alt-home", "01", "06", "81"),
    "facility": (
        "other-hcf", "long", "psy", "rehab", "snf", "03", "04", "61", "62", "63", "64", "65",
    ),
    "acute": ("02", "05", "43", "66"),
    "hospice": ("hosp", "50", "51"),
    "against_advice": ("aadvice", "07"),
}  # fmt: skip


def discharge_of(codes: Column) -> Column:
    """Return where a patient went, from the codes of a disposition, or null without one."""
    # Some write 1 for 01.
    codes = F.transform(
        codes, lambda code: F.when(F.length(code) == 1, F.lpad(code, 2, "0")).otherwise(code)
    )
    found = F.when(F.lit(False), F.lit(None).cast("string"))
    for means, own in _DISCHARGES.items():
        found = found.when(F.arrays_overlap(codes, F.array(*map(F.lit, own))), means)
    return found.when(F.size(codes) > 0, "other")
