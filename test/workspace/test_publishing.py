"""What of an agent's work is committed, how it is pushed, and what becomes of it where a server says no."""

import json
import os
import shutil
import subprocess
import sys
from argparse import Namespace
from pathlib import Path

import pytest
from hack.gitserver import GitServer, Refusal

from kubetask_controller.api.constants import Reason
from kubetask_controller.api.manifest import (
    ManifestHost,
    ManifestPullRequest,
    ManifestRepository,
    TaskManifest,
)
from kubetask_controller.hosts.githubapp import TokenError
from kubetask_controller.workspace import credentials
from kubetask_controller.workspace.agent import pullrequests
from kubetask_controller.workspace.agent.publish import Published, PublishError, publish
from kubetask_controller.workspace.agent.report import AgentReport
from kubetask_controller.workspace.errors import PreparationError
from kubetask_controller.workspace.git import Git
from kubetask_controller.workspace.gitconfig import TaskHost
from kubetask_controller.workspace.redaction import Redactor
from support.workspace.origin import commit, forged, served
from support.workspace.taskpod import BRANCH, Make, TaskPod, git, repository, text

SHARED = {"credentials": {"secretRef": {"name": "git"}, "shareWithAgent": True}}
AGENT = "from kubetask_controller.workspace.agent import main; main()"


def over(server: GitServer, **more: object) -> dict[str, object]:
    return {"urlTemplate": f"{server.url}/{{org}}/{{repo}}.git", **more}


def published(pod: TaskPod, message: str = "Work", description: str = "", **more: bool) -> str:
    """Commit and push as kubetask-agent does; the newest commit."""
    manifest = TaskManifest.model_validate(pod.manifest)
    # As in an image without git-lfs.
    git_ = Git(environ={**pod.environ("containers"), "GIT_CONFIG_NOSYSTEM": "1"})
    how = {"commit": True, "push": True, **more}
    publish(manifest, pod.directory, git_, message=message, description=description, **how)
    return pod.git("rev-parse", "HEAD")


def work(pod: TaskPod, **files: str) -> None:
    for name, content in (files or {"README.md": "# better\n"}).items():
        path = pod.directory / "billing" / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(content)


def refuse(origins: Path, script: str) -> None:
    hook = origins / "acme/billing.git/hooks/pre-receive"
    hook.parent.mkdir(exist_ok=True)
    hook.write_text(f"#!/bin/sh\n{script}\n")
    hook.chmod(0o755)


def changed(origins: Path) -> list[str]:
    path = origins / "acme/billing.git"
    return git("diff", "--name-only", f"main..{BRANCH}", cwd=path).splitlines()


