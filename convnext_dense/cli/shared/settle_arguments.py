"""What parsed arguments mean, once everything may be imported."""

import argparse

from convnext_dense.config.names import find_config
from convnext_dense.config.options import parse_options


def settle_arguments(args: argparse.Namespace) -> None:
    """Reads the values of ``--cfg-options``, and finds the config that a name means; in place.

    Raises:
        UserError: For a config that is not there.
    """
    if getattr(args, "cfg_options", None):
        args.cfg_options = parse_options(args.cfg_options)
    if getattr(args, "config", None):
        args.config = str(find_config(args.config))
