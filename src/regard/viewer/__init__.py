"""Looking at attention: on paper (`static`), in a page, in a notebook."""

from . import static

__all__ = ["static"]
