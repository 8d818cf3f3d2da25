"""Every name that the project and its users share: labels, reasons, environment variables, paths,
limits, metrics.

Guarantees: nothing here depends on anything else of the project. What a name means to a user (a
label, a reason, an environment variable, a path) is part of the API: it is added to, and never
changed. The reasons are a closed list, because alerts and pipelines match on them.
"""

from enum import StrEnum
from typing import Final

GROUP: Final = "kubetask.io"
VERSION: Final = "v1alpha1"
API_VERSION: Final = f"{GROUP}/{VERSION}"
CATEGORY: Final = "kubetask"

KIND_BATCH: Final = "Batch"
KIND_BATCH_RUN: Final = "BatchRun"
KIND_TASK: Final = "Task"
KIND_WORKSPACE_CONFIG: Final = "WorkspaceConfig"

PLURAL_BATCH: Final = "batches"
PLURAL_BATCH_RUN: Final = "batchruns"
PLURAL_TASK: Final = "tasks"
PLURAL_WORKSPACE_CONFIG: Final = "workspaceconfigs"

# Labels and annotations --------------------------------------------------------------------------

LABEL_TASK: Final = f"{GROUP}/task"
"""On Job and Pod: the task's name, ``<run>-task-<i>`` for a task of a run; cut to a label value."""
LABEL_BATCH_RUN: Final = f"{GROUP}/batch-run"
"""On Job and Pod: the BatchRun's name; cut to a label value."""
LABEL_TASK_INDEX: Final = f"{GROUP}/task-index"
"""On Job and Pod of a run: the task's index, from 0."""
LABEL_WORKSPACE_CONFIG: Final = f"{GROUP}/workspace-config"
"""On Job and Pod: the WorkspaceConfig in force; cut to a label value."""
LABEL_SCHEDULE: Final = f"{GROUP}/schedule"
"""On a BatchRun: the name of the CronJob that created it."""
LABEL_MANAGED_BY: Final = "app.kubernetes.io/managed-by"
LABEL_MANAGED_BY_VALUE: Final = "kubetask"
LABEL_KUEUE_QUEUE: Final = "kueue.x-k8s.io/queue-name"
LABEL_KUEUE_PRIORITY: Final = "kueue.x-k8s.io/priority-class"
PROPAGATED_LABELS: Final = (LABEL_KUEUE_QUEUE, LABEL_KUEUE_PRIORITY)
"""The only labels of a BatchRun or Task that are handed on to its Jobs. An allow-list: a copied
ownership label of Argo CD or Flux would make those tools prune the Jobs."""
LABEL_PREFIX: Final = f"{GROUP}/"
"""Reserved: a WorkspaceConfig's podLabels and podAnnotations may not use it."""

ANNOTATION_FULL_NAME: Final = f"{GROUP}/full-name"
"""On Job and Pod: the task's whole name, where a name or label had to be cut."""
ANNOTATION_WORKSPACE_CONFIG: Final = f"{GROUP}/workspace-config"
"""On Job: the whole name of the WorkspaceConfig in force."""
ANNOTATION_BATCH_RUN: Final = f"{GROUP}/batch-run"
"""On Job and Pod: the whole name of the BatchRun."""
ANNOTATION_SOURCE: Final = f"{GROUP}/source"
"""On a ControllerRevision: what the snapshot was taken from."""
ANNOTATION_NOTIFIED: Final = f"{GROUP}/notified"
"""On a BatchRun: when its end was delivered to the webhook."""
ANNOTATION_DEFAULT_CONTAINER: Final = "kubectl.kubernetes.io/default-container"
ANNOTATION_REPLACEMENT: Final = f"{GROUP}/replacement"
"""On a Job that replaces an earlier Job of the same task: how many Jobs came before it."""
ANNOTATION_EARLIER_ATTEMPTS: Final = f"{GROUP}/earlier-attempts"
"""On a Job that replaces an earlier one: how often the task's agent was started before."""
ANNOTATION_CONFIG_DIGEST: Final = f"{GROUP}/workspace-config-digest"
"""On a Job: the digest of the WorkspaceConfig's spec that its Pod template follows."""

