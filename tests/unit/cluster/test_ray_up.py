"""The definitions for `ray up`, by Ray's own loader, schema and autoscaler."""

from __future__ import annotations

import re
import time
from functools import partial
from typing import Any

import pytest
import yaml

from cluster import definitions

NEEDED = ["images=registry.example.com/me/marey", "workspace=s3://bucket/work", "mlflow=http://10.0.0.2:5000"]
AWS = [*NEEDED, "ami=ami-0123456789abcdef0", "instance_profile=arn:aws:iam::123456789012:instance-profile/marey"]
ON_PREMISE = [*NEEDED, "head=10.0.0.2", "workers=10.0.0.3,10.0.0.4", "tag=cuda"]
pytestmark = pytest.mark.quick


def loaded(target: str, given: list[str]) -> dict[str, Any]:
    """A definition as `ray up` has it before it asks the provider: with Ray's defaults, and valid by its schema."""
    from ray.autoscaler._private.util import prepare_config, validate_config

    (text,) = definitions.render(target, definitions.read(target, given)).values()
    config = prepare_config(yaml.safe_load(text))
    validate_config(config)
    return config


@pytest.fixture(scope="module")
def aws() -> dict[str, Any]:
    return loaded("aws", AWS)


@pytest.fixture(scope="module")
def on_premise() -> dict[str, Any]:
    return loaded("on-premise", ON_PREMISE)


@pytest.mark.parametrize(
    ("place", "value"),
    [
        (("idle_timeout_minutes",), "5"),
        (("dockers",), {}),
        (("available_node_types", "head", "resources"), {"CPU": 0.5}),
    ],
)
def test_a_mistake_would_be_found(aws: dict[str, Any], place: tuple[str, ...], value: object) -> None:
    from copy import deepcopy

    from jsonschema import ValidationError
    from ray.autoscaler._private.util import validate_config

    config = deepcopy(aws)
    inner = config
    for name in place[:-1]:
        inner = inner[name]
    inner[place[-1]] = value
    with pytest.raises(ValidationError):
        validate_config(config)


def test_only_workers_are_spot_machines(aws: dict[str, Any]) -> None:
    spot = {
        name
        for name, kind in aws["available_node_types"].items()
        if kind["node_config"].get("InstanceMarketOptions") == {"MarketType": "spot"}
    }
    assert spot == {"cpu_spot", "gpu_spot"}
    assert aws["head_node_type"] == "head"
    assert aws["available_node_types"]["head"]["resources"]["on_demand"] > 0


def test_a_spot_machine_and_one_that_falls_back_are_alike(aws: dict[str, Any]) -> None:
    for kind in ("cpu", "gpu"):
        spot, other = (dict(aws["available_node_types"][f"{kind}_{which}"]) for which in ("spot", "on_demand"))
        spot["node_config"] = {k: v for k, v in spot["node_config"].items() if k != "InstanceMarketOptions"}
        assert spot == other


def started(config: dict[str, Any], demand: dict[str, float], *lost: str) -> dict[str, int]:
    """What Ray's autoscaler starts for a demand while some types cannot be had, as the head's command sets it up."""
    from ray.autoscaler._private.constants import AUTOSCALER_UTILIZATION_SCORER_KEY
    from ray.autoscaler._private.loader import load_function_or_class
    from ray.autoscaler._private.node_provider_availability_tracker import NodeProviderAvailabilityTracker
    from ray.autoscaler._private.resource_demand_scheduler import get_nodes_for
    from ray.autoscaler.node_launch_exception import NodeLaunchException

    tracker = NodeProviderAvailabilityTracker()
    for name in lost:
        error = NodeLaunchException("InsufficientInstanceCapacity", "there is none", None)
        tracker.update_node_availability(name, int(time.time()), error)
    variables = dict(re.findall(r"(RAY_\w+)=([\w.]+)", config["head_start_ray_commands"][1]))
    assert variables["RAY_enable_autoscaler_v2"] == "0"
    scorer = load_function_or_class(variables[AUTOSCALER_UTILIZATION_SCORER_KEY])
    scorer = partial(scorer, node_availability_summary=tracker.summary())
    found, residual = get_nodes_for(config["available_node_types"], {"head": 1}, "head", 100, [demand], scorer)
    assert not residual
    return dict(found)


def test_rays_autoscaler_starts_spot_machines_and_falls_back(aws: dict[str, Any]) -> None:
    assert started(aws, {"CPU": 1}) == {"cpu_spot": 1}
    assert started(aws, {"CPU": 1, "GPU": 1}) == {"gpu_spot": 1}
    assert started(aws, {"CPU": 1}, "cpu_spot") == {"cpu_on_demand": 1}
    assert started(aws, {"CPU": 1}, "cpu_spot", "cpu_on_demand") == {"cpu_spot": 1}
    assert started(aws, {"CPU": 1, "GPU": 1}, "gpu_spot") == {"gpu_on_demand": 1}


def test_it_may_grow_to_what_its_drivers_are_told(aws: dict[str, Any]) -> None:
    types = aws["available_node_types"]
    most = {
        kind: sum(
            types[name]["max_workers"] * types[name]["resources"].get(kind, 0) for name in ("cpu_spot", "gpu_spot")
        )
        for kind in ("CPU", "GPU")
    }
    assert f"--env MAREY_MAX_RESOURCES=CPU={most['CPU']},GPU={most['GPU']}" in aws["docker"]["run_options"]
    assert aws["max_workers"] == types["cpu_spot"]["max_workers"] + types["gpu_spot"]["max_workers"]
    assert types["cpu_spot"].get("min_workers", 0) == 0


@pytest.mark.parametrize("target", ["aws", "on_premise"])
def test_the_token_is_sent_as_a_file_and_required(target: str, request: pytest.FixtureRequest) -> None:
    config = request.getfixturevalue(target)
    assert config["file_mounts"]["/home/marey/.ray/auth_token"] == "~/.ray/auth_token"
    assert "--env RAY_AUTH_MODE=token" in config["docker"]["run_options"]
    assert config["setup_commands"] == []
    assert "pip install" not in str(config["head_setup_commands"])
    for commands in (config["head_start_ray_commands"], config["worker_start_ray_commands"]):
        assert commands[0] == "ray stop"
        assert "ray start" in commands[1]


def test_ray_start_knows_every_option(aws: dict[str, Any], on_premise: dict[str, Any]) -> None:
    import shlex

    from ray.scripts.scripts import start

    known = {option for parameter in start.params for option in parameter.opts}
    for config in (aws, on_premise):
        for line in (config["head_start_ray_commands"][1], config["worker_start_ray_commands"][1]):
            words = [word.partition("=")[0] for word in shlex.split(line) if word.startswith("--")]
            assert words
            assert set(words) <= known


def test_every_machine_of_your_own_belongs_to_the_cluster(on_premise: dict[str, Any]) -> None:
    assert on_premise["provider"]["worker_ips"] == ["10.0.0.3", "10.0.0.4"]
    (kind,) = on_premise["available_node_types"].values()
    assert (kind["min_workers"], kind["max_workers"]) == (2, 2)
    assert on_premise["docker"]["image"] == "registry.example.com/me/marey:cuda"
