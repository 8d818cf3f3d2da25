"""The git repositories of a made-up organisation: services that all pin an outdated dependency, each in its own way."""

import asyncio
from collections.abc import Mapping
from pathlib import Path

from hack.gitserver import make_repository

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


async def make_repositories(directory: Path, *, org: str = "acme") -> list[str]:
    """Make a bare repository ``<directory>/<org>/<name>.git`` for each service; their names."""
    await asyncio.gather(
        *(
            make_repository(
                directory / org / f"{name}.git", {"README.md": README.format(name=name), **files}
            )
            for name, files in SERVICES.items()
        )
    )
    return list(SERVICES)
