"""Writes the generated files, or checks that they are up to date.

python -m hack.generate           write the files
python -m hack.generate --check   change nothing; exit 1 and show a diff where a file differs
"""

import argparse
import difflib
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path

from hack.dashboard import render_dashboard
from hack.metricsref import render_metrics
from hack.reasonsref import render_reasons
from hack.reference import render_reference
from hack.typed import render_typed
from kubetask_controller.api import crd

ROOT = Path(__file__).resolve().parent.parent
CRD_DIR = Path("config/crd")
REFERENCE = Path("docs/reference/api.md")
METRICS = Path("docs/reference/metrics.md")
REASONS = Path("docs/reference/reasons.md")
TYPED = Path("src/kubetask_controller/api/typed.py")
DASHBOARD = Path("config/grafana/kubetask.json")
INSTALL = Path("config/install.yaml")
INSTALL_HEADER = """\
# Everything a cluster needs, in one file: kubectl apply --server-side -f install.yaml
# Rendered from config/default by `make generate`. Do not edit.
"""


def generated() -> dict[Path, str]:
    """The text of every generated file, by its path in the repository."""
    files = {CRD_DIR / name: text for name, text in crd.render_crds().items()}
    files[CRD_DIR / "kustomization.yaml"] = _kustomization(sorted(crd.render_crds()))
    files[REFERENCE] = render_reference(crd.crds())
    files[METRICS] = render_metrics()
    files[REASONS] = render_reasons()
    files[DASHBOARD] = render_dashboard()
    files[TYPED] = render_typed()
    return files


def main(arguments: Sequence[str] | None = None) -> int:
    parser = argparse.ArgumentParser(prog="python -m hack.generate", description=__doc__)
    parser.add_argument("--check", action="store_true", help="fail when a file differs")
    parser.add_argument("--root", type=Path, default=ROOT, help=argparse.SUPPRESS)
    options = parser.parse_args(arguments)
    files = generated()
    if options.check:
        return _check(options.root, {**files, INSTALL: rendered(options.root)})
    for path, text in files.items():
        target = options.root / path
        target.parent.mkdir(parents=True, exist_ok=True)
        target.write_text(text, encoding="utf-8")
    for path in _stale(options.root, files):
        (options.root / path).unlink()
    (options.root / INSTALL).write_text(rendered(options.root), encoding="utf-8")
    return 0


def rendered(root: Path) -> str:
    """config/install.yaml, from the files of config; the CRDs among them are written before."""
    kubectl = Path(sys.executable).with_name("kubectl")
    command = [str(kubectl), "kustomize", str(root / "config" / "default")]
    done = subprocess.run(command, stdout=subprocess.PIPE, text=True, check=True)
    return INSTALL_HEADER + done.stdout


def _check(root: Path, files: dict[Path, str]) -> int:
    differs = False
    for path, wanted in files.items():
        target = root / path
        actual = target.read_text(encoding="utf-8") if target.exists() else ""
        if actual == wanted:
            continue
        differs = True
        sys.stdout.writelines(
            difflib.unified_diff(
                actual.splitlines(keepends=True),
                wanted.splitlines(keepends=True),
                fromfile=f"{path} (as it is)",
                tofile=f"{path} (as generated)",
            )
        )
    for path in _stale(root, files):
        differs = True
        print(f"{path}: nothing generates this file any more")
    if differs:
        print("Generated files differ from the code. Run `make generate`.", file=sys.stderr)
    return int(differs)


def _stale(root: Path, files: dict[Path, str]) -> list[Path]:
    """CRD files of an earlier version."""
    present = {path.relative_to(root) for path in (root / CRD_DIR).glob("*.yaml")}
    return sorted(present - set(files))


def _kustomization(names: list[str]) -> str:
    resources = "".join(f"  - {name}\n" for name in names)
    return f"{crd.HEADER}apiVersion: kustomize.config.k8s.io/v1beta1\nkind: Kustomization\nresources:\n{resources}"


if __name__ == "__main__":
    sys.exit(main())
