"""Sets of task indexes as text, in the form an Indexed Job uses for ``completedIndexes``: ``0-37,39``."""

from collections.abc import Iterable, Iterator


def format_indexes(indexes: Iterable[int]) -> str:
    """Ascending, runs of two and more joined by a dash; the empty set is the empty string."""
    parts: list[str] = []
    start = end = None
    for index in sorted(indexes):
        if end is not None and index == end + 1:
            end = index
            continue
        if start is not None and end is not None:
            parts.append(_part(start, end))
        start = end = index
    if start is not None and end is not None:
        parts.append(_part(start, end))
    return ",".join(parts)


def parse_indexes(text: str) -> set[int]:
    """The set that ``format_indexes`` wrote.

    Raises:
        ValueError: the text is not a list of indexes and ranges.
    """
    return set(_expand(text))


def _part(start: int, end: int) -> str:
    return str(start) if start == end else f"{start}-{end}"


def _expand(text: str) -> Iterator[int]:
    for part in filter(None, text.split(",")):
        first, dash, last = part.partition("-")
        low = int(first)
        high = int(last) if dash else low
        if low < 0 or high < low:
            raise ValueError(f"{part!r} is not an index or a range of indexes")
        yield from range(low, high + 1)
