"""Where the repository and the real videos lie."""

import os
from pathlib import Path

ROOT = Path(__file__).parents[2]
VIDEOS = Path(os.environ.get("MAREY_TEST_VIDEOS", ROOT.parent / "shared/videos"))
"""Real clips, which are not part of the repository: tests that use them skip where the folder is absent."""
SCHEMAS = Path(os.environ.get("MAREY_TEST_SCHEMAS", ROOT.parent / "shared/schemas"))
"""KubeRay's definitions of its objects, likewise."""
