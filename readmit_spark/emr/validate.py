"""Check requests against botocore's service models, without network and account."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

from readmit_spark.errors import UserError


def validate(service: str, operation: str, request: Mapping[str, Any]) -> None:
    """Raise a UserError if `request` is not valid for `operation`.

    Checks missing and unknown parameters, types, ranges, lengths and enumerations.
    """
    import botocore.session
    from botocore.validate import ParamValidator

    model = botocore.session.get_session().get_service_model(service)
    shape = model.operation_model(operation).input_shape
    problems = ParamValidator().validate(request, shape).generate_report().splitlines()
    problems += _enum_and_length_problems(request, shape, operation)
    if problems:
        raise UserError(f"the request to {operation} is not valid: {'; '.join(problems)}")


def _enum_and_length_problems(value: Any, shape: Any, path: str) -> Iterator[str]:
    """Yield problems that botocore does not check itself: enumerations and lengths."""
    if shape.type_name == "structure" and isinstance(value, Mapping):
        for name, member in shape.members.items():
            if name in value:
                yield from _enum_and_length_problems(value[name], member, f"{path}.{name}")
    elif shape.type_name == "list" and isinstance(value, list):
        for i, item in enumerate(value):
            yield from _enum_and_length_problems(item, shape.member, f"{path}[{i}]")
    elif shape.type_name == "map" and isinstance(value, Mapping):
        for name, item in value.items():
            yield from _enum_and_length_problems(item, shape.value, f"{path}.{name}")
    elif shape.type_name == "string" and isinstance(value, str):
        allowed = getattr(shape, "enum", None)
        if allowed and value not in allowed:
            yield f"{path} is {value}, but must be one of {', '.join(allowed)}"
        longest = shape.metadata.get("max")
        if longest and len(value) > longest:
            yield f"{path} has {len(value)} characters, but at most {longest} are allowed"
