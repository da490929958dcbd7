"""A search whose number of trials may be raised after it was saved. Loads Ray Tune."""

from __future__ import annotations

from typing import Any

from ray.tune.search import Searcher, SearchGenerator

from pipelines.tracking.run_folder import SweepFolder


class GrowingSearch(SearchGenerator):
    """Tune's own wrapper of a searcher; after a restore, the sweep's folder says how many trials there shall be."""

    def __init__(self, searcher: Searcher, folder: SweepFolder) -> None:
        super().__init__(searcher)
        self._folder = folder

    def set_state(self, state: dict[str, Any]) -> None:
        """Take over a saved state, but for the number of trials."""
        super().set_state({**state, "total_samples": self._folder.read_trials()})
