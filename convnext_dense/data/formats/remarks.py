"""What a reader or a writer changed, left out or assumed: counted, then said in a line each."""

from collections import Counter


class Remarks:
    """Counts what is said about a conversion, by kind."""

    def __init__(self) -> None:
        self._counts: Counter[str] = Counter()
        self._first: dict[str, str] = {}
        self._lines: list[str] = []

    def say(self, line: str) -> None:
        """A line of its own; the same line is said once."""
        if line not in self._lines:
            self._lines.append(line)

    def count(self, kind: str, where: object) -> None:
        """One more of a kind, such as ``points, which have no area, left out``."""
        self._counts[kind] += 1
        self._first.setdefault(kind, str(where))

    @property
    def lines(self) -> list[str]:
        """All that there is to say."""
        counted = [
            f"{count:,} {kind} (the first: {self._first[kind]})."
            for kind, count in self._counts.items()
        ]
        return [*self._lines, *counted]
