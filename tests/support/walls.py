"""Import rules by wildcard, for import-linter: layers of modules, and what only some modules may import.

In a pattern ``*`` stands for one part of a name and ``**`` for any number of them.
"""

import re
from collections.abc import Iterable
from graphlib import CycleError, TopologicalSorter
from typing import Any

from grimp import ImportGraph
from importlinter import Contract, ContractCheck, fields, output

Violations = list[str]


def matches(pattern: str, module: str) -> bool:
    """Whether a module is one of those that a pattern names."""
    expression = re.escape(pattern).replace(r"\*\*", ".+").replace(r"\*", r"[^.]+")
    return re.fullmatch(expression, module) is not None


def is_one_of(patterns: Iterable[str], module: str) -> bool:
    """Whether a module is named by one of the patterns."""
    return any(matches(pattern, module) for pattern in patterns)


class _Wall(Contract):
    """A rule that finds its violations as lines of text."""

    def check(self, graph: ImportGraph, verbose: bool) -> ContractCheck:  # noqa: FBT001, ARG002 - import-linter's own
        """Ask the graph."""
        found = self.violations(graph)
        return ContractCheck(kept=not found, metadata={"violations": found})

    def render_broken_contract(self, check: ContractCheck) -> None:
        """Print what is wrong."""
        for line in check.metadata["violations"]:
            output.print_error(line)

    def violations(self, graph: ImportGraph) -> Violations:
        """What is wrong, a line each."""
        raise NotImplementedError


class PatternLayers(_Wall):
    """Every module of a package stands in one layer, and imports its own layer and those below.

    A layer is a list of patterns separated by blanks. A pattern that ends with a name goes before one that ends with a
    star: `core.*.model` before `core.tokens.*`. A module that no layer names is a violation, and so is a circle.
    """

    type_name = "pattern_layers"
    package: Any = fields.StringField()
    layers: Any = fields.ListField(subfield=fields.StringField())

    def violations(self, graph: ImportGraph) -> Violations:
        """Modules without a layer, imports of a layer above, and circles."""
        modules = {module for module in graph.modules if module.startswith(f"{self.package}.")}
        packages = {module for module in modules if graph.find_children(module)}
        places = {module: self._place_of(module) for module in modules - packages}
        return [
            *(f"{module} stands in no layer" for module, place in sorted(places.items()) if place is None),
            *(
                f"{importer} imports {imported}, which stands above it"
                for importer in sorted(places)
                for imported in sorted(graph.find_modules_directly_imported_by(importer) & places.keys())
                if (places[importer] or 0) > (places[imported] or 0)
            ),
            *_circles(graph, modules),
        ]

    def _place_of(self, module: str) -> int | None:
        named = [(pattern, place) for place, layer in enumerate(self.layers) for pattern in layer.split()]
        found = [(pattern.endswith("*"), place) for pattern, place in named if matches(pattern, module)]
        return min(found)[1] if found else None


class OnlyFrom(_Wall):
    """Some modules are imported by those alone that a list of patterns names."""

    type_name = "only_from"
    modules: Any = fields.ListField(subfield=fields.StringField())
    importers: Any = fields.ListField(subfield=fields.StringField())

    def violations(self, graph: ImportGraph) -> Violations:
        """Imports by anybody else."""
        return [
            f"{importer} imports {imported}"
            for imported in sorted(module for module in graph.modules if is_one_of(self.modules, module))
            for importer in sorted(graph.find_modules_that_directly_import(imported))
            if not is_one_of(self.importers, importer)
        ]


def _circles(graph: ImportGraph, modules: set[str]) -> Violations:
    imports = {module: graph.find_modules_directly_imported_by(module) & modules for module in modules}
    try:
        TopologicalSorter(imports).prepare()
    except CycleError as error:
        return [f"a circle of imports: {' -> '.join(error.args[1])}"]
    return []
