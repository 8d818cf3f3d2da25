"""``discover``: creates a Batch from the repositories of an organisation, a group, a topic, a search or a file."""

import argparse
import re
import sys
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any
from urllib.parse import quote, unquote, urlsplit

import yaml

from kubetask_controller.api import constants as c
from kubetask_controller.api.patterns import ORG_PATTERN, REPO_PATTERN
from kubetask_controller.cli.exits import CliError, Exit, UsageError
from kubetask_controller.cli.manifests import BlockDumper
from kubetask_controller.cli.pullrequests import (
    HostConnections,
    TrustedHost,
    parse_apis,
    provider_for,
)
from kubetask_controller.cli.terminal import Terminal, clean
from kubetask_controller.hosts import (
    ENTERPRISE_URLS,
    HostError,
    RepositoryInfo,
    Site,
    host_of,
)
from kubetask_controller.types import JSON

DEFAULT_URL = "https://github.com"
_NAME = re.compile(r"^[a-z0-9]([-a-z0-9.]*[a-z0-9])?$")


class Discover:
    """Write a Batch."""

    name = "discover"
    help = "write a Batch over the repositories of an organisation, group, topic, search or file"
    description = """\
Write a Batch to standard output, with one task for each repository that is found, sorted by name.
Forks, archived and empty repositories are skipped by default. With -f, only the repositories of an
existing Batch change: entries of repositories that are still found keep their place, others are
removed, new ones are added at the end. Comments of the file are not kept.

It uses your own token, like `kubectl kubetask prs`, and needs no cluster. If git.urlTemplate of the
WorkspaceConfig has a part of the group, as in https://gitlab.example.com/group/{org}/{repo}.git, pass
it as --url. ORG is always the name at the host, and the Batch has what the template needs.

  kubectl kubetask discover acme --name bump > batch.yaml
  kubectl kubetask discover acme --topic python --exclude '/legacy-' --task task.md --name bump
  kubectl kubetask discover platform/tools --url https://gitlab.acme.example --name bump
  kubectl kubetask discover acme --search 'language:python' -f batch.yaml --write
  kubectl kubetask discover --from repositories.txt --name bump
"""

    def add_arguments(self, parser: argparse.ArgumentParser) -> None:
        """Add the sources, the filters, and the options of the Batch."""
        parser.add_argument(
            "owners", nargs="*", metavar="ORG", help="organisation, user or group; may be several"
        )
        parser.add_argument(
            "--search", default="", metavar="QUERY", help="only results of the host's search"
        )
        parser.add_argument("--topic", default="", help="only repositories with this topic")
        parser.add_argument(
            "--from",
            dest="source",
            metavar="FILE",
            help="read org/repo or URLs from a file, one a line; - for stdin",
        )
        parser.add_argument(
            "--match", type=_pattern, metavar="REGEX", help="only names (org/repo) that match"
        )
        parser.add_argument(
            "--exclude", type=_pattern, metavar="REGEX", help="no names (org/repo) that match"
        )
        parser.add_argument("--forks", action="store_true", help="include forks")
        parser.add_argument("--archived", action="store_true", help="include archived repositories")
        parser.add_argument("--empty", action="store_true", help="include empty repositories")
        batch = parser.add_argument_group("the Batch")
        batch.add_argument("-f", "--filename", metavar="FILE", help="an existing Batch to update")
        batch.add_argument(
            "--write", action="store_true", help="write the file of -f instead of standard output"
        )
        batch.add_argument("--name", help="name of the Batch; default: that of -f")
        batch.add_argument("--task", metavar="FILE", help="instructions, as task.md of every task")
        batch.add_argument(
            "--branch", default="", help="branch to start from; default: the default branch"
        )
        batch.add_argument(
            "--as-host", default="", metavar="NAME", help="repository.host of every entry"
        )
        batch.add_argument(
            "--workspace-config", metavar="NAME", help="the WorkspaceConfig to run in"
        )
        hosts = parser.add_argument_group("git host")
        hosts.add_argument(
            "--url",
            default=DEFAULT_URL,
            help=f"URL of the host, or git.urlTemplate of the WorkspaceConfig; default: {DEFAULT_URL}",
        )
        hosts.add_argument(
            "--provider",
            type=_kind,
            metavar="KIND",
            help=f"{', '.join(ENTERPRISE_URLS)}; default: derived from the name of the host",
        )
        hosts.add_argument("--api", default="", metavar="URL", help="URL of its API")

    async def run(self, options: argparse.Namespace, terminal: Terminal) -> Exit:
        """Write the Batch; returns 1 if no repository was found."""
        if not options.owners and not options.source and not options.search and not options.topic:
            raise UsageError("pass an organisation, --search, --topic or --from FILE")
        old = _read_batch(options.filename) if options.filename else {}
        if options.write and not options.filename:
            raise UsageError("--write needs -f FILE")
        name = options.name or (old.get("metadata") or {}).get("name")
        if not name or not _NAME.match(name):
            raise UsageError(
                "--name must be the name of a Batch: lower case letters, digits, '-' and '.'"
            )
        found = _listed(options, terminal) if options.source else []
        if options.owners or options.search or options.topic:
            found += await _fetched(options, terminal)
        chosen, left = select_repositories(found, options)
        if not chosen:
            raise CliError("no repository was found" + (f" ({left})" if left else ""))
        text = batch_yaml(make_batch(name, chosen, old, options))
        if options.write:
            _write(options.filename, text)
        else:
            terminal.stdout.write(text)
        terminal.note(f"{len(chosen)} repositories" + (f"; skipped: {left}" if left else ""))
        return Exit.OK


