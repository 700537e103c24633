"""Evaluate IAM and bucket policies, as far as this project's files use the language.

After the rules of the IAM User Guide ("Policy evaluation logic", "Condition operators"): an
explicit deny wins, then an allow, else the request is denied. A negated operator is true if the
request lacks the key, and `IfExists` makes any operator true then. All conditions of a statement
must be true; one of several values is enough, and a negated operator needs all.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from fnmatch import fnmatchcase
from typing import Any

Context = Mapping[str, str]


def allowed(policies: Sequence[Any], action: str, resource: str, context: Context) -> bool:
    """Return whether the policies together allow the request."""
    effects = {
        statement["Effect"]
        for policy in policies
        for statement in policy["Statement"]
        if _applies(statement, action, resource, context)
    }
    return effects == {"Allow"}


def denied(policy: Any, action: str, resource: str, context: Context) -> list[str]:
    """Return the Sids of the statements that deny the request explicitly."""
    return [
        statement["Sid"]
        for statement in policy["Statement"]
        if statement["Effect"] == "Deny" and _applies(statement, action, resource, context)
    ]


def _applies(statement: Any, action: str, resource: str, context: Context) -> bool:
    return (
        any(fnmatchcase(action, pattern) for pattern in _list(statement["Action"]))
        and any(fnmatchcase(resource, pattern) for pattern in _list(statement.get("Resource", "*")))
        and all(
            _true(operator, context.get(key), _list(values))
            for operator, keys in statement.get("Condition", {}).items()
            for key, values in keys.items()
        )
    )


def _true(operator: str, value: str | None, expected: list[str]) -> bool:
    operator, if_exists = operator.removesuffix("IfExists"), operator.endswith("IfExists")
    if operator == "Null":
        return (value is None) == (expected == ["true"])
    if value is None:
        return if_exists or operator.startswith("StringNot")
    if operator == "StringNotEquals":
        return value not in expected
    if operator == "NumericLessThan":
        return any(float(value) < float(limit) for limit in expected)
    if operator in ("StringLike", "ArnLike"):
        return any(fnmatchcase(value, pattern) for pattern in expected)
    assert operator in ("StringEquals", "Bool"), operator
    return value in expected


def _list(value: Any) -> list[str]:
    return value if isinstance(value, list) else [value]
