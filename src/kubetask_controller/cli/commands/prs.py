"""``prs``: shows the pull requests of a run, and merges, closes, comments or updates them."""

import argparse
import asyncio
import csv
import io
import shlex
from collections import Counter
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from pydantic_core import to_json
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn
from rich.text import Text

from kubetask_controller.api.indexes import parse_indexes
from kubetask_controller.api.text import escaped_json
from kubetask_controller.cli.arguments import add_output
from kubetask_controller.cli.burndown import burn_down
from kubetask_controller.cli.commands.results import spreadsheet_safe
from kubetask_controller.cli.exits import CliError, Exit, UsageError
from kubetask_controller.cli.podresults import results_from_pods
from kubetask_controller.cli.pullrequests import (
    UNEXPECTED,
    FoundPullRequest,
    HostConnections,
    KnownHosts,
    fetch_pull_requests,
    find_links,
    known_hosts,
    parse_apis,
    unexpected,
)
from kubetask_controller.cli.runview import run_view, task_view
from kubetask_controller.cli.session import TASK_RESOURCE, Session, Target
from kubetask_controller.cli.targets import Targets, task_repositories
from kubetask_controller.cli.terminal import Terminal, clean
from kubetask_controller.cli.times import human
from kubetask_controller.hosts import (
    Checks,
    HostError,
    MergeMethod,
    PullRequestInfo,
    PullRequestState,
    RequestLimits,
    Review,
)
from kubetask_controller.types import JSON

COLUMNS = (
    "index",
    "repository",
    "number",
    "state",
    "checks",
    "review",
    "age",
    "branch",
    "title",
    "note",
    "url",
)


@dataclass(frozen=True, slots=True)
class PullRequestAction:
    """An action on pull requests.

    Attributes:
        verb: verb for messages.
        how: method of a merge.
        text: text of a comment.
        force: whether to merge pull requests that are not ready.
        branches: branches to merge, in addition to those of the tasks.
    """

    verb: str
    how: MergeMethod = MergeMethod.MERGE
    text: str = ""
    force: bool = False
    branches: frozenset[str] = frozenset()

    def refuses(self, found: FoundPullRequest) -> str:
        """Why the action is skipped; empty if it is not."""
        request = found.request
        if found.problem or request is None:
            return found.problem or "it could not be fetched"
        if not request.state.is_open:
            return f"it is {request.state.value.lower()}"
        if found.is_of_fork:
            return (
                "it is from a fork, and prs changes only pull requests from branches of the repository:"
                f" review it, and {self.verb} it at {found.link.url}"
            )
        if self.verb != "merge":
            return ""
        if found.is_of_other_branch and request.branch not in self.branches:
            return (
                f"its branch is {request.branch}, and that of the task is {' or '.join(sorted(found.branches))}:"
                f" review it, and pass --branch {shlex.quote(request.branch)} to merge it"
            )
        if self.force:
            return ""
        if request.state is PullRequestState.DRAFT:
            return "it is a draft"
        if request.conflict:
            return "it has conflicts"
        if request.checks in (Checks.FAILED, Checks.PENDING):
            return f"its checks are {request.checks.value.lower()}"
        if request.note:
            return f"some fields are unknown: {request.note}"
        if request.review is Review.CHANGES:
            return "a reviewer requested changes"
        return ""


