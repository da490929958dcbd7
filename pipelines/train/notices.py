"""What a worker asks between two steps: is a machine taken away, has the user stopped the training?

The answer is the same on every rank. Asking is a meeting of all of them, so it happens every few seconds: rank 0 says
after which step they meet next.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import TYPE_CHECKING

from tasks.words import counted

if TYPE_CHECKING:
    from ray.train import PreemptionInfo

    from pipelines.tracking import RunFolder
    from pipelines.train.team import Team
    from tasks.learn.loop import Wish

ASK_S = 4.0
"""Seconds between two questions."""
LAST_S = 10.0
"""Seconds before a machine is taken away within which one more checkpoint is made."""


class Notices:
    """Answers the loop: "go", "save" for a checkpoint now, or "stop" for one and the end."""

    def __init__(self, folder: RunFolder, team: Team, *, drains: bool, tell: Callable[[str], object]) -> None:
        """`drains`: whether Ray announces machines that are taken away; rank 0 calls `tell` with a line about them."""
        self._folder, self._team, self._drains, self._tell = folder, team, drains, tell
        self._next = 0
        self._asked: tuple[int, float] | None = None
        self._announced: set[str] = set()
        self._last_made = False

    def __call__(self, step: int) -> Wish:
        """Return what the loop shall do after this step."""
        if step < self._next:
            return "go"
        info = self._team.preemption() if self._drains else None
        first = self._team.place.rank == 0
        answer = self._team.from_rank_0((self._wish(info, step), self._next_step(step)) if first else None)
        wish, self._next = answer
        return wish

    def _wish(self, info: PreemptionInfo | None, step: int) -> Wish:
        if self._folder.is_asked_to_stop():
            return "stop"
        if info is None:
            return "go"
        left = None if info.deadline_ms is None else info.deadline_ms / 1000 - time.time()
        if new := set(info.preempted_node_ids) - self._announced:
            self._announced |= new
            self._last_made = False
            when = "soon" if left is None else f"in {left:.0f} s"
            machines = counted(len(new), "machine is", "machines are")
            self._tell(f"{machines} taken away {when}: made a checkpoint after step {step}")
            return "save"
        if left is not None and left <= LAST_S and not self._last_made:
            self._last_made = True
            return "save"
        return "go"

    def _next_step(self, step: int) -> int:
        now = time.monotonic()
        before, self._asked = self._asked, (step, now)
        if before is None:
            return step + 1
        steps = step - before[0]
        # At most twice as many as before: the first steps have clips that were read ahead, and are faster than others.
        return step + max(1, min(2 * steps, int(ASK_S * steps / (now - before[1]))))
