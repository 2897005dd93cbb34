"""mlci: from a commit to a model that serves traffic."""

__version__ = "1.0.0"
