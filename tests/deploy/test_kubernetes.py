"""The Kubernetes manifests: what the API says of their form, and what the service needs of their values.

There is no cluster here. `kubectl kustomize` builds what `kubectl apply -k` would send; the API's own schemas judge it.
"""

from __future__ import annotations

import json
import os
import re
import shutil
import subprocess
import sys
from collections.abc import Iterator
from functools import cache
from pathlib import Path
from typing import Any

import pytest
import yaml

from cli.serve import PORTS
from core.app import CLOSE_SECONDS
from core.background import STOP_SECONDS
from core.settings.loading import load_settings, variables
from core.settings.whole import Settings
from servers.stopping import GRACE
from tests.support.documents import blocks
from tests.support.servers import environment, eventually, run_command
from tests.support.settings import SECRET

ROOT = Path(__file__).parents[2]
FOLDER = ROOT / "deploy" / "kubernetes"
GUIDE = (ROOT / "docs" / "guides" / "kubernetes.md").read_text(encoding="utf-8")
# The oldest version with everything that is used here and one that was new when this was written.
VERSIONS = ("1.30", "1.37")
# What an apply sends; "cluster" is the overlay in the guide, and "cluster with ingress" the other one in it; "ingress"
# and "two-secrets" are "both" with a component.
OVERLAYS = ("fastapi", "flask", "both", "cluster", "cluster with ingress", "ingress", "two-secrets")
COMPONENT = "app.kubernetes.io/component"
DNS, POSTGRESQL, SMTPS, SUBMISSION = 53, 5432, 465, 587
# Of PostgreSQL's own default of 100 connections, three are kept for superusers.
CONNECTIONS = 97

Object = dict[str, Any]


@pytest.fixture(scope="module")
def kustomize() -> list[str]:
    for line in (["kubectl", "kustomize"], ["kustomize", "build"]):
        if shutil.which(line[0]):
            return line
    pytest.skip("no kubectl and no kustomize: https://kubernetes.io/docs/tasks/tools/")


@pytest.fixture(scope="module", params=OVERLAYS)
def built(request: pytest.FixtureRequest, kustomize: list[str], tmp_path_factory: pytest.TempPathFactory) -> Manifests:
    """What an apply sends."""
    folder = FOLDER / "overlays" / request.param
    if not folder.is_dir():
        place = tmp_path_factory.mktemp(request.param)
        # kustomize takes relative paths alone: an overlay stands beside a copy.
        shutil.copytree(FOLDER, place / "deploy" / "kubernetes")
        folder = place / "cluster"
        folder.mkdir()
        (folder / "kustomization.yaml").write_text(_overlay(request.param), encoding="utf-8")
    done = subprocess.run([*kustomize, str(folder)], capture_output=True, text=True, check=False, timeout=30)
    assert done.returncode == 0, done.stderr
    return Manifests(request.param, list(yaml.safe_load_all(done.stdout)))


def _overlay(name: str) -> str:
    if name.startswith("cluster"):
        return yaml.safe_dump(_guides_overlay(with_ingress=name != "cluster"))
    overlay = {
        "resources": ["../deploy/kubernetes/overlays/both"],
        "components": [f"../deploy/kubernetes/components/{name}"],
    }
    return yaml.safe_dump(overlay)


def _guides_overlay(*, with_ingress: bool) -> Object:
    overlay, ingress = (yaml.safe_load(block) for block in blocks(GUIDE, "yaml"))
    if with_ingress:
        others = [patch for patch in overlay["patches"] if patch["target"]["kind"] != "HTTPRoute"]
        overlay |= ingress | {"patches": [*others, *ingress["patches"]]}
    found: Object = overlay
    return found


