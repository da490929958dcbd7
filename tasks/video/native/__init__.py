"""TV-L1 flow on the CPU, compiled by numba: OpenCV's scheme, an inner iteration one vectorised sweep through memory."""
