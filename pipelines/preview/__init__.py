"""`marey preview`: a page about a prepared dataset, with sample frames, flow, class balance and failures."""

from pipelines.preview.workflow import PreviewResult as PreviewResult
from pipelines.preview.workflow import preview as preview
