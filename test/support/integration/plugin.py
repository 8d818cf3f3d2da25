"""The kubectl plugin, found on the PATH as pip installs it."""

import sys
import tomllib
from pathlib import Path

ROOT = Path(__file__).resolve().parents[3]


def install(folder: Path) -> Path:
    """The plugin in a folder as pip puts it there: a script that calls what pyproject.toml names."""
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    module, _, function = project["scripts"]["kubectl-kubetask"].partition(":")
    script = folder / "kubectl-kubetask"
    script.write_text(f"#!{sys.executable}\nfrom {module} import {function}\n{function}()\n")
    script.chmod(0o755)
    return folder
