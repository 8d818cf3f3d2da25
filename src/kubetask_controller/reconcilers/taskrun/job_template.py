"""The desired Job of a task: a pure function of the owner, the snapshot and the WorkspaceConfig."""

from collections.abc import Mapping
from dataclasses import dataclass, field

from kubetask_controller.api import constants as c
from kubetask_controller.api.manifest import (
    Author,
    Checkout,
    ManifestAgent,
    ManifestFile,
    ManifestHost,
    ManifestPullRequest,
    ManifestRepository,
    RepositoryName,
    TaskManifest,
    repository_paths,
    repository_url,
)
from kubetask_controller.api.typed import ContextJSON, FileJSON
from kubetask_controller.reconcilers.taskrun import contexts, names
from kubetask_controller.reconcilers.taskrun.files import (
    Owner,
    TooLargeError,
    content_digest,
    content_key,
    inline_text,
)
from kubetask_controller.reconcilers.taskrun.pod_template import (
    Images,
    PodParts,
    literal,
    pod_spec,
    secret_mode,
    secret_proxies,
)
from kubetask_controller.types import JSON

MAX_NAME_BYTES = 255
"""Of a file or folder on Linux."""


@dataclass(frozen=True, slots=True)
class Template:
    """What all Jobs of one owner have in common.

    Attributes:
        owner: the BatchRun or Task.
        labels: the owner's labels; only those on the allow-list are handed on.
        spec: the owner's spec, for backoffLimit and deadlines.
        config: the spec of the WorkspaceConfig, empty where there is none.
        config_name: its name.
        images: images from the controller's flags.
        inline: where inline texts are found: content key → ConfigMap.
        batch: the spec of the Batch, or the batchSpec, whose pullRequest overrides that of `config`.
    """

    owner: Owner
    labels: Mapping[str, str]
    spec: JSON
    config: JSON
    config_name: str
    images: Images
    inline: Mapping[str, str]
    batch: JSON = field(default_factory=dict)

    def job(
        self,
        task_contexts: list[ContextJSON],
        index: int | None,
        *,
        backoff_limit: int | None = None,
    ) -> JSON:
        """The Job of task ``index`` of a run, or of a Task where the index is None.

        ``backoff_limit`` replaces that of the spec: a Job that replaces a disrupted one has only the
        tries that are left.
        """
        owner = self.owner
        if index is None:
            job_name = names.task_job_name(owner.name, owner.uid)
            task_name = owner.name
        else:
            job_name = names.run_job_name(owner.name, owner.uid, index)
            task_name = names.run_task_name(owner.name, index)
        task = _Task(index, task_name, self._branch(task_name, index), task_contexts)
        labels, annotations = self._labels(task), self._annotations(task)
        if backoff_limit is None:
            backoff_limit = self.spec.get("backoffLimit", c.DEFAULT_BACKOFF_LIMIT)
        return {
            "apiVersion": "batch/v1",
            "kind": "Job",
            "metadata": {
                "name": job_name,
                "namespace": owner.namespace,
                "labels": {k: self.labels[k] for k in c.PROPAGATED_LABELS if k in self.labels}
                | labels,
                "annotations": annotations,
                "ownerReferences": [owner.reference()],
            },
            "spec": {
                "backoffLimit": backoff_limit,
                "podFailurePolicy": {"rules": _failure_rules(backoff_limit)},
                "template": {
                    "metadata": {
                        "labels": (self.config.get("podLabels") or {}) | labels,
                        "annotations": (self.config.get("podAnnotations") or {})
                        | annotations
                        | {c.ANNOTATION_DEFAULT_CONTAINER: c.CONTAINER_AGENT},
                    },
                    "spec": pod_spec(self.config, self.images, self._work(task)),
                },
            },
        }

    def _branch_template(self, index: int | None) -> str:
        default = c.BRANCH_TEMPLATE_TASK if index is None else c.BRANCH_TEMPLATE_RUN
        return (self.config.get("git") or {}).get("branchTemplate") or default

    def _branch(self, task_name: str, index: int | None) -> str:
        owner = self.owner
        values = {
            "{run}": owner.name,
            "{index}": "0" if index is None else str(index),
            "{task}": task_name,
            "{namespace}": owner.namespace,
            "{id}": names.task_suffix(owner.uid),
        }
        branch = self._branch_template(index)
        for name, value in values.items():
            branch = branch.replace(name, value)
        return names.shortened(branch, owner.uid, limit=names.MAX_BRANCH)

    def _labels(self, task: "_Task") -> dict[str, str]:
        labels = {
            c.LABEL_TASK: names.label_value(task.name),
            c.LABEL_MANAGED_BY: c.LABEL_MANAGED_BY_VALUE,
            c.LABEL_COMPONENT: c.LABEL_COMPONENT_VALUE,
            c.LABEL_WORKSPACE_CONFIG: names.label_value(self.config_name),
        }
        if task.index is not None:
            labels[c.LABEL_BATCH_RUN] = names.label_value(self.owner.name)
            labels[c.LABEL_TASK_INDEX] = str(task.index)
        return labels

    def _annotations(self, task: "_Task") -> dict[str, str]:
        annotations = {
            c.ANNOTATION_FULL_NAME: task.name,
            c.ANNOTATION_WORKSPACE_CONFIG: self.config_name,
        }
        if task.index is not None:
            annotations[c.ANNOTATION_BATCH_RUN] = self.owner.name
        return annotations

    def _work(self, task: "_Task") -> PodParts:
        task_id = names.task_id(self.owner.uid, task.index)
        task_dir = f"{c.MOUNT_WORKSPACE}/{c.TASKS_DIR}/{task_id}"
        env = {
            c.ENV_TASK_NAME: task.name,
            c.ENV_TASK_NAMESPACE: self.owner.namespace,
            c.ENV_WORKSPACE: c.MOUNT_WORKSPACE,
            c.ENV_TASK_DIR: task_dir,
            c.ENV_FILES_DIR: c.MOUNT_FILES,
            c.ENV_MANIFEST: f"{task_dir}/{c.MANIFEST_FILE}",
            c.ENV_BRANCH: task.branch,
            c.ENV_HOME: c.MOUNT_HOME,
            c.ENV_GIT_CONFIG: c.GIT_CONFIG_FILE,
        }
        if task.index is not None:
            env |= {c.ENV_BATCH_RUN_NAME: self.owner.name, c.ENV_TASK_INDEX: str(task.index)}
        manifest = self._manifest(task, task_id)
        return PodParts(
            env=[{"name": key, "value": literal(value)} for key, value in env.items()],
            manifest=literal(manifest.model_dump_json(by_alias=True, exclude_none=True)),
            files=self._sources(task.contexts),
            task_dir=task_dir,
            active_deadline_seconds=self.spec.get("activeDeadlineSeconds"),
        )

    def _manifest(self, task: "_Task", task_id: str) -> TaskManifest:
        git = self.config.get("git") or {}
        credentials = git.get("credentials") or {}
        hosts = _hosts(git)
        templates = {x.name: x.url_template for x in hosts}
        found = contexts.repositories(task.contexts)
        for x in found:
            if x.get("host", "") not in templates:
                raise ValueError(
                    f"repository {x['org']}/{x['repo']}: host {x['host']} is no entry of git.hosts"
                    " in the WorkspaceConfig: add it there, or correct repository.host"
                )
        paths = repository_paths(
            [
                RepositoryName(x["org"], x["repo"], x.get("branch", ""), x.get("host", ""))
                for x in found
            ]
        )
        # The API server has validated what these are made of, so they are not validated again for each task.
        return TaskManifest.model_construct(
            task_id=task_id,
            task=task.name,
            namespace=self.owner.namespace,
            run=self.owner.name if task.index is not None else None,
            index=task.index,
            branch=task.branch,
            files=tuple(_manifest_file(x["file"]) for x in task.contexts if contexts.file_name(x)),
            repositories=tuple(
                ManifestRepository.model_construct(
                    org=x["org"],
                    repo=x["repo"],
                    branch=x.get("branch", ""),
                    url=repository_url(templates[x.get("host", "")], org=x["org"], repo=x["repo"]),
                    path=path,
                    host=x.get("host", ""),
                )
                for x, path in zip(found, paths, strict=True)
            ),
            author=Author(**(git.get("author") or {})),
            ca_bundle=c.CA_BUNDLE_FILE if git.get("caBundle") else None,
            credentials=c.MOUNT_GIT_CREDENTIALS if credentials else None,
            # An agent that cannot sign in could not fetch what a partial clone leaves out.
            partial=git.get("partialClone", not _unshared(git, {x.get("host", "") for x in found})),
            hosts=hosts,
            checkout=self._checkout(git, task),
            pull_request=self._pull_request(),
            agent=self._agent(),
            secret_paths=_secret_paths(self.config),
        )

    def _agent(self) -> ManifestAgent:
        given, env = self.config.get("agent") or {}, self.config.get("env") or ()
        secret = {x["name"] for x in env if "secretKeyRef" in (x.get("valueFrom") or {})}
        secret |= {x["env"] for x in self.config.get("credentials") or () if x.get("env")}
        secret |= secret_proxies(self.config)
        return ManifestAgent.model_construct(
            model=given.get("model", ""),
            max_turns=given.get("maxTurns", 0),
            max_cost_usd=str(given.get("maxCostUSD", "")),
            idle_timeout_seconds=given.get("idleTimeoutSeconds", 0),
            max_retry_wait_seconds=given.get(
                "maxRetryWaitSeconds", c.DEFAULT_MAX_RETRY_WAIT_SECONDS
            ),
            secret_env=tuple(sorted(secret)),
            secret_env_prefixes=tuple(
                x.get("prefix", "") for x in self.config.get("envFrom") or () if "secretRef" in x
            ),
            plain_env=tuple(sorted({x["name"] for x in env} - secret)),
        )

    def _checkout(self, git: JSON, task: "_Task") -> Checkout:
        unique = "{id}" in self._branch_template(task.index)
        repeated = bool(self.spec.get("backoffLimit") or self.spec.get("maxDisruptions"))
        return Checkout.model_construct(
            depth=git.get("depth", 0),
            sparse=tuple(git.get("sparsePaths") or ()),
            submodules=git.get("submodules", False),
            lfs=git.get("lfs", False),
            # A branch of that name can only be of an earlier attempt of this task.
            on_branch_exists=git.get("onBranchExists")
            or ("Continue" if unique and repeated else "Fail"),
            commit_message=git.get("commitMessage", ""),
            sign_off=git.get("signOff", False),
            signing=c.MOUNT_GIT_SIGNING if git.get("signing") else None,
            run_hooks=git.get("runHooks", False),
            timeout_seconds=git.get("timeoutSeconds", c.DEFAULT_GIT_TIMEOUT_SECONDS),
        )

    def _pull_request(self) -> ManifestPullRequest | None:
        given = [self.config.get("pullRequest"), self.batch.get("pullRequest")]
        if all(x is None for x in given):
            return None
        merged: JSON = {}
        for x in given:
            merged |= x or {}
        return ManifestPullRequest.model_validate(merged)

    def _place(self, name: str, text: str) -> str:
        """The ConfigMap that holds an inline text."""
        found = self.inline.get(content_key(text))
        if found is None:
            size, most = len(text.encode()), c.MAX_CONFIG_MAP_BYTES
            raise TooLargeError(
                f"inline file {name} has {size} bytes, at most {most} are possible: move it to a repository or shorten it"
            )
        return found

    def _sources(self, task_contexts: list[ContextJSON]) -> list[JSON]:
        """The sources of the projected volume: one a file, in order."""
        _check_paths([x for x in map(contexts.file_name, task_contexts) if x])
        sources: list[JSON] = []
        for context in task_contexts:
            name = contexts.file_name(context)
            if name is None:
                continue
            source = context["file"]["source"]
            text = inline_text(context)
            if text is not None:
                key = content_key(text)
                sources.append(
                    _source("configMap", self._place(name, text), {"key": key, "path": name})
                )
            elif ref := source.get("configMapKeyRef"):
                sources.append(_source("configMap", ref["name"], {"key": ref["key"], "path": name}))
            elif ref := source.get("secretKeyRef"):
                item = {"key": ref["key"], "path": name, "mode": secret_mode(self.config)}
                sources.append(_source("secret", ref["name"], item))
        return sources


