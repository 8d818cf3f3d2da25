"""The git repositories of a made-up organisation: services that all pin an outdated dependency, each in its own way."""

import asyncio
import os
import tempfile
from collections.abc import Mapping
from pathlib import Path

README = "# {name}\n\nA service of Acme.\n"

SERVICES: Mapping[str, Mapping[str, str]] = {
    "billing": {
        "requirements.txt": "flask==3.1.0\nrequests==2.19.0\n",
        "billing/app.py": "import requests\n\n\ndef rates() -> dict:\n    return requests.get('https://rates.example').json()\n",
    },
    "catalog": {
        "pyproject.toml": '[project]\nname = "catalog"\nversion = "1.4.0"\ndependencies = [\n    "requests==2.19.0",\n]\n',
        "catalog/__init__.py": "",
    },
    "payments": {
        "requirements/base.txt": "requests==2.19.0\nstripe==11.0.0\n",
        "requirements/dev.txt": "-r base.txt\npytest==8.0.0\n",
    },
    "search": {
        "Dockerfile": "FROM python:3.12-slim\nRUN pip install requests==2.19.0 uvicorn==0.30.0\nCOPY . /app\n",
        "search.py": "print('searching')\n",
    },
    "storefront": {
        "setup.cfg": "[metadata]\nname = storefront\n\n[options]\ninstall_requires =\n    requests==2.19.0\n jinja2==3.1.0\n",
        "storefront/views.py": "TITLE = 'Acme'\n",
    },
    "handbook": {"docs/index.md": "# How we work\n\nNo code here.\n"},
}
"""Repository → file → content. `handbook` pins nothing: the task over it fails."""

IDENTITY = {
    "GIT_AUTHOR_NAME": "Ada",
    "GIT_AUTHOR_EMAIL": "ada@acme.example",
    "GIT_COMMITTER_NAME": "Ada",
    "GIT_COMMITTER_EMAIL": "ada@acme.example",
    "GIT_CONFIG_GLOBAL": os.devnull,
    "GIT_CONFIG_NOSYSTEM": "1",
}


async def make_repositories(directory: Path, *, org: str = "acme") -> list[str]:
    """Make a bare repository ``<directory>/<org>/<name>.git`` for each service; their names."""
    await asyncio.gather(
        *(
            make_repository(directory / org / f"{name}.git", files)
            for name, files in SERVICES.items()
        )
    )
    return list(SERVICES)


async def make_repository(path: Path, files: Mapping[str, str], *, branch: str = "main") -> None:
    """Make a bare repository with one commit."""
    path.parent.mkdir(parents=True, exist_ok=True)
    name = path.name.removesuffix(".git")
    with tempfile.TemporaryDirectory(prefix="kubetask-demo-") as temporary:
        work = Path(temporary)
        for file, text in {"README.md": README.format(name=name), **files}.items():
            target = work / file
            target.parent.mkdir(parents=True, exist_ok=True)
            target.write_text(text)
        await _git("init", "--quiet", f"--initial-branch={branch}", str(work))
        await _git("-C", str(work), "add", "--all")
        await _git("-C", str(work), "commit", "--quiet", "--message", "First commit")
        await _git("clone", "--quiet", "--bare", str(work), str(path))


async def _git(*arguments: str) -> None:
    process = await asyncio.create_subprocess_exec(
        "git", *arguments, env={**os.environ, **IDENTITY}
    )
    if await process.wait():
        raise RuntimeError(f"git {' '.join(arguments)} failed")
