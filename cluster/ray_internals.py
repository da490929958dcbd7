"""Private parts of Ray, checked with Ray 2.60.0; after an upgrade, check each against its release.

No other file imports a name of Ray that begins with an underscore (a test holds this).
"""

from __future__ import annotations

import json
import logging
import os
import tempfile
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import partial
from typing import Any

LOOPBACK = "127.0.0.1"

log = logging.getLogger(__name__)


def reload_config() -> None:
    """Make Ray read its environment variables again, also where it was imported, and so configured, before."""
    from ray._raylet import AuthenticationTokenLoader, Config  # type: ignore[attr-defined]

    Config.initialize("")
    AuthenticationTokenLoader.instance().reset_cache()


def use_loopback(on: bool) -> None:
    """Choose whether clusters that this process starts, or joins at a loopback address, are on loopback alone.

    All of Ray's servers listen on loopback where the node's address is 127.0.0.1, which Ray replaces by the machine's
    outside address unless it thinks that it runs on a desktop.
    """
    from ray._private import ray_constants

    ray_constants.ENABLE_RAY_CLUSTER = not on
    os.environ[ray_constants.ENABLE_RAY_CLUSTERS_ENV_VAR] = "0" if on else "1"


def job_on_path(folder: str) -> Any:
    """Return the settings of a job whose workers have `folder` first on their path, and not that of the driver.

    A working_dir does so too, but then no worker can be started before the job is known, and each starts Python twice.
    """
    from ray.job_config import JobConfig

    class Path(list[str]):
        def extend(self, paths: Any) -> None:
            """Leave out what Ray adds, the driver's folders: other packages of our names may lie there."""

    config = JobConfig()
    config._py_driver_sys_path = Path([folder])
    return config


@contextmanager
def lean_node() -> Iterator[None]:
    """Let a node that `ray.init` starts meanwhile do without what one process alone has no use for.

    That are three processes: the autoscaler's, the one that sends the workers' logs to the driver, and the dashboard's.
    The port of the node's agent is any that is free: Ray tries one and the same for 4 s where another node has it.
    """
    from ray._private import parameter
    from ray._private.node import Node

    def start_no_dashboard(node: Any, **options: Any) -> None:
        node._webui_url = ""

    params, start = parameter.RayParams, Node.start_api_server
    less: dict[str, Any] = {"no_monitor": True, "include_log_monitor": False, "dashboard_agent_listen_port": 0}
    parameter.RayParams = partial(params, **less)  # type: ignore[assignment, misc]
    Node.start_api_server = start_no_dashboard  # type: ignore[assignment, method-assign]
    try:
        yield
    finally:
        parameter.RayParams = params  # type: ignore[misc]
        Node.start_api_server = start  # type: ignore[method-assign]


def keep_from_output() -> None:
    """Keep from the output what Ray says, in this process, of the cluster and of its own workings.

    That a node is dead it prints to standard output, amid results and in several lines, also where it does not print
    workers' logs: it is logged, for those who debug. Errors of its C++ core, such as of tasks whose driver ends before
    they do, it prints to standard error: of these, what ends the process is left, or what RAY_BACKEND_LOG_LEVEL says.
    """
    from ray._private import worker

    def note(data: dict[str, Any], ignore_prefix: bool = False) -> None:
        log.debug("%s", " ".join(" ".join(data["lines"]).split()))

    worker.print_to_stdstream = note
    if not isinstance(worker.connect, partial):
        worker.connect = partial(_connect, worker.connect)


def _connect(connect: Callable[..., Any], *arguments: Any, **options: Any) -> Any:
    """Connect this process to a node, with nothing but fatal errors in its core's log."""
    from cluster.environment import variables_set  # here: as a file, this one has no packages beside it

    level = "RAY_BACKEND_LOG_LEVEL"
    if level in os.environ:
        return connect(*arguments, **options)
    # Set for its start alone, not for processes that this one starts; it says so, as a line of its own.
    with variables_set({level: "fatal"}), _without_lines(level):
        return connect(*arguments, **options)


@contextmanager
def _without_lines(word: str) -> Iterator[None]:
    """Hold back what goes to standard error, whoever writes it, and pass it on but for the lines with a word."""
    before = os.dup(2)
    with tempfile.TemporaryFile() as held:
        os.dup2(held.fileno(), 2)
        try:
            yield
        finally:
            os.dup2(before, 2)
            os.close(before)
            held.seek(0)
            for line in held:
                if word.encode() not in line:
                    os.write(2, line)


