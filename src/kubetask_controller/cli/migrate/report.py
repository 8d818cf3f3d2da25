"""The report of a migration, for standard error."""

from collections.abc import Iterator
from dataclasses import dataclass, field


@dataclass(slots=True)
class Report:
    """Collects remarks about one file.

    Attributes:
        source: the file.
        subject: the current object, such as ``Bundle/update-dependencies``.
        converted: number of converted objects.
    """

    source: str
    subject: str = ""
    converted: int = 0
    templates: list[tuple[str, str]] = field(default_factory=list)
    """(object, name) of references to Job templates, which are now references to WorkspaceConfigs."""
    configs: set[str] = field(default_factory=set)
    """Names of the WorkspaceConfigs in the converted file."""
    _losses: list[str] = field(default_factory=list)

    def lost(self, what: str, why: str) -> None:
        """Record a part that could not be converted."""
        parts = (self.source, self.subject, what, why)
        self._losses.append(": ".join(filter(None, parts)))

    def template(self, name: str) -> None:
        """Record a reference to a Job template, which is now a reference to a WorkspaceConfig."""
        self.templates.append((self.subject, name))

    def losses(self) -> Iterator[str]:
        """One sentence for each part."""
        return iter(self._losses)

    @property
    def complete(self) -> bool:
        """Whether everything was converted."""
        return not self._losses
