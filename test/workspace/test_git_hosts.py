"""Repositories as git hosts have them: where a task begins, what it finds there, and hosts that say no."""

import base64
import json
import os
import re
import subprocess
from collections.abc import Callable
from pathlib import Path

import pytest
from hack.gitserver import GitServer, Refusal, endless

from kubetask_controller.api.manifest import ManifestRepository
from kubetask_controller.workspace import git as gits
from kubetask_controller.workspace.cache import RepositoryCache, lock
from kubetask_controller.workspace.errors import PreparationError
from kubetask_controller.workspace.git import (
    Git,
    GitError,
    RetryBudget,
    error_line,
    parse_retry_after,
)
from kubetask_controller.workspace.repositories import Repositories, conflicting_branch
from support.workspace.origin import ENVIRON, TOKEN, commit, make, served
from support.workspace.taskpod import BRANCH, Make, TaskPod, git, repository, text

CREDENTIALS = {"credentials": {"secretRef": {"name": "git"}}}
CLAIM = {"workspace": {"persistentVolumeClaim": {"claimName": "shared"}}}


def over(server: GitServer, **more: object) -> dict[str, object]:
    return {"urlTemplate": f"{server.url}/{{org}}/{{repo}}.git", **more}


def clone(room: Path, url: str, sleep: Callable[[float], None]) -> None:
    git_ = Git(environ={"PATH": os.environ["PATH"], "HOME": str(room)})
    repositories = Repositories(RepositoryCache(room / "repos", git_), git_, sleep=sleep)
    wanted = ManifestRepository(org="acme", repo="billing", branch="main", url=url, path="billing")
    repositories.prepare(wanted, branch=BRANCH, target=room / "billing")


class TestBranchesThatExist:
    @pytest.mark.parametrize("name", [BRANCH, "kubetask", f"{BRANCH}/more"])
    def test_a_branch_that_is_in_the_way_ends_the_task_before_its_agent_is_paid(
        self, task: Make, origins: Path, name: str
    ) -> None:
        git("branch", name, "main", cwd=origins / "acme/billing.git")
        reason, message = task(repository()).fails()
        assert reason == "BranchExists"
        assert message.startswith("acme/billing: the server ")
        assert f" has a branch {name}" in message
        assert "git.branchTemplate" in message

    def test_runs_of_one_name_have_branches_of_their_own(self, task: Make) -> None:
        first = task(repository())
        second = task(repository(), uid="5a9e0b1c-0000-4000-8000-000000000002")
        assert first.environ()["KUBETASK_BRANCH"] != second.environ()["KUBETASK_BRANCH"]
        assert first.environ()["KUBETASK_BRANCH"].startswith("kubetask/run-0-")

    def test_a_template_names_the_branch(self, task: Make) -> None:
        settings = {"branchTemplate": "bots/{namespace}/{task}"}
        pod = task(repository(), git=settings)
        pod.prepare()
        assert pod.git("branch", "--show-current") == "bots/team/run-task-0"

    def test_continue_begins_where_the_branch_is(self, task: Make, origins: Path) -> None:
        path = origins / "acme/billing.git"
        git("branch", BRANCH, "main", cwd=path)
        theirs = commit(path, {"theirs.txt": "x"}, branch=BRANCH)
        pod = task(repository(), git={"onBranchExists": "Continue"})
        pod.prepare()
        assert pod.git("rev-parse", "HEAD") == theirs
        assert pod.git("log", "--format=%s", "main..HEAD") == "More"

    def test_an_attempt_after_the_first_goes_on_with_the_branch_of_its_own(
        self, task: Make
    ) -> None:
        pod = task(repository())
        spec = json.loads(pod.environ()["KUBETASK_TASK_SPEC"])
        assert spec["checkout"]["onBranchExists"] == "Fail"
        again = task(repository(), spec={"backoffLimit": 2})
        spec = json.loads(again.environ()["KUBETASK_TASK_SPEC"])
        assert spec["checkout"]["onBranchExists"] == "Continue"

    @pytest.mark.parametrize(
        ("branch", "there", "found"),
        [
            ("a/b", ["a"], "a"),
            ("a/b", ["a/b"], "a/b"),
            ("a/b", ["a/b/c"], "a/b/c"),
            ("a/b", ["a/bc", "a/c", "ab"], ""),
            ("a", ["a/b"], "a/b"),
        ],
    )
    def test_which_branches_are_in_the_way(self, branch: str, there: list[str], found: str) -> None:
        assert conflicting_branch(branch, {f"refs/heads/{x}": "1" for x in there}) == found


