"""The trials of a sweep as its folder keeps them: what each varies, before it starts, and how it has ended.

A later start of the sweep goes by this, and not by what Ray Tune saves: that is some seconds old at a kill, and of
several files that need not fit. So no trial is forgotten, drawn twice, or given to Ray again once it has ended.
"""

from __future__ import annotations

import secrets
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field, replace
from typing import Any

from pipelines.tracking import RunFolder
from pipelines.tracking.run_folder import SweepFolder
from pipelines.tune.outcome import TrialOutcome

TRIAL, VALUES = "trial", "values"
"""What Ray Tune knows of a trial: its id in the ledger, and the fields that it varies."""
ID_BYTES = 4


def new_id() -> str:
    """Return an id that no other trial has."""
    return secrets.token_hex(ID_BYTES)


def trial_name(sweep: str, trial_id: str) -> str:
    """Return the name of the run of a trial."""
    return f"{sweep}.{trial_id}"


@dataclass(frozen=True)
class Entry:
    """A trial of the ledger."""

    trial_id: str
    values: dict[str, Any]
    """The fields that it varies."""
    outcome: TrialOutcome | None = None
    """None until it has ended."""
    curve: dict[int, float] = field(default_factory=dict)
    """The sweep's metric by epoch, once it has ended."""


class Ledger:
    """The trials of a sweep, in the order in which they were drawn.

    Failed ones of earlier starts are open again, but for those that would fail of the same.
    """

    def __init__(self, folder: SweepFolder, trials: int) -> None:
        self.trials = trials
        """How many there shall be."""
        self._folder = folder
        self._lost: dict[str, int] = {}
        read = [_entry(folder, one) for one in folder.read_trial_list()]
        self.entries = [replace(one, outcome=None) if self._is_open_again(one) else one for one in read]

    def _is_open_again(self, entry: Entry) -> bool:
        failed = entry.outcome is not None and entry.outcome.status == "failed"
        return failed and self.failure(entry.trial_id) is None

    def failure(self, trial_id: str) -> str | None:
        """Return why a trial failed, of something that would come again; None where it has not."""
        return RunFolder.of(trial_name(self._folder.name, trial_id)).read_failure()

    def ended(self) -> list[Entry]:
        """Return the trials that have ended."""
        return [one for one in self.entries if one.outcome is not None]

    def outcomes(self) -> list[TrialOutcome]:
        """Return the outcomes of those that have ended."""
        return [one.outcome for one in self.entries if one.outcome is not None]

    def remaining(self) -> int:
        """Return how many trials have not ended, those that have not been drawn included."""
        return self.trials - len(self.ended())

    def add(self, trial_id: str, values: Mapping[str, Any]) -> Entry:
        """Note one more trial, before it starts."""
        entry = Entry(trial_id, dict(values))
        self.entries.append(entry)
        self._write()
        return entry

    def end(self, trial_id: str, outcome: TrialOutcome, curve: Mapping[int, float]) -> None:
        """Note the outcome of a trial."""
        self.entries = [
            replace(one, outcome=outcome, curve=dict(curve)) if one.trial_id == trial_id else one
            for one in self.entries
        ]
        self._write()

    def lose(self, trial_id: str) -> int:
        """Count that a trial has lost its process; return how often it has since this start of the sweep."""
        self._lost[trial_id] = self._lost.get(trial_id, 0) + 1
        return self._lost[trial_id]

    def _write(self) -> None:
        self._folder.write_trial_list([asdict(one) for one in self.entries])


def _entry(folder: SweepFolder, content: Any) -> Entry:
    try:
        outcome = content["outcome"]
        return Entry(
            str(content["trial_id"]),
            dict(content["values"]),
            None if outcome is None else TrialOutcome(**outcome),
            {int(epoch): float(value) for epoch, value in content["curve"].items()},
        )
    except (KeyError, TypeError, ValueError, AttributeError) as error:
        raise folder.damaged(folder.TRIALS, "fields are missing or of another kind") from error
