"""Writes devcluster/apiserver/data/protobuf.json: which protobuf field of Kubernetes' types is which JSON field.

    python hack/devcluster/protobuf_fields.py <checkout of kubernetes>/staging/src/k8s.io

It reads the tags of the Go types, because only they distinguish an omitted field from a zero value.
devcluster/apiserver/protobuf.py describes the format.
"""

from __future__ import annotations

import json
import re
import sys
from pathlib import Path

DATA = Path(__file__).parent / "devcluster/apiserver/data"
META = "apimachinery/pkg/apis/meta/v1"
REGISTRATION = "kube-aggregator/pkg/apis/apiregistration/v1"
# Groups whose folder is not the first part of their name.
FOLDERS = {
    "": "api/core/v1",
    "rbac.authorization.k8s.io": "api/rbac/v1",
    "flowcontrol.apiserver.k8s.io": "api/flowcontrol/v1",
    "apiregistration.k8s.io": REGISTRATION,
}
NEVER_SENT = ("apiextensions.k8s.io",)  # no typed client sends protobuf for these
BY_HAND = {
    f"{META}.Time": "t",
    f"{META}.MicroTime": "u",
    f"{META}.FieldsV1": "r",
    "apimachinery/pkg/api/resource.Quantity": "q",
    "apimachinery/pkg/util/intstr.IntOrString": "o",
    "apimachinery/pkg/runtime.RawExtension": "r",
}
PLAIN = {"string": "s", "bool": "b", "int32": "i", "int64": "i", "uint32": "i", "[]byte": "y"}
STRUCT = re.compile(r"^type (\w+) struct \{\n(.*?)^\}", re.MULTILINE | re.DOTALL)
ALIAS = re.compile(r"^type (\w+) ([\w.\[\]]+)$", re.MULTILINE)
FIELD = re.compile(r'^\s+(?:(\w+)\s+)?([\w.*\[\]]+)\s+`json:"([^"]*)".*?protobuf:"([^"]*)"')
IMPORT = re.compile(r'^\s+(?:(\w+) )?"k8s\.io/([^"]+)"', re.MULTILINE)


class Package:
    """The Go types of one folder."""

    def __init__(self, root: Path, folder: str) -> None:
        self.folder = folder
        self.structs: dict[str, str] = {}
        self.aliases: dict[str, str] = {}
        self.imports: dict[str, str] = {}
        for file in sorted((root / folder).glob("*.go")):
            if file.name.startswith("zz_") or "generated" in file.name or "_test" in file.name:
                continue
            text = file.read_text()
            self.structs.update(STRUCT.findall(text))
            self.aliases.update(ALIAS.findall(text))
            for name, path in IMPORT.findall(text):
                self.imports[name or path.rsplit("/", 1)[1]] = path


class Writer:
    """Collects the messages that some kinds need."""

    def __init__(self, root: Path) -> None:
        self._root = root
        self._packages: dict[str, Package] = {}
        self.messages: dict[str, list[str]] = {}

    def package(self, folder: str) -> Package:
        """The types of a folder, read once."""
        if folder not in self._packages:
            self._packages[folder] = Package(self._root, folder)
        return self._packages[folder]

    def message(self, folder: str, name: str) -> str:
        """Collect a struct and all that it refers to; the key of it."""
        key = f"{folder.removeprefix('api/').replace('/', '.')}.{name}"
        if key not in self.messages:
            self.messages[key] = fields = []
            for line in self.package(folder).structs[name].splitlines():
                found = FIELD.match(line)
                if found is not None:
                    fields.append(self._field(folder, *found.groups()))
        return key

    def _field(self, folder: str, field: str | None, type_: str, tag: str, proto: str) -> str:
        name, _, options = tag.partition(",")
        number = proto.split(",")[1]
        kind = self._type(folder, type_)
        if not name:
            return f"{number} = {kind}"
        plain = kind in ("s", "i", "b") and not type_.startswith("*")
        zero = "?" if plain and "omitempty" in options else ""
        return f"{number} {name} {kind}{zero}"

    def _type(self, folder: str, type_: str) -> str:
        if type_ in PLAIN:
            return PLAIN[type_]
        if type_.startswith("*"):
            return self._type(folder, type_[1:])
        if type_.startswith("[]"):
            return "[" + self._type(folder, type_[2:])
        if type_.startswith("map["):
            return "{" + self._type(folder, type_.partition("]")[2])
        package, _, name = type_.rpartition(".")
        if package:
            folder = self.package(folder).imports[package]
        if f"{folder}.{name}" in BY_HAND:
            return BY_HAND[f"{folder}.{name}"]
        alias = self.package(folder).aliases.get(name)
        if alias is None and name == "UID":
            return "s"
        if alias is None:
            return self.message(folder, name)
        inner = self._type(folder, alias)
        # A list with a name of its own is a message with that list.
        return "(" + inner[1:] if alias.startswith("[]") and alias != "[]byte" else inner


def main() -> int:
    """Write the table."""
    writer = Writer(Path(sys.argv[1]))
    kinds: dict[str, str] = {}
    for group in json.loads((DATA / "resources.json").read_text()):
        for version in group["versions"]:
            if group["group"] in NEVER_SENT:
                continue
            for resource in version["resources"]:
                for each in [resource, *resource.get("subresources", ())]:
                    at = each.get("group", "") if each is not resource else group["group"]
                    at_version = each.get("version") if each is not resource else None
                    at_version = at_version or version["version"]
                    folder = FOLDERS.get(at, f"api/{at.split('.')[0]}/{at_version}")
                    gvk = f"{at}/{at_version}".strip("/") + " " + each["kind"]
                    if each["kind"] in writer.package(folder).structs:
                        kinds[gvk] = writer.message(folder, each["kind"])
    for kind in ("DeleteOptions", "CreateOptions", "UpdateOptions", "PatchOptions"):
        kinds[f"meta.k8s.io/v1 {kind}"] = kinds[f"v1 {kind}"] = writer.message(META, kind)
    rows = [
        f"{json.dumps(key)}: {json.dumps(writer.messages[key])}" for key in sorted(writer.messages)
    ]
    text = '{"kinds": ' + json.dumps(dict(sorted(kinds.items()))) + ',\n"messages": {\n'
    (DATA / "protobuf.json").write_text(text + ",\n".join(rows) + "\n}}\n")
    return 0


if __name__ == "__main__":
    sys.exit(main())
