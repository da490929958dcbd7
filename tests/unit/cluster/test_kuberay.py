"""The definitions for Kubernetes, by the schemas of KubeRay and Kubernetes, and by Ray's autoscaler."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import pytest
from kubernetes_schemas import objects, problems
from paths import ROOT

from cluster import definitions

GIVEN = ["images=registry.example.com/me/marey", "workspace=s3://bucket/work", "name=gestures"]
SETTINGS = definitions.read("kuberay", GIVEN)
FILES = definitions.render("kuberay", SETTINGS)
OBJECTS = [each for text in FILES.values() for each in objects(text)]
pytestmark = pytest.mark.quick


def named(kind: str) -> dict[str, Any]:
    """The only object of a kind."""
    (found,) = [each for each in OBJECTS if each["kind"] == kind]
    return found


CLUSTERS = {"RayCluster": named("RayCluster")["spec"], "RayJob": named("RayJob")["spec"]["rayClusterSpec"]}


def pods(spec: dict[str, Any]) -> dict[str, dict[str, Any]]:
    """The Pod of the head and of each group of workers."""
    groups = {group["groupName"]: group for group in spec["workerGroupSpecs"]}
    return {name: group["template"]["spec"] for name, group in {"head": spec["headGroupSpec"], **groups}.items()}


@pytest.mark.parametrize("found", OBJECTS, ids=lambda found: f"{found['kind']}-{found['metadata']['name']}")
def test_a_cluster_accepts_it(found: dict[str, Any]) -> None:
    assert problems(found) == []


@pytest.mark.parametrize(
    ("kind", "path", "value"),
    [
        ("RayCluster", ("spec", "authOptions", "mode"), "tokn"),
        ("RayCluster", ("spec", "headGroupSpec", "resources", "CPU"), 0),
        ("RayCluster", ("spec", "idleTimeoutSeconds"), 60),
        ("RayJob", ("spec", "backoffLimits"), 3),
        ("RayJob", ("spec", "rayClusterSpec", "headGroupSpec", "template", "spec", "containers"), [{"image": "x"}]),
        ("StatefulSet", ("spec", "template", "spec", "restartpolicy"), "Always"),
        ("Deployment", ("spec", "replicas"), "one"),
    ],
)
def test_a_mistake_would_be_found(kind: str, path: tuple[str, ...], value: object) -> None:
    (found,) = [each for text in FILES.values() for each in objects(text) if each["kind"] == kind]
    place = found
    for name in path[:-1]:
        place = place[name]
    place[path[-1]] = value
    assert problems(found)


@pytest.mark.parametrize("spec", CLUSTERS.values(), ids=CLUSTERS)
def test_what_kuberay_checks_beyond_its_schema(spec: dict[str, Any]) -> None:
    assert spec["authOptions"] == {"mode": "token"}
    assert spec["rayVersion"] >= "2.52"
    assert spec["enableInTreeAutoscaling"] is True
    for group in (spec["headGroupSpec"], *spec["workerGroupSpecs"]):
        assert not (group["rayStartParams"] and group.get("resources"))  # resources are given in one of the two
        assert group["template"]["spec"]["restartPolicy"] == "Never"  # autoscaler v2
    for found in (named("RayCluster"), named("RayJob")):
        assert re.fullmatch(r"[a-z]([-a-z0-9]*[a-z0-9])?", found["metadata"]["name"])
        assert len(found["metadata"]["name"]) <= 47


@pytest.mark.parametrize("spec", CLUSTERS.values(), ids=CLUSTERS)
def test_rays_autoscaler_reads_what_it_may_grow_to(spec: dict[str, Any]) -> None:
    from ray.autoscaler._private.kuberay import autoscaling_config

    derived = autoscaling_config._derive_autoscaling_config_from_ray_cr(
        {"metadata": {"name": "gestures", "namespace": "default"}, "spec": spec}
    )
    types = derived["available_node_types"]
    assert types["headgroup"]["resources"]["CPU"] == 0
    assert types["headgroup"]["resources"]["on_demand"] > 0
    workers = {name: kind for name, kind in types.items() if name != "headgroup"}
    assert all(kind["min_workers"] == 0 for kind in workers.values())
    assert all("on_demand" not in kind["resources"] for kind in workers.values())
    assert derived["idle_timeout_minutes"] * 60 == SETTINGS.idle_seconds
    most = {
        kind: sum(each["max_workers"] * each["resources"].get(kind, 0) for each in workers.values())
        for kind in ("CPU", "GPU")
    }
    assert f"CPU={most['CPU']},GPU={most['GPU']}" == SETTINGS.max_resources
    for pod in pods(spec).values():
        (stated,) = [each for each in pod["containers"][0]["env"] if each["name"] == "MAREY_MAX_RESOURCES"]
        assert stated["value"] == SETTINGS.max_resources


@pytest.mark.parametrize("spec", CLUSTERS.values(), ids=CLUSTERS)
def test_only_workers_go_to_spot_nodes(spec: dict[str, Any]) -> None:
    for name, pod in pods(spec).items():
        affinity = pod["affinity"]["nodeAffinity"]
        if name == "head":
            (term,) = affinity["requiredDuringSchedulingIgnoredDuringExecution"]["nodeSelectorTerms"]
            assert term["matchExpressions"][0]["operator"] == "NotIn"
            assert "tolerations" not in pod
        else:  # rather there, and elsewhere where there is no room
            assert set(affinity) == {"preferredDuringSchedulingIgnoredDuringExecution"}


def test_a_retry_resumes_the_same_run_and_ends() -> None:
    job = named("RayJob")["spec"]
    assert job["entrypoint"].endswith("--set name=marey-run")
    assert job["backoffLimit"] > 0
    assert job["activeDeadlineSeconds"] > 0
    assert job["shutdownAfterJobFinishes"] is True


def test_the_entrypoint_is_a_command_of_marey() -> None:
    import shlex

    from pipelines import arguments
    from pipelines.commands import run

    program, verb, *words = shlex.split(named("RayJob")["spec"]["entrypoint"])
    assert (program, verb) == ("marey", "run")
    args = arguments.parse(run.Args, verb, words)
    assert args.recipes == ("/recipe/recipe.yaml",)


def containers() -> list[dict[str, Any]]:
    own = [each["spec"]["template"]["spec"] for each in OBJECTS if each["kind"] in ("Deployment", "StatefulSet")]
    every = [*own, *(pod for spec in CLUSTERS.values() for pod in pods(spec).values())]
    assert all(pod["securityContext"]["runAsNonRoot"] for pod in every)
    return [container for pod in every for container in pod["containers"]]


def test_passwords_are_named_and_never_written() -> None:
    """And every key that is named is made by the command that is printed."""
    made = set(re.findall(r"--from-literal=([\w-]+)=", definitions.next_steps("kuberay", SETTINGS, Path("f"))))
    used = set()
    for container in containers():
        for variable in container["env"]:
            if "valueFrom" in variable:
                used.add(variable["valueFrom"]["secretKeyRef"]["key"])
                assert variable["valueFrom"]["secretKeyRef"]["name"] == "gestures-mlflow"
            else:
                secret = "PASSWORD" in variable["name"] or "KEY" in variable["name"]
                assert not secret
    assert used == made
    assert not any(each["kind"] == "Secret" for each in OBJECTS)


def test_the_server_is_a_command_of_marey() -> None:
    from pipelines import arguments
    from pipelines.commands import mlflow_server

    (server,) = [container for container in containers() if container["name"] == "mlflow"]
    assert server["command"] == ["marey", "mlflow-server"]
    args = arguments.parse(mlflow_server.Args, "mlflow-server", server["args"])
    assert (args.host, args.allowed_hosts) == ("0.0.0.0", ("gestures-mlflow",))
    assert args.artifacts == "s3://bucket/work/mlartifacts"


def test_the_recipe_of_the_page_loads(tmp_path: Path) -> None:
    from pipelines import recipe

    page = (ROOT / "docs" / "cluster" / "kubernetes.md").read_text()
    (text,) = re.findall(r"^```yaml\n(.*?)^```", page, re.DOTALL | re.MULTILINE)
    (tmp_path / "recipe.yaml").write_text(text)
    assert recipe.load(tmp_path / "recipe.yaml", ["name=marey-run"]).data.source == "s3://bucket/videos"