def _check_paths(names: list[str]) -> None:
    """Raise ValueError for files that no file system can hold together: the kubelet would try to write them indefinitely."""
    known = set(names)
    for name in names:
        parts = name.split("/")
        if any(len(x.encode()) > MAX_NAME_BYTES for x in parts):
            raise ValueError(
                f"file {name}: a part of its name has more than {MAX_NAME_BYTES} bytes"
            )
        for count in range(1, len(parts)):
            parent = "/".join(parts[:count])
            if parent in known:
                raise ValueError(f"file {parent} is the folder of file {name}: rename one of them")


def _failure_rules(backoff_limit: int) -> list[JSON]:
    """When the Job ends before its tries are used up; the first rule that matches a failed Pod decides.

    A disruption ends it: the controller decides whether the task continues in a new Job, because it observes whether the
    agent had started. So does a sidecar that failed where the agent did not: a second agent would repeat the work.
    """
    disrupted: JSON = {"type": "DisruptionTarget", "status": "True"}
    rules: list[JSON] = [{"action": "FailJob", "onPodConditions": [disrupted]}]
    if backoff_limit:
        failed: JSON = {"operator": "NotIn", "values": [0]}
        ours = (c.CONTAINER_AGENT, c.CONTAINER_WORKSPACE)
        rules += [{"action": "Count", "onExitCodes": {"containerName": x, **failed}} for x in ours]
        rules.append({"action": "FailJob", "onExitCodes": failed})
    return rules