class Prs:
    """Show or change the pull requests of a run."""

    name = "prs"
    help = "show the pull requests of a run, and merge, close, comment or update them"
    description = """\
Show the pull requests of a run: state, checks, reviews and age, as reported by the git host. Actions
apply to all of them or to a selection. Merging skips pull requests that are not ready: drafts,
conflicts, failing or running checks, requested changes; --force merges those too.

A pull request of a fork is shown, but no action changes it, not even with --force: an agent may name
the pull request of a stranger. A pull request whose branch is not that of the task's result is merged
only if --branch names its branch.

It uses your own token from GH_TOKEN or GITHUB_TOKEN (github.com and *.ghe.com), GH_ENTERPRISE_TOKEN
(other hosts of GitHub), GITLAB_TOKEN, GITEA_TOKEN, FORGEJO_TOKEN, BITBUCKET_TOKEN (and
BITBUCKET_EMAIL or BITBUCKET_USERNAME), AZURE_DEVOPS_EXT_PAT, else from git's credential helpers.
Agents write the links, so a link counts only if it is a pull request of a repository of the task, on
the host that the run's WorkspaceConfig has for it, or on one of --host. Tokens are sent without TLS
only where the WorkspaceConfig or --api says so.

  kubectl kubetask prs nightly-7xk2p
  kubectl kubetask prs nightly-7xk2p --checks failed -o csv > red.csv
  kubectl kubetask prs nightly-7xk2p --review approved --merge --method squash --dry-run
  kubectl kubetask prs nightly-7xk2p --select 3,7-9 --close --comment "Superseded" --yes
  kubectl kubetask prs nightly-7xk2p --burn-down burndown.svg
"""

    def add_arguments(self, parser: argparse.ArgumentParser) -> None:
        """Add the run, the selection, the output format, the actions."""
        parser.add_argument("run", metavar="RUN", help="a BatchRun, or task/NAME")
        add_output(parser)
        parser.add_argument("--burn-down", metavar="FILE", help="write a burn-down chart as SVG")
        selection = parser.add_argument_group("selection")
        selection.add_argument(
            "--select", metavar="INDEXES", help="indexes of tasks, such as 3,7-9"
        )
        selection.add_argument(
            "--state", type=_words(PullRequestState), metavar="STATE", help=_help(PullRequestState)
        )
        selection.add_argument(
            "--checks", type=_words(Checks), metavar="CHECKS", help=_help(Checks)
        )
        selection.add_argument(
            "--review", type=_words(Review), metavar="REVIEW", help=_help(Review)
        )
        actions = parser.add_argument_group("actions")
        actions.add_argument("--merge", action="store_true", help="merge those that are ready")
        actions.add_argument("--close", action="store_true", help="close those that are open")
        actions.add_argument("--comment", metavar="TEXT", help="comment on those that are open")
        actions.add_argument(
            "--update-branch",
            action="store_true",
            help="merge the base into the branch of those that are open",
        )
        actions.add_argument(
            "--method",
            choices=[x.value.lower() for x in MergeMethod],
            default=MergeMethod.MERGE.value.lower(),
            help="how to merge; default: merge",
        )
        actions.add_argument(
            "--force", action="store_true", help="also merge those that are not ready"
        )
        actions.add_argument(
            "--branch",
            action="append",
            default=[],
            metavar="BRANCH",
            help="also merge those of this branch, if that of the task is another one",
        )
        actions.add_argument(
            "--dry-run", action="store_true", help="print the actions, and do nothing"
        )
        actions.add_argument(
            "-y", "--yes", action="store_true", help="do not prompt for confirmation"
        )
        hosts = parser.add_argument_group("git hosts")
        hosts.add_argument(
            "--host",
            action="append",
            default=[],
            metavar="HOST[=PROVIDER]",
            help="additional host to trust, and its kind if its name does not imply it",
        )
        hosts.add_argument(
            "--api", action="append", default=[], metavar="HOST=URL", help="URL of a host's API"
        )

    async def execute(
        self, session: Session, options: argparse.Namespace, terminal: Terminal
    ) -> Exit:
        """Show the pull requests, or run the actions; returns 1 if an action failed."""
        actions = _actions(options)
        if actions and options.output != "table":
            raise UsageError("actions cannot be combined with -o json or csv: run two commands")
        apis = parse_apis(options.api)
        target = Target.parse(options.run)
        run = await session.get(target)
        known = await known_hosts(session, run, options.host, apis)
        found = await _found(session, target, run, known, options, terminal)
        waiting = terminal.note if terminal.moving(error=True) else None
        async with HostConnections(known.trusted, waiting, RequestLimits()) as hosts:
            with _bar(terminal, "fetching", len(found)) as step:
                seen = await fetch_pull_requests(found, hosts, done=step)
            seen = [x for x in seen if _selected(x, options)]
            if options.burn_down:
                requests = [x.request for x in seen if x.request]
                picture = burn_down(requests, title=f"Pull requests of {target.name}")
                _write(options.burn_down, picture)
            if actions:
                return await _act(actions, seen, hosts, options, terminal)
        _show(seen, options.output, terminal)
        return Exit.OK


async def _found(
    session: Session,
    target: Target,
    run: JSON,
    known: KnownHosts,
    options: argparse.Namespace,
    terminal: Terminal,
) -> list[FoundPullRequest]:
    if target.resource is TASK_RESOURCE:
        rows: Sequence[Any] = task_view(run).rows
    else:
        view = run_view(run, await Targets(session).of(run))
        rows, missing = await results_from_pods(session, target, view)
        if missing:
            terminal.note(missing)
    try:
        wanted = parse_indexes(options.select) if options.select else None
    except ValueError as error:
        raise UsageError(f"--select: {error}") from None
    repositories = await task_repositories(session, run, rows)
    links = find_links(rows, repositories, known)
    return [x for x in links if wanted is None or x.index in wanted]


