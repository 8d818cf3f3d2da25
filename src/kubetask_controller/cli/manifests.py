"""Manifests as YAML for people: texts of several lines are blocks, and the order of the fields stays."""

import yaml


class BlockDumper(yaml.SafeDumper):
    """Writes texts of several lines as blocks, except within ``[...]`` and ``{...}``."""


def _represent_text(dumper: yaml.SafeDumper, text: str) -> yaml.ScalarNode:
    style = "|" if "\n" in text and not dumper.flow_level else None
    return dumper.represent_scalar("tag:yaml.org,2002:str", text, style=style)


BlockDumper.add_representer(str, _represent_text)
