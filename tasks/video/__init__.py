"""Videos as arrays: decoding, optical flow, encoding."""

from __future__ import annotations

from typing import TYPE_CHECKING

from tasks.lazy import importer

# Not on demand like the rest: the module of the same name would take the function's place once it is imported.
from tasks.video.decode import decode as decode
from tasks.video.errors import VideoError as VideoError
from tasks.video.reading import Frames as Frames

if TYPE_CHECKING:
    from tasks.video.decoder_process import DecoderProcess as DecoderProcess
    from tasks.video.flow import dequantize as dequantize
    from tasks.video.flow import quantize as quantize
    from tasks.video.flow import tvl1 as tvl1
    from tasks.video.settings import TVL1 as TVL1

_MODULES = {
    "DecoderProcess": "decoder_process",
    "dequantize": "flow",
    "quantize": "flow",
    "tvl1": "flow",
    "TVL1": "settings",
}
__getattr__ = importer(__name__, _MODULES)