def _actions(options: argparse.Namespace) -> list[PullRequestAction]:
    if options.merge and options.close:
        raise UsageError("--merge and --close cannot be combined")
    actions = []
    if options.comment:
        actions.append(PullRequestAction("comment on", text=options.comment))
    if options.update_branch:
        actions.append(PullRequestAction("update"))
    if options.merge:
        actions.append(
            PullRequestAction(
                "merge",
                how=MergeMethod(options.method.capitalize()),
                force=options.force,
                branches=frozenset(options.branch),
            )
        )
    if options.close:
        actions.append(PullRequestAction("close"))
    return actions


async def _act(
    actions: Sequence[PullRequestAction],
    seen: Sequence[FoundPullRequest],
    hosts: HostConnections,
    options: argparse.Namespace,
    terminal: Terminal,
) -> Exit:
    wanted: list[FoundPullRequest] = []
    for each in seen:
        why = next((x for a in actions if (x := a.refuses(each))), "")
        if why:
            terminal.print(f"skipped: {_name(each)}: {clean(why)}")
        else:
            wanted.append(each)
    what = " and ".join(x.verb for x in actions)
    for each in wanted:
        assert each.request is not None
        title = clean(each.request.title)
        verb = f"would {what}" if options.dry_run else what
        details = (clean(each.request.branch), title, clean(each.link.url))
        terminal.print("  ".join([f"{verb} {_name(each)}", *details]))
    if options.dry_run or not wanted:
        terminal.note(
            f"{len(wanted)} of {len(seen)} pull requests would be changed"
            if wanted
            else "nothing to do"
        )
        return Exit.OK
    if not options.yes and not _confirmed(f"{what} {len(wanted)} pull requests?", terminal):
        return Exit.FAILED
    failures: list[tuple[FoundPullRequest, str]] = []
    with _bar(terminal, what, len(wanted)) as step:

        async def one(each: FoundPullRequest) -> None:
            try:
                for action in actions:
                    await _do(action, each, hosts)
            except HostError as error:
                failures.append((each, str(error)))
            except UNEXPECTED as error:
                failures.append((each, unexpected(each.link, error)))
            step()

        # Sequentially in each repository, because merges may conflict, and few at once, because hosts limit writes.
        by_repository: dict[tuple[str, str, str], list[FoundPullRequest]] = {}
        for each in wanted:
            key = (each.link.host, each.link.org, each.link.repo)
            by_repository.setdefault(key, []).append(each)

        async def several(group: Sequence[FoundPullRequest]) -> None:
            for each in group:
                await one(each)

        await asyncio.gather(*(several(x) for x in by_repository.values()))
    for each, text in failures:
        terminal.note(Text("error: ", style="red").append(f"{_name(each)}: {clean(text)}"))
    terminal.print(f"{len(wanted) - len(failures)} done, {len(failures)} failed")
    return Exit.FAILED if failures else Exit.OK


async def _do(action: PullRequestAction, each: FoundPullRequest, hosts: HostConnections) -> None:
    link, request = each.link, each.request
    assert request is not None
    host = await hosts.of(link.provider, link.url)
    if action.verb == "merge":
        await host.merge(link.org, link.repo, request, action.how)
    elif action.verb == "close":
        await host.close(link.org, link.repo, request)
    elif action.verb == "update":
        await host.update_branch(link.org, link.repo, request)
    else:
        await host.comment(link.org, link.repo, request, action.text)


def _confirmed(question: str, terminal: Terminal) -> bool:
    if not terminal.stdin.isatty():
        raise CliError("standard input is not a terminal: pass --yes to confirm", Exit.USAGE)
    terminal.note(f"{question} [y/N] ")
    return terminal.read_line().strip().lower() in ("y", "yes")


def _selected(found: FoundPullRequest, options: argparse.Namespace) -> bool:
    request = found.request
    if request is None:
        return not (options.state or options.checks or options.review)
    pairs = (
        (options.state, request.state),
        (options.checks, request.checks),
        (options.review, request.review),
    )
    return all(not wanted or value in wanted for wanted, value in pairs)


