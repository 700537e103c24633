"""A mapping file: how a hospital's own tables become tables of MIMIC-III's shape."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Annotated, Any

import yaml
from pydantic import (
    AfterValidator,
    BaseModel,
    BeforeValidator,
    ConfigDict,
    StringConstraints,
    ValidationError,
    model_validator,
)

from readmit_spark.errors import UserError
from readmit_spark.storage.formats.times import check_pattern
from readmit_spark.storage.output_tables import INGEST
from readmit_spark.storage.stay_facts import DISCHARGES, STAYS

SAME, OTHERS = "same", "*"
ADMISSION_TYPES = ("EMERGENCY", "URGENT", "ELECTIVE", "NEWBORN", "UNKNOWN")
# The values that a code column may have; of those without a list, any.
_VOCABULARIES: Mapping[str, tuple[str, ...]] = {
    "admission_type": ADMISSION_TYPES,
    "planned": ("yes", "no", "unknown"),
    "newborn": ("yes", "no"),
    "stay": STAYS,
    "discharge_to": DISCHARGES,
}
_CODES = (*_VOCABULARIES, "ethnicity", "insurance", "category", "description", "gender")
_NEEDED = {
    "admissions": ("subject_id", "hadm_id", "admittime", "dischtime"),
    "notes": ("row_id", "subject_id", "hadm_id", "category", "text"),
    "patients": ("subject_id",),
}


def _pattern(pattern: str) -> str:
    check_pattern(pattern)
    return pattern


def _as_list(value: object) -> object:
    return [value] if isinstance(value, str) else value


def _not_a_number(value: object) -> object:
    """YAML reads 007 and 1.10 as numbers, which lose digits."""
    if isinstance(value, bool | int | float):
        raise ValueError(f'write the value {value} as text, "{value}"')
    return value


Value = Annotated[str, BeforeValidator(_not_a_number), StringConstraints(min_length=1)]
ColumnName = Annotated[str, StringConstraints(strip_whitespace=True, to_upper=True, min_length=1)]
Pattern = Annotated[str, AfterValidator(_pattern)]


class _Strict(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True)


class Lines(_Strict):
    """order: the column that numbers the lines of a note, from 0 or 1; join: what is between."""

    order: ColumnName
    join: str


class Table(_Strict):
    """file: in data.folder, without ending. columns: MIMIC-III's name -> own name. keep: own
    name -> the values of the rows that stay. values: MIMIC-III's name -> own value -> value."""

    file: str
    columns: dict[str, ColumnName]
    keep: dict[ColumnName, list[Value]] = {}
    values: dict[str, dict[Value, Value]] = {}


class Admissions(Table):
    """died: own name -> the values of stays that ended in death."""

    died: dict[ColumnName, list[Value]] = {}


class Notes(Table):
    lines: Lines | None = None


class Mapped(_Strict):
    """The whole file. times: patterns of times that are not ISO 8601."""

    times: Annotated[list[Pattern], BeforeValidator(_as_list)] = []
    admissions: Admissions
    notes: Notes
    patients: Table | None = None

    @property
    def tables(self) -> Mapping[str, Table]:
        """Return the tables that are there, by name."""
        every = {"admissions": self.admissions, "notes": self.notes, "patients": self.patients}
        return {name: table for name, table in every.items() if table is not None}

    @model_validator(mode="after")
    def _columns_are_known(self) -> Mapped:
        for name, table in self.tables.items():
            known = [column.lower() for column in INGEST[name].schema.names]
            missing = [column for column in _NEEDED[name] if column not in table.columns]
            unknown = [column for column in table.columns if column not in known]
            if missing or unknown:
                raise ValueError(
                    f"{name}.columns: missing {', '.join(missing) or 'none'}; unknown "
                    f"{', '.join(unknown) or 'none'}; known are {', '.join(known)}"
                )
            for column, meanings in table.values.items():
                _check_values(name, table, column, meanings)
        if not {"chartdate", "charttime"} & self.notes.columns.keys():
            raise ValueError("notes.columns: chartdate or charttime is needed")
        return self


def _check_values(name: str, table: Table, column: str, meanings: Mapping[str, str]) -> None:
    if column not in _CODES or column not in table.columns:
        codes = ", ".join(code for code in _CODES if code in table.columns)
        raise ValueError(f"{name}.values: {column} is not one of the codes in columns: {codes}")
    vocabulary = _VOCABULARIES.get(column)
    if vocabulary is not None:
        known = {word.lower() for word in vocabulary}
        strange = sorted({m for m in meanings.values() if m.lower() not in known})
        if strange:
            raise ValueError(
                f"{name}.values.{column}: {', '.join(strange)} is not one of "
                f"{', '.join(vocabulary)}"
            )


def read_mapping(path: str) -> Mapped:
    """Read a mapping file. Raise a UserError, one line, for a mistake in it."""
    try:
        values: Any = yaml.safe_load(Path(path).read_text(encoding="utf-8"))
    except FileNotFoundError:
        raise UserError(f"data.format: {path} does not exist") from None
    except (OSError, UnicodeDecodeError, yaml.YAMLError, ValueError):
        raise UserError(f"data.format: {path} cannot be read as YAML") from None
    try:
        return Mapped.model_validate(values)
    except ValidationError as error:
        first = error.errors()[0]
        where = ".".join(map(str, first["loc"]))
        message = first["msg"].removeprefix("Value error, ")
        raise UserError(f"data.format: {path}: {f'{where}: ' if where else ''}{message}") from None
