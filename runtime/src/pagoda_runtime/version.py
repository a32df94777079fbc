"""The version of the runtime: that of the Pagoda it belongs to."""

__version__ = "0.1.0"