class Manifests:
    """The objects of an apply, and how they meet."""

    def __init__(self, name: str, objects: list[Object]) -> None:
        self.name = name
        self.objects = objects

    def of(self, kind: str) -> list[Object]:
        return [found for found in self.objects if found["kind"] == kind]

    def one(self, kind: str, name: str) -> Object:
        (found,) = [found for found in self.of(kind) if found["metadata"]["name"] == name]
        return found

    def templates(self) -> dict[str, Object]:
        """The pods, by what makes them."""
        makers = [*self.of("Deployment"), *self.of("Job")]
        return {maker["metadata"]["name"]: maker["spec"]["template"] for maker in makers}

    def doors(self) -> dict[str, Object]:
        return {name: pod for name, pod in self.templates().items() if _labels(pod)[COMPONENT] == "door"}

    def selected(self, selector: dict[str, str]) -> set[str]:
        """The makers of the pods that have all these labels."""
        return {name for name, pod in self.templates().items() if selector.items() <= _labels(pod).items()}

    def config(self) -> dict[str, str]:
        (found,) = self.of("ConfigMap")
        data: dict[str, str] = found["data"]
        return data

    def containers(self) -> Iterator[tuple[str, Object, Object]]:
        """Each container with the name of its pod's maker and the pod."""
        for name, pod in self.templates().items():
            for container in (*pod["spec"].get("initContainers", ()), *pod["spec"]["containers"]):
                yield f"{name}/{container['name']}", pod["spec"], container

    def variables(self, container: Object) -> dict[str, str]:
        """The environment of a container; what it requests of a core, rounded up, is one."""
        (source,) = container["envFrom"]
        assert source == {"configMapRef": {"name": self.of("ConfigMap")[0]["metadata"]["name"]}}
        return self.config() | {found["name"]: found.get("value", "1") for found in container.get("env", ())}


def _labels(pod: Object) -> dict[str, str]:
    labels: dict[str, str] = pod["metadata"]["labels"]
    return labels


@pytest.mark.parametrize("path", sorted(FOLDER.rglob("kustomization.yaml")), ids=lambda path: path.parent.name)
def test_kustomization_names_what_exists(path: Path) -> None:
    (found,) = yaml.safe_load_all(path.read_text(encoding="utf-8"))
    names = [*found.get("resources", ()), *found.get("components", ())]
    names += [patch["path"] for patch in found.get("patches", ()) if "path" in patch]
    names += [name for generator in found.get("configMapGenerator", ()) for name in generator.get("envs", ())]
    assert [name for name in names if not (path.parent / name).exists()] == []


def test_files_are_what_the_api_takes() -> None:
    whole = [path for path in FOLDER.rglob("*.yaml") if path.name not in ("kustomization.yaml", "weights.yaml")]
    objects = [found for path in whole for found in yaml.safe_load_all(path.read_text(encoding="utf-8"))]
    assert len(objects) > 10
    _validate(objects)


def test_apply_is_what_the_api_takes(built: Manifests) -> None:
    _validate(built.objects)


def _validate(objects: list[Object]) -> None:
    """Judge objects by the schemas of their kinds; a member that a schema does not know is refused."""
    for found in objects:
        # An extension, whose schema is not among the API's own; the routes are compared as a whole below.
        if found["apiVersion"] != "gateway.networking.k8s.io/v1":
            for version in VERSIONS:
                _validate_once(json.dumps(found), version)


@cache
def _validate_once(found: str, version: str) -> None:
    """The overlays have most of their objects in common, and each takes a while."""
    from kubernetes_validate import validate  # noqa: PLC0415 - three seconds, which whoever collects this would pay

    validate(json.loads(found), version, strict=True)


def test_everything_is_in_one_namespace(built: Manifests) -> None:
    """kustomize gives a component's objects none of the base's; without one, an apply puts them where the reader is."""
    namespaces = {
        f"{found['kind']}/{found['metadata']['name']}": found["metadata"].get("namespace") for found in built.objects
    }
    assert namespaces.pop("Namespace/twinauth") is None
    assert namespaces == dict.fromkeys(namespaces, "twinauth")


def test_judge_refuses_what_is_misspelt() -> None:
    found = yaml.safe_load((FOLDER / "door" / "budget.yaml").read_text(encoding="utf-8"))
    found["spec"]["maxUnavailible"] = 1
    with pytest.raises(Exception, match="maxUnavailible"):
        _validate_once(json.dumps(found), VERSIONS[-1])


HOSTS = {"cluster": "auth.example.org", "cluster with ingress": "auth.example.org"}


@pytest.mark.parametrize("built", [name for name in OVERLAYS if "ingress" not in name], indirect=True)
def test_requests_come_in_through_the_gateway_by_weight(built: Manifests) -> None:
    ports = {"port": 80}
    weights = {"both": (50, 50), "two-secrets": (50, 50), "cluster": (90, 10)}
    refs: list[Object] = [{"name": "twinauth", **ports}]
    if built.name in weights:
        names = ("twinauth-fastapi", "twinauth-flask")
        refs = [
            {"name": name, **ports, "weight": weight} for name, weight in zip(names, weights[built.name], strict=True)
        ]
    assert built.one("HTTPRoute", "twinauth")["spec"] == {
        "parentRefs": [{"name": "public", "namespace": "gateway"}],
        "hostnames": [HOSTS.get(built.name, "auth.example.com")],
        "rules": [{"backendRefs": refs}],
    }
    assert {ref["name"] for ref in refs} <= {service["metadata"]["name"] for service in built.of("Service")}