@dataclass(frozen=True, slots=True)
class _Task:
    index: int | None
    name: str
    branch: str
    contexts: list[ContextJSON]


def _hosts(git: JSON) -> tuple[ManifestHost, ...]:
    """The host of ``git.urlTemplate``, and those of ``git.hosts``."""
    first = ManifestHost.model_construct(
        url_template=git.get("urlTemplate") or c.DEFAULT_URL_TEMPLATE,
        provider=git.get("provider", ""),
        api_url=git.get("apiURL", ""),
        shared=bool((git.get("credentials") or {}).get("shareWithAgent")),
    )
    others = (
        ManifestHost.model_construct(
            name=x["name"],
            url_template=x["urlTemplate"],
            provider=x.get("provider", ""),
            api_url=x.get("apiURL", ""),
            credentials=f"{c.MOUNT_GIT_HOSTS}/{x['name']}" if x.get("credentials") else None,
            shared=bool((x.get("credentials") or {}).get("shareWithAgent")),
        )
        for x in git.get("hosts") or ()
    )
    return first, *others


def _secret_paths(config: JSON) -> tuple[str, ...]:
    """Files and folders of the agent's container that contain values from Secrets, but those of git."""
    paths = [x["mountPath"] for x in config.get("credentials") or () if x.get("mountPath")]
    if (config.get("git") or {}).get("signing"):
        paths.append(c.MOUNT_GIT_SIGNING)
    paths += [
        f"{c.MOUNT_HOME}/{x['path']}"
        for x in config.get("homeFiles") or ()
        if "secretKeyRef" in x or "secretRef" in x
    ]
    volumes = {x["name"]: x for x in config.get("volumes") or ()}
    paths += [
        x["mountPath"]
        for x in config.get("volumeMounts") or ()
        if _has_secrets(volumes.get(x["name"]) or {}, read_only=x.get("readOnly", False))
    ]
    return tuple(paths)


