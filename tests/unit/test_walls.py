"""Each wall of the house stands, and would be seen to fall; every module can be imported first."""

import subprocess
import sys
import tomllib
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import grimp
import pytest
from importlinter.configuration import configure
from importlinter.contracts.forbidden import ForbiddenContract
from importlinter.contracts.independence import IndependenceContract
from importlinter.contracts.layers import LayersContract

from tests.support.walls import OnlyFrom, PatternLayers, matches

ROOT = Path(__file__).parents[2]
OPTIONS = tomllib.loads((ROOT / "pyproject.toml").read_text())["tool"]["importlinter"]
TYPES: dict[str, Any] = {
    "pattern_layers": PatternLayers,
    "only_from": OnlyFrom,
    "forbidden": ForbiddenContract,
    "independence": IndependenceContract,
    "layers": LayersContract,
}
# By the name of a wall: an import that must not be.
BREACHES = {
    "The core stands in layers, without a circle": ("core.sessions.model", "core.store"),
    "The core knows no web framework": ("core.clock", "flask"),
    "Commands start servers, servers serve doors, doors open the core": ("api_flask.app", "servers.flask"),
    "The front doors never import each other": ("api_flask.binding", "api_fastapi.binding"),
    "SQL stands beside its model, and nowhere else": ("core.sessions.service", "sqlalchemy"),
    "The composition root alone chooses implementations": ("core.accounts.service", "core.users.sql"),
    "Use cases and models know no HTTP": ("core.mail.worker", "core.contract.operation"),
    "The verifier knows nothing of the service, nor the service of it": ("twinauth_verify.keys", "core.clock"),
}
# Of the layers: a service of one capability that looks up, a new module without a place, and a circle.
OTHER_BREACHES = [
    ("core.tokens.key_ring", "core.accounts.service"),
    ("core.stranger", "core.clock"),
    ("core.settings.files", "core.settings.whole"),
]


@pytest.fixture(scope="module")
def graph() -> grimp.ImportGraph:
    """Who imports whom."""
    configure()
    return grimp.build_graph(*OPTIONS["root_packages"], include_external_packages=True)


def is_kept(name: str, graph: grimp.ImportGraph) -> bool:
    (options,) = [contract for contract in OPTIONS["contracts"] if contract["name"] == name]
    wall = TYPES[options["type"]](name=name, session_options=OPTIONS, contract_options=options)
    kept: bool = wall.check(graph, verbose=False).kept
    return kept


@contextmanager
def breach(graph: grimp.ImportGraph, importer: str, imported: str) -> Iterator[None]:
    """Let a module import another one for a while."""
    is_new = importer not in graph.modules
    graph.add_import(importer=importer, imported=imported)
    yield
    graph.remove_import(importer=importer, imported=imported)
    if is_new:
        graph.remove_module(importer)


@pytest.mark.parametrize("name", [contract["name"] for contract in OPTIONS["contracts"]])
def test_each_wall_stands_and_is_seen_to_fall(graph: grimp.ImportGraph, name: str) -> None:
    assert is_kept(name, graph)
    with breach(graph, *BREACHES[name]):
        assert not is_kept(name, graph)


@pytest.mark.parametrize(("importer", "imported"), OTHER_BREACHES)
def test_the_layers_are_seen_to_fall_in_every_way(graph: grimp.ImportGraph, importer: str, imported: str) -> None:
    with breach(graph, importer, imported):
        assert not is_kept("The core stands in layers, without a circle", graph)


def test_a_star_is_one_part_of_a_name_and_two_are_any_number() -> None:
    assert matches("core.*.model", "core.users.model")
    assert not matches("core.*.model", "core.authentication.passwords.model")
    assert matches("core.**", "core.authentication.passwords.model")
    assert not matches("core.*", "core.users.model")


def test_no_package_of_the_core_runs_code_when_it_is_imported() -> None:
    """An `__init__` that imports a service makes a circle at run time that import rules do not see."""
    written = [path for path in (ROOT / "core").rglob("__init__.py") if path.read_text()]
    assert written == []


def test_no_import_is_hidden_from_the_running_program() -> None:
    hidden = [path for path in (ROOT / "core").rglob("*.py") if "TYPE_CHECKING" in path.read_text()]
    assert hidden == []


def test_every_module_can_be_imported_first() -> None:
    """In an interpreter that has only third-party modules, each module of ours is imported before any other."""
    script = """
import importlib, pathlib, sys
root = pathlib.Path(sys.argv[1])
ours = ("core", "api_fastapi", "api_flask")
made_of_models = {"operations.py", "discovery.py", "capability.py", "__init__.py"}  # dear to import, and far above
paths = [path for path in (root / "core").rglob("*.py") if path.name not in made_of_models]
names = sorted(".".join(path.relative_to(root).with_suffix("").parts) for path in paths)
for name in names:
    for loaded in [loaded for loaded in sys.modules if loaded.split(".")[0] in ours]:
        # Models of pydantic take most of the time to build, and these modules import nothing that stands above them.
        if not loaded.startswith(("core.settings", "core.contract")) and not loaded.endswith("schemas"):
            del sys.modules[loaded]
    importlib.import_module(name)
print(len(names))
"""
    found = subprocess.run([sys.executable, "-c", script, str(ROOT)], capture_output=True, text=True, check=True)
    assert int(found.stdout) > 80