@pytest.mark.parametrize("built", [name for name in OVERLAYS if "ingress" in name], indirect=True)
def test_requests_come_in_through_the_ingress_with_tls(built: Manifests) -> None:
    assert not built.of("HTTPRoute")
    asked = built.one("Ingress", "twinauth")["metadata"]["annotations"]
    for what in ("proxy-request-buffering", "proxy-buffering"):  # slow clients are not for the doors to wait for
        assert asked[f"nginx.ingress.kubernetes.io/{what}"] == "on"
    spec = built.one("Ingress", "twinauth")["spec"]
    (rule,), (tls,) = spec["rules"], spec["tls"]
    assert [rule["host"]] == tls["hosts"] == [HOSTS.get(built.name, "auth.example.com")]
    assert built.config()["AUTH_PUBLIC_URL"] == f"https://{rule['host']}"
    (path,) = rule["http"]["paths"]
    assert path["backend"] == {"service": {"name": "twinauth", "port": {"name": "http"}}}
    assert spec.get("ingressClassName") == ("nginx" if built.name == "cluster with ingress" else None)


@pytest.mark.parametrize("built", ["cluster", "cluster with ingress"], indirect=True)
def test_images_are_those_that_the_guide_builds_and_pushes(built: Manifests) -> None:
    pushed = set(re.findall(r"^docker push (\S+)$", GUIDE, re.MULTILINE))
    assert {container["image"] for _, _, container in built.containers()} == pushed
    made = re.findall(r"^docker build -f (\S+) -t (\S+) \.$", GUIDE, re.MULTILINE)
    assert {image for _, image in made} == pushed
    for file, image in made:
        assert (ROOT / file).is_file()
        assert file.rpartition(".")[2] in image


def test_services_lead_to_the_port_of_the_doors(built: Manifests) -> None:
    assert built.selected(built.one("Service", "twinauth")["spec"]["selector"]) == set(built.doors())
    for door in built.doors():
        assert built.selected(built.one("Service", door)["spec"]["selector"]) == {door}
    for service in built.of("Service"):
        assert service["spec"]["ports"] == [{"name": "http", "port": 80, "targetPort": "http", "appProtocol": "http"}]


def test_doors_are_those_of_the_overlay_with_their_images(built: Manifests) -> None:
    names = (built.name,) if built.name in PORTS else tuple(PORTS)
    assert set(built.doors()) == {f"twinauth-{name}" for name in names}
    for name, _, container in built.containers():
        maker = name.partition("/")[0]
        image = container["image"].rpartition("/")[2].partition(":")[0]
        assert image == (maker if maker in built.doors() else f"twinauth-{names[0]}")


def test_probes_ask_the_port_that_is_served(built: Manifests) -> None:
    paths = {"startupProbe": "/healthz", "livenessProbe": "/healthz", "readinessProbe": "/readyz"}
    for pod in built.doors().values():
        (container,) = pod["spec"]["containers"]
        assert container["ports"] == [{"name": "http", "containerPort": 8000}], "what the images serve on"
        assert {probe: container[probe]["httpGet"] for probe in paths} == {
            probe: {"path": path, "port": "http"} for probe, path in paths.items()
        }


def test_autoscalers_and_budgets_belong_to_the_doors(built: Manifests) -> None:
    scaled = {found["spec"]["scaleTargetRef"]["name"] for found in built.of("HorizontalPodAutoscaler")}
    assert scaled == set(built.doors())
    budgets = [built.selected(found["spec"]["selector"]["matchLabels"]) for found in built.of("PodDisruptionBudget")]
    assert sorted(budgets, key=str) == sorted(({door} for door in built.doors()), key=str)
    for door in built.doors():
        deployment = built.one("Deployment", door)["spec"]
        assert "replicas" not in deployment, "an apply would undo the autoscaler"
        assert deployment["strategy"]["rollingUpdate"] == {"maxUnavailable": 0, "maxSurge": 1}
        assert built.selected(deployment["selector"]["matchLabels"]) == {door}