class TestWhatIsCommitted:
    def test_droppings_of_tools_and_repositories_inside_of_it_are_not(
        self, task: Make, origins: Path, capsys: pytest.CaptureFixture[str]
    ) -> None:
        pod = task(repository())
        pod.prepare()
        work(pod)
        folder = pod.directory / "billing"
        for name in (
            "__pycache__/a.pyc",
            "node_modules/x/y.js",
            ".aider.chat.history.md",
            ".DS_Store",
        ):
            (folder / name).parent.mkdir(parents=True, exist_ok=True)
            (folder / name).write_text("x")
        git(
            "clone",
            "--quiet",
            str(origins / "acme/billing.git"),
            str(folder / "copy [1]"),
            cwd=folder,
        )
        published(pod)
        assert changed(origins) == ["README.md"]
        assert "not committed: copy [1]/, because it is a git repository" in capsys.readouterr().out

    def test_what_is_tracked_is_committed_whatever_its_name(
        self, task: Make, origins: Path
    ) -> None:
        commit(origins / "acme/billing.git", {"node_modules/kept.js": "a\n"})
        pod = task(repository())
        pod.prepare()
        (pod.directory / "billing/node_modules/kept.js").write_text("b\n")
        published(pod)
        assert changed(origins) == ["node_modules/kept.js"]

    def test_hooks_of_the_repository_do_not_stop_it_unless_asked_for(
        self, task: Make, origins: Path
    ) -> None:
        for run, expected in ((False, ""), (True, "npx: not found")):
            name = f"bots/{run}"
            pod = task(repository(), git={"runHooks": run, "branchTemplate": name})
            pod.prepare()
            work(pod)
            hooks = pod.directory / "billing/.husky"
            hooks.mkdir()
            for hook in ("pre-commit", "pre-push", "commit-msg"):
                (hooks / hook).write_text("#!/bin/sh\necho 'npx: not found' >&2\nexit 127\n")
                (hooks / hook).chmod(0o755)
            pod.git("config", "core.hooksPath", ".husky")
            if expected:
                with pytest.raises(PublishError, match=expected):
                    published(pod)
            else:
                published(pod)
                assert (origins / "acme/billing.git/refs/heads" / name).exists()

    def test_the_message_has_a_template_and_a_sign_off(self, task: Make, origins: Path) -> None:
        settings = {
            "commitMessage": "chore({repo}): {summary}\n\n{description}\n\nTask: {task}\nKept: {this}",
            "signOff": True,
            "author": {"name": "Bot", "email": "bot@acme.example"},
        }
        pod = task(repository(), git=settings)
        pod.prepare()
        work(pod)
        made = published(pod, description="Bump requests.\n\nIt was old.")
        body = git("log", "-1", "--format=%B", made, cwd=origins / "acme/billing.git")
        assert body.splitlines()[0] == "chore(billing): Bump requests."
        assert "It was old." in body
        assert "Task: run-task-0\nKept: {this}" in body
        assert body.endswith("Signed-off-by: Bot <bot@acme.example>")

    def test_a_large_file_of_lfs_is_never_committed_raw(self, task: Make, origins: Path) -> None:
        commit(origins / "acme/billing.git", {".gitattributes": "*.bin filter=lfs -text\n"})
        pod = task(repository())
        pod.prepare()
        work(pod, **{"new.bin": "large\n"})
        with pytest.raises(PublishError, match=r"new\.bin is stored by Git LFS: set git\.lfs"):
            published(pod)

    @pytest.mark.skipif(shutil.which("git-lfs") is None, reason="git-lfs is not installed")
    def test_with_lfs_contents_are_fetched_and_pushed(self, task: Make, origins: Path) -> None:
        commit(origins / "acme/billing.git", {".gitattributes": "*.bin filter=lfs -text\n"})
        settings = {"lfs": True, "partialClone": False}
        pod = task(repository(), git=settings)
        pod.prepare()
        work(pod, **{"new.bin": "large\n" * 1000})
        published(pod)
        path = origins / "acme/billing.git"
        assert git("show", f"{BRANCH}:new.bin", cwd=path).startswith("version https://git-lfs")
        again = task(repository(branch=BRANCH), git=settings | {"branchTemplate": "again"})
        again.prepare()
        assert (again.directory / "billing/new.bin").read_text() == "large\n" * 1000


