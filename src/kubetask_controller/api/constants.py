"""All names that are part of the API: labels, reasons, environment variables, paths, limits, metrics.

Guarantees: this module imports nothing of the project. Names that users see (labels, reasons,
environment variables, paths) are part of the API: new ones may be added, existing ones never change.
The reasons are a closed list, because alerts and pipelines match on them.
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
"""On Job and Pod: the task's name, ``<run>-task-<i>`` for a task of a run; shortened to a label value."""
LABEL_BATCH_RUN: Final = f"{GROUP}/batch-run"
"""On Job and Pod: the BatchRun's name; shortened to a label value."""
LABEL_TASK_INDEX: Final = f"{GROUP}/task-index"
"""On Job and Pod of a run: the task's index, from 0."""
LABEL_WORKSPACE_CONFIG: Final = f"{GROUP}/workspace-config"
"""On Job and Pod: the WorkspaceConfig that the task uses; shortened to a label value."""
LABEL_SCHEDULE: Final = f"{GROUP}/schedule"
"""On a BatchRun: the name of the CronJob that created it."""
LABEL_MANAGED_BY: Final = "app.kubernetes.io/managed-by"
LABEL_MANAGED_BY_VALUE: Final = "kubetask"
LABEL_COMPONENT: Final = "app.kubernetes.io/component"
LABEL_COMPONENT_VALUE: Final = "task"
"""On Job and Pod: selectors of the controller's own Pods match no task, whatever podLabels sets."""
LABEL_KUEUE_QUEUE: Final = "kueue.x-k8s.io/queue-name"
LABEL_KUEUE_PRIORITY: Final = "kueue.x-k8s.io/priority-class"
PROPAGATED_LABELS: Final = (LABEL_KUEUE_QUEUE, LABEL_KUEUE_PRIORITY)
"""The only labels of a BatchRun or Task that its Jobs inherit. An allow-list: with a copied ownership
label of Argo CD or Flux, those tools would prune the Jobs."""
LABEL_PREFIX: Final = f"{GROUP}/"
"""Reserved: a WorkspaceConfig's podLabels and podAnnotations may not use it."""

ANNOTATION_FULL_NAME: Final = f"{GROUP}/full-name"
"""On Job and Pod: the task's full name, where a name or label had to be shortened."""
ANNOTATION_WORKSPACE_CONFIG: Final = f"{GROUP}/workspace-config"
"""On Job: the full name of the WorkspaceConfig that the task uses."""
ANNOTATION_BATCH_RUN: Final = f"{GROUP}/batch-run"
"""On Job and Pod: the full name of the BatchRun."""
ANNOTATION_SOURCE: Final = f"{GROUP}/source"
"""On a ControllerRevision: the source of the snapshot."""
ANNOTATION_NOTIFIED: Final = f"{GROUP}/notified"
"""On a BatchRun: when the webhook delivered its end."""
ANNOTATION_DEFAULT_CONTAINER: Final = "kubectl.kubernetes.io/default-container"
ANNOTATION_REPLACEMENT: Final = f"{GROUP}/replacement"
"""On a Job that replaces an earlier Job of the same task: number of earlier Jobs."""
ANNOTATION_EARLIER_ATTEMPTS: Final = f"{GROUP}/earlier-attempts"
"""On a Job that replaces an earlier one: number of earlier starts of the task's agent."""
ANNOTATION_CONFIG_DIGEST: Final = f"{GROUP}/workspace-config-digest"
"""On a Job: digest of the WorkspaceConfig's spec from which its Pod template was built."""

MANAGED_BY: Final = f"{GROUP}/kubetask-controller"
"""The value of ``spec.managedBy`` for this controller; an unset field means the same."""
WORKSPACE_CONFIG_DEFAULT: Final = "default"
"""The WorkspaceConfig that is used where no name is set. It need not exist."""

# Status ------------------------------------------------------------------------------------------


class Phase(StrEnum):
    """The phases of runs and tasks. The set is final; the reason explains the phase."""

    PENDING = "Pending"
    RUNNING = "Running"
    SUCCEEDED = "Succeeded"
    FAILED = "Failed"

    @property
    def final(self) -> bool:
        """Whether the phase is final; a final phase never changes."""
        return self in (Phase.SUCCEEDED, Phase.FAILED)


