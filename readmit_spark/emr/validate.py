"""Holding a request against the service model that botocore carries: no network, no account."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

from readmit_spark.errors import UserError


def validate(service: str, operation: str, request: Mapping[str, Any]) -> None:
    """UserError where `request` has a parameter that `operation` does not know, one of a wrong type
    or outside its range, misses one, or has a value that is none of an enumeration's."""
    import botocore.session
    from botocore.validate import ParamValidator

    model = botocore.session.get_session().get_service_model(service)
    shape = model.operation_model(operation).input_shape
    problems = ParamValidator().validate(request, shape).generate_report().splitlines()
    problems += _more(request, shape, operation)
    if problems:
        raise UserError(f"the request to {operation} is not valid: {'; '.join(problems)}")


def _more(value: Any, shape: Any, where: str) -> Iterator[str]:
    """What botocore leaves to the service: enumerations and lengths."""
    if shape.type_name == "structure" and isinstance(value, Mapping):
        for name, member in shape.members.items():
            if name in value:
                yield from _more(value[name], member, f"{where}.{name}")
    elif shape.type_name == "list" and isinstance(value, list):
        for i, item in enumerate(value):
            yield from _more(item, shape.member, f"{where}[{i}]")
    elif shape.type_name == "map" and isinstance(value, Mapping):
        for name, item in value.items():
            yield from _more(item, shape.value, f"{where}.{name}")
    elif shape.type_name == "string" and isinstance(value, str):
        allowed = getattr(shape, "enum", None)
        if allowed and value not in allowed:
            yield f"{where} is {value}: one of {', '.join(allowed)}"
        longest = shape.metadata.get("max")
        if longest and len(value) > longest:
            yield f"{where} has {len(value)} characters, {longest} at most"
