"""Optional columns of ADMISSIONS that say what a stay was, and how it ended.

PLANNED: yes, no or unknown, as a site computes it. NEWBORN: yes or no. STAY: inpatient or
observation. DISCHARGE_TO: one of `DISCHARGES`; without it MIMIC-III's DISCHARGE_LOCATION. DIED: the
day of the patient's death, also after the stay. A column that is missing or empty says nothing.
"""

from __future__ import annotations

from collections.abc import Mapping

from pyspark.sql import Column, DataFrame
from pyspark.sql import functions as F

from readmit_spark.storage.column_values import code, flag_of

CODES = ("PLANNED", "NEWBORN", "STAY", "DISCHARGE_TO")
OPTIONAL = (*CODES, "DISCHARGE_LOCATION", "DIED")

STAYS = ("inpatient", "observation")
DISCHARGES = ("home", "facility", "acute", "hospice", "against_advice", "died", "other")
# DISCHARGE_LOCATION of MIMIC-III and MIMIC-IV. Every other value is `other`.
_LOCATIONS = {
    "home": ("HOME", "HOME HEALTH CARE", "HOME WITH HOME IV PROVIDR"),
    "facility": (
        "SNF", "SNF-MEDICAID ONLY CERTIF", "SKILLED NURSING FACILITY", "REHAB",
        "REHAB/DISTINCT PART HOSP", "LONG TERM CARE HOSPITAL", "CHRONIC/LONG TERM ACUTE CARE",
        "ICF", "OTHER FACILITY", "HEALTHCARE FACILITY", "ASSISTED LIVING", "PSYCH FACILITY",
        "DISCH-TRAN TO PSYCH HOSP",
    ),
    "acute": (
        "SHORT TERM HOSPITAL", "ACUTE HOSPITAL", "TRANSFER", "DISC-TRAN CANCER/CHLDRN H",
        "DISC-TRAN TO FEDERAL HC",
    ),
    "hospice": ("HOSPICE", "HOSPICE-HOME", "HOSPICE-MEDICAL FACILITY"),
    "against_advice": (
        "AGAINST ADVICE", "LEFT AGAINST MEDICAL ADVI", "LEFT AGAINST MEDICAL ADVICE", "ELOPED",
        "LEFT WITHOUT BEING SEEN",
    ),
    "died": ("DIED", "EXPIRED", "DEAD/EXPIRED"),
}  # fmt: skip


def disposition(location: Column) -> Column:
    """Return one of `DISCHARGES` for a DISCHARGE_LOCATION in upper case, or null for null."""
    found = F.when(location.isNull(), F.lit(None).cast("string"))
    for means, values in _LOCATIONS.items():
        found = found.when(location.isin(*values), means)
    return found.otherwise("other")


def stay_facts(raw: DataFrame) -> Mapping[str, Column]:
    """Return the values of planned (yes, no, unknown), newborn (yes, no), stay and discharge_to,
    each null if it is missing or not understood. raw: with the columns `OPTIONAL`."""
    known = {
        "planned": _yes_or_no(raw, "PLANNED", "unknown"),
        "newborn": _yes_or_no(raw, "NEWBORN"),
        "stay": _listed(raw, "STAY", STAYS),
    }
    location = disposition(code(raw, "DISCHARGE_LOCATION"))
    discharge = F.coalesce(_listed(raw, "DISCHARGE_TO", DISCHARGES), location)
    return {**known, "discharge_to": discharge}


def not_understood(raw: DataFrame) -> Mapping[str, Column]:
    """Return for each column of `CODES` whether a value is there that is not understood."""
    facts = dict(stay_facts(raw)) | {"discharge_to": _listed(raw, "DISCHARGE_TO", DISCHARGES)}
    return {
        name.lower(): code(raw, name).isNotNull() & facts[name.lower()].isNull() for name in CODES
    }


def _yes_or_no(raw: DataFrame, name: str, *others: str) -> Column:
    value = F.lower(code(raw, name))
    flag = flag_of(value)
    return F.when(flag, "yes").when(~flag, "no").when(value.isin(*others), value)


def _listed(raw: DataFrame, name: str, known: tuple[str, ...]) -> Column:
    value = F.regexp_replace(F.lower(code(raw, name)), " ", "_")
    return F.when(value.isin(*known), value)
