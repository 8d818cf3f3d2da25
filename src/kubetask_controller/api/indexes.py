"""Sets of task indexes as text, in the form that an Indexed Job uses for ``completedIndexes``: ``0-37,39``."""

from collections.abc import Iterable, Iterator


def format_indexes(indexes: Iterable[int]) -> str:
    """The indexes in ascending order, neighbours joined by a dash; the empty set is the empty string."""
    ranges: list[list[int]] = []
    for index in sorted(set(indexes)):
        if ranges and index == ranges[-1][1] + 1:
            ranges[-1][1] = index
        else:
            ranges.append([index, index])
    return ",".join(str(low) if low == high else f"{low}-{high}" for low, high in ranges)


def parse_indexes(text: str, *, limit: int | None = None) -> set[int]:
    """The set that a text such as ``3,7-9`` describes.

    Raises:
        ValueError: the text is not a list of indexes and ranges, or contains an index that is not below `limit`.
    """
    return set(_expand(text, limit))


def _expand(text: str, limit: int | None) -> Iterator[int]:
    for part in filter(None, (x.strip() for x in text.split(","))):
        first, dash, last = part.partition("-")
        if not first.isdecimal() or (dash and not last.isdecimal()):
            raise ValueError(f"{part!r} is not an index or a range of indexes such as 7-9")
        low, high = int(first), int(last if dash else first)
        if high < low:
            raise ValueError(f"{part!r} ends before it begins")
        if limit is not None and high >= limit:
            raise ValueError(f"there is no task {high}: indexes are 0 to {limit - 1}")
        yield from range(low, high + 1)