MANAGED_BY: Final = f"{GROUP}/kubetask-controller"
"""The value of ``spec.managedBy`` that means this controller, as does leaving it out."""
FIELD_MANAGER: Final = "kubetask-controller"
WORKSPACE_CONFIG_DEFAULT: Final = "default"
"""The WorkspaceConfig that is used where none is named. That one need not exist."""

# Status ------------------------------------------------------------------------------------------


class Phase(StrEnum):
    """The phases of runs and tasks. These four for good; why stands in the reason."""

    PENDING = "Pending"
    RUNNING = "Running"
    SUCCEEDED = "Succeeded"
    FAILED = "Failed"

    @property
    def final(self) -> bool:
        """A final phase is never left."""
        return self in (Phase.SUCCEEDED, Phase.FAILED)


class ConditionType(StrEnum):
    """The conditions of BatchRun and Task, in their order. All are always there."""

    COMPLETE = "Complete"  # everything succeeded
    FAILED = "Failed"  # ended, and not everything succeeded
    SUSPENDED = "Suspended"  # spec.suspend holds it
    READY = "Ready"  # kstatus: True once all is well and done
    RECONCILING = "Reconciling"  # kstatus: on its way to an end
    STALLED = "Stalled"  # kstatus: ended in a failure


class ConditionStatus(StrEnum):
    """The three values of a condition."""

    TRUE = "True"
    FALSE = "False"
    UNKNOWN = "Unknown"