class TestSigning:
    def test_commits_are_signed_with_an_ssh_key(
        self, task: Make, origins: Path, room: Path
    ) -> None:
        key = room / "key"
        subprocess.run(["ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-f", str(key)], check=True)
        pod = self._pod(task, {"ssh-privatekey": key.read_text().rstrip("\n")})
        made = published(pod)
        pod.git("commit", "--allow-empty", "--message", "The agent's own")
        (room / "allowed").write_text(f"bot@acme.example {key.with_suffix('.pub').read_text()}")
        for commit_ in (made, "HEAD"):
            out = pod.git(
                "-c", f"gpg.ssh.allowedSignersFile={room}/allowed", "-c", "gpg.ssh.program=ssh-keygen",
                "log", "-1", "--format=%G?", commit_,
            )  # fmt: skip
            assert out == "G"
        assert not list((pod.room / "tmp").iterdir())

    @pytest.mark.skipif(shutil.which("gpg") is None, reason="gnupg is not installed")
    @pytest.mark.parametrize("passphrase", ["", "open sesame"])
    def test_commits_are_signed_with_a_gpg_key(
        self, task: Make, room: Path, passphrase: str
    ) -> None:
        home = room / "gnupg"
        home.mkdir(mode=0o700)
        environ = {"PATH": os.environ["PATH"], "GNUPGHOME": str(home)}
        gpg = [
            "gpg",
            "--batch",
            "--quiet",
            "--pinentry-mode",
            "loopback",
            "--passphrase",
            passphrase,
        ]
        who = "Bot <bot@acme.example>"
        subprocess.run(
            [*gpg, "--quick-gen-key", who, "ed25519", "sign", "never"],
            check=True, env=environ, capture_output=True,
        )  # fmt: skip
        exported = subprocess.run(
            [*gpg, "--armor", "--export-secret-keys"], check=True, env=environ, capture_output=True
        )
        subprocess.run(["gpgconf", "--kill", "all"], env=environ, check=True)
        secret = {"gpg-privatekey": exported.stdout.decode()}
        if passphrase:
            secret["passphrase"] = passphrase
        pod = self._pod(task, secret)
        made = published(pod)
        out = pod.git(
            "-c", "gpg.program=gpg", "log", "-1", "--format=%G?", made, GNUPGHOME=str(home)
        )
        subprocess.run(["gpgconf", "--kill", "all"], env=environ, check=True)
        assert out in ("G", "U")

    def test_a_secret_without_a_key_says_which_it_has(self, task: Make) -> None:
        pod = task(repository(), git={"signing": {"secretRef": {"name": "s"}}})
        pod.put("git-signing", {"id_ed25519": "x"})
        assert pod.fails() == (
            "InvalidSpec",
            "the Secret of git.signing has the keys id_ed25519: add ssh-privatekey or"
            " gpg-privatekey",
        )

    def _pod(self, task: Make, secret: dict[str, str]) -> TaskPod:
        author = {"name": "Bot", "email": "bot@acme.example"}
        pod = task(repository(), git={"signing": {"secretRef": {"name": "s"}}, "author": author})
        pod.put("git-signing", secret)
        pod.prepare()
        work(pod)
        return pod


