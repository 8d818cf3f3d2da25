"""How the supported agents run without user interaction.

The prompt is passed on standard input: an argument has a length limit, could be parsed as an option, and is visible in the
process list. User flags come last. Variables are defaults: existing variables take precedence, and so do existing keys of a
settings file in HOME.
"""

import json
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from kubetask_controller.api.manifest import ManifestAgent
from kubetask_controller.types import JSON
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
        name: name of the preset and of the program.
        flags: flags for running without user interaction, with the container as the sandbox.
        reader: class of the reader of its output.
        environ: variables for running without user interaction.
        last: arguments after those of the user.
        model: flag for the model.
        turns: flag for the maximum number of turns; empty if kubetask-agent counts them.
        budget: flag for the maximum cost; empty if there is none.
        reports_cost: whether it reports its cost while it runs.
        instructions: files of a repository that it reads by itself if it starts there.
        settings: a settings file below HOME, and a function that returns the required settings.
        logs: pattern of log files below HOME with information that its output lacks.
        git_in_environ: whether its shell ignores git's configuration file.
        at_paths: whether it replaces ``@path`` with the content of the file.
    """

    name: str
    flags: Sequence[str]
    reader: Callable[[], OutputReader]
    environ: Mapping[str, str] = field(default_factory=dict)
    last: Sequence[str] = ()
    model: str = "--model"
    turns: str = ""
    budget: str = ""
    reports_cost: bool = False
    instructions: Sequence[str] = ()
    settings: tuple[str, Callable[[ManifestAgent], JSON]] | None = None
    logs: str = ""
    git_in_environ: bool = False
    at_paths: bool = False

    def command(self, settings: ManifestAgent, extra: Sequence[str]) -> list[str]:
        """The command line."""
        limits: list[str] = []
        for flag, value in (
            (self.model, settings.model),
            (self.turns, str(settings.max_turns or "")),
            (self.budget, settings.max_cost_usd),
        ):
            limits += [flag, value] if flag and value else []
        return [self.name, *self.flags, *limits, *extra, *self.last]

    def install(self, settings: ManifestAgent, home: Path) -> None:
        """Add the required settings to the settings file; existing settings take precedence.

        Raises:
            OSError: HOME is not writable.
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
                return  # with comments, or not valid: the tool reports it
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
    """The settings of ``GIT_CONFIG_GLOBAL`` as variables, for a shell that unsets it.

    Such a shell also resets the credential helpers, so GIT_CONFIG_PARAMETERS repeats them; git reads it last.
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
    """Quoted like git does in that variable: in single quotes, with "'" and "!" escaped."""
    return "'" + "".join(f"'\\{x}'" if x in "'!" else x for x in text) + "'"


def _gemini_settings(settings: ManifestAgent) -> JSON:
    wanted: JSON = {
        # With another base URL, gemini would select an authentication type that it then rejects.
        "security": {"auth": {"selectedType": "gemini-api-key"}},
        # Otherwise gemini replaces any "@name" in a prompt with a file of that name in any folder.
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
            # Without IS_SANDBOX, claude rejects this mode for root.
            {
                "IS_SANDBOX": "1",
                "DISABLE_AUTOUPDATER": "1",
                "CLAUDE_CODE_DISABLE_NONESSENTIAL_TRAFFIC": "1",
            },
            turns="--max-turns",
            budget="--max-budget-usd",
            reports_cost=True,
            instructions=("CLAUDE.md", ".claude/CLAUDE.md"),
        ),
        Preset(
            "gemini",
            ("--output-format", "stream-json", "--approval-mode", "yolo"),
            GeminiReader,
            # Not GEMINI_CLI_NO_RELAUNCH: without its second process, gemini truncates long lines of output.
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
            # Only the log contains the time until the next try.
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
                # Otherwise opencode requests permission to work outside its folder, and fails without an answer.
                "OPENCODE_PERMISSION": '{"*":"allow"}',
                # Only the log contains the cause of a wait.
                "OPENCODE_PRINT_LOGS": "1",
                "OPENCODE_LOG_LEVEL": "ERROR",
            },
            reports_cost=True,
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
