"""Texts that often break text programs, as (name, text)."""

from __future__ import annotations


def _words(n: int, sep: str = " ") -> str:
    """Return n different words without digits: cleaning removes a number before a point."""
    letters = "abcdefghijklmnopqrstuvwxyz"
    return sep.join(f"w{letters[i // 26]}{letters[i % 26]}" for i in range(n))


NASTY_TEXTS: list[tuple[str, str]] = [
    # empty, or empty after cleaning
    ("empty", ""),
    ("one blank", " "),
    ("blanks of every kind", " \t\n\r\x0b\x0c\u00a0\u2003\u3000\u2028 "),
    ("only brackets", "[**Known lastname 123**] [**Hospital1 18**]\n[**2101-1-1**]"),
    ("empty bracket", "before [] after"),
    ("only a number and a point", "12. 13. 14."),
    ("only rules", "-- __ == ---- ____ ===="),
    ("only headers", "Admission Date: Discharge Date:"),
    # brackets that are unbalanced, nested or span lines
    ("bracket never closed", "seen by [**Doctor and then " + _words(30)),
    ("bracket never opened", "seen by Doctor**] and then " + _words(30)),
    ("bracket over a line break", "seen by [**First\nName Last\r\nName**] today"),
    ("nested brackets", "a [[**inner**] tail] b"),
    ("closed before opened", "a ] b [ c"),
    ("bracket glues two words", "left[** **]right"),
    ("many opened, none closed", "[" * 2000 + " x"),
    # regular expressions of cleaning that affect each other
    ("expression made by an expression", "-[x]- d[x]r. 1[x]2. admission [x]date:"),
    ("rule made by a rule", "-__- =--= _==_"),
    ("doctor", "Dr. Smith, M.D.; DR.JONES m.d. hydr. mdr."),
    ("decimals", "K 4.5 mg, Hct 31.2. INR 1. 10.5.2 v1."),
    (
        "header in capitals",
        "ADMISSION DATE:  [**2101-10-20**]  Discharge  Date: x discharge date:y",
    ),
    ("header cut by a line break", "Admission\nDate: today"),
    # line ends
    ("only CR", "first line\rsecond line\rthird"),
    ("CR LF", "first line\r\nsecond line\r\n"),
    ("line break in a number", "12\n. 13"),
    # characters
    ("NUL", "before\x00after \x00 end"),
    ("control characters", "a\x1cb\x1dc\x1ed\x1fe\x7ff\x08g"),
    ("byte order mark", "\ufeffFirst word"),
    ("replacement character", "broken \ufffd\ufffd utf-8"),
    ("high surrogate alone", "before \ud83d after"),
    ("low surrogate alone", "before \ude00 after"),
    (
        "emoji and joiners",
        "smile \U0001f600 family \U0001f468\u200d\U0001f469\u200d\U0001f467 flag",
    ),
    ("combining accents", "cafe\u0301 nai\u0308ve"),
    ("lower case is longer", "\u0130stanbul STRASSE \u1e9e \u03a3\u0391\u03a3"),
    ("digits that are not ASCII", "\u0661\u0662. \uff11\uff12. \u00b2. 3."),
    ("right to left", "\u05e9\u05dc\u05d5\u05dd. \u0645\u0631\u062d\u0628\u0627\u061f \u202eabc"),
    # white space that Python, Java and Arrow treat differently
    ("no-break space", _words(6, "\u00a0") + " " + _words(6)),
    ("line separator", "one\u2028two\u2029three\x85four"),
    ("white space within brackets", "a [b\u2028c\x85d\x0be] f"),
    ("narrow and ideographic spaces", "one\u202ftwo\u3000three\u205ffour"),
    ("not white space", "zero\u200bwidth word\u2060joiner mongolian\u180evowel"),
    # sentence ends
    ("point inside a word", "Pt stable.The plan is a.b and c.d. " + _words(20) + ".End x"),
    ("query before a word", _words(20) + " ?sepsis " + _words(20) + " !stat " + _words(19)),
    ("blanks after a point", _words(20) + ".   " + _words(20) + ".\t\t" + _words(20) + ". \n \n x"),
    ("bracket after a point", "(" + _words(20) + ".) " + _words(20) + '."  ' + _words(21)),
    ("ellipses", _words(20) + "... " + _words(20) + "\u2026 " + _words(20) + " . . . end"),
    ("mixed ends", _words(20) + "?! " + _words(20) + "!!! " + _words(20) + "?"),
    (
        "ends of other scripts",
        "\u3002".join(_words(21) for _ in range(2))
        + "\uff01 "
        + _words(20)
        + "\u0964 "
        + _words(20)
        + " \u061f "
        + _words(20)
        + "\uff0e "
        + _words(20)
        + " \u3002",
    ),
    ("abbreviations", "Pt. c/o S.O.B. q.d. p.o. b.i.d. vs. e.g. i.e. No. 5 approx. 3 in. " * 3),
    ("only points", ". . . ... ?? !! ."),
    ("starts with a point", ". " + _words(25)),
    ("first segment short", "short. " + _words(20) + ". tail."),
    ("every segment short", "one two. three four. five six."),
    ("segment of 19 words", _words(20) + ". " + _words(19) + ". " + _words(20) + "."),
    ("no sentence end", _words(400)),
    ("one huge word", "x" * 50_000),
    ("one huge word of points", "a." * 5_000),
    ("url and e-mail", "see http://a.b/c?d=e.f mail x.y@z.org."),
    ("hyphens and slashes", "b/l LE 2+ pitting-edema w/o c/c/e -> +/- (R>L)"),
    # chunk edges
    ("9 words", _words(9)),
    ("10 words", _words(10)),
    ("11 words", _words(11)),
    ("317 words", _words(317)),
    ("318 words", _words(318)),
    ("319 words", _words(319)),
    ("328 words", _words(328)),
    ("329 words", _words(329)),
    ("636 words", _words(636)),
    ("646 words", _words(646)),
    ("647 words", _words(647)),
    ("10 words after cleaning", _words(10) + " [**a b c**] -- 12. =="),
    ("11 words after cleaning", _words(10) + " [**a b c**] -- 12.5 =="),
    # shapes of notes
    ("CSV within", 'said "no, no", then\n""quoted""\n,;|\t\\ end\\'),
    ("HTML within", "<b>K</b> &lt; 3 &amp; Na > 130 <script>x</script>"),
    ("columns", "WBC    RBC    Hgb\n 7.1   4.31   12.9*\n----- ----- -----\n"),
]