class TestWhereATaskBegins:
    @pytest.fixture
    def tagged(self, origins: Path) -> Path:
        path = origins / "acme/billing.git"
        git("tag", "light", "main", cwd=path)
        git("tag", "-a", "-m", "One", "v1.0", "main", cwd=path, environ=ENVIRON)
        commit(path, {"new.txt": "new\n"})
        return path

    def test_describe_and_diff_work(self, task: Make, tagged: Path) -> None:
        pod = task(repository())
        pod.prepare()
        assert re.fullmatch(r"v1\.0-1-g[0-9a-f]+", pod.git("describe"))
        (pod.directory / "billing/new.txt").write_text("mine\n")
        pod.git("commit", "--all", "--message", "Work")
        assert "+mine" in pod.git("diff", "main...HEAD")
        assert pod.git("tag") == "light\nv1.0"

    def test_a_branch_may_be_a_tag(self, task: Make, tagged: Path) -> None:
        for name in ("light", "v1.0"):
            pod = task(repository(branch=name))
            pod.prepare()
            assert pod.git("rev-parse", "HEAD") == git(
                "rev-parse", f"{name}^{{commit}}", cwd=tagged
            )
            assert pod.git("branch", "--show-current") == BRANCH
            assert pod.manifest["repositories"][0]["base"] == "main"

    @pytest.mark.parametrize("length", [40, 10])
    def test_a_branch_may_be_a_commit(self, task: Make, tagged: Path, length: int) -> None:
        name = git("rev-parse", "main~1", cwd=tagged)
        pod = task(repository(branch=name[:length]))
        pod.prepare()
        assert pod.git("rev-parse", "HEAD") == name

    def test_a_tag_that_was_moved_or_became_a_folder_is_as_at_the_server(
        self, task: Make, tagged: Path
    ) -> None:
        first = task(repository(), config=CLAIM)
        first.prepare()
        git("tag", "--force", "light", "main", cwd=tagged)
        git("tag", "-d", "v1.0", cwd=tagged)
        git("tag", "v1.0/a", "main", cwd=tagged)
        second = task(repository(), config=CLAIM, volume=first.volume, index=1)
        second.prepare()
        assert second.git("tag") == "light\nv1.0/a"
        assert second.git("rev-parse", "light") == git("rev-parse", "main", cwd=tagged)

    def test_a_branch_that_became_a_folder_upstream_is_fetched(
        self, task: Make, origins: Path
    ) -> None:
        path = origins / "acme/billing.git"
        git("branch", "release", "main", cwd=path)
        first = task(repository(branch="release"), config=CLAIM)
        first.prepare()
        git("branch", "-D", "release", cwd=path)
        git("branch", "release/1", "main", cwd=path)
        second = task(repository(branch="release/1"), config=CLAIM, volume=first.volume, index=1)
        second.prepare()
        git("branch", "-D", "release/1", cwd=path)
        git("branch", "release", "main", cwd=path)
        third = task(repository(branch="release"), config=CLAIM, volume=first.volume, index=2)
        third.prepare()
        assert (third.directory / "billing/README.md").exists()

    @pytest.mark.parametrize("name", ["My Project", "My%20Project"])
    def test_names_with_spaces(self, task: Make, origins: Path, name: str) -> None:
        make(origins / "acme/My Project/_git/My Repo.git")
        with served(origins) as server:
            template = f"{server.url}/{{org}}/_git/{{repo}}.git"
            pod = task(repository("My Repo", org=f"acme/{name}"), git={"urlTemplate": template})
            folder = pod.prepare()
        assert (folder / "My Repo/README.md").exists()
        assert "My%20Project/_git/My%20Repo" in pod.git(
            "remote", "get-url", "origin", repo="My Repo"
        )

    def test_a_shallow_clone_has_the_newest_commits(self, task: Make, tagged: Path) -> None:
        for number in range(4):
            commit(tagged, {f"{number}.txt": "x"})
        with served(tagged.parent.parent) as server:
            pod = task(repository(), git=over(server, depth=2), config=CLAIM)
            pod.prepare()
            assert len(pod.git("log", "--oneline").splitlines()) == 2
            commit(tagged, {"later.txt": "x"})
            later = task(
                repository(), git=over(server, depth=2), config=CLAIM, volume=pod.volume, index=1
            )
            later.prepare()
        assert len(later.git("log", "--oneline").splitlines()) == 2
        assert later.git("status", "--porcelain") == ""

    @pytest.mark.parametrize("partial", [True, False])
    def test_a_sparse_checkout_has_some_folders(
        self, task: Make, origins: Path, partial: bool
    ) -> None:
        path = origins / "acme/billing.git"
        commit(path, {"docs/a.md": "a\n", "src/deep/b.py": "b\n", "lib/c.py": "c\n"})
        git("config", "uploadpack.allowFilter", "true", cwd=path)
        with served(origins) as server:
            pod = task(
                repository(),
                git=over(server, sparsePaths=["docs", "src/deep"], partialClone=partial),
            )
            folder = pod.prepare() / "billing"
            assert (folder / "docs/a.md").exists()
            assert (folder / "src/deep/b.py").exists()
            assert (folder / "README.md").exists()
            assert not (folder / "lib").exists()
            assert pod.git("status", "--porcelain") == ""