class Reason(StrEnum):
    """Why a run or a task is in its phase. A closed list; the message has the details."""

    # Pending: nothing runs yet
    QUEUED = "Queued"  # waits for its turn: parallelism, maxConcurrentTasks, or Kueue holds its Job
    SUSPENDED = "Suspended"  # spec.suspend is true
    TASK_LIMIT = "TaskLimit"  # the tasks beyond taskLimit wait until it is raised or removed
    BATCH_NOT_FOUND = "BatchNotFound"  # batchRef names no Batch of this namespace
    WORKSPACE_CONFIG_NOT_FOUND = "WorkspaceConfigNotFound"  # the named one does not exist
    RETRY_OF_NOT_FOUND = "RetryOfNotFound"  # retryOf names no BatchRun of this namespace
    RETRY_OF_NOT_FINISHED = "RetryOfNotFinished"  # the run that retryOf names has not ended yet
    SERVICE_ACCOUNT_NOT_FOUND = "ServiceAccountNotFound"  # the Pod's ServiceAccount does not exist
    CONTEXT_NOT_FOUND = "ContextNotFound"  # a ConfigMap or Secret, or a key of it, is not there
    VOLUME_NOT_READY = "VolumeNotReady"  # a claim is not bound, or a volume cannot be mounted
    IMAGE_PULL_BACK_OFF = "ImagePullBackOff"  # an image cannot be pulled
    INVALID_IMAGE_NAME = "InvalidImageName"  # an image reference that no registry could have
    CREATE_CONTAINER_CONFIG_ERROR = "CreateContainerConfigError"  # the kubelet cannot set it up
    UNSCHEDULABLE = "Unschedulable"  # no node fits the Pod
    QUOTA_EXCEEDED = "QuotaExceeded"  # a ResourceQuota or LimitRange refuses the Pod or Job
    ADMISSION_DENIED = "AdmissionDenied"  # Pod Security or a policy refuses the Pod or Job
    STARTING = "Starting"  # its Job is made and nothing is known to be wrong

    # Running
    TASKS_RUNNING = "TasksRunning"  # a run with at least one task started and not all ended
    TASK_RUNNING = "TaskRunning"  # a task whose Pod has begun
    CANCELLING = "Cancelling"  # cancelled by the user, the last Pods are being ended

    # Succeeded
    TASKS_SUCCEEDED = "TasksSucceeded"  # a run of which every task succeeded
    TASK_SUCCEEDED = "TaskSucceeded"  # a task whose agent ended with exit code 0

    # Failed, a task
    AGENT_ERROR = "AgentError"  # the agent ended with an exit code other than 0
    RATE_LIMITED = "RateLimited"  # the agent's model, or a git host, took no more requests
    NO_CHANGES = "NoChanges"  # the agent says there was nothing to do, and that it should fail
    REFUSED = "Refused"  # the agent says that its model declined the work
    IDLE_TIMEOUT = "IdleTimeout"  # the agent printed nothing for agent.idleTimeoutSeconds
    MAX_TURNS_EXCEEDED = "MaxTurnsExceeded"  # the agent needed more turns than agent.maxTurns
    OOM_KILLED = "OOMKilled"  # a container used more memory than its limit
    TIMED_OUT = "TimedOut"  # activeDeadlineSeconds passed
    PENDING_TIMEOUT = "PendingTimeout"  # pendingDeadlineSeconds passed before a container ran
    DISRUPTED = "Disrupted"  # the cluster evicted, preempted or lost the Pod of a running agent
    JOB_LOST = "JobLost"  # somebody deleted the Job; the agent may have acted already
    CANCELLED = "Cancelled"  # spec.cancel, for a run too
    BRANCH_EXISTS = "BranchExists"  # the server has the branch that the agent was to work on
    PUSH_REJECTED = "PushRejected"  # the server refuses what the agent did; its commits are kept
    PULL_REQUEST_FAILED = "PullRequestFailed"  # the branch is pushed, its pull request was refused
    CLONE_FAILED = "CloneFailed"  # a repository or a branch could not be cloned
    WORKSPACE_ERROR = "WorkspaceError"  # the workspace could not be prepared for another reason
    NAME_CONFLICT = "NameConflict"  # an object of another owner bears the name that ours would have
    INVALID_SPEC = "InvalidSpec"  # what admission let pass and still cannot be run
    SECRET_NOT_ALLOWED = "SecretNotAllowed"  # a file's Secret is not in allowedSecrets
    TOO_LARGE = "TooLarge"  # more than an object or a ConfigMap can hold
    SNAPSHOT_LOST = "SnapshotLost"  # the ControllerRevision that holds the run's work was deleted

    # Failed, a run
    TASKS_FAILED = "TasksFailed"  # all tasks ended, at least one of them failed
    MAX_FAILURES_EXCEEDED = "MaxFailuresExceeded"  # more tasks failed than maxFailures allows
    BUDGET_EXCEEDED = "BudgetExceeded"  # the reported costs reached maxCostUSD


