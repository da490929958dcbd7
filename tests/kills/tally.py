"""What a campaign of kills has done."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass, field


@dataclass
class Tally:
    """Statistics of a campaign."""

    kills: Counter[str] = field(default_factory=Counter)
    commands: int = 0
    rounds: int = 0

    def __str__(self) -> str:
        counts = ", ".join(f"{count} {kind}" for kind, count in sorted(self.kills.items()))
        return f"{self.kills.total()} kills ({counts}), {self.commands} commands"