def _has_secrets(volume: JSON, *, read_only: bool) -> bool:
    """Whether a volume contains Secrets; the drivers of CSI that provide secrets require a read-only volume."""
    if csi := volume.get("csi"):
        return read_only or bool(csi.get("readOnly"))
    sources = (volume.get("projected") or {}).get("sources") or ()
    return "secret" in volume or any("secret" in x for x in sources)


def _unshared(git: JSON, names: set[str]) -> bool:
    """Whether one of the named hosts has credentials that the agent does not get."""
    given = {"": git.get("credentials")} | {
        x["name"]: x.get("credentials") for x in git.get("hosts") or ()
    }
    return any((x := given.get(name)) and not x.get("shareWithAgent") for name in names)


def _manifest_file(file: FileJSON) -> ManifestFile:
    source = file["source"]
    if "configMapKeyRef" in source:
        return ManifestFile.model_construct(name=file["name"], source="configMap")
    if "secretKeyRef" in source:
        return ManifestFile.model_construct(name=file["name"], source="secret", secret=True)
    digest = content_digest(source["inline"])
    return ManifestFile.model_construct(name=file["name"], source="inline", sha256=digest)


def _source(kind: str, name: str, item: JSON) -> JSON:
    return {kind: {"name": name, "items": [item]}}
