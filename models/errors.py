"""The error of every network that its user can cause and mend."""


class ModelError(ValueError):
    """What is wrong with a name, an option or a clip, and what would be right, in one sentence."""
