"""A sandbox of Linux for the process that decodes: landlock, seccomp and limits, none of which needs root.

Closed after everything is imported and before the first video, it leaves the process its memory, its threads and the
descriptors it holds. The one file that it may open is its input, which the parent hands over (`gate.py`).
"""

from tasks.video.sandbox.closing import Held as Held
from tasks.video.sandbox.closing import enter as enter