def job_client(url: str, headers: dict[str, str]) -> Any:
    """Return a client of Ray's jobs that sends its headers to `url` alone: through no proxy, and after no redirect."""
    from ray.job_submission import JobSubmissionClient

    class Client(JobSubmissionClient):
        def _do_request(self, *args: Any, **options: Any) -> Any:
            direct = {"http": "", "https": ""}
            return super()._do_request(*args, allow_redirects=False, proxies=direct, **options)

    return Client(url, headers=headers)


def read_metadata(ask: Callable[[str, bytes], bytes]) -> dict[str, str]:
    """Return what a head has noted of itself: `ray_version` and `python_version`.

    Args:
        ask: sends a request to a method of the head, and returns the answer.
    """
    from ray.core.generated import gcs_service_pb2 as messages

    request = messages.InternalKVGetRequest(  # type: ignore[attr-defined]
        key=b"CLUSTER_METADATA", namespace=b"cluster"
    )
    answer = ask("/ray.rpc.InternalKVGcsService/InternalKVGet", request.SerializeToString())
    reply = messages.InternalKVGetReply.FromString(answer)  # type: ignore[attr-defined]
    return dict(json.loads(reply.value))


def start_node() -> None:
    """Run `ray start` with the arguments of this process, for a node on loopback alone."""
    from ray._private import ray_constants, services
    from ray.scripts.scripts import main

    # For this process by the function, since `ray start` does not start a second node on a desktop.
    services.get_node_ip_address = lambda address=None: LOOPBACK
    # A node that gets a job deletes the job's code and unpacks it anew, under the driver that runs from it if the two
    # share the folder, as all nodes of a cluster on one machine do by default.
    ray_constants.DEFAULT_RUNTIME_ENV_DIR_NAME += f"-{os.getpid()}"
    os.environ[ray_constants.ENABLE_RAY_CLUSTERS_ENV_VAR] = "0"
    main()  # type: ignore[no-untyped-call]


def node_processes() -> list[int]:
    """Return the ids of the processes that Ray in this process does not outlive: its node's, and its own head's."""
    import psutil
    from ray._private import worker

    node: Any = worker._global_node
    own = [each.process.pid for kind in ("gcs_server", "raylet") for each in node.all_processes.get(kind, [])]
    option = f"--raylet_socket_name={node.raylet_socket_name}"
    return own or [each.pid for each in psutil.process_iter(["cmdline"]) if option in (each.info["cmdline"] or [])]


def is_worker(name: str) -> bool:
    """Tell whether a process of this name works for a job, as against those that are part of a node."""
    return name.startswith("ray::") and not name.endswith("Agent")


def max_resources() -> dict[str, int] | None:
    """Return what a cluster that scales itself may grow to; None where it does not."""
    from ray._private.state import state

    return state.get_max_resources_from_cluster_config()


def has_placed_group() -> bool:
    """Tell whether this job holds a placement group, as the workers of a training do."""
    import ray
    from ray._private.state import state
    from ray.core.generated.gcs_pb2 import PlacementGroupTableData as Group  # type: ignore[attr-defined]

    job = ray.get_runtime_context().get_job_id()
    groups = map(Group.FromString, state._connect_and_get_accessor().get_placement_group_table())
    return any(group.creator_job_id.hex() == job and group.state == Group.CREATED for group in groups)


def end_actors(kind: str) -> None:
    """End this job's actors of a class at once, with the placement groups that they have created."""
    import ray
    from ray._private.state import actors
    from ray._private.worker import global_worker
    from ray.util.placement_group import PlacementGroup

    job = ray.get_runtime_context().get_job_id()
    for actor_id, actor in actors().items():
        if actor["ActorClassName"] == kind and actor["JobID"] == job and actor["State"] != "DEAD":
            core: Any = global_worker.core_worker  # type: ignore[attr-defined]
            core.kill_actor(ray.ActorID(bytes.fromhex(actor_id)), True)
            for group in groups_created_by(actor_id):
                ray.util.remove_placement_group(PlacementGroup(ray.PlacementGroupID(bytes.fromhex(group))))