class TestWhatIsCheckedOut:
    def test_submodules_are_left_out_with_a_line_and_checked_out_when_asked_for(
        self, task: Make, origins: Path
    ) -> None:
        inner = make(origins / "acme/inner.git", {"inner.txt": "inner\n"})
        with served(origins) as server:
            _with_submodule(origins / "acme/billing.git", f"{server.url}/acme/inner.git", inner)
            pod = task(repository(), git=over(server))
            code, log = pod.run()
            assert code == 0, log
            assert "submodules are not checked out: set git.submodules" in log
            assert not (pod.directory / "billing/vendor/inner/inner.txt").exists()
            asked = task(repository(), git=over(server, submodules=True))
            asked.prepare()
        assert (asked.directory / "billing/vendor/inner/inner.txt").read_text() == "inner\n"
        assert asked.git("status", "--porcelain") == ""

    @pytest.mark.parametrize("url", ["ext::sh -c id", "file:///etc", "/workspace/tasks/x"])
    def test_a_submodule_of_this_machine_is_refused(
        self, task: Make, origins: Path, url: str, room: Path
    ) -> None:
        inner = make(origins / "acme/inner.git")
        with served(origins) as server:
            _with_submodule(origins / "acme/billing.git", url, inner)
            reason, message = task(repository(), git=over(server, submodules=True)).fails()
        assert reason == "CloneFailed"
        assert "not allowed" in message

    def test_pointers_of_lfs_stay_pointers_with_a_line(self, task: Make, origins: Path) -> None:
        pointer = f"version https://git-lfs.github.com/spec/v1\noid sha256:{'0' * 64}\nsize 9\n"
        commit(
            origins / "acme/billing.git",
            {
                ".gitattributes": "*.bin filter=lfs diff=lfs merge=lfs -text\n",
                "a.bin": pointer,
                "raw.bin": "committed raw\n",
            },
        )
        pod = task(repository())
        code, log = pod.run()
        assert code == 0, log
        assert "1 files of Git LFS are checked out as pointers: set git.lfs" in log
        assert pod.git("status", "--porcelain") == ""
        (pod.directory / "billing/new.bin").write_text("large\n")
        with pytest.raises(AssertionError, match=r"new\.bin is stored by Git LFS: set git\.lfs"):
            pod.git("add", "--all", GIT_CONFIG_NOSYSTEM="1")
        (pod.directory / "billing/new.bin").unlink()
        (pod.directory / "billing/raw.bin").write_text("changed\n")
        pod.git("commit", "--all", "--message", "Work", GIT_CONFIG_NOSYSTEM="1")

    def test_line_ends_that_git_would_change_are_not_shown_as_changed(
        self, task: Make, origins: Path
    ) -> None:
        path = origins / "acme/billing.git"
        commit(path, {"win [1].txt": "a\r\nb\r\n", "sub/win.txt": "c\r\n"})
        commit(path, {".gitattributes": "* text=auto\n"})
        pod = task(repository())
        pod.prepare()
        # Whatever the times of the files are.
        os.utime(pod.directory / "billing/win [1].txt", (1, 1))
        os.utime(pod.directory / "billing/.git/index", (2, 2))
        assert pod.git("status", "--porcelain") == ""
        (pod.directory / "billing/win [1].txt").write_bytes(b"a\r\nb\r\nc\r\n")
        pod.git("commit", "--all", "--message", "Work")
        assert pod.git("show", "--stat", "--format=").splitlines()[-1].strip() == (
            "1 file changed, 1 insertion(+)"
        )

    def test_what_git_found_out_about_the_file_system_is_kept(self, task: Make, room: Path) -> None:
        wrapper = room / "bin/git"
        wrapper.parent.mkdir()
        wrapper.write_text(
            '#!/bin/sh\ncase " $* " in *" init "*)\n/usr/bin/git "$@" || exit; for t; do :; done\n'
            'test -d "$t/.git" || exit 0\n'
            'exec /usr/bin/git config -f "$t/.git/config" core.fileMode false;; esac\n'
            'exec /usr/bin/git "$@"\n'
        )
        wrapper.chmod(0o755)
        pod = task(repository())
        with pod.start(PATH=f"{room}/bin:{os.environ['PATH']}") as process:
            out, _ = process.communicate(timeout=60)
        assert process.returncode == 0, out
        (pod.directory / "billing/README.md").chmod(0o777)
        assert pod.git("status", "--porcelain") == ""

    def test_an_object_that_is_no_good_is_not_taken(self, task: Make, origins: Path) -> None:
        path = origins / "acme/billing.git"
        blob = git("rev-parse", "main:README.md", cwd=path)
        tree = (
            subprocess.run(
                ["git", "hash-object", "-t", "tree", "-w", "--stdin", "--literally"],
                cwd=path,
                input=b"100644 .git\0" + bytes.fromhex(blob),
                capture_output=True,
                check=True,
            )
            .stdout.decode()
            .strip()
        )
        made = git("commit-tree", tree, "-m", "Bad", cwd=path, environ=ENVIRON)
        git("update-ref", "refs/heads/main", made, cwd=path)
        reason, message = task(repository(), git={"partialClone": False}).fails()
        assert reason == "CloneFailed"
        assert "hasDotgit" in message


