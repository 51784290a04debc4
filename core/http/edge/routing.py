"""The operations of a path, and the methods that follow from them."""

import re
from collections.abc import Iterable, Mapping
from http import HTTPMethod

from core.contract.operation import Operation

# IANA's "HTTP Method Registry", except `*` and `PRI`, which are reserved and no methods to send.
_REGISTRY = """
    ACL BASELINE-CONTROL BIND CHECKIN CHECKOUT CONNECT COPY DELETE GET HEAD LABEL LINK LOCK MERGE MKACTIVITY MKCALENDAR
    MKCOL MKREDIRECTREF MKWORKSPACE MOVE OPTIONS ORDERPATCH PATCH POST PROPFIND PROPPATCH PUT QUERY REBIND REPORT SEARCH
    TRACE UNBIND UNCHECKOUT UNLINK UNLOCK UPDATE UPDATEREDIRECTREF VERSION-CONTROL
"""
METHODS = frozenset(_REGISTRY.split())

Methods = Mapping[str, Operation]
"""The operations of one path by method; empty if the contract does not have the path."""


class Routes:
    """The paths of the contract and their operations."""

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
        """Return the operations of a path."""
        if path in self._fixed:
            return self._fixed[path]
        return next((methods for pattern, methods in self._patterns if pattern.fullmatch(path)), {})


def served_method(method: str, methods: Methods) -> str:
    """Return the method for the framework: GET for HEAD, if the path has GET (RFC 9110 section 9.3.2)."""
    return HTTPMethod.GET.value if method == HTTPMethod.HEAD and HTTPMethod.GET in methods else method


def allowed_methods(methods: Methods) -> list[str]:
    """Return the methods for the header Allow."""
    allowed = {*methods, HTTPMethod.OPTIONS.value}
    if HTTPMethod.GET in allowed:
        allowed.add(HTTPMethod.HEAD.value)
    return sorted(allowed)
