"""The version of Pagoda, told by `pagoda --version` and written into exported files."""

__version__ = "0.1.0"