PENDING_REASONS: Final = frozenset(
    {
        Reason.QUEUED,
        Reason.SUSPENDED,
        Reason.TASK_LIMIT,
        Reason.BATCH_NOT_FOUND,
        Reason.WORKSPACE_CONFIG_NOT_FOUND,
        Reason.RETRY_OF_NOT_FOUND,
        Reason.RETRY_OF_NOT_FINISHED,
        Reason.SERVICE_ACCOUNT_NOT_FOUND,
        Reason.CONTEXT_NOT_FOUND,
        Reason.VOLUME_NOT_READY,
        Reason.IMAGE_PULL_BACK_OFF,
        Reason.INVALID_IMAGE_NAME,
        Reason.CREATE_CONTAINER_CONFIG_ERROR,
        Reason.UNSCHEDULABLE,
        Reason.QUOTA_EXCEEDED,
        Reason.ADMISSION_DENIED,
        Reason.STARTING,
    }
)
RUNNING_REASONS: Final = frozenset(
    {
        Reason.TASKS_RUNNING,
        Reason.TASK_RUNNING,
        Reason.CANCELLING,
        Reason.SUSPENDED,
        Reason.TASK_LIMIT,
    }
)
SUCCEEDED_REASONS: Final = frozenset({Reason.TASKS_SUCCEEDED, Reason.TASK_SUCCEEDED})
FAILED_REASONS: Final = frozenset(
    (set(Reason) - PENDING_REASONS - RUNNING_REASONS - SUCCEEDED_REASONS)
    | {Reason.CONTEXT_NOT_FOUND}
)
PREPARATION_REASONS: Final = (
    Reason.CLONE_FAILED,
    Reason.BRANCH_EXISTS,
    Reason.RATE_LIMITED,
    Reason.OOM_KILLED,
    Reason.WORKSPACE_ERROR,
    Reason.CONTEXT_NOT_FOUND,
    Reason.INVALID_SPEC,
    Reason.TOO_LARGE,
)
"""Reasons that the init container may give in its termination message."""
AGENT_REASONS: Final = (
    Reason.RATE_LIMITED,
    Reason.NO_CHANGES,
    Reason.REFUSED,
    Reason.IDLE_TIMEOUT,
    Reason.MAX_TURNS_EXCEEDED,
    Reason.BUDGET_EXCEEDED,
    Reason.INVALID_SPEC,
    Reason.BRANCH_EXISTS,
    Reason.PUSH_REJECTED,
    Reason.PULL_REQUEST_FAILED,
)
"""Reasons that an agent may give as the ``reason`` of its result, when it fails."""
REASONS_BY_PHASE: Final = {
    Phase.PENDING: PENDING_REASONS,
    Phase.RUNNING: RUNNING_REASONS,
    Phase.SUCCEEDED: SUCCEEDED_REASONS,
    Phase.FAILED: FAILED_REASONS,
}


class Omitted(StrEnum):
    """What the status of a large run gave up to stay within its size, in this order."""

    CONTEXTS = "Contexts"  # tasks[].contexts; the spec or the Batch's snapshot has them
    TIMES = "Times"  # startTime and completionTime of tasks that succeeded
    TASKS = "Tasks"  # entries of tasks that did not fail; the index ranges have them
    DETAILS = "Details"  # message and result of failed tasks


class EventReason(StrEnum):
    """Reasons of the Events on a BatchRun or Task. Each tells one change, once."""

    QUEUED = "Queued"  # work was accepted and waits
    STARTED = "Started"  # the first task began to run
    SUSPENDED = "Suspended"  # the user suspended it
    RESUMED = "Resumed"  # the user let it go on
    CANCELLING = "Cancelling"  # the user cancelled it, the last Pods are being ended
    WAITING = "Waiting"  # something it needs is not there; the note says what
    JOB_CREATED = "JobCreated"  # on a Task
    TASK_FAILED = "TaskFailed"  # on a BatchRun: the first failures, then one Event for many
    RETRYING = "Retrying"  # a task gets another Job: its Pod was disrupted, or could not start
    TASK_LIMIT = "TaskLimit"  # the first taskLimit tasks have ended, the rest waits for a person
    IGNORED = "Ignored"  # a Job or Pod names this object as its owner, and is not of its making
    SUCCEEDED = "Succeeded"  # the end
    FAILED = "Failed"  # the end; the note has the reason
    WEBHOOK_FAILED = "WebhookFailed"  # the end was not delivered to the webhook; it is sent again
    JOB_DELETED = "JobDeleted"  # the time to live of a finished Job is over


# A task's Pod ------------------------------------------------------------------------------------

DEFAULT_AGENT_IMAGE: Final = "quay.io/zhaoxue/kubetask-agent:latest"
DEFAULT_SERVICE_ACCOUNT: Final = "kubetask-agent"
DEFAULT_BACKOFF_LIMIT: Final = 0
"""Agents are not idempotent: a second start may open a second pull request."""
DEFAULT_MAX_RETRY_WAIT_SECONDS: Final = 300
"""How long an agent may wait for a model that takes no requests."""
DEFAULT_URL_TEMPLATE: Final = "https://github.com/{org}/{repo}.git"
DEFAULT_GIT_TIMEOUT_SECONDS: Final = 1800
"""How long one git command may take."""
DEFAULT_AUTHOR_NAME: Final = "KubeTask"
DEFAULT_AUTHOR_EMAIL: Final = "kubetask@localhost"

