"""Errors of this package."""


class CheckpointError(ValueError):
    """A file that is no checkpoint, or one that does not belong to what it is used with."""