def _show(seen: Sequence[FoundPullRequest], output: str, terminal: Terminal) -> None:
    cells = [_cells(x) for x in seen]
    if output == "json":
        terminal.stdout.write(
            escaped_json(to_json([_json(x) for x in seen], indent=2).decode()) + "\n"
        )
        return
    if output == "csv":
        text = io.StringIO()
        writer = csv.writer(text, lineterminator="\n", quoting=csv.QUOTE_ALL)
        writer.writerow(COLUMNS)
        for row in cells:
            writer.writerow([spreadsheet_safe(row[x]) for x in COLUMNS])
        terminal.stdout.write(text.getvalue())
        return
    columns = ("index", "repository", "number", "state", "checks", "review", "age", "title", "note")
    shown = [x for x in columns if x in ("index", "state") or any(row[x] for row in cells)]
    titles = {"number": "PR"}
    terminal.table(
        [titles.get(x, x.upper()) for x in shown], ([row[x] for x in shown] for row in cells)
    )
    if line := totals_line(seen):
        terminal.note(line)


def totals_line(seen: Sequence[FoundPullRequest]) -> str:
    """The totals in one line."""
    requests = [x.request for x in seen if x.request]
    states = Counter(x.state for x in requests)
    live = [x for x in requests if x.state.is_open]
    parts = [f"{states[x]} {x.value.lower()}" for x in PullRequestState if states[x]]
    red = sum(1 for x in live if x.checks is Checks.FAILED)
    ready = sum(1 for x in live if x.review is Review.APPROVED)
    more = [f"{red} with failed checks"] if red else []
    more += [f"{ready} approved"] if ready else []
    unknown = len(seen) - len(requests)
    more += [f"{unknown} unknown"] if unknown else []
    return ", ".join([*parts, *more])


def _cells(found: FoundPullRequest) -> dict[str, str]:
    link, request = found.link, found.request
    cells = dict.fromkeys(COLUMNS, "") | {
        "index": str(found.index),
        "repository": f"{link.org}/{link.repo}",
        "number": f"#{link.number}",
        "url": link.url,
        "note": found.problem,
    }
    if request is None:
        return cells | {"state": "Unknown"}
    pairs = (
        ("from a fork", request.fork),
        (f"from branch {request.branch}", found.is_of_other_branch and not request.fork),
        ("conflicts", request.conflict),
        ("behind", request.behind),
    )
    notes = [x for x, y in pairs if y]
    return cells | {
        "state": request.state.value,
        "checks": "" if request.checks is Checks.NONE else request.checks.value,
        "review": "" if request.review is Review.NONE else request.review.value,
        "age": human(age(request)),
        "branch": request.branch,
        "title": request.title,
        "note": ", ".join([*notes, *filter(None, (request.note, found.problem))]),
    }


def _json(found: FoundPullRequest) -> JSON:
    link, request = found.link, found.request
    known: JSON = {
        "index": found.index,
        "url": link.url,
        "repository": f"{link.org}/{link.repo}",
        "number": link.number,
        "problem": found.problem or None,
    }
    if request is None:
        return known | {"state": None}
    return known | {
        "state": request.state.value,
        "title": request.title,
        "branch": request.branch,
        "base": request.base,
        "fork": request.fork,
        "otherBranch": found.is_of_other_branch,
        "head": request.head,
        "author": request.author,
        "checks": request.checks.value,
        "review": request.review.value,
        "conflict": request.conflict,
        "behind": request.behind,
        "note": request.note or None,
        "createdAt": request.created.isoformat() if request.created else None,
        "closedAt": request.closed.isoformat() if request.closed else None,
    }


def age(request: PullRequestInfo, now: datetime | None = None) -> float | None:
    """Seconds from its creation to its end, or to now."""
    if request.created is None:
        return None
    end = request.closed or now or datetime.now(UTC)
    return max((end - request.created).total_seconds(), 0.0)


def _write(name: str, text: str) -> None:
    try:
        Path(name).write_text(text)
    except OSError as error:
        raise UsageError(f"{name}: {error.strerror}") from error


def _name(found: FoundPullRequest) -> str:
    return f"{clean(found.link.org)}/{clean(found.link.repo)}#{found.link.number}"


@contextmanager
def _bar(terminal: Terminal, what: str, total: int) -> Iterator[Any]:
    """A progress bar on standard error of a terminal; nothing in a pipe."""
    if not terminal.moving(error=True) or not total:
        yield lambda: None
        return
    columns = (TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn())
    with Progress(*columns, console=terminal.console(error=True), transient=True) as progress:
        task = progress.add_task(what, total=total)
        yield lambda: progress.advance(task)


def _words(kind: Any) -> Any:
    known = {x.value.lower(): x for x in kind}

    def parse(text: str) -> set[Any]:
        found = set()
        for word in filter(None, text.lower().split(",")):
            if word not in known:
                raise argparse.ArgumentTypeError(f"{word!r} is none of {', '.join(known)}")
            found.add(known[word])
        return found

    return parse


def _help(kind: Any) -> str:
    return f"one or more of {', '.join(x.value.lower() for x in kind)}"
