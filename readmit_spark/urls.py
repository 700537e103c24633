"""Passwords in URLs, which never go into a record or a message."""

from __future__ import annotations

import re

# A password may hold a slash and ends at the last @. What stands before a slash is no user.
_USER = re.compile(r"([a-z][a-z0-9+.-]*://)[^\s/@]*(:\S*)?@", re.IGNORECASE)
_QUERY = re.compile(r"([a-z][a-z0-9+.-]*://[^\s?]*)\?[^\s?]*=[^\s'\"),;]*", re.IGNORECASE)


def without_secrets(text: str) -> str:
    """Remove user, password and query from each URL in `text`.

    >>> without_secrets("no answer of https://ward:secret@mlflow:5000/a?token=secret, is it up?")
    'no answer of https://mlflow:5000/a, is it up?'
    """
    return _QUERY.sub(r"\1", _USER.sub(r"\1", text))
