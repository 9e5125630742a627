"""Constructors that pass options on to their base class, with a signature that lists them all."""

import inspect
from collections.abc import Callable


def takes_options_of(base: type, *, except_for: tuple[str, ...] = ()) -> Callable:
    """Decorates a constructor that passes its ``**options`` on to ``base``.

    The decorated constructor's signature lists the options by name, as keyword arguments with the
    defaults of ``base``. The check of configs reads it: a bare ``**options`` would accept any name.

    Args:
        base: The class whose constructor takes the options.
        except_for: Arguments of ``base`` that the constructor gives.
    """

    def add_options(constructor: Callable) -> Callable:
        *own, _ = inspect.signature(constructor).parameters.values()
        given = {"self", *except_for, *(parameter.name for parameter in own)}
        options = [
            parameter.replace(kind=parameter.KEYWORD_ONLY)
            for name, parameter in inspect.signature(base.__init__).parameters.items()
            if name not in given
        ]
        constructor.__signature__ = inspect.Signature([*own, *options], return_annotation=None)
        return constructor

    return add_options