def select_repositories(
    found: Iterable[RepositoryInfo], options: argparse.Namespace
) -> tuple[list[RepositoryInfo], str]:
    """The selected repositories, sorted, and the number of skipped ones by cause."""
    left: dict[str, int] = {}
    chosen: dict[tuple[str, str], RepositoryInfo] = {}
    site = _site(options)
    for each in found:
        names = site.names(each.org, each.repo)
        if names:
            each = replace(each, org=_ascii(names[0]), repo=_ascii(names[1]))
        name = f"{each.org}/{each.repo}"
        why = ""
        if names is None:
            why = "outside of the template in --url"
        elif each.fork and not options.forks:
            why = "forks"
        elif each.archived and not options.archived:
            why = "archived"
        elif each.empty and not options.empty:
            why = "empty"
        elif (options.match and not options.match.search(name)) or (
            options.exclude and options.exclude.search(name)
        ):
            why = "by name"
        elif not re.fullmatch(ORG_PATTERN, each.org) or not re.fullmatch(REPO_PATTERN, each.repo):
            why = "with names that a Batch cannot have"
        if why:
            left[why] = left.get(why, 0) + 1
        else:
            chosen.setdefault((each.org.lower(), each.repo.lower()), each)
    text = ", ".join(f"{count} {why}" for why, count in left.items())
    return [chosen[x] for x in sorted(chosen)], text


def make_batch(
    name: str, chosen: Sequence[RepositoryInfo], old: Mapping[str, Any], options: argparse.Namespace
) -> JSON:
    """The Batch: the old one without repositories that were not found, and with the new ones at its end.

    Entries of the old Batch without repositories, or with repositories of other hosts, are kept.
    """
    spec = dict(old.get("spec") or {})
    host = options.as_host
    missing = {_key(host, x.org, x.repo): x for x in chosen}
    found = set(missing)
    entries: list[Any] = []
    for contexts in spec.get("variableContexts") or ():
        keys = {
            _key(x.get("host") or "", str(x.get("org")), str(x.get("repo")))
            for context in contexts
            if (x := context.get("repository"))
        }
        if not keys or keys & found or any(x[0] != host for x in keys):
            entries.append(contexts)
        for key in keys:
            missing.pop(key, None)
    common = list(spec.get("commonContext") or ())
    if options.task:
        text = _text(options.task)
        file = {"type": "File", "file": {"name": "task.md", "source": {"inline": text}}}
        common = [file, *(x for x in common if (x.get("file") or {}).get("name") != "task.md")]
    for each in missing.values():
        repository = {"org": each.org, "repo": each.repo}
        if options.branch:
            repository["branch"] = options.branch
        if host:
            repository["host"] = host
        entries.append([{"type": "Repository", "repository": repository}])
    if len(entries) > c.MAX_TASKS:
        raise CliError(f"the Batch has {len(entries)} tasks, and the maximum is {c.MAX_TASKS}")
    spec = {**spec, "commonContext": common, "variableContexts": entries}
    if options.workspace_config:
        spec["workspaceConfigRef"] = options.workspace_config
    return {
        "apiVersion": c.API_VERSION,
        "kind": c.KIND_BATCH,
        "metadata": {**(old.get("metadata") or {}), "name": name},
        "spec": spec,
    }


def _ascii(name: str) -> str:
    """A name in a context: other characters are percent-encoded."""
    return re.sub(r"[^\x00-\x7f]+", lambda x: quote(x[0]), name)


