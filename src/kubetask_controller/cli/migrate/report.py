"""What a migration did, and what it could not do: for a person, on standard error."""

from collections.abc import Iterator
from dataclasses import dataclass, field


@dataclass(slots=True)
class Report:
    """Collects remarks about one file.

    Attributes:
        source: the file.
        subject: the object that is being worked on, ``Bundle/update-dependencies``.
        converted: objects that were made into KubeTask's.
    """

    source: str
    subject: str = ""
    converted: int = 0
    _losses: list[str] = field(default_factory=list)

    def lost(self, what: str, why: str) -> None:
        """Something could not be carried over, and a person has to look at it."""
        parts = (self.source, self.subject, what, why)
        self._losses.append(": ".join(filter(None, parts)))

    def losses(self) -> Iterator[str]:
        """One sentence for each."""
        return iter(self._losses)

    @property
    def complete(self) -> bool:
        """Whether nothing was lost."""
        return not self._losses
