"""Which operations a path has, and what follows from them for a method."""

import re
from collections.abc import Iterable, Mapping
from http import HTTPMethod

from core.contract.operation import Operation

Methods = Mapping[str, Operation]
"""The operations of one path by method; none where the path is not ours."""


class Routes:
    """The paths of the contract and the operations behind them."""

    def __init__(self, operations: Iterable[Operation]) -> None:
        self._fixed: dict[str, Methods] = {}
        self._patterns: list[tuple[re.Pattern[str], Methods]] = []
        templates: dict[str, dict[str, Operation]] = {}
        for operation in operations:
            templates.setdefault(operation.path, {})[operation.method.value] = operation
        for template, methods in templates.items():
            if "{" in template:
                self._patterns.append((re.compile(re.sub(r"\\{[^}]+\\}", "[^/]+", re.escape(template))), methods))
            else:
                self._fixed[template] = methods

    def at(self, path: str) -> Methods:
        """The operations of a path."""
        if path in self._fixed:
            return self._fixed[path]
        return next((methods for pattern, methods in self._patterns if pattern.fullmatch(path)), {})


def served_method(method: str, methods: Methods) -> str:
    """What a framework is asked for: HEAD is GET without the body, where there is one (RFC 9110 section 9.3.2)."""
    return HTTPMethod.GET.value if method == HTTPMethod.HEAD and HTTPMethod.GET in methods else method


def allowed_methods(methods: Methods) -> list[str]:
    """What the header Allow names."""
    allowed = {*methods, HTTPMethod.OPTIONS.value}
    if HTTPMethod.GET in allowed:
        allowed.add(HTTPMethod.HEAD.value)
    return sorted(allowed)
