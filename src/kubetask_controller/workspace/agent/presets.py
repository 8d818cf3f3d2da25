"""How the known agents are run without a person.

The prompt goes to their standard input: an argument has a limit, could be taken for an option, and stands in the process
list. Flags of a user come last. Variables are defaults: one that is set already stays; so does every key of a settings file
in HOME that is there already.
"""

import json
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from kubetask_controller.api.manifest import ManifestAgent
from kubetask_controller.jsontypes import JSON
from kubetask_controller.workspace.agent.readers import (
    ClaudeReader,
    CodexReader,
    GeminiReader,
    GooseReader,
    OpenCodeReader,
)
from kubetask_controller.workspace.agent.report import OutputReader
from kubetask_controller.workspace.git import Git, GitError


@dataclass(frozen=True, slots=True)
class Preset:
    """One tool.

    Attributes:
        name: of the preset and of the program.
        flags: those that make it work without a person, in a container that is its sandbox.
        reader: of its output.
        environ: variables that it needs for that.
        last: arguments after those of the user.
        model: its flag for a model.
        turns: its flag for a limit of turns; empty where we count them.
        budget: its flag for a limit of cost; empty where it has none.
        tells_cost: it tells its cost while it runs.
        instructions: files of a repository that it reads by itself, where it starts in it.
        settings: a settings file below HOME, and what it needs in it for a model, turns.
        logs: its log files below HOME, for what its output leaves out.
        git_in_environ: its shell replaces git's settings file.
        at_paths: it puts the file that ``@path`` names in place of it.
    """

    name: str
    flags: Sequence[str]
    reader: Callable[[], OutputReader]
    environ: Mapping[str, str] = field(default_factory=dict)
    last: Sequence[str] = ()
    model: str = "--model"
    turns: str = ""
    budget: str = ""
    tells_cost: bool = False
    instructions: Sequence[str] = ()
    settings: tuple[str, Callable[[ManifestAgent], JSON]] | None = None
    logs: str = ""
    git_in_environ: bool = False
    at_paths: bool = False

    def command(self, settings: ManifestAgent, extra: Sequence[str]) -> list[str]:
        """Its command line."""
        limits: list[str] = []
        for flag, value in (
            (self.model, settings.model),
            (self.turns, str(settings.max_turns or "")),
            (self.budget, settings.max_cost_usd),
        ):
            limits += [flag, value] if flag and value else []
        return [self.name, *self.flags, *limits, *extra, *self.last]

    def install(self, settings: ManifestAgent, home: Path) -> None:
        """Write what it needs in its settings file, beside what is there.

        Raises:
            OSError: HOME cannot be written.
        """
        if self.settings is None:
            return
        name, make = self.settings
        path = home / name
        wanted = make(settings)
        if path.exists():
            try:
                present = json.loads(path.read_text())
            except ValueError:
                return  # with comments, or broken: the tool says so itself
            if not isinstance(present, dict):
                return
            wanted = _merged(wanted, present)
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(json.dumps(wanted, indent=2) + "\n")


def _merged(base: JSON, over: JSON) -> JSON:
    both = {
        k: _merged(base[k], over[k])
        for k in base.keys() & over.keys()
        if isinstance(base[k], dict) and isinstance(over[k], dict)
    }
    return {**base, **over, **both}


def git_variables(git: Git, environ: Mapping[str, str]) -> dict[str, str]:
    """The settings of ``GIT_CONFIG_GLOBAL`` as variables, for a shell that sets that one to nothing.

    How to sign in stands in GIT_CONFIG_PARAMETERS once more, which git reads last: such a shell resets it.
    """
    path = environ.get("GIT_CONFIG_GLOBAL")
    if not path or not Path(path).is_file() or "GIT_CONFIG_COUNT" in environ:
        return {}
    try:
        listed = git("config", "--file", path, "--null", "--list")
    except GitError:
        return {}
    pairs = [x.partition("\n")[::2] for x in listed.split("\0") if x]
    made = {"GIT_CONFIG_COUNT": str(len(pairs))}
    for number, (key, value) in enumerate(pairs):
        made |= {f"GIT_CONFIG_KEY_{number}": key, f"GIT_CONFIG_VALUE_{number}": value}
    again = [(k, v) for k, v in pairs if k.startswith("credential.") or k == "core.sshcommand"]
    if again:
        made["GIT_CONFIG_PARAMETERS"] = " ".join(f"{_quoted(k)}={_quoted(v)}" for k, v in again)
    return made