CONTAINER_AGENT: Final = "agent"
CONTAINER_WORKSPACE: Final = "workspace"
"""The init container that prepares the files and repositories."""
WORKSPACE_COMMAND: Final = ("kubetask-workspace", "prepare")
AGENT_COMMAND: Final = "kubetask-agent"

VOLUME_WORKSPACE: Final = "workspace"
VOLUME_FILES: Final = "files"
VOLUME_TMP: Final = "tmp"
VOLUME_WORKSPACE_TMP: Final = "workspace-tmp"
"""The init container's own ``/tmp``: the agent sees nothing of what the preparation leaves there."""
VOLUME_VAR_TMP: Final = "var-tmp"
VOLUME_HOME_FILE_PREFIX: Final = "home-file-"
"""Followed by the position of the entry in ``spec.homeFiles`` of the WorkspaceConfig."""
VOLUME_HOME: Final = "home"
VOLUME_GIT_CREDENTIALS: Final = "git-credentials"
VOLUME_GIT_HOST_PREFIX: Final = "git-host-"
"""Followed by the position of the entry in ``spec.git.hosts``."""
VOLUME_GIT_SIGNING: Final = "git-signing"
VOLUME_CA_BUNDLE: Final = "ca-bundle"
VOLUME_CREDENTIAL_PREFIX: Final = "credential-"
"""Followed by the position of the entry in ``spec.credentials`` of the WorkspaceConfig."""

MOUNT_WORKSPACE: Final = "/workspace"
MOUNT_FILES: Final = "/kubetask/files"
MOUNT_GIT_CREDENTIALS: Final = "/kubetask/git"
MOUNT_GIT_HOSTS: Final = "/kubetask/git-hosts"
"""Below it, by the name of the host: the credentials of an entry of ``spec.git.hosts``."""
MOUNT_GIT_SIGNING: Final = "/kubetask/git-signing"
MOUNT_CA_BUNDLE: Final = "/kubetask/ca"
CA_BUNDLE_FILE: Final = f"{MOUNT_CA_BUNDLE}/ca.crt"
MOUNT_TMP: Final = "/tmp"
MOUNT_VAR_TMP: Final = "/var/tmp"
"""A volume where the agent's root file system is read-only."""
MOUNT_HOME_FILES: Final = "/kubetask/home"
"""In the init container, below it by position: what ``spec.homeFiles`` takes from objects."""
MOUNT_HOME: Final = "/home/agent"
GIT_CONFIG_FILE: Final = f"{MOUNT_HOME}/.gitconfig"
CA_COMBINED_FILE: Final = f"{MOUNT_HOME}/.kubetask-ca.crt"
"""The authorities of the system and those of the WorkspaceConfig, in one file."""
CA_ENV: Final = ("SSL_CERT_FILE", "REQUESTS_CA_BUNDLE", "CURL_CA_BUNDLE", "NODE_EXTRA_CA_CERTS")
"""Variables by which programs that are not git find their authorities."""
TASKS_DIR: Final = "tasks"
"""Below the workspace: a folder for each task."""
REPOS_DIR: Final = "repos"
"""Below the workspace: a bare repository for each origin, kept between tasks."""
RESERVED_DIR: Final = ".kubetask"
"""Below a task's folder: what belongs to KubeTask. No file of a context may lie there."""
MANIFEST_FILE: Final = f"{RESERVED_DIR}/manifest.json"
TERMINATION_LOG: Final = "/dev/termination-log"

