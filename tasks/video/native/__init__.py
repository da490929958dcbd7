"""TV-L1 flow on CPUs, compiled by numba: OpenCV's scheme, with one vectorised sweep through memory per iteration."""
