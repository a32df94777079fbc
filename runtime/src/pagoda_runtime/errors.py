"""What is said of files that cannot be used."""


class PictureError(ValueError):
    """A picture cannot be used; the message names it and says why."""


class ModelFileError(ValueError):
    """A model's file cannot be used; the message names it, and says what was expected, what came and what to do."""
