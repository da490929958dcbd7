"""Machine code by numba: vectors inside kernels, and kernels that a machine compiles once."""
