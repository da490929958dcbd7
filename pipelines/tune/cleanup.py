"""What a stopped trial leaves behind: the placement group of its workers, with their CPUs.

Ray Tune ends the process of a stopped trial, and the trial's Ray Train controller dies with it; but the placement group
belongs to the whole job and stays. Ray's own cleaner asks the dashboard whether the controller lives: without one, or
with two clusters on a machine, it ends with an error, and the next trial would wait for those CPUs for ever.
"""

from __future__ import annotations

import json
from pathlib import Path

from pipelines.train.worker import WORKERS

CONTROLLER = "controller.txt"
"""File of a trial's run folder with the id of its Ray Train controller."""


def write_controller(folder: Path) -> None:
    """Note the controller's id; called in the controller."""
    import ray

    (folder / CONTROLLER).write_text(str(ray.get_runtime_context().get_actor_id()))


class Leftovers:
    """Removes the placement groups of stopped trials."""

    def __init__(self) -> None:
        self._folders: list[Path] = []

    def expect(self, folder: Path) -> None:
        """Look after a trial that has been told to stop; `folder` is its run's."""
        if (folder / CONTROLLER).exists():
            self._folders.append(folder)

    def remove(self) -> None:
        """Remove the groups of those trials whose controller is dead; a live one would start its workers anew."""
        self._folders = [folder for folder in self._folders if not self._removed(folder)]

    def _removed(self, folder: Path) -> bool:
        import ray
        from ray._private.state import actors
        from ray.util.placement_group import PlacementGroup

        state = actors((folder / CONTROLLER).read_text()).get("State", "DEAD")
        if state != "DEAD":
            return False
        group = json.loads((folder / WORKERS).read_text())["placement_group"]
        ray.util.remove_placement_group(PlacementGroup(ray.PlacementGroupID(bytes.fromhex(group))))
        return True
