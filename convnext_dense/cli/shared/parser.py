"""The parser of every command, and how it reads ``KEY=VALUE``."""

import argparse

OPTIONAL = "optional_positionals"  # names of them, in the parsed arguments


class Parser(argparse.ArgumentParser):
    """The parser of every command, with the flags that all of them have."""

    debugging = False  # --debug was given in this process

    def __init__(self, *args, **kwargs) -> None:
        kwargs.setdefault("formatter_class", argparse.RawDescriptionHelpFormatter)
        super().__init__(*args, **kwargs)
        self.add_argument(
            "--debug",
            action=_Debug,
            help="show the traceback of a refusal too, and all lines of the log",
        )

    def parse_args(self, args=None, namespace=None) -> argparse.Namespace:
        """As argparse does, but an optional positional may also stand behind a flag."""
        found, left = self.parse_known_args(args, namespace)
        names = [name for name in getattr(found, OPTIONAL, ()) if getattr(found, name) is None]
        while names and left and not left[0].startswith("-"):
            setattr(found, names.pop(0), left.pop(0))
        if left:
            self.error(f"unrecognized arguments: {' '.join(left)}")
        return found


class _Debug(argparse.Action):
    def __init__(self, option_strings, dest, help=None) -> None:
        # Suppressed: else a sub-command's default would hide the flag before it.
        super().__init__(option_strings, dest, nargs=0, default=argparse.SUPPRESS, help=help)

    def __call__(self, parser, namespace, values, option_string=None) -> None:
        Parser.debugging = True


class OptionsAction(argparse.Action):
    """``KEY=VALUE`` pairs as texts; ``config.options.parse_options`` reads the values."""

    def __call__(self, parser, namespace, values, option_string=None) -> None:
        options = dict(getattr(namespace, self.dest) or {})
        for pair in values:
            key, equals, value = pair.partition("=")
            if not equals:
                parser.error(f"{option_string} needs KEY=VALUE, got {pair!r}")
            options[key] = value
        setattr(namespace, self.dest, options)
