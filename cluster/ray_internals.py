"""Private parts of Ray, checked with Ray 2.60.0; after an upgrade, check each against its release.

No other file imports a name of Ray that begins with an underscore (a test holds this).
"""

from __future__ import annotations


def reload_config() -> None:
    """Make Ray read its environment variables again, also where it was imported, and so configured, before."""
    from ray._raylet import Config  # type: ignore[attr-defined]

    Config.initialize("")


def max_resources() -> dict[str, int] | None:
    """Return what a cluster that scales itself may grow to; None where it does not."""
    from ray._private.state import state

    return state.get_max_resources_from_cluster_config()


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
