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
    templates: list[tuple[str, str]] = field(default_factory=list)
    """(object, name) of the Job templates that objects named, which now are WorkspaceConfigs."""
    configs: set[str] = field(default_factory=set)
    """Names of the WorkspaceConfigs that the file has now."""
    _losses: list[str] = field(default_factory=list)

    def lost(self, what: str, why: str) -> None:
        """Something could not be carried over, and a person has to look at it."""
        parts = (self.source, self.subject, what, why)
        self._losses.append(": ".join(filter(None, parts)))

    def template(self, name: str) -> None:
        """The object named a Job template, and now names a WorkspaceConfig."""
        self.templates.append((self.subject, name))

    def losses(self) -> Iterator[str]:
        """One sentence for each."""
        return iter(self._losses)

    @property
    def complete(self) -> bool:
        """Whether nothing was lost."""
        return not self._losses