class ConditionType(StrEnum):
    """The conditions of BatchRun and Task, in order. All of them are always present."""

    COMPLETE = "Complete"  # everything succeeded
    FAILED = "Failed"  # ended, and not everything succeeded
    SUSPENDED = "Suspended"  # spec.suspend or taskLimit holds it
    READY = "Ready"  # kstatus: True when everything succeeded
    RECONCILING = "Reconciling"  # kstatus: not yet final
    STALLED = "Stalled"  # kstatus: ended in a failure


class ConditionStatus(StrEnum):
    """The three values of a condition."""

    TRUE = "True"
    FALSE = "False"
    UNKNOWN = "Unknown"


class Reason(StrEnum):
    """Why a run or a task is in its phase. A closed list; the message contains the details."""

    # Pending: nothing runs yet
    QUEUED = "Queued"  # waits for a slot (parallelism, maxConcurrentTasks) or for Kueue
    SUSPENDED = "Suspended"  # spec.suspend is true
    TASK_LIMIT = "TaskLimit"  # the tasks beyond taskLimit wait until it is raised or removed
    BATCH_NOT_FOUND = "BatchNotFound"  # the Batch in batchRef does not exist
    WORKSPACE_CONFIG_NOT_FOUND = "WorkspaceConfigNotFound"  # workspaceConfigRef does not exist
    RETRY_OF_NOT_FOUND = "RetryOfNotFound"  # the BatchRun in retryOf does not exist
    RETRY_OF_NOT_FINISHED = "RetryOfNotFinished"  # the BatchRun in retryOf has not ended
    SERVICE_ACCOUNT_NOT_FOUND = "ServiceAccountNotFound"  # the Pod's ServiceAccount does not exist
    CONTEXT_NOT_FOUND = "ContextNotFound"  # a ConfigMap or Secret, or its key, does not exist
    VOLUME_NOT_READY = "VolumeNotReady"  # a claim is not bound, or a volume cannot be mounted
    IMAGE_PULL_BACK_OFF = "ImagePullBackOff"  # an image cannot be pulled
    INVALID_IMAGE_NAME = "InvalidImageName"  # an image reference is not valid
    CREATE_CONTAINER_CONFIG_ERROR = "CreateContainerConfigError"  # as the kubelet reports it
    UNSCHEDULABLE = "Unschedulable"  # no node fits the Pod
    QUOTA_EXCEEDED = "QuotaExceeded"  # a ResourceQuota or LimitRange refuses the Pod or Job
    ADMISSION_DENIED = "AdmissionDenied"  # Pod Security or a policy refuses the Pod or Job
    STARTING = "Starting"  # the Job exists and no problem is observed

    # Running
    TASKS_RUNNING = "TasksRunning"  # a run with at least one task started and not all ended
    TASK_RUNNING = "TaskRunning"  # a task whose agent container has started
    CANCELLING = "Cancelling"  # cancelled by the user; the last Pods are terminating

    # Succeeded
    TASKS_SUCCEEDED = "TasksSucceeded"  # a run of which every task succeeded
    TASK_SUCCEEDED = "TaskSucceeded"  # a task whose agent ended with exit code 0

    # Failed, a task
    AGENT_ERROR = "AgentError"  # the agent ended with an exit code other than 0
    RATE_LIMITED = "RateLimited"  # a rate limit of the model or of a git host
    NO_CHANGES = "NoChanges"  # no commits, with --fail-on-no-changes or reported by the agent
    REFUSED = "Refused"  # the model declined the work
    IDLE_TIMEOUT = "IdleTimeout"  # the agent printed nothing for agent.idleTimeoutSeconds
    MAX_TURNS_EXCEEDED = "MaxTurnsExceeded"  # the agent needed more turns than agent.maxTurns
    OOM_KILLED = "OOMKilled"  # a container used more memory than its limit
    TIMED_OUT = "TimedOut"  # activeDeadlineSeconds passed
    PENDING_TIMEOUT = "PendingTimeout"  # pendingDeadlineSeconds passed before a container ran
    DISRUPTED = "Disrupted"  # the cluster evicted, preempted or lost the Pod of a running agent
    JOB_LOST = "JobLost"  # the Job was deleted; the agent may have acted already
    CANCELLED = "Cancelled"  # spec.cancel, for a run too
    BRANCH_EXISTS = "BranchExists"  # the server already has the task's branch
    PUSH_REJECTED = "PushRejected"  # the server rejected the push; the commits are kept
    PULL_REQUEST_FAILED = "PullRequestFailed"  # the branch is pushed; no pull request was created
    CLONE_FAILED = "CloneFailed"  # a repository or a branch could not be cloned
    WORKSPACE_ERROR = "WorkspaceError"  # the workspace could not be prepared for another reason
    NAME_CONFLICT = "NameConflict"  # an object of another owner has the derived name
    INVALID_SPEC = "InvalidSpec"  # admitted, but cannot be run
    SECRET_NOT_ALLOWED = "SecretNotAllowed"  # a file's Secret is not in allowedSecrets
    TOO_LARGE = "TooLarge"  # exceeds the size limit of an object
    SNAPSHOT_LOST = "SnapshotLost"  # the ControllerRevision with the snapshot was deleted

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
        Reason.INVALID_SPEC,
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
    | {Reason.CONTEXT_NOT_FOUND, Reason.INVALID_SPEC}
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
"""Reasons that the init container may write to its termination message."""
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
"""Reasons that an agent may report as the ``reason`` of its result when it fails."""
REASONS_BY_PHASE: Final = {
    Phase.PENDING: PENDING_REASONS,
    Phase.RUNNING: RUNNING_REASONS,
    Phase.SUCCEEDED: SUCCEEDED_REASONS,
    Phase.FAILED: FAILED_REASONS,
}


