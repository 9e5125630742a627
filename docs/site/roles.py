"""griffe's extension: roles of reStructuredText in docstrings become code of Markdown."""

import re

import griffe


class Roles(griffe.Extension):
    """Turns ``:class:`~package.Name` `` into ``Name`` between backticks."""

    def on_instance(self, *, obj: griffe.Object, **kwargs) -> None:
        """Called for each module, class, function and attribute."""
        if obj.docstring:
            obj.docstring.value = re.sub(r":\w+:`~?([^`]+)`", r"`\1`", obj.docstring.value)