def _site(options: argparse.Namespace) -> Site:
    """The host of --url; without a template, names in the Batch are those of the host."""
    url = options.url if "{repo}" in options.url else ""
    return Site(url, options.provider or "", options.api if url else "")


def _key(host: str, org: str, repo: str) -> tuple[str, str, str]:
    return host, unquote(org).lower(), unquote(repo).lower()


def batch_yaml(batch: JSON) -> str:
    """The Batch as YAML, with one line for each repository, so that a diff shows added and removed ones."""
    spec = dict(batch["spec"])
    entries = spec.pop("variableContexts")
    head = yaml.dump(
        {**batch, "spec": spec}, Dumper=BlockDumper, sort_keys=False, allow_unicode=True, width=1000
    )
    lines = []
    for entry in entries:
        text = yaml.dump(entry, Dumper=BlockDumper, default_flow_style=True, sort_keys=False, allow_unicode=True,
                         width=sys.maxsize)  # fmt: skip
        lines.append(f"    - {text.strip()}\n")
    return f"{head}  variableContexts:\n{''.join(lines)}"


async def _fetched(options: argparse.Namespace, terminal: Terminal) -> list[RepositoryInfo]:
    site = _site(options)
    url = site.url or options.url
    kind = provider_for(url, options.provider or "")
    host = host_of(url)
    if options.api:
        parse_apis([f"{host}={options.api}"])
    # The user named the host, so its scheme is the user's choice.
    trusted = {host: TrustedHost(kind, options.api or site.api, plain=True)}
    found: list[RepositoryInfo] = []
    try:
        async with HostConnections(trusted, terminal.note) as hosts:
            api = await hosts.of(kind, url)
            for owner in options.owners or [""]:
                listed = api.repositories(
                    unquote(owner), search=options.search, topic=options.topic
                )
                found += [each async for each in listed]
    except HostError as error:
        raise CliError(str(error), Exit.SERVER) from error
    return found


def _listed(options: argparse.Namespace, terminal: Terminal) -> list[RepositoryInfo]:
    """The repositories of a list, with their names at the host."""
    source, site = options.source, _site(options)
    host = host_of(site.url or options.url)
    text = terminal.read() if source == "-" else _text(source)
    found = []
    for number, line in enumerate(text.splitlines(), 1):
        name = line.partition("#")[0].strip()
        if not name:
            continue
        try:
            url = Site(name, options.provider or "", site.api_url)
            kind = url.kind or (site.kind if url.hosts[:1] == site.hosts[:1] else "")
            parts = urlsplit(name)
        except ValueError:
            url, kind, parts = Site(), "", urlsplit("")
        if url.hosts and (site.template or kind in ("AzureDevOps", "BitbucketDataCenter")):
            org, repo = url.project("", "", kind=kind)
        else:
            path = parts.path if "://" in name else re.sub(r"^[^/]*@[^/]*:", "", name)
            path = path.strip("/").removesuffix(".git").replace("/_git/", "/")
            # As in lists of other tools.
            org, _, repo = path.removeprefix(f"{host}/").rpartition("/")
        org, repo = _ascii(org), _ascii(repo)
        if not re.fullmatch(ORG_PATTERN, org) or not re.fullmatch(REPO_PATTERN, repo):
            raise UsageError(
                f"{source}, line {number}: {clean(name)} is neither org/repo nor the URL of a repository"
            )
        found.append(RepositoryInfo(org, repo))
    return found


def _read_batch(name: str) -> JSON:
    try:
        value = yaml.safe_load(_text(name))
    except yaml.YAMLError as error:
        raise UsageError(f"{name}: {error}") from error
    if not isinstance(value, dict) or value.get("kind") != c.KIND_BATCH:
        raise UsageError(f"{name} is not a single Batch in YAML")
    return value


def _text(name: str) -> str:
    try:
        return Path(name).read_text()
    except OSError as error:
        raise UsageError(f"{name}: {error.strerror}") from error


def _write(name: str, text: str) -> None:
    try:
        Path(name).write_text(text)
    except OSError as error:
        raise UsageError(f"{name}: {error.strerror}") from error


def _kind(text: str) -> str:
    found = {x.lower(): x for x in ENTERPRISE_URLS}.get(text.lower())
    if found is None:
        raise argparse.ArgumentTypeError(f"{text!r} is none of {', '.join(ENTERPRISE_URLS)}")
    return found


def _pattern(text: str) -> re.Pattern[str]:
    try:
        return re.compile(text)
    except re.error as error:
        raise argparse.ArgumentTypeError(f"{text!r}: {error}") from None