class Omitted(StrEnum):
    """Parts that the status of a large run omits to stay within its size limit, in this order."""

    CONTEXTS = "Contexts"  # tasks[].contexts; the spec or the Batch's snapshot has them
    TIMES = "Times"  # startTime and completionTime of tasks that succeeded
    TASKS = "Tasks"  # entries of tasks that did not fail; the index ranges have them
    DETAILS = "Details"  # message and result of failed tasks


class EventReason(StrEnum):
    """Reasons of the Events on a BatchRun or Task. One Event for each change."""

    QUEUED = "Queued"  # accepted, and waiting for a slot
    STARTED = "Started"  # the first task started
    SUSPENDED = "Suspended"  # the user suspended it
    RESUMED = "Resumed"  # the user resumed it
    CANCELLING = "Cancelling"  # the user cancelled it; the last Pods are terminating
    WAITING = "Waiting"  # a required object does not exist; the note names it
    JOB_CREATED = "JobCreated"  # on a Task
    TASK_FAILED = "TaskFailed"  # on a BatchRun: the first failures, then one Event per group
    RETRYING = "Retrying"  # a new Job replaces one that was disrupted or could not start
    TASK_LIMIT = "TaskLimit"  # the first taskLimit tasks ended; the others wait for a promotion
    IGNORED = "Ignored"  # a Job or Pod claims this owner, but the controller did not create it
    SUCCEEDED = "Succeeded"  # ended
    FAILED = "Failed"  # ended; the note contains the reason
    WEBHOOK_FAILED = "WebhookFailed"  # the webhook was not delivered; it is retried
    JOB_DELETED = "JobDeleted"  # ttlSecondsAfterFinished of the Job expired


# A task's Pod ------------------------------------------------------------------------------------

DEFAULT_AGENT_IMAGE: Final = "quay.io/zhaoxue/kubetask-agent:latest"
DEFAULT_SERVICE_ACCOUNT: Final = "kubetask-agent"
DEFAULT_BACKOFF_LIMIT: Final = 0
"""Agents are not idempotent: a second start may open a second pull request."""
DEFAULT_MAX_RETRY_WAIT_SECONDS: Final = 300
"""Maximum time that an agent waits for a model that rejects requests."""
DEFAULT_URL_TEMPLATE: Final = "https://github.com/{org}/{repo}.git"
DEFAULT_GIT_TIMEOUT_SECONDS: Final = 1800
"""Timeout of one git command."""
DEFAULT_AUTHOR_NAME: Final = "KubeTask"
DEFAULT_AUTHOR_EMAIL: Final = "kubetask@localhost"