def _quoted(text: str) -> str:
    """As git quotes it in that variable: single quotes, with those inside and "!" escaped."""
    return "'" + "".join(f"'\\{x}'" if x in "'!" else x for x in text) + "'"


def _gemini_settings(settings: ManifestAgent) -> JSON:
    wanted: JSON = {
        # With another base URL, gemini would choose a way to sign in that it then refuses.
        "security": {"auth": {"selectedType": "gemini-api-key"}},
        # Else any "@name" in a prompt is replaced by a file that is called so somewhere.
        "context": {"fileFiltering": {"enableRecursiveFileSearch": False}},
        "general": {"disableAutoUpdate": True, "enableAutoUpdate": False},
        "privacy": {"usageStatisticsEnabled": False},
    }
    if settings.max_turns:
        wanted["model"] = {"maxSessionTurns": settings.max_turns}
    return wanted


PRESETS: Mapping[str, Preset] = {
    x.name: x
    for x in (
        Preset(
            "claude",
            (
                *("-p", "--output-format", "stream-json", "--verbose"),
                *("--permission-mode", "bypassPermissions"),
            ),
            ClaudeReader,
            # Without the first, it refuses that mode to root.
            {
                "IS_SANDBOX": "1",
                "DISABLE_AUTOUPDATER": "1",
                "CLAUDE_CODE_DISABLE_NONESSENTIAL_TRAFFIC": "1",
            },
            turns="--max-turns",
            budget="--max-budget-usd",
            tells_cost=True,
            instructions=("CLAUDE.md", ".claude/CLAUDE.md"),
        ),
        Preset(
            "gemini",
            ("--output-format", "stream-json", "--approval-mode", "yolo"),
            GeminiReader,
            # Not GEMINI_CLI_NO_RELAUNCH: without its second process it cuts off a long line of its output.
            {"GEMINI_CLI_TRUST_WORKSPACE": "true"},
            instructions=("GEMINI.md",),
            settings=(".gemini/settings.json", _gemini_settings),
            git_in_environ=True,
            at_paths=True,
        ),
        Preset(
            "codex",
            (
                *("exec", "--json", "--skip-git-repo-check"),
                "--dangerously-bypass-approvals-and-sandbox",
            ),
            CodexReader,
            # How long it waits for its next try stands in its log alone.
            {"RUST_LOG": "error,codex_core::responses_retry=warn"},
            last=("-",),
            instructions=("AGENTS.md", "AGENTS.override.md"),
        ),
        Preset(
            "opencode",
            ("run", "--format", "json"),
            OpenCodeReader,
            {
                "OPENCODE_DISABLE_AUTOUPDATE": "true",
                # It would ask before it works outside of its folder, and take no answer for a no.
                "OPENCODE_PERMISSION": '{"*":"allow"}',
                # What it waits for stands in its log alone.
                "OPENCODE_PRINT_LOGS": "1",
                "OPENCODE_LOG_LEVEL": "ERROR",
            },
            tells_cost=True,
            instructions=("AGENTS.md", "CLAUDE.md"),
        ),
        Preset(
            "goose",
            ("run", "--no-session", "--output-format", "stream-json", "--instructions", "-"),
            GooseReader,
            {"GOOSE_MODE": "auto", "GOOSE_DISABLE_KEYRING": "1", "GOOSE_TELEMETRY_OFF": "1"},
            turns="--max-turns",
            instructions=("AGENTS.md", ".goosehints"),
            logs=".local/state/goose/logs/cli/*/*.log",
        ),
    )
}
