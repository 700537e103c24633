"""A small cohort with all known irregularities of ADMISSIONS and NOTEEVENTS.

Each case is one patient, with the reason why it is included.
"""

from __future__ import annotations

import random
from collections.abc import Sequence
from typing import NamedTuple

from tests.nasty_texts import NASTY_TEXTS
from tests.tables_in import Row, note, stay, words

_FIRST_NASTY = 500


class Case(NamedTuple):
    why: str
    stays: Sequence[Row]
    notes: Sequence[Row] = ()


STAYS = [
    Case(
        "back within the month, then for good",
        [stay(1, 11, "2020-01-01", "2020-01-05"), stay(1, 12, "2020-01-20", "2020-01-22")],
    ),
    Case(
        "exactly 30.0 days is not a readmission",
        [stay(2, 21, "2020-01-01", "2020-01-05"), stay(2, 22, "2020-02-04", "2020-02-06")],
    ),
    Case(
        "a second less is one",
        [
            stay(3, 31, "2020-01-01", "2020-01-05"),
            stay(3, 32, "2020-02-04 11:59:59", "2020-02-06"),
        ],
    ),
    Case(
        "30 days to the microsecond, over the second where a 64-bit float loses one",
        [
            stay(4, 41, "2106-01-01", "2106-01-10 06:00:00.100014"),
            stay(4, 42, "2106-02-09 06:00:00.100014", "2106-02-11"),
        ],
    ),
    Case(
        "an elective stay in between is skipped and is no stop",
        [
            stay(5, 51, "2020-01-01", "2020-01-05"),
            stay(5, 52, "2020-01-10", "2020-01-11", "ELECTIVE"),
            stay(5, 53, "2020-01-30", "2020-01-31", "URGENT"),
        ],
    ),
    Case(
        "nothing but elective stays later",
        [
            stay(6, 61, "2020-01-01", "2020-01-05"),
            stay(6, 62, "2020-01-10", "2020-01-11", "ELECTIVE"),
        ],
    ),
    Case(
        "an overlap: the next stay begins before this one ends",
        [stay(7, 71, "2020-01-01", "2020-01-09"), stay(7, 72, "2020-01-05", "2020-03-01")],
    ),
    Case(
        "a tie in ADMITTIME is broken by HADM_ID, whatever the order of the rows",
        [
            stay(8, 83, "2020-01-01", "2020-01-09"),
            stay(8, 81, "2020-01-01", "2020-01-02"),
            stay(8, 82, "2020-01-01", "2020-02-20", "ELECTIVE"),
        ],
    ),
    Case(
        "the readmission ends in death: excluded itself, yet the next of the one before",
        [
            stay(9, 91, "2020-01-01", "2020-01-05"),
            stay(9, 92, "2020-01-10", "2020-01-12", died="2020-01-12"),
        ],
    ),
    Case(
        "a newborn is left out, its mother's way of coming back is not",
        [
            stay(10, 101, "2020-01-01", "2020-01-05", "NEWBORN"),
            stay(10, 102, "2020-01-10", "2020-01-12"),
        ],
    ),
    Case("a newborn that died has the first reason", [
        stay(11, 111, "2020-01-01", "2020-01-02", "NEWBORN", died="2020-01-02"),
    ]),
    Case("still in the house", [stay(12, 121, "2020-01-01", None)]),
    Case(
        "DISCHTIME unknown and yet back",
        [stay(13, 131, "2020-01-01", None), stay(13, 132, "2020-01-10", "2020-01-12")],
    ),
    Case(
        "a DISCHTIME that is no time counts as unknown",
        [
            stay(14, 141, "2020-01-01", "01/05/2020 12:00"),
            stay(14, 142, "2020-01-09", "2020-01-10"),
        ],
    ),
    Case(
        "an ADMITTIME that is no time has no place in the order",
        [
            stay(15, 151, "2020-01-01", "2020-01-05"),
            stay(15, 152, "2020-02-30", "2020-01-08"),
            stay(15, 153, None, "2020-01-08"),
            stay(15, 154, "2020-03-30", "2020-03-31"),
        ],
    ),
    Case(
        "a DEATHTIME that is no time is a death all the same; one of the year 9999 is none",
        [
            stay(16, 161, "2020-01-01", "2020-01-05", died="9999-12-31 00:00:00"),
            stay(16, 162, "2020-01-11", "2020-01-15", died="yes"),
        ],
    ),
    Case(
        "a death after discharge is none in the hospital",
        [stay(22, 221, "2020-01-01", "2020-01-05", died="2020-01-05 12:00:01")],
    ),
    Case(
        "a stay after the death in an earlier one is left out, and no readmission of the first",
        [
            stay(23, 231, "2020-01-01", "2020-01-05"),
            stay(23, 232, "2020-01-08", "2020-01-10", "ELECTIVE", died="2020-01-10"),
            stay(23, 233, "2020-01-20", "2020-01-22"),
        ],
    ),
    Case(
        "a stay that begins in the moment of death",
        [
            stay(24, 241, "2020-01-01", "2020-01-05", died="2020-01-05"),
            stay(24, 242, "2020-01-05", "2020-01-07"),
            stay(24, 243, "2020-01-05 12:00:01", "2020-01-07"),
        ],
    ),
    Case(
        "after a death whose time is not understood, the stay's end counts",
        [
            stay(25, 251, "2020-01-01", "2020-01-05", died="in the night"),
            stay(25, 252, "2020-01-05 11:00:00", "2020-01-07"),
            stay(25, 253, "2020-01-06", "2020-01-07"),
        ],
    ),
    Case(
        "codes in other spellings",
        [
            stay(26, 261, "2020-01-01", "2020-01-05"),
            stay(26, 262, "2020-01-08", "2020-01-10", "\u00a0Elective\t"),
            stay(26, 263, "2020-01-12", "2020-01-13", "new born"),
            stay(26, 264, "2020-01-14", "2020-01-15", " newborn "),
        ],
    ),
    Case(
        "words for null, times without seconds, dates alone, and a discharge of the year 9999",
        [
            stay(27, 271, "2020-01-01 08:30", "2020-01-03T09:15", died="NULL"),
            {**stay(27, 272, None, None, "None"), "ADMITTIME": "2020-01-08", "DISCHTIME": "\\N"},
            stay(28, 281, "2020-01-01", "9999-12-31 00:00:00", died="NaT"),
            stay(28, 282, "2020-01-08", "1900-01-01 00:00:00", died="<NA>"),
        ],
    ),
    Case(
        "discharged before admitted",
        [stay(17, 171, "2020-01-05", "2020-01-01"), stay(17, 172, "2020-01-09", "2020-01-12")],
    ),
    Case(
        "a stay of unknown type is not elective",
        [
            stay(18, 181, "2020-01-01", "2020-01-05"),
            stay(18, 182, "2020-01-10", "2020-01-11", None),
        ],
    ),
    Case("the same row twice counts once", [stay(19, 191, "2020-01-01", "2020-01-05")] * 2),
    Case(
        "ids as a data frame library writes them beside nulls",
        [stay(20, "201.0", "2020-01-01", "2020-01-05")],
        [note(2001, 20, "201.0", words(12))],
    ),
    Case("a stay of two days to the second", [stay(21, 211, "2020-01-01", "2020-01-03")]),
]  # fmt: skip

