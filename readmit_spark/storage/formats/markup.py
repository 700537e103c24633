"""RTF and HTML as plain text."""

from __future__ import annotations

import re
from collections.abc import Callable
from html import unescape
from html.parser import HTMLParser

from striprtf.striprtf import rtf_to_text

RTF, HTML = "rtf", "html"

_read: Callable[..., str] = rtf_to_text  # which has no annotations
_DOCUMENT = re.compile(r"(?=\{\\rtf)")
_NOT_SHOWN = ("script", "style")
_AS_WRITTEN = ("pre", "textarea")
# Elements with a line of their own. Cells of a table stand side by side.
_LINES = re.compile(
    "address|article|aside|blockquote|body|br|button|caption|center|dd|dir|div|dl|dt|fieldset|"
    "figcaption|figure|footer|form|h[1-6]|head|header|hr|html|legend|li|main|menu|nav|ol|option|p|"
    "pre|section|select|table|tbody|textarea|tfoot|thead|title|tr|ul"
)
_CELLS = ("td", "th")
_SPACES = re.compile(r"[ \t\n\r\f]+")


def plain_text(text: str, form: str) -> str:
    r"""Return the text of RTF or HTML. form: RTF or HTML.

    >>> plain_text(r"{\rtf1\ansi{\fonttbl{\f0 Arial;}}K 4.5\par Caf\'e9}", RTF)
    'K 4.5\nCafé'
    """
    return _READERS[form](text)


def rtf_text(rtf: str) -> str:
    """Return the text of one or more RTF documents, a line for each paragraph.

    Text that cannot be read stays as it is, so that later jobs count it as RTF.
    """
    # The library searches from each field to the end of its line; RTF ignores ends of lines.
    lines = rtf.replace("{\\field", "\n{\\field")
    try:
        # The library ends with the first document, and joined notes may have several.
        texts = [_read(one, errors="replace") for one in _DOCUMENT.split(lines) if one]
    except (LookupError, ValueError):  # a code page or a character that does not exist
        return rtf
    # RTF writes a character beyond 16 bits as a surrogate pair.
    return "\n".join(texts).encode("utf-16", "surrogatepass").decode("utf-16", "replace")


def html_text(html: str) -> str:
    r"""Return what a browser shows as text: a line for each block, paragraph and row.

    >>> html_text("<p>K <b>4.5</b> &lt; 5<br>Na</p><table><tr><td>a<td>b</table>")
    'K 4.5 < 5\nNa\na b'
    """
    # The parser fails on a section that it does not know: each becomes a comment.
    html = html.replace("<![", "<!x")
    # It would try each unfinished tag at the end of the text again and again.
    end = html.rfind(">") + 1
    parser = _Text()
    parser.feed(html[:end])
    parser.close()
    parser.handle_data(unescape(html[end:]))
    return parser.text()


class _Text(HTMLParser):
    """Collects the shown characters. White space is one space, unless it is shown as written."""

    def __init__(self) -> None:
        super().__init__(convert_charrefs=True)
        self._pieces: list[str] = []
        self._as_written = 0

    def handle_starttag(self, tag: str, attrs: object) -> None:
        self._as_written += tag in _AS_WRITTEN
        self._separate(tag)

    def handle_endtag(self, tag: str) -> None:
        self._as_written = max(0, self._as_written - (tag in _AS_WRITTEN))
        self._separate(tag)

    def handle_data(self, data: str) -> None:
        if self.cdata_elem not in _NOT_SHOWN:
            self._pieces.append(data if self._as_written else _SPACES.sub(" ", data))

    def text(self) -> str:
        """Return the lines that have a character, each without white space around it."""
        lines = (line.strip() for line in "".join(self._pieces).split("\n"))
        return "\n".join(filter(None, lines))

    def _separate(self, tag: str) -> None:
        if _LINES.fullmatch(tag):
            self._pieces.append("\n")
        elif tag in _CELLS:
            self._pieces.append(" ")


_READERS: dict[str, Callable[[str], str]] = {RTF: rtf_text, HTML: html_text}
