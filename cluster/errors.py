"""The errors about a cluster that its user can mend."""


class ClusterError(Exception):
    """What is wrong with the cluster, where, and what to do about it, in one line."""