CONTAINER_AGENT: Final = "agent"
CONTAINER_WORKSPACE: Final = "workspace"
"""The init container that prepares the files and repositories."""
WORKSPACE_COMMAND: Final = ("kubetask-workspace", "prepare")

VOLUME_WORKSPACE: Final = "workspace"
VOLUME_FILES: Final = "files"
VOLUME_TMP: Final = "tmp"
VOLUME_WORKSPACE_TMP: Final = "workspace-tmp"
"""The init container's own ``/tmp``: the agent cannot read files that the preparation creates there."""
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
"""A volume is mounted there where the agent's root file system is read-only."""
MOUNT_HOME_FILES: Final = "/kubetask/home"
"""In the init container: the objects of ``spec.homeFiles``, one folder per position."""
MOUNT_HOME: Final = "/home/agent"
GIT_CONFIG_FILE: Final = f"{MOUNT_HOME}/.gitconfig"
CA_COMBINED_FILE: Final = f"{MOUNT_HOME}/.kubetask-ca.crt"
"""The certificate authorities of the system and of the WorkspaceConfig, in one file."""
CA_ENV: Final = ("SSL_CERT_FILE", "REQUESTS_CA_BUNDLE", "CURL_CA_BUNDLE", "NODE_EXTRA_CA_CERTS")
"""Variables that point programs other than git to their certificate authorities."""
TASKS_DIR: Final = "tasks"
"""Below the workspace: a folder for each task."""
REPOS_DIR: Final = "repos"
"""Below the workspace: a bare repository for each origin, kept between tasks."""
RESERVED_DIR: Final = ".kubetask"
"""Below a task's folder: reserved for KubeTask. Files of contexts cannot use it."""
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
"""Only on the init container: the TaskManifest as JSON."""
ENV_GIT_CREDENTIALS: Final = "KUBETASK_GIT_CREDENTIALS"
"""The folder of the git credentials, where the container has them."""
ENV_HOME_FILES: Final = "KUBETASK_HOME_FILES"
"""Only on the init container: the files to write below HOME, as JSON."""
PROXY_ENV: Final = ("HTTP_PROXY", "HTTPS_PROXY", "NO_PROXY")
"""Variables that configure a proxy; each is set in lower case too."""
DEFAULT_NO_PROXY: Final = "localhost,127.0.0.1,::1,.svc,.cluster.local"
ENV_HOME: Final = "HOME"
ENV_GIT_CONFIG: Final = "GIT_CONFIG_GLOBAL"
"""The git configuration file, independent of HOME."""
ENV_AGENT: Final = "KUBETASK_AGENT"
"""What ``kubetask-agent`` runs where no flag is set; an image or a WorkspaceConfig may set it."""
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
"""Variables that only the controller sets; a WorkspaceConfig cannot set them."""

BRANCH_TEMPLATE_RUN: Final = "kubetask/{run}-{index}-{id}"
BRANCH_TEMPLATE_TASK: Final = "kubetask/{task}-{id}"
"""Default templates of the agents' branches."""

# Limits ------------------------------------------------------------------------------------------

MAX_TASKS: Final = 10_000
"""Maximum number of tasks of one run."""
MAX_CONTEXTS: Final = 64
"""Maximum number of contexts in one list."""
MAX_INLINE_LENGTH: Final = 900 * 1024
"""Maximum length of one inline file, in characters."""
MAX_CONFIG_MAP_BYTES: Final = 900 * 1024
"""Inline files are packed into ConfigMaps of at most this size; the limit is 1 MiB."""
MAX_OBJECT_BYTES: Final = 1_468_006
"""1.4 MiB: maximum size of a BatchRun, because etcd rejects objects of 1.5 MiB."""
MAX_RESULT_BYTES: Final = 4096
"""Maximum size of a container's termination message, as the kubelet limits it."""
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