_WHOLE = ("2020-01-01", "2020-01-11")

NOTES = [
    Case(
        "notes before the admission count; the window ends with day n",
        [stay(100, 1001, *_WHOLE)],
        [
            note(10001, 100, 1001, words(12, 0), "2019-12-28"),
            note(10002, 100, 1001, words(12, 20), "2020-01-01", "23:59:59"),
            note(10003, 100, 1001, words(12, 40), "2020-01-02"),
            note(10004, 100, 1001, words(12, 60), "2020-01-03", "00:00:00"),
            note(10005, 100, 1001, words(12, 80), "2020-01-04", "00:00:00"),
        ],
    ),
    Case(
        "the day counts, not the hours: admitted before midnight",
        [stay(101, 1011, "2020-01-01 23:50:00", "2020-01-11")],
        [note(10101, 101, 1011, words(12), "2020-01-03", "00:10:00")],
    ),
    Case(
        "CHARTTIME in order, null last, then ROW_ID; the file is in another order",
        [stay(102, 1021, *_WHOLE)],
        [
            note(10205, 102, 1021, words(12, 0), "2020-01-01", None),
            note(10204, 102, 1021, words(12, 20), "2020-01-01", None),
            note(10203, 102, 1021, words(12, 40), "2020-01-01", "09:00:00"),
            note(10202, 102, 1021, words(12, 60), "2020-01-01", "09:00:00"),
            note(10201, 102, 1021, words(12, 80), "2020-01-01", "08:00:00.5"),
            note(10206, 102, 1021, words(12, 99), "2019-12-31", None),
        ],
    ),
    Case(
        "a CHARTTIME that is no time is null",
        [stay(103, 1031, *_WHOLE)],
        [
            note(10301, 103, 1031, words(12, 0), "2020-01-01", "25:00:00"),
            note(10302, 103, 1031, words(12, 20), "2020-01-01", "09:00:00"),
        ],
    ),
    Case(
        "a CHARTDATE with a time is that day; none, or no date, is in no early window",
        [stay(104, 1041, *_WHOLE)],
        [
            note(10401, 104, 1041, words(12, 0), "2020-01-02 00:00:00"),
            note(10402, 104, 1041, words(12, 20), None),
            note(10403, 104, 1041, words(12, 40), "2020-13-01"),
            note(10404, 104, 1041, words(12, 60), None, category="Discharge summary"),
        ],
    ),
    Case(
        "notes stored before, at and after the end of the second day, and charted on other days",
        [stay(116, 1161, *_WHOLE)],
        [
            {**note(11600 + i, 116, 1161, words(12, 20 * i), day, time), "STORETIME": stored}
            for i, (day, time, stored) in enumerate(
                (
                    ("2020-01-02", "23:00:00", "2020-01-02 23:59:59"),
                    ("2020-01-02", "23:00:00", "2020-01-03 00:00:00"),
                    ("2020-01-02", "23:00:00", "2020-01-03 00:00:00.000001"),
                    ("2020-01-02", "23:00:00", "2020-01-02"),
                    ("2020-01-01", "09:00:00", "2020-02-01 00:00:00"),
                    ("2020-01-04", "09:00:00", "2020-01-02 09:00:00"),
                    (None, None, "2020-01-02 09:00:00"),
                    ("2019-12-01", "09:00:00", None),
                    ("2020-01-02", None, "not known"),
                )
            )
        ],
    ),
    Case(
        "a note marked as an error",
        [stay(105, 1051, *_WHOLE)],
        [
            note(10501, 105, 1051, words(12, 0)),
            note(10502, 105, 1051, words(12, 20), iserror="1"),
            note(10503, 105, 1051, words(12, 40), iserror="0"),
            note(10504, 105, 1051, words(12, 60), iserror="1.0"),
            note(10505, 105, 1051, words(12, 80), iserror="t"),
            note(10506, 105, 1051, words(12, 99), iserror="False"),
            note(10507, 105, 1051, words(12, 120), iserror="\\N"),
            note(10508, 105, 1051, words(12, 140), iserror="withdrawn"),
        ],
    ),
    Case("nothing but a note marked as an error", [stay(106, 1061, *_WHOLE)],
         [note(10601, 106, 1061, words(12), iserror="1")]),
    Case(
        "CATEGORY with blanks of every kind",
        [stay(107, 1071, *_WHOLE)],
        [
            note(10701, 107, 1071, words(12, 0), category="Physician "),
            note(10702, 107, 1071, words(12, 20), category="Discharge summary  "),
            note(10703, 107, 1071, words(12, 40), category=None),
            note(10704, 107, 1071, words(12, 60), category="Discharge\u00a0 summary\t"),
            note(10705, 107, 1071, words(12, 80), category="\ufeffDischarge\tsummary"),
        ],
    ),
    Case(
        "a stay of a day brings its own discharge summary",
        [stay(108, 1081, "2020-01-01", "2020-01-02")],
        [
            note(10801, 108, 1081, words(12, 0)),
            note(10802, 108, 1081, words(12, 20), "2020-01-02", category="Discharge summary"),
        ],
    ),
    Case(
        "the last of several discharge summaries; an addendum of the same day by ROW_ID",
        [stay(109, 1091, *_WHOLE)],
        [
            note(10903, 109, 1091, words(12, 0), "2020-01-11", category="Discharge summary"),
            note(10904, 109, 1091, words(12, 20), "2020-01-11", category="Discharge summary"),
            note(10905, 109, 1091, words(12, 40), "2020-01-09", category="Discharge summary"),
        ],
    ),
    Case(
        "the last discharge summary is marked as an error",
        [stay(110, 1101, *_WHOLE)],
        [
            note(11001, 110, 1101, words(12, 0), "2020-01-10", category="Discharge summary"),
            note(11002, 110, 1101, words(12, 20), "2020-01-11", None, "Discharge summary", "1"),
        ],
    ),
    Case(
        "notes of no stay, of an unknown one, of another patient's, of one left out",
        [
            stay(111, 1111, *_WHOLE),
            stay(111, 1112, "2020-02-01", "2020-02-09", "NEWBORN"),
        ],
        [
            note(11101, 111, 1111, words(12, 0)),
            note(11102, 111, None, words(12, 20)),
            note(11103, 111, 999_999, words(12, 40)),
            note(11104, 112, 1111, words(12, 60)),
            note(11105, 111, 1112, words(12, 80), "2020-02-01"),
        ],
    ),
    Case(
        "a note delivered twice counts once; another ROW_ID is another note",
        [stay(113, 1131, *_WHOLE)],
        [
            *[note(11301, 113, 1131, words(12, 0))] * 3,
            note(11302, 113, 1131, words(12, 0)),
        ],
    ),
    Case(
        "texts that are null, empty, or nothing after cleaning",
        [stay(114, 1141, *_WHOLE), stay(114, 1142, "2020-03-01", "2020-03-09")],
        [
            note(11401, 114, 1141, None),
            note(11402, 114, 1141, ""),
            note(11403, 114, 1141, "[**Hospital1 18**]\n"),
            note(11404, 114, 1141, words(12)),
            note(11405, 114, 1142, "[**Hospital1 18**]\n", "2020-03-01"),
            note(11406, 114, 1142, None, "2020-03-01"),
        ],
    ),
    Case("ten words make no chunk, eleven do", [
        stay(115, 1151, *_WHOLE), stay(115, 1152, "2020-03-01", "2020-03-09"),
    ], [
        note(11501, 115, 1151, words(10)),
        note(11502, 115, 1152, words(11), "2020-03-01"),
    ]),
    *(
        Case(
            f"{n} words: where a chunk ends",
            [stay(subject, subject * 10, *_WHOLE)],
            [note(subject * 100, subject, subject * 10, words(n))],
        )
        for subject, n in enumerate((317, 318, 319, 328, 329, 636, 646, 647), start=120)
    ),
    *(
        Case(
            f"nasty text: {name}",
            [stay(subject, subject * 10, *_WHOLE)],
            # Alone it may make no chunk; between two notes it does.
            [
                note(subject * 100, subject, subject * 10, words(8), "2020-01-01"),
                note(subject * 100 + 1, subject, subject * 10, text, "2020-01-02"),
                note(subject * 100 + 2, subject, subject * 10, words(8, 8), "2020-01-03"),
                note(subject * 100 + 3, subject, subject * 10, text + " " + words(11),
                     "2020-01-09", category="Discharge summary"),
            ],
        )
        for subject, (name, text) in enumerate(NASTY_TEXTS, start=_FIRST_NASTY)
    ),
]  # fmt: skip

CASES = [*STAYS, *NOTES]


def odd_cohort() -> tuple[list[Row], list[Row]]:
    """All ADMISSIONS and NOTEEVENTS, in no order."""
    stays = [row for case in CASES for row in case.stays]
    # Every stay of the first kind has a note, so that its label and split reach the chunks.
    notes = [
        note(9_000_000 + i, int(row["SUBJECT_ID"] or 0), row["HADM_ID"], words(15), "2020-01-01")
        for i, row in enumerate(row for case in STAYS for row in case.stays)
    ]
    notes += [row for case in CASES for row in case.notes]
    notes = [{"STORETIME": None, **row} for row in notes]
    random.Random(5).shuffle(stays)
    random.Random(6).shuffle(notes)
    return stays, notes