class TestWhatServersSay:
    def test_the_words_of_a_server_that_refuses_a_clone_are_the_message(
        self, task: Make, server: GitServer
    ) -> None:
        words = (
            "The 'acme' organization has enabled or enforced SAML SSO.\n"
            "To access this repository, visit https://github.com/orgs/acme/sso?authorization_request=X"
            " and try your request again.\n"
        )
        server.failures = [Refusal(403, words)] * 4
        pod = task(repository(), git=over(server, **CREDENTIALS), secret={"token": TOKEN})
        reason, message = pod.fails()
        assert reason == "CloneFailed"
        assert "SAML SSO" in message
        assert "https://github.com/orgs/acme/sso?authorization_request=X" in message

    @pytest.mark.parametrize(
        ("secret", "words"),
        [
            ({"GITHUB_TOKEN": "x"}, "has the keys GITHUB_TOKEN: HTTPS needs password or token"),
            ({"ssh-privatekey": "x"}, "has the keys ssh-privatekey: HTTPS needs password"),
            ({}, "has the keys none: HTTPS needs"),
        ],
    )
    def test_a_secret_without_the_keys_says_which_it_has(
        self, task: Make, server: GitServer, secret: dict[str, str], words: str
    ) -> None:
        reason, message = task(repository(), git=over(server, **CREDENTIALS), secret=secret).fails()
        assert reason == "CloneFailed"
        assert words in message
        assert server.requests == []

    def test_a_server_that_echoes_credentials_is_masked(
        self, task: Make, server: GitServer
    ) -> None:
        echo = base64.b64encode(f"git:{TOKEN}".encode()).decode()
        server.failures = [Refusal(403, f"got Authorization: Basic {echo} and {TOKEN}")] * 4
        pod = task(repository(), git=over(server, **CREDENTIALS), secret={"token": TOKEN})
        code, log = pod.run()
        assert code == 1
        assert "***" in pod.log.read_text()
        assert echo.rstrip("=") not in log + pod.log.read_text()

    def test_a_server_that_echoes_the_password_of_the_proxy_is_masked(
        self, task: Make, server: GitServer
    ) -> None:
        echo = base64.b64encode(b"ada:p4ss-w0rd").decode()
        server.failures = [Refusal(403, f"got Basic {echo} and p4ss-w0rd")] * 4
        pod = task(repository(), git=over(server))
        with pod.start(https_proxy="http://ada:p4ss-w0rd@proxy.example:3128") as process:
            log, _ = process.communicate(timeout=60)
        assert "***" in pod.log.read_text()
        assert not [x for x in (echo, "p4ss-w0rd") if x in log + pod.log.read_text()]

    def test_a_limit_is_waited_for_as_long_as_the_server_asks(
        self, room: Path, server: GitServer
    ) -> None:
        server.token = ""
        server.failures = [Refusal(429, "slow down", {"Retry-After": "30"})] * 2
        slept: list[float] = []
        clone(room, f"{server.url}/acme/billing.git", slept.append)
        assert [x >= 30 for x in slept] == [True, True]
        assert max(slept) < 40

    def test_a_limit_that_lasts_too_long_is_the_reason(self, room: Path, server: GitServer) -> None:
        server.token = ""
        server.failures = [Refusal(429, "slow down", {"Retry-After": "7200"})] * 3
        slept: list[float] = []
        with pytest.raises(PreparationError) as error:
            clone(room, f"{server.url}/acme/billing.git", slept.append)
        assert error.value.reason == "RateLimited"
        assert slept == []

    def test_a_limit_of_a_minute_is_sat_out_and_no_two_tasks_come_back_together(self) -> None:
        error = GitError(("fetch",), "fatal: ... The requested URL returned error: 429")
        plans = []
        for _ in range(20):
            patience, waits = RetryBudget(), []
            while sum(waits) < 60:
                wait = patience.delay(error)
                assert wait is not None
                waits.append(wait)
            plans.append(tuple(waits))
        assert len(set(plans)) == 20

    def test_waiting_ends(self) -> None:
        for code, limit in ((429, gits.BUSY_SECONDS), (500, gits.ERROR_SECONDS)):
            error = GitError(("fetch",), f"fatal: The requested URL returned error: {code}")
            patience, waits = RetryBudget(), []
            while (wait := patience.delay(error)) is not None:
                waits.append(wait)
            assert limit - gits.MAX_RETRY_DELAY * 1.5 <= sum(waits) <= limit

    @pytest.mark.parametrize(
        ("value", "seconds"),
        [("120", 120), ("Thu, 01 Jan 1970 00:02:00 GMT", 20), ("soon", None), ("-1", None)],
    )
    def test_retry_after_is_a_number_or_a_date(self, value: str, seconds: float | None) -> None:
        assert parse_retry_after(value, lambda: 100.0) == seconds