def test_network_is_closed_but_for_what_is_needed(built: Manifests) -> None:
    (deny,) = [found["spec"] for found in built.of("NetworkPolicy") if found["spec"]["podSelector"] == {}]
    assert deny == {"podSelector": {}, "policyTypes": ["Ingress", "Egress"]}
    out: dict[str, set[int]] = {name: set() for name in built.templates()}
    into: dict[str, set[int]] = {name: set() for name in built.templates()}
    for policy in built.of("NetworkPolicy"):
        spec = policy["spec"]
        for direction, ways, ends in (("egress", out, "to"), ("ingress", into, "from")):
            for rule in spec.get(direction, ()):
                assert rule[ends], "a rule without ends is open to all"
                for name in built.selected(spec["podSelector"]["matchLabels"]):
                    ways[name] |= {port["port"] for port in rule["ports"]}
    for name in built.templates():
        assert into[name] == ({8000} if name in built.doors() else set())
        mail = {SMTPS, SUBMISSION} if name == "twinauth-relay" else set()
        assert out[name] == {DNS, POSTGRESQL} | mail


def test_containers_are_confined(built: Manifests) -> None:
    assert built.one("Namespace", "twinauth")["metadata"]["labels"] == {
        "pod-security.kubernetes.io/enforce": "restricted"
    }
    assert built.one("ServiceAccount", "twinauth")["automountServiceAccountToken"] is False
    for name, pod, container in built.containers():
        assert pod["securityContext"] == {
            "runAsNonRoot": True,
            "runAsUser": 10001,
            "runAsGroup": 10001,
            "fsGroup": 10001,
            "seccompProfile": {"type": "RuntimeDefault"},
        }, name
        assert container["securityContext"] == {
            "allowPrivilegeEscalation": False,
            "readOnlyRootFilesystem": True,
            "capabilities": {"drop": ["ALL"]},
        }, name
        assert pod["automountServiceAccountToken"] is False
        assert pod["enableServiceLinks"] is False
        for bound in ("requests", "limits"):
            assert set(container["resources"][bound]) == {"cpu", "memory"}, name
        assert {"name": "tmp", "mountPath": "/tmp"} in container["volumeMounts"]


def test_every_variable_is_a_setting(built: Manifests) -> None:
    known = variables()
    for name, _, container in built.containers():
        for variable in built.variables(container):
            assert variable.removesuffix("_FILE") in known, f"{name}: {variable}"


def test_secrets_are_files_that_the_guide_makes(built: Manifests) -> None:
    for name, pod, container in built.containers():
        volumes = {found["name"]: found.get("secret") for found in pod["volumes"]}
        mounted = {found["mountPath"]: volumes[found["name"]] for found in container["volumeMounts"]}
        for variable, path in built.variables(container).items():
            if variable.endswith("_FILE"):
                folder, _, file = path.rpartition("/")
                assert mounted[folder]["defaultMode"] == 0o440, name
                assert f"create secret generic {mounted[folder]['secretName']} " in GUIDE
                assert f'--from-file="$dir/{file}"' in GUIDE, f"{name}: {path}"
    assert not built.of("Secret"), "nothing secret stands in git"
    secret = {name for name, field in variables().items() if "Secret" in str(field.annotation) or "Url" in str(field)}
    assert secret >= {"AUTH_SECRET_KEY", "AUTH_DATABASE_URL", "AUTH_SMTP_URL", "AUTH_OLD_SECRET_KEYS"}
    assert not (secret - {"AUTH_PUBLIC_URL"}) & set(built.config())


def test_no_container_can_read_a_secret_that_it_does_not_need(built: Manifests) -> None:
    for name, pod, container in built.containers():
        secrets = {found["name"]: found["secret"]["secretName"] for found in pod["volumes"] if "secret" in found}
        mounted = {secrets[found["name"]] for found in container["volumeMounts"] if found["name"] in secrets}
        assert mounted == {"twinauth"} | ({"twinauth-smtp"} if container["name"] == "relay" else set()), name
        assert [source.keys() for source in container["envFrom"]] == [{"configMapRef"}], name
        assert not pod["automountServiceAccountToken"], name


def test_settings_start_the_service(built: Manifests, monkeypatch: pytest.MonkeyPatch) -> None:
    for _, _, container in built.containers():
        found = _settings(built.variables(container), monkeypatch)
        assert found.is_production
        assert not found.mail.relay, "mail leaves from the relay"


