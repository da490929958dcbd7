"""Removes what a stopped trial leaves behind: the placement groups of its workers, with their CPUs.

Ray Tune ends the process of a stopped trial, and the trial's Ray Train controller dies with it; but a placement group
belongs to the whole job and stays. There may be two: a controller that sees its workers die before it dies itself has
asked for others. Ray's own cleaner asks the dashboard whether the controller lives: without one, or with two clusters
on a machine, it ends with an error, and the next trial would wait for those CPUs for ever.
"""

from __future__ import annotations

import logging
import time

from cluster import ray_internals
from pipelines.tracking import RunFolder

CONTROLLER_ENDS_S = 30.0
"""How long the controller of a trial may outlive the trial's process; Ray ends it once it notices."""

log = logging.getLogger(__name__)


class PlacementGroupCleaner:
    """Removes the placement groups of stopped trials."""

    def __init__(self) -> None:
        self._controllers: dict[str, str] = {}

    def watch(self, folder: RunFolder) -> None:
        """Remove the groups of this run, which has been told to stop, once its controller is dead."""
        controller = folder.read_controller()
        if controller is not None:
            self._controllers[folder.name] = controller

    def remove_orphans(self) -> None:
        """Remove the groups of those trials whose controller is dead; a live one would start its workers anew."""
        self._controllers = {name: one for name, one in self._controllers.items() if not _remove_if_dead(one)}

    def remove_remaining(self) -> None:
        """Remove the groups of all that are watched, at the end of a sweep: a driver may go on to other work."""
        deadline = time.monotonic() + CONTROLLER_ENDS_S
        self.remove_orphans()
        while self._controllers and time.monotonic() < deadline:
            time.sleep(0.1)
            self.remove_orphans()
        for name in self._controllers:
            log.warning("%s still holds the CPUs of its workers; they are free when this program ends", name)


def _remove_if_dead(controller: str) -> bool:
    import ray
    from ray.util.placement_group import PlacementGroup

    if not ray_internals.is_actor_dead(controller):
        return False
    for group in ray_internals.groups_created_by(controller):
        ray.util.remove_placement_group(PlacementGroup(ray.PlacementGroupID(bytes.fromhex(group))))
    return True