GITHUB_PROTECTION = """\
remote: error: GH013: Repository rule violations found for refs/heads/x.
remote:
remote: - GITHUB PUSH PROTECTION
remote:   —————————————————————————————————————————
remote:     Resolve the following violations before pushing again
remote:
remote:     - Push cannot contain secrets
remote:
remote:      (?) Learn how to resolve a blocked push
remote:      https://docs.github.com/code-security/secret-scanning/working-with-push-protection
remote:
To https://github.com/acme/billing.git
 ! [remote rejected] HEAD -> x (push declined due to repository rule violations)
error: failed to push some refs to 'https://github.com/acme/billing.git'
"""


@pytest.mark.parametrize(
    ("output", "words"),
    [
        (GITHUB_PROTECTION, ["GH013: Repository rule violations", "Push cannot contain secrets"]),
        (
            "To https://github.com/acme/billing.git\n ! [remote rejected] HEAD -> x (refusing to allow"
            " a Personal Access Token to create or update workflow `.github/workflows/ci.yml` without"
            " `workflow` scope)\nerror: failed to push some refs to 'https://github.com/a/b.git'",
            ["without `workflow` scope"],
        ),
        (
            "remote: GitLab: You are not allowed to push code to protected branches on this project.\n"
            "To https://gitlab.com/a/b.git\n ! [remote rejected] HEAD -> x (pre-receive hook declined)\n"
            "error: failed to push some refs to 'https://gitlab.com/a/b.git'",
            ["GitLab: You are not allowed to push code to protected branches on this project."],
        ),
        (
            "remote: Gitea: Not allowed to push to protected branch x\nTo http://x\n"
            " ! [remote rejected] HEAD -> x (pre-receive hook declined)\nerror: failed to push",
            ["Gitea: Not allowed to push to protected branch x"],
        ),
        (
            "remote: error: GH006: Protected branch update failed for refs/heads/main.\n"
            "remote: error: At least 1 approving review is required by reviewers with write access.\n"
            " ! [remote rejected] main -> main (protected branch hook declined)\nerror: failed to push",
            ["GH006", "At least 1 approving review is required"],
        ),
        (
            "remote: TF402455: Pushes to this branch are not permitted; you must use a pull request.\n"
            " ! [remote rejected] HEAD -> x (TF402455: Pushes to this branch are not permitted)\n",
            ["TF402455: Pushes to this branch are not permitted; you must use a pull request."],
        ),
        (
            "remote: Enumerating objects: 5, done.\nremote: policy: no deploys on Friday\n"
            " ! [remote rejected] HEAD -> x (pre-receive hook declined)\nerror: failed to push",
            ["policy: no deploys on Friday"],
        ),
    ],
)
def test_what_servers_say_of_a_push_is_told(output: str, words: list[str]) -> None:
    told = error_line(output)
    assert [x for x in words if x not in told] == []
    assert "failed to push some refs" not in told
    assert len(told) <= 800


