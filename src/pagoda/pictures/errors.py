"""What is said of pictures that cannot be used."""


class PictureError(ValueError):
    """A picture cannot be used; the message names it and says why.

    >>> issubclass(PictureError, ValueError)
    True
    """
