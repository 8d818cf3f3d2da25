"""A git server for Pods, with repositories as tests want them."""

import asyncio
from dataclasses import dataclass
from pathlib import Path

from hack.gitserver import make_repository


@dataclass(frozen=True)
class GitHost:
    """A git server that containers reach. `directory` holds ``<org>/<repo>.git``."""

    url: str
    directory: Path

    @property
    def template(self) -> str:
        """For git.urlTemplate of a WorkspaceConfig."""
        return self.url + "/{org}/{repo}.git"

    def make(self, org: str, repo: str, *, branch: str = "main") -> Path:
        """A repository with one commit; its bare folder."""
        path = self.directory / org / f"{repo}.git"
        if not path.exists():
            asyncio.run(make_repository(path, {"README.md": f"# {repo}\n"}, branch=branch))
        return path