class TestHostileServers:
    def test_no_host_that_the_template_does_not_name_is_asked(
        self, task: Make, server: GitServer
    ) -> None:
        pod = task(repository())
        spec = json.loads(pod.environ()["KUBETASK_TASK_SPEC"])
        spec["hosts"][0]["urlTemplate"] = "https://{org}.example/{repo}.git"
        spec["repositories"][0]["url"] = f"{server.url}/acme/billing.git"
        assert _fails(pod, spec) == "InvalidSpec"
        spec["hosts"][0]["urlTemplate"] = "https://git.example/{org}/{repo}.git"
        assert _fails(pod, spec) == "InvalidSpec"
        assert server.requests == []

    def test_the_folders_of_other_tasks_are_no_origin(self, task: Make) -> None:
        other = task(repository(), config=CLAIM)
        other.prepare()
        for path in (other.directory, other.volume / "repos", other.volume / "tasks/../tasks"):
            pod = task(repository(), config=CLAIM, volume=other.volume, index=1)
            spec = json.loads(pod.environ()["KUBETASK_TASK_SPEC"])
            spec["repositories"][0]["url"] = f"file://{path}/billing"
            spec["hosts"] = []
            assert _fails(pod, spec) == "InvalidSpec"

    def test_an_endless_line_is_cut_and_the_log_has_an_end(
        self, room: Path, server: GitServer, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        hook = server._directory / "acme/billing.git/hooks/pre-receive"
        hook.write_text(
            "#!/bin/sh\nyes 'a line of a hook that says a lot' | head -n 20000 >&2\n"
            "head -c 3000000 /dev/zero | tr '\\0' x >&2\nexit 1\n"
        )
        hook.chmod(0o755)
        server.token = ""
        shown: list[str] = []
        git_ = Git(environ=ENVIRON, show=shown.append)
        git_("clone", "--quiet", f"{server.url}/acme/billing.git", str(room / "w"))
        with pytest.raises(GitError):
            git_("-C", str(room / "w"), "push", "origin", "HEAD:refs/heads/x")
        assert len(shown) <= gits.MAX_SHOWN_LINES + 1
        assert max(map(len, shown)) <= gits.MAX_LINE_BYTES
        assert shown[-1] == "(further messages of this git command are not shown)"

    def test_a_server_that_drips_is_given_up(self, room: Path, server: GitServer) -> None:
        server.token = ""
        # Enough that no transfer counts as stalled.
        server.misbehaviour = endless(b"0" * 512, pause=0.05)
        git_ = Git(environ=ENVIRON, timeout=2)
        with pytest.raises(GitError, match="git ls-remote took longer than 2 s"):
            git_("ls-remote", f"{server.url}/acme/billing.git")

    def test_a_server_that_sends_refs_without_end_takes_bounded_memory(
        self, room: Path, server: GitServer, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setattr(gits, "memory_for_git", lambda: 128 * 1024**2)
        server.token = ""
        line = b"1" * 40 + b" refs/heads/" + b"x" * 900 + b"\n"
        lines = b"".join(f"{len(line) + 4:04x}".encode() + line for _ in range(200))
        server.misbehaviour = endless(lines, banner=b"001e# service=git-upload-pack\n0000")
        with pytest.raises(GitError) as error:
            Git(environ=ENVIRON, timeout=50)("ls-remote", f"{server.url}/acme/billing.git")
        assert error.value.no_memory, error.value.output

    def test_an_agent_cannot_hold_the_lock_of_a_shared_repository(self, task: Make) -> None:
        pod = task(repository(), config=CLAIM)
        pod.prepare()
        seen = [x["subPath"] for x in pod.pod["containers"][0]["volumeMounts"] if "subPath" in x]
        locks = [x.relative_to(pod.volume) for x in pod.volume.rglob("*.lock")]
        assert locks
        assert not [x for x in locks for y in seen if x.is_relative_to(y)]

    def test_a_lock_that_cannot_be_had_ends(self, room: Path) -> None:
        with (
            lock(room / "a.lock"),
            pytest.raises(PreparationError) as error,
            lock(room / "a.lock", limit=0.2),
        ):
            pass
        assert error.value.reason == "WorkspaceError"
        assert "local_lock=flock" in str(error.value)
        with lock(room / "a.lock", limit=1):
            pass

    def test_a_file_system_without_locks_says_how_to_mount_it(
        self, room: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        import errno
        import fcntl

        def refuse(*_: object) -> None:
            raise OSError(errno.ENOLCK, "No locks available")

        monkeypatch.setattr(fcntl, "flock", refuse)
        with pytest.raises(PreparationError, match=r"ENOLCK.*nobrl"), lock(room / "a.lock"):
            pass

    def test_a_port_that_is_none_is_told(self, task: Make) -> None:
        pod = task(repository())
        spec = json.loads(pod.environ()["KUBETASK_TASK_SPEC"])
        for url in ("https://git.example:99999/a/b", "ssh://git@git.example:0x/a/b"):
            spec["repositories"][0]["url"] = url
            spec["hosts"] = []
            assert _fails(pod, spec) == "InvalidSpec"


class TestHousekeeping:
    def test_what_no_task_made_stays_and_no_agent_changes_its_age(self, task: Make) -> None:
        import time

        from kubetask_controller.workspace.taskfolders import (
            TASK_KEEP_SECONDS,
            remove_old_task_folders,
        )

        old = task(text("task.md"), config=CLAIM)
        old.prepare()
        foreign = old.directory.parent / "important"
        foreign.mkdir()
        os.utime(foreign, (1, 1))
        os.utime(old.directory, (4e9, 4e9))
        later = time.time() + TASK_KEEP_SECONDS + 60
        remove_old_task_folders(old.directory.parent, keep="x", now=later)
        assert foreign.exists()
        assert not old.directory.exists()


class TestSeveralHosts:
    def test_a_repository_names_its_host(self, task: Make, origins: Path, room: Path) -> None:
        make(room / "elsewhere/acme/billing.git", {"README.md": "other\n"})
        with (
            served(origins, token="first") as one,
            served(room / "elsewhere", token="second") as two,
        ):
            settings = over(
                one,
                **CREDENTIALS,
                hosts=[
                    {
                        "name": "other",
                        "urlTemplate": f"{two.url}/{{org}}/{{repo}}.git",
                        "credentials": {"secretRef": {"name": "b"}, "shareWithAgent": True},
                    }
                ],
            )
            pod = task(
                repository(),
                repository(host="other", branch="main"),
                git=settings,
                secret={"token": "first"},
            )
            pod.put("git-hosts/other", {"token": "second"})
            pod.prepare()
        mounts = [x["mountPath"] for x in pod.pod["containers"][0]["volumeMounts"]]
        assert "/kubetask/git-hosts/other" in mounts
        assert "/kubetask/git" not in mounts
        assert pod.manifest["repositories"][1]["url"].startswith(two.url)

    def test_a_host_that_is_not_there_is_told(self, task: Make) -> None:
        with pytest.raises(ValueError, match=r"host nope is no entry of git\.hosts"):
            task(repository(host="nope")).environ()


def _with_submodule(path: Path, url: str, inner: Path) -> None:
    at = git("rev-parse", "main", cwd=inner)
    modules = f'[submodule "inner"]\n\tpath = vendor/inner\n\turl = {url}\n'
    commit(path, {".gitmodules": modules})
    index = {**ENVIRON, "GIT_INDEX_FILE": str(path / "sub-index")}
    git("read-tree", "main", cwd=path, environ=index)
    git(
        "update-index", "--add", "--cacheinfo", f"160000,{at},vendor/inner", cwd=path, environ=index
    )
    tree = git("write-tree", cwd=path, environ=index)
    made = git("commit-tree", tree, "-p", "main", "-m", "Sub", cwd=path, environ=ENVIRON)
    git("update-ref", "refs/heads/main", made, cwd=path)


def _fails(pod: TaskPod, spec: object) -> str:
    from kubetask_controller.workspace.prepare import prepare

    with pytest.raises(PreparationError) as error:
        prepare({**pod.environ(), "KUBETASK_TASK_SPEC": json.dumps(spec)})
    return error.value.reason.value
