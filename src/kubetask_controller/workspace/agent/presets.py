"""How the known agents are run without a person.

The prompt goes to their standard input: an argument has a limit, could be taken for an option, and stands in the process
list. Flags of a user come last. The variables are defaults: one that is set already stays.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field

from kubetask_controller.workspace.agent.readers import (
    ClaudeReader,
    CodexReader,
    GeminiReader,
    GooseReader,
    OpenCodeReader,
)
from kubetask_controller.workspace.agent.told import Reader


@dataclass(frozen=True, slots=True)
class Preset:
    """One tool.

    Attributes:
        name: of the preset and of the program.
        flags: those that make it work without a person, in a container that is its sandbox.
        reader: of its output.
        environ: variables that it needs for that.
        last: arguments after those of the user.
    """

    name: str
    flags: Sequence[str]
    reader: Callable[[], Reader]
    environ: Mapping[str, str] = field(default_factory=dict)
    last: Sequence[str] = ()

    def command(self, extra: Sequence[str]) -> list[str]:
        """Its command line."""
        return [self.name, *self.flags, *extra, *self.last]


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
            # Without it, it refuses that mode to root.
            {"IS_SANDBOX": "1", "DISABLE_AUTOUPDATER": "1"},
        ),
        Preset(
            "gemini",
            ("--output-format", "stream-json", "--approval-mode", "yolo"),
            GeminiReader,
            {"GEMINI_CLI_TRUST_WORKSPACE": "true"},
        ),
        Preset(
            "codex",
            (
                *("exec", "--json", "--skip-git-repo-check"),
                "--dangerously-bypass-approvals-and-sandbox",
            ),
            CodexReader,
            last=("-",),
        ),
        Preset(
            "opencode",
            ("run", "--format", "json"),
            OpenCodeReader,
            {"OPENCODE_DISABLE_AUTOUPDATE": "true"},
        ),
        Preset(
            "goose",
            ("run", "--no-session", "--output-format", "stream-json", "--instructions", "-"),
            GooseReader,
            {"GOOSE_MODE": "auto"},
        ),
    )
}