def _settings(given: dict[str, str], monkeypatch: pytest.MonkeyPatch) -> Settings:
    with monkeypatch.context() as patch:
        for name, value in _with_contents(given, "postgresql://twinauth:pw@db/twinauth?sslmode=verify-full").items():
            patch.setenv(name, value)
        return load_settings()


def _with_contents(given: dict[str, str], database_url: str) -> dict[str, str]:
    """The variables, with the files that they name read."""
    contents = {
        "secret-key": SECRET,
        "old-secret-keys": SECRET[::-1],
        "database-url": database_url,
        "smtp-url": "smtps://twinauth:pw@mail",
    }
    return {
        name.removesuffix("_FILE"): contents[value.rpartition("/")[2]] if name.endswith("_FILE") else value
        for name, value in given.items()
    }


def test_pods_are_given_the_time_that_they_take_to_stop(built: Manifests, monkeypatch: pytest.MonkeyPatch) -> None:
    for pod in built.doors().values():
        (container,) = pod["spec"]["containers"]
        drain = _settings(built.variables(container), monkeypatch).http.drain.total_seconds()
        assert drain >= 10, "shorter than the news of a removed endpoint may take"
        assert pod["spec"]["terminationGracePeriodSeconds"] > drain + GRACE + CLOSE_SECONDS
        assert "lifecycle" not in container, "the process drains itself"
    assert built.templates()["twinauth-relay"]["spec"]["terminationGracePeriodSeconds"] > STOP_SECONDS


def test_all_processes_together_leave_the_database_connections(
    built: Manifests, monkeypatch: pytest.MonkeyPatch
) -> None:
    pool = 0
    processes = 1 + 2 * built.one("Deployment", "twinauth-relay")["spec"]["replicas"]  # the Job; old and new relays
    for door, pod in built.doors().items():
        (container,) = pod["spec"]["containers"]
        pool = _settings(built.variables(container), monkeypatch).database.pool_size
        # As many old pods that finish as new ones, and the one more that a rolling update makes.
        processes += 2 * built.one("HorizontalPodAutoscaler", door)["spec"]["maxReplicas"] + 1
    assert pool * processes <= CONNECTIONS


def test_readiness_is_more_patient_than_the_start_of_a_pod(built: Manifests) -> None:
    """From the end of a migration to the first new pod that is ready, the old ones serve on the new schema."""
    for pod in built.doors().values():
        (container,) = pod["spec"]["containers"]
        readiness, startup = container["readinessProbe"], container["startupProbe"]
        assert readiness["periodSeconds"] * readiness["failureThreshold"] >= 30
        assert startup["periodSeconds"] + readiness["periodSeconds"] < 10


@pytest.mark.parametrize("built", ["both"], indirect=True)
def test_pods_wait_for_their_schema(built: Manifests, tmp_path: Path) -> None:
    """The command of the init containers, as it stands, on a database that is migrated while it waits."""
    waiting = [found for _, pod, found in built.containers() if found in pod.get("initContainers", ())]
    assert len(waiting) == 3
    (line,) = {tuple(found["command"]) for found in waiting}
    twinauth = tmp_path / "bin" / "twinauth"
    twinauth.parent.mkdir()
    twinauth.write_text(f'#!/bin/sh\nexec {sys.executable} -m cli.main "$@"\n')
    twinauth.chmod(0o755)
    settings = _with_contents(built.variables(waiting[0]), f"sqlite:///{tmp_path / 'twinauth.db'}")
    env = environment(tmp_path, **settings)
    env["PATH"] = os.pathsep.join((str(twinauth.parent), env["PATH"]))
    told = tmp_path / "told"
    with told.open("wb") as file:
        process = subprocess.Popen(line, cwd=tmp_path, env=env, stdout=file, stderr=file)
    try:
        assert eventually(lambda: "twinauth migrate" in told.read_text(), 20)
        assert process.poll() is None
        migrated = run_command(tmp_path, "migrate", **settings)
        assert migrated.returncode == 0, migrated.stderr
        assert process.wait(20) == 0
    finally:
        process.kill()
        process.wait(10)


@pytest.mark.parametrize("built", ["cluster"], indirect=True)
def test_guide_names_objects_that_exist(built: Manifests) -> None:
    kinds = {"deployment": "Deployment", "job": "Job", "httproute": "HTTPRoute"}
    named = re.findall(r"\b(deployment|job|httproute)[/ ](twinauth[a-z-]*)", GUIDE)
    assert len(named) > 5
    for kind, name in named:
        built.one(kinds[kind], name)