class TestPushing:
    def test_what_a_hook_says_is_the_reason_and_the_commits_are_kept(
        self, task: Make, server: GitServer, origins: Path
    ) -> None:
        refuse(origins, "echo 'GitLab: You are not allowed to push code here.' >&2; exit 1")
        server.token = ""
        pod = task(
            text("work.sh", "echo better > README.md; echo Done"), repository(), git=over(server)
        )
        pod.prepare()
        code, log, result = agent(
            pod, "--agent", "script", "--script", "work.sh", "--commit", "--push"
        )
        assert code == 1
        assert result["reason"] == "PushRejected"
        assert "GitLab: You are not allowed to push code here." in result["summary"]
        assert result["commits"] == [pod.git("rev-parse", "HEAD")]
        patch = pod.directory / ".kubetask/patches/billing.patch"
        assert result["patch"] == str(patch)
        begin, end = (f"----- {x} PATCH billing -----\n" for x in ("BEGIN", "END"))
        shown = log.partition(begin)[2].partition(end)[0]
        fresh = pod.room / "fresh"
        git("clone", "--quiet", str(origins / "acme/billing.git"), str(fresh), cwd=pod.room)
        who = ("-c", "user.name=A", "-c", "user.email=a@b")
        for content in (patch.read_text(), shown):
            (pod.room / "p").write_text(content)
            git(*who, "am", "--quiet", str(pod.room / "p"), cwd=fresh)
            assert (fresh / "README.md").read_text() == "better\n"
            git("reset", "--quiet", "--hard", "origin/main", cwd=fresh)

    def test_the_log_has_no_contents_of_binary_files(
        self, task: Make, origins: Path, capsys: pytest.CaptureFixture[str]
    ) -> None:
        refuse(origins, "echo 'error: no' >&2; exit 1")
        pod = task(repository())
        pod.prepare()
        work(pod, **{"new.bin": "a\0b", "new.txt": "to read\n"})
        with pytest.raises(PublishError) as error:
            published(pod)
        log = capsys.readouterr().out
        assert "GIT binary patch" not in log
        assert "+to read\n" in log
        assert "GIT binary patch" in Path(error.value.published[0].patch).read_text()

    def test_one_repository_that_is_refused_holds_up_no_other(
        self, task: Make, origins: Path
    ) -> None:
        from support.workspace.origin import make

        make(origins / "acme/catalog.git")
        refuse(origins, "echo 'error: no' >&2; exit 1")
        pod = task(repository(), repository("catalog"))
        pod.prepare()
        work(pod)
        (pod.directory / "catalog/README.md").write_text("better\n")
        with pytest.raises(PublishError) as error:
            published(pod)
        assert [x.pushed for x in error.value.published] == [False, True]
        assert (origins / "acme/catalog.git/refs/heads" / BRANCH).exists()

    def test_a_limit_is_waited_for(
        self, task: Make, server: GitServer, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        server.token = ""
        pod = task(repository(), git=over(server))
        pod.prepare()
        work(pod)
        server.failures = [Refusal(429, "slow down", {"Retry-After": "1"})]
        published(pod)
        assert not server.failures

    def test_a_limit_that_does_not_end_is_the_reason(self, task: Make, server: GitServer) -> None:
        server.token = ""
        pod = task(repository(), git=over(server))
        pod.prepare()
        work(pod)
        server.failures = [Refusal(429, "slow down", {"Retry-After": "9000"})] * 3
        with pytest.raises(PublishError) as error:
            published(pod)
        assert error.value.reason == "RateLimited"

    @pytest.mark.parametrize("how", ["Fail", "Replace", "Continue"])
    def test_a_branch_that_appears_meanwhile_is_never_overwritten(
        self, task: Make, origins: Path, how: str
    ) -> None:
        path = origins / "acme/billing.git"
        pod = task(repository(), git={"onBranchExists": how})
        pod.prepare()
        work(pod)
        git("branch", BRANCH, "main", cwd=path)
        theirs = commit(path, {"theirs.txt": "x"}, branch=BRANCH)
        with pytest.raises(PublishError) as error:
            published(pod)
        assert error.value.reason == "BranchExists"
        assert git("rev-parse", BRANCH, cwd=path) == theirs

    def test_replace_overwrites_the_branch_that_was_there(self, task: Make, origins: Path) -> None:
        path = origins / "acme/billing.git"
        git("branch", BRANCH, "main", cwd=path)
        commit(path, {"theirs.txt": "x"}, branch=BRANCH)
        pod = task(repository(), git={"onBranchExists": "Replace"})
        pod.prepare()
        work(pod)
        made = published(pod)
        assert git("rev-parse", BRANCH, cwd=path) == made
        assert changed(origins) == ["README.md"]

    def test_an_agent_that_pushed_by_itself_has_pushed(self, task: Make, origins: Path) -> None:
        pod = task(repository())
        pod.prepare()
        work(pod)
        pod.git("commit", "--all", "--message", "By myself")
        pod.git("push", "--quiet", "origin", "HEAD")
        assert published(pod) == git("rev-parse", BRANCH, cwd=origins / "acme/billing.git")


def agent(pod: TaskPod, *arguments: str, **environ: str) -> tuple[int, str, dict[str, object]]:
    """Run kubetask-agent; exit code, log, result."""
    pod.log.write_text("")
    done = subprocess.run(
        [sys.executable, "-c", AGENT, *arguments],
        cwd=pod.directory,
        env={**pod.environ("containers"), "PYTHONPATH": os.pathsep.join(sys.path), **environ},
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    return done.returncode, done.stdout + done.stderr, json.loads(pod.log.read_text() or "{}")


def test_a_served_repository_is_pushed_to_with_the_token(task: Make, origins: Path) -> None:
    with served(origins, token="t0ken-of-the-host") as server:
        pod = task(
            text("work.sh", "echo better > README.md; echo Done"),
            repository(),
            git=over(server, **SHARED),
            secret={"token": "t0ken-of-the-host"},
        )
        pod.prepare()
        code, log, result = agent(
            pod, "--agent", "script", "--script", "work.sh", "--commit", "--push"
        )
    assert code == 0, log
    assert result["branch"] == BRANCH


HOST_TOKEN = "t0ken-of-the-host"
WISH = {
    "title": "chore({repo}): {summary}",
    "body": "{description}\n\nTask {task} on {branch} into {base}. {unknown}",
    "labels": ["bot"],
    "reviewers": ["ada"],
}


class TestPullRequests:
    def _pod(self, task: Make, url: str, more: dict[str, object], **git_: object) -> TaskPod:
        settings = {"urlTemplate": f"{url}/{{org}}/{{repo}}.git", **SHARED, **git_}
        pod = task(
            text("work.sh", "date +%N > README.md; echo Bump requests"),
            repository(),
            git=settings,
            config={"pullRequest": more},
            spec={"backoffLimit": 1},
            secret={"token": HOST_TOKEN},
        )
        pod.prepare()
        return pod

    def _run(self, pod: TaskPod) -> tuple[int, str, dict[str, object]]:
        # Neither --commit nor --push: a pull request implies both.
        return agent(pod, "--agent", "script", "--script", "work.sh")

    @pytest.mark.parametrize(
        ("provider", "api"),
        [("GitHub", "/api/v3"), ("GitLab", "/api/v4"), ("Forgejo", "/api/v1")],
    )
    def test_one_is_opened_and_a_second_attempt_updates_it(
        self, task: Make, origins: Path, provider: str, api: str
    ) -> None:
        with forged(origins, token=HOST_TOKEN) as server:
            settings = {"provider": provider, "apiURL": f"{server.url}{api}"}
            pod = self._pod(task, server.url, WISH, **settings)
            code, log, result = self._run(pod)
            assert code == 0, log
            (pull,) = server.forge.pulls
            assert pull.title == "chore(billing): Bump requests"
            assert pull.body == (
                f"Bump requests\n\nTask run-task-0 on {BRANCH} into main. {{unknown}}"
            )
            assert (pull.branch, pull.base, pull.labels) == (BRANCH, "main", ["bot"])
            url = result["pullRequest"]
            assert str(url).startswith(server.url)
            pod.prepare()
            code, log, result = self._run(pod)
            assert code == 0, log
            assert result["pullRequest"] == url
            assert len(server.forge.pulls) == 1

    def test_a_host_that_refuses_it_is_the_reason_and_the_branch_is_there(
        self, task: Make, origins: Path
    ) -> None:
        with forged(origins, token=HOST_TOKEN) as server:
            settings = {"provider": "GitHub", "apiURL": f"{server.url}/api/v3"}
            pod = self._pod(task, server.url, {"base": "nope"}, **settings)
            code, _, result = self._run(pod)
        assert code == 1
        assert result["reason"] == "PullRequestFailed"
        assert "acme/billing: the branch was pushed, but opening its pull request failed: " in str(
            result["summary"]
        )
        assert result["branch"] == BRANCH

    def test_a_reviewer_whom_nobody_knows_is_told_and_fails_nothing(
        self, task: Make, origins: Path
    ) -> None:
        with forged(origins, token=HOST_TOKEN) as server:
            settings = {"provider": "GitHub", "apiURL": f"{server.url}/api/v3"}
            pod = self._pod(task, server.url, {"reviewers": ["nobody"]}, **settings)
            code, log, result = self._run(pod)
        assert code == 0, log
        assert result["pullRequest"]
        assert "acme/billing: reviewers: " in log

    def test_an_answer_without_the_expected_fields_leaves_the_result(
        self, task: Make, origins: Path
    ) -> None:
        with forged(origins, token=HOST_TOKEN) as server:
            settings = {"provider": "GitHub", "apiURL": f"{server.url}/api/v3"}
            pod = self._pod(task, server.url, {}, **settings)
            server.forge.failures = [Refusal(200, '"hello"')]
            code, _, result = self._run(pod)
        assert (code, result["reason"]) == (1, "PullRequestFailed")
        assert "the host sent an unexpected response: TypeError" in str(result["summary"])
        assert (result["branch"], len(result["commits"])) == (BRANCH, 1)

    @pytest.mark.parametrize("step", ["push", "request"])
    def test_no_error_after_the_agents_work_loses_its_result(
        self, monkeypatch: pytest.MonkeyPatch, step: str
    ) -> None:
        main = sys.modules["kubetask_controller.workspace.agent.main"]
        manifest = TaskManifest(
            task_id="abcdefgh", task="t", namespace="n", branch="kubetask/t",
            pull_request=ManifestPullRequest(),
        )  # fmt: skip
        done = [
            Published(
                ManifestRepository(org="a", repo="b", url="https://x/a/b", path="b"),
                ("c",),
                pushed=True,
            )
        ]

        def publish(*_: object, **more: object) -> list[Published]:
            if step == "push":
                raise OSError(28, "No space left on device")
            return done

        def open_requests(*_: object, **more: object) -> None:
            raise RuntimeError("s3cret-of-the-task is not expected")

        monkeypatch.setattr(main, "publish", publish)
        monkeypatch.setattr(pullrequests, "open_requests", open_requests)
        prepared = main.AgentTask(
            manifest, Path(), {}, Redactor(["s3cret-of-the-task"]), manifest.agent
        )
        options = Namespace(message="", commit=True, push=True)
        published, problem, reason = main.deliver(options, prepared, AgentReport())
        if step == "push":
            assert (published, reason) == ([], Reason.WORKSPACE_ERROR)
            assert "No space left on device" in problem
        else:
            assert (published, reason) == (done, Reason.PULL_REQUEST_FAILED)
            assert "RuntimeError" in problem
            assert "s3cret" not in problem

    def test_without_changes_there_is_none(self, task: Make, origins: Path) -> None:
        with forged(origins, token=HOST_TOKEN) as server:
            settings = {"provider": "GitHub", "apiURL": f"{server.url}/api/v3"}
            pod = self._pod(task, server.url, {}, **settings)
            code, log, result = agent(pod, "--agent", "command", "--", "true")
            assert code == 0, log
            assert result["outcome"] == "NoChanges"
            assert server.forge.pulls == []

    def test_a_host_of_an_unknown_kind_says_which_field_to_set(
        self, task: Make, origins: Path
    ) -> None:
        with forged(origins, token=HOST_TOKEN) as server:
            code, _, result = self._run(self._pod(task, server.url, {}))
        assert code == 1
        assert "set provider to one of GitHub" in str(result["summary"])

    def test_a_batch_overrides_single_fields(self, task: Make) -> None:
        from dataclasses import replace

        from kubetask_controller.reconcilers.taskrun.files import Owner
        from kubetask_controller.reconcilers.taskrun.job_template import Template
        from kubetask_controller.reconcilers.taskrun.pod_template import Images

        template = Template(
            Owner("BatchRun", "team", "run", "u-1"), {}, {},
            {"pullRequest": {"title": "A", "draft": True}}, "default", Images("w", "a"), {},
        )  # fmt: skip
        template = replace(template, batch={"pullRequest": {"title": "B", "labels": ["x"]}})
        job = template.job([repository()], 0)
        env = job["spec"]["template"]["spec"]["initContainers"][0]["env"]
        spec = json.loads(next(x["value"] for x in env if x["name"] == "KUBETASK_TASK_SPEC"))
        wanted = spec["pullRequest"]
        assert (wanted["title"], wanted["draft"], wanted["labels"]) == ("B", True, ["x"])


class TestGitHubApp:
    def test_a_task_signs_in_as_an_app_and_its_agent_gets_the_next_token(
        self, task: Make, origins: Path, room: Path
    ) -> None:
        from aiohttp import web
        from cryptography.hazmat.primitives import serialization
        from cryptography.hazmat.primitives.asymmetric import rsa

        key = rsa.generate_private_key(public_exponent=65537, key_size=2048)
        pem = key.private_bytes(
            serialization.Encoding.PEM,
            serialization.PrivateFormat.TraditionalOpenSSL,
            serialization.NoEncryption(),
        ).decode()
        asked: list[object] = []
        with served(origins, token="ghs_1nstallation-token") as server:

            async def answer(request: web.Request) -> web.StreamResponse | None:
                if request.path == "/api/v3/app/installations/77/access_tokens":
                    asked.append(await request.json())
                    made = {"token": server.token, "expires_at": "2999-01-01T00:00:00Z"}
                    return web.json_response(made, status=201)
                return None

            server.misbehaviour = answer
            secret = {
                "githubAppID": "123",
                "githubAppInstallationID": "77",
                "githubAppPrivateKey": pem,
            }
            settings = {
                "urlTemplate": f"{server.url}/{{org}}/{{repo}}.git",
                "apiURL": f"{server.url}/api/v3",
                **SHARED,
            }
            pod = task(repository(), git=settings, secret=secret)
            code, log = pod.run()
            assert code == 0, log
            assert asked == [{"repositories": ["billing"]}]
            assert server.token not in log
            pod.git("fetch", "origin")
            # An hour later: our image makes the next one.
            (pod.room / "home/agent/.kubetask-app-token-default").write_text("1000\nold-token\n")
            scripts = pod.room / "bin"
            scripts.mkdir()
            program = scripts / "kubetask-workspace"
            program.write_text(
                f"#!/bin/sh\nPYTHONPATH={os.pathsep.join(sys.path)} exec {sys.executable} -c"
                " 'from kubetask_controller.workspace.main import main; main()' \"$@\"\n"
            )
            program.chmod(0o755)
            with pytest.raises(AssertionError, match="could not read Username"):
                pod.git("fetch", "origin", PATH="/usr/bin:/bin", GIT_TERMINAL_PROMPT="0")
            pod.git("fetch", "origin", PATH=f"{scripts}:{os.environ['PATH']}")
            assert len(asked) == 2

    def test_a_rate_limit_is_the_reason(
        self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        def refuse(*_: object, **more: object) -> None:
            raise TokenError("the GitHub App 1 got no token: 429", 429, rate_limited=True)

        monkeypatch.setattr(credentials, "make_app_token", refuse)
        (tmp_path / "githubAppPrivateKey").write_text("x")
        repo = ManifestRepository(org="a", repo="b", url="https://github.com/a/b", path="b")
        host = TaskHost(0, ManifestHost(url_template=""), str(tmp_path), [repo])
        with pytest.raises(PreparationError, match="429") as error:
            credentials.AppTokens([host], str, ca_file=tmp_path / "none")()
        assert error.value.reason is Reason.RATE_LIMITED

    def test_a_key_that_is_none_ends_clearly(self, task: Make, origins: Path) -> None:
        with served(origins, token="x") as server:
            secret = {"githubAppID": "123", "githubAppPrivateKey": "nonsense"}
            settings = {"urlTemplate": f"{server.url}/{{org}}/{{repo}}.git", **SHARED}
            reason, message = task(repository(), git=settings, secret=secret).fails()
        assert reason == "CloneFailed"
        assert "githubAppPrivateKey is not a key in PEM" in message
