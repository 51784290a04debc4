"""The files of the lab fit together, and the page about them names what is there. None of their programs is needed."""

from __future__ import annotations

import configparser
import json
import os
import re
import subprocess
from pathlib import Path
from typing import Any

import pytest
import yaml

from core.settings.loading import variables
from lab.cluster.cluster import ETCD_PORT, NODES, POOLER_PORT, WRITE_PORT
from lab.cluster.trial import DOORS
from tests.support.programs import program

ROOT = Path(__file__).parents[2]
LAB = ROOT / "deploy" / "lab"
CLIENTS = ROOT / "lab" / "clients"
PAGE = (ROOT / "docs" / "guides" / "postgres.md").read_text(encoding="utf-8")
HAPROXY = (LAB / "haproxy.cfg").read_text()
# Of the service, in seconds: AUTH_DATABASE_TIMEOUT as it is where nobody sets it.
PATIENCE = 2


@pytest.fixture
def patroni() -> Any:
    return yaml.safe_load((LAB / "patroni.yml").read_text())


@pytest.fixture
def pgbouncer() -> configparser.ConfigParser:
    read = configparser.ConfigParser(comment_prefixes=(";", "#"), interpolation=None)
    read.read_string((LAB / "pgbouncer.ini").read_text())
    return read


def test_patroni_finds_etcd(patroni: Any) -> None:
    etcd = yaml.safe_load((LAB / "etcd.yml").read_text())
    assert patroni["etcd3"]["hosts"] == f"127.0.0.1:{ETCD_PORT}"
    assert etcd["listen-client-urls"] == f"http://127.0.0.1:{ETCD_PORT}"
    assert etcd["enable-grpc-gateway"] is True


def test_patroni_acknowledges_nothing_that_one_server_alone_has(patroni: Any) -> None:
    shared = patroni["bootstrap"]["dcs"]
    assert shared["synchronous_mode"] is True
    assert shared["ttl"] >= shared["loop_wait"] + 2 * shared["retry_timeout"], "or Patroni refuses it"
    assert "synchronous_commit" not in shared["postgresql"]["parameters"]


def test_patroni_can_rewind_and_no_secret_is_written_down(patroni: Any) -> None:
    assert patroni["bootstrap"]["dcs"]["postgresql"]["use_pg_rewind"] is True
    assert "data-checksums" in patroni["bootstrap"]["initdb"], "pg_rewind wants them"
    assert not patroni["postgresql"]["parameters"]["unix_socket_directories"].startswith("."), "pg_rewind fails on it"
    assert all("password" not in role for role in patroni["postgresql"]["authentication"].values())


def test_haproxy_lets_in_to_the_leader_alone_and_closes_what_was_open_to_another() -> None:
    assert f"bind 127.0.0.1:{WRITE_PORT}" in HAPROXY
    assert "option httpchk OPTIONS /primary" in HAPROXY
    assert "on-marked-down shutdown-sessions" in HAPROXY
    servers = re.findall(r"^ +server (\w+) 127\.0\.0\.1:(\d+) check port (\d+)$", HAPROXY, re.MULTILINE)
    assert servers == [(node.name, str(node.port), str(node.rest_port)) for node in NODES]


def test_haproxy_takes_its_file() -> None:
    haproxy = program("haproxy", package="haproxy")
    checked = subprocess.run(
        [haproxy, "-c", "-f", LAB / "haproxy.cfg"], capture_output=True, text=True, timeout=30, check=False
    )
    assert checked.returncode == 0, checked.stderr


def test_pgbouncer_lends_by_the_transaction_and_outlasts_the_callers_patience(
    pgbouncer: configparser.ConfigParser,
) -> None:
    settings = pgbouncer["pgbouncer"]
    assert pgbouncer["databases"]["twinauth"] == f"host=127.0.0.1 port={WRITE_PORT} dbname=twinauth"
    assert int(settings["listen_port"]) == POOLER_PORT
    assert settings["pool_mode"] == "transaction"
    assert int(settings["query_wait_timeout"]) > PATIENCE
    assert int(settings["server_login_retry"]) == 1
    assert "ignore_startup_parameters" not in settings, "a limit that is silently dropped is none"


def test_programs_for_node_are_pinned_and_their_lock_names_no_registry() -> None:
    """Whoever installs them has a registry of their own."""
    package = json.loads((CLIENTS / "package.json").read_text())
    lock = (CLIENTS / "package-lock.json").read_text()
    assert all(re.fullmatch(r"\d+\.\d+\.\d+", version) for version in package["dependencies"].values())
    assert json.loads(lock)["packages"][""]["dependencies"] == package["dependencies"]
    found = [entry for name, entry in json.loads(lock)["packages"].items() if name]
    assert found
    assert all("integrity" in entry and "resolved" not in entry for entry in found)
    assert "registry" not in re.sub(r"is-finalizationregistry", "", lock)


def test_what_the_page_names_is_there() -> None:
    for path in re.findall(r"`((?:deploy|tests|lab|docs)/[\w./-]+)`", PAGE):
        assert (ROOT / path).exists(), path
    for name in re.findall(r"AUTH_[A-Z_]+[A-Z]", PAGE):
        assert name in variables(), name
    for target in re.findall(r"\bmake ([\w-]+)", PAGE):
        assert re.search(rf"^{target}:", (ROOT / "Makefile").read_text(), re.MULTILINE), target
    for port in re.findall(r"\b17\d{3}\b", PAGE):
        assert int(port) in ports(), port
    assert os.access(LAB / "up", os.X_OK)


def ports() -> set[int]:
    doors = {port for _, port in DOORS.values()}
    return {ETCD_PORT, WRITE_PORT, POOLER_PORT, *doors} | {
        port for node in NODES for port in (node.port, node.rest_port)
    }