def reserve_as(trainer: Any, name: str) -> None:
    """Have a training reserve its room under a name instead of a new one each time.

    What a controller that was killed has reserved is kept for three minutes, in which an elastic training finds no
    room, unless it asks under the same name and so takes over what is kept.
    """
    object.__setattr__(trainer.train_run_context, "run_id", name)  # frozen, and not to be given


def recount_nodes(wait_s: float = 0.0) -> None:
    """Have Ray's coordinator count the room for elastic trainings anew, which by itself it does every 20 s.

    Args:
        wait_s: how long to wait until it has.
    """
    import ray

    try:
        coordinator = ray.get_actor("AutoscalingCoordinator", namespace="AutoscalingCoordinator")
    except ValueError:  # no training has asked for room yet
        return
    ray.wait([coordinator.get_reserved_resources.remote("", recompute=True)], timeout=wait_s)


def count_what_stays() -> None:
    """Have the controller of an elastic training, which is this process, count room only where workers can start.

    By itself it counts machines that are being taken away, and for up to 20 s those that have gone, and then waits for
    workers that nobody starts. One with workers counts until they end, as a resize would not wait for their checkpoint.
    """
    import ray
    from ray._private.state import state
    from ray.train.v2._internal.execution.scaling_policy import ElasticScalingPolicy as Policy

    if hasattr(Policy, "own_nodes"):  # it does so already
        return
    start, resize = Policy.make_decision_for_non_running_worker_group, Policy.make_decision_for_running_worker_group
    count = Policy._count_possible_workers

    def start_where_it_stays(policy: Any) -> Any:
        policy.own_nodes = set()
        return start(policy)

    def resize_where_it_stays(policy: Any, worker_group_state: Any, worker_group_status: Any) -> Any:
        policy.own_nodes = {worker.metadata.node_id for worker in worker_group_state.workers}
        return resize(policy, worker_group_state, worker_group_status)

    def count_where_it_stays(policy: Any, reserved: dict[str, dict[str, float]]) -> int:
        nodes = ray.nodes()  # type: ignore[no-untyped-call]
        leaving = state.get_draining_nodes().keys() - policy.own_nodes
        staying = {node["NodeID"] for node in nodes if node["Alive"]} - leaving
        return count(policy, {node: room for node, room in reserved.items() if node in staying})

    for name, changed in {
        "own_nodes": set(),
        "make_decision_for_non_running_worker_group": start_where_it_stays,
        "make_decision_for_running_worker_group": resize_where_it_stays,
        "_count_possible_workers": count_where_it_stays,
    }.items():
        setattr(Policy, name, changed)


def is_actor_dead(actor_id: str) -> bool:
    """Tell whether an actor has ended, or is not known any more."""
    from ray._private.state import actors

    return bool(actors(actor_id).get("State", "DEAD") == "DEAD")


def groups_created_by(actor_id: str) -> list[str]:
    """Return the ids, in hex, of the placement groups that an actor has created and that still hold resources."""
    from ray._private.state import state
    from ray.core.generated.gcs_pb2 import PlacementGroupTableData as Group  # type: ignore[attr-defined]

    groups = map(Group.FromString, state._connect_and_get_accessor().get_placement_group_table())
    return [
        group.placement_group_id.hex()
        for group in groups
        if group.creator_actor_id.hex() == actor_id and group.state != Group.REMOVED
    ]


def spot_first(
    node_resources: dict[str, Any],
    resources: list[dict[str, Any]],
    node_type: str,
    *,
    node_availability_summary: Any,
) -> tuple[Any, ...] | None:
    """Return the score of a type of machine: Ray's own, and of equal types those that can be had, then those of spot.

    Ray's autoscaler loads it by its name (cluster/ray-up/aws.yaml). By itself it notes for half an hour which types the
    provider did not have, and asks for them again all the same.

    Args:
        node_resources: what such a machine has.
        resources: what is asked for.
        node_type: the name of the type; those of spot end with `_spot`.
        node_availability_summary: which types could not be had lately.
    """
    from ray.autoscaler._private import resource_demand_scheduler

    score = resource_demand_scheduler._default_utilization_scorer(
        node_resources, resources, node_type, node_availability_summary=node_availability_summary
    )
    if score is None:
        return None
    noted = node_availability_summary.node_availabilities.get(node_type)
    return *score, noted is None or noted.is_available, node_type.endswith("_spot")


if __name__ == "__main__":
    start_node()
