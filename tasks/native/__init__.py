"""Kernels compiled by numba, once per machine, and vectors for use in them."""