ENV_TASK_NAME: Final = "TASK_NAME"
ENV_TASK_NAMESPACE: Final = "TASK_NAMESPACE"
ENV_BATCH_RUN_NAME: Final = "BATCH_RUN_NAME"
ENV_TASK_INDEX: Final = "TASK_INDEX"
ENV_WORKSPACE: Final = "KUBETASK_WORKSPACE"
ENV_TASK_DIR: Final = "KUBETASK_TASK_DIR"
ENV_FILES_DIR: Final = "KUBETASK_FILES_DIR"
ENV_MANIFEST: Final = "KUBETASK_MANIFEST"
ENV_BRANCH: Final = "KUBETASK_BRANCH"
ENV_TASK_SPEC: Final = "KUBETASK_TASK_SPEC"
"""On the init container alone: the TaskManifest as JSON."""
ENV_GIT_CREDENTIALS: Final = "KUBETASK_GIT_CREDENTIALS"
"""The folder of the git credentials, where the container is given them."""
ENV_HOME_FILES: Final = "KUBETASK_HOME_FILES"
"""On the init container alone: the files to make below HOME, as JSON."""
PROXY_ENV: Final = ("HTTP_PROXY", "HTTPS_PROXY", "NO_PROXY")
"""Variables by which programs find a proxy; each is set in lower case too."""
DEFAULT_NO_PROXY: Final = "localhost,127.0.0.1,::1,.svc,.cluster.local"
ENV_HOME: Final = "HOME"
ENV_GIT_CONFIG: Final = "GIT_CONFIG_GLOBAL"
"""git's settings, wherever HOME is."""
ENV_AGENT: Final = "KUBETASK_AGENT"
"""What ``kubetask-agent`` runs where no flag says it; an image or a WorkspaceConfig may set it."""
RESERVED_ENV: Final = (
    ENV_TASK_NAME,
    ENV_TASK_NAMESPACE,
    ENV_BATCH_RUN_NAME,
    ENV_TASK_INDEX,
    ENV_WORKSPACE,
    ENV_TASK_DIR,
    ENV_FILES_DIR,
    ENV_MANIFEST,
    ENV_BRANCH,
    ENV_TASK_SPEC,
    ENV_GIT_CREDENTIALS,
    ENV_HOME_FILES,
)
"""Variables a WorkspaceConfig may not set: the controller does."""

BRANCH_TEMPLATE_RUN: Final = "kubetask/{run}-{index}-{id}"
BRANCH_TEMPLATE_TASK: Final = "kubetask/{task}-{id}"
"""Branches of agents where no template is set."""

# Limits ------------------------------------------------------------------------------------------

MAX_TASKS: Final = 10_000
"""Tasks of one run."""
MAX_CONTEXTS: Final = 64
"""Contexts of one list."""
MAX_INLINE_LENGTH: Final = 900 * 1024
"""Characters of one inline file."""
MAX_CONFIG_MAP_BYTES: Final = 900 * 1024
"""Inline files are packed into ConfigMaps of at most this size; the limit is 1 MiB."""
MAX_OBJECT_BYTES: Final = 1_468_006
"""1.4 MiB: what a whole BatchRun may weigh, as etcd refuses an object of 1.5 MiB."""
MAX_RESULT_BYTES: Final = 4096
"""A container's termination message, set by the kubelet."""
MAX_MESSAGE_LENGTH: Final = 1024
MAX_NAME_LENGTH: Final = 253

# Metrics -----------------------------------------------------------------------------------------

METRIC_TASKS: Final = "kubetask_tasks"
METRIC_BATCHRUNS: Final = "kubetask_batchruns"
METRIC_TASKS_FINISHED: Final = "kubetask_tasks_finished_total"
METRIC_BATCHRUNS_FINISHED: Final = "kubetask_batchruns_finished_total"
METRIC_TASK_DURATION: Final = "kubetask_task_duration_seconds"
METRIC_TASK_QUEUE_DURATION: Final = "kubetask_task_queue_duration_seconds"
METRIC_CONCURRENCY_LIMIT: Final = "kubetask_concurrency_limit"
METRIC_CONCURRENCY_USED: Final = "kubetask_concurrency_used"
METRIC_TASK_TOKENS: Final = "kubetask_task_tokens_total"
METRIC_TASK_COST: Final = "kubetask_task_cost_usd_total"
METRIC_BUILD_INFO: Final = "kubetask_build_info"
