"""Specs and statuses as JSON: generated from the models by `make generate`. Do not edit."""

from typing import TypedDict


class WorkSpecJSON(TypedDict, total=False):
    """JSON of ``WorkSpec``."""

    workspaceConfigRef: str
    suspend: bool
    cancel: bool
    backoffLimit: int
    maxDisruptions: int
    activeDeadlineSeconds: int
    pendingDeadlineSeconds: int
    ttlSecondsAfterFinished: int
    ttlPolicy: str
    managedBy: str


class KeyRefJSON(TypedDict, total=False):
    """JSON of ``KeyRef``."""

    name: str
    key: str


class FileSourceJSON(TypedDict, total=False):
    """JSON of ``FileSource``."""

    inline: str
    configMapKeyRef: KeyRefJSON
    secretKeyRef: KeyRefJSON


class FileJSON(TypedDict, total=False):
    """JSON of ``File``."""

    name: str
    source: FileSourceJSON


class RepositoryJSON(TypedDict, total=False):
    """JSON of ``Repository``."""

    org: str
    repo: str
    branch: str
    host: str


class ContextJSON(TypedDict, total=False):
    """JSON of ``Context``."""

    type: str
    file: FileJSON
    repository: RepositoryJSON


class PullRequestJSON(TypedDict, total=False):
    """JSON of ``PullRequest``."""

    title: str
    body: str
    base: str
    draft: bool
    labels: list[str]
    reviewers: list[str]
    assignees: list[str]
    autoMerge: str


class BatchSpecJSON(TypedDict, total=False):
    """JSON of ``BatchSpec``."""

    commonContext: list[ContextJSON]
    variableContexts: list[list[ContextJSON]]
    workspaceConfigRef: str
    pullRequest: PullRequestJSON


class BatchRunSpecJSON(TypedDict, total=False):
    """JSON of ``BatchRunSpec``."""

    workspaceConfigRef: str
    suspend: bool
    cancel: bool
    backoffLimit: int
    maxDisruptions: int
    activeDeadlineSeconds: int
    pendingDeadlineSeconds: int
    ttlSecondsAfterFinished: int
    ttlPolicy: str
    managedBy: str
    batchRef: str
    batchSpec: BatchSpecJSON
    retryOf: str
    select: str
    parallelism: int
    maxFailures: int
    taskLimit: int
    maxCostUSD: int | str


class TaskSpecJSON(TypedDict, total=False):
    """JSON of ``TaskSpec``."""

    workspaceConfigRef: str
    suspend: bool
    cancel: bool
    backoffLimit: int
    maxDisruptions: int
    activeDeadlineSeconds: int
    pendingDeadlineSeconds: int
    ttlSecondsAfterFinished: int
    ttlPolicy: str
    managedBy: str
    contexts: list[ContextJSON]


class LocalObjectReferenceJSON(TypedDict, total=False):
    """JSON of ``LocalObjectReference``."""

    name: str


class AgentSettingsJSON(TypedDict, total=False):
    """JSON of ``AgentSettings``."""

    model: str
    maxTurns: int
    maxCostUSD: int | str
    idleTimeoutSeconds: int
    maxRetryWaitSeconds: int


class OptionalKeyRefJSON(TypedDict, total=False):
    """JSON of ``OptionalKeyRef``."""

    name: str
    key: str
    optional: bool


class FieldRefJSON(TypedDict, total=False):
    """JSON of ``FieldRef``."""

    apiVersion: str
    fieldPath: str


class ResourceFieldRefJSON(TypedDict, total=False):
    """JSON of ``ResourceFieldRef``."""

    containerName: str
    resource: str
    divisor: int | str


class EnvVarSourceJSON(TypedDict, total=False):
    """JSON of ``EnvVarSource``."""

    configMapKeyRef: OptionalKeyRefJSON
    secretKeyRef: OptionalKeyRefJSON
    fieldRef: FieldRefJSON
    resourceFieldRef: ResourceFieldRefJSON


class EnvVarJSON(TypedDict, total=False):
    """JSON of ``EnvVar``."""

    name: str
    value: str
    valueFrom: EnvVarSourceJSON


class OptionalObjectRefJSON(TypedDict, total=False):
    """JSON of ``OptionalObjectRef``."""

    name: str
    optional: bool


class EnvFromSourceJSON(TypedDict, total=False):
    """JSON of ``EnvFromSource``."""

    prefix: str
    configMapRef: OptionalObjectRefJSON
    secretRef: OptionalObjectRefJSON


class SecretKeysJSON(TypedDict, total=False):
    """JSON of ``SecretKeys``."""

    name: str
    key: str


class CredentialJSON(TypedDict, total=False):
    """JSON of ``Credential``."""

    name: str
    secretRef: SecretKeysJSON
    env: str
    mountPath: str
    fileMode: int


class ResourceRequirementsJSON(TypedDict, total=False):
    """JSON of ``ResourceRequirements``."""

    limits: dict[str, int | str]
    requests: dict[str, int | str]


class TolerationJSON(TypedDict, total=False):
    """JSON of ``Toleration``."""

    key: str
    operator: str
    value: str
    effect: str
    tolerationSeconds: int


class NodeSelectorRequirementJSON(TypedDict, total=False):
    """JSON of ``NodeSelectorRequirement``."""

    key: str
    operator: str
    values: list[str]


class NodeFieldRequirementJSON(TypedDict, total=False):
    """JSON of ``NodeFieldRequirement``."""

    key: str
    operator: str
    values: list[str]


class NodeSelectorTermJSON(TypedDict, total=False):
    """JSON of ``NodeSelectorTerm``."""

    matchExpressions: list[NodeSelectorRequirementJSON]
    matchFields: list[NodeFieldRequirementJSON]


class NodeSelectorJSON(TypedDict, total=False):
    """JSON of ``NodeSelector``."""

    nodeSelectorTerms: list[NodeSelectorTermJSON]


class PreferredSchedulingTermJSON(TypedDict, total=False):
    """JSON of ``PreferredSchedulingTerm``."""

    weight: int
    preference: NodeSelectorTermJSON


class NodeAffinityJSON(TypedDict, total=False):
    """JSON of ``NodeAffinity``."""

    requiredDuringSchedulingIgnoredDuringExecution: NodeSelectorJSON
    preferredDuringSchedulingIgnoredDuringExecution: list[PreferredSchedulingTermJSON]


class LabelSelectorRequirementJSON(TypedDict, total=False):
    """JSON of ``LabelSelectorRequirement``."""

    key: str
    operator: str
    values: list[str]


class LabelSelectorJSON(TypedDict, total=False):
    """JSON of ``LabelSelector``."""

    matchLabels: dict[str, str]
    matchExpressions: list[LabelSelectorRequirementJSON]


class PodAffinityTermJSON(TypedDict, total=False):
    """JSON of ``PodAffinityTerm``."""

    labelSelector: LabelSelectorJSON
    namespaces: list[str]
    namespaceSelector: LabelSelectorJSON
    topologyKey: str
    matchLabelKeys: list[str]
    mismatchLabelKeys: list[str]


class WeightedPodAffinityTermJSON(TypedDict, total=False):
    """JSON of ``WeightedPodAffinityTerm``."""

    weight: int
    podAffinityTerm: PodAffinityTermJSON


class PodAffinityJSON(TypedDict, total=False):
    """JSON of ``PodAffinity``."""

    requiredDuringSchedulingIgnoredDuringExecution: list[PodAffinityTermJSON]
    preferredDuringSchedulingIgnoredDuringExecution: list[WeightedPodAffinityTermJSON]


class PodAntiAffinityJSON(TypedDict, total=False):
    """JSON of ``PodAntiAffinity``."""

    requiredDuringSchedulingIgnoredDuringExecution: list[PodAffinityTermJSON]
    preferredDuringSchedulingIgnoredDuringExecution: list[WeightedPodAffinityTermJSON]


class AffinityJSON(TypedDict, total=False):
    """JSON of ``Affinity``."""

    nodeAffinity: NodeAffinityJSON
    podAffinity: PodAffinityJSON
    podAntiAffinity: PodAntiAffinityJSON


class SeccompProfileJSON(TypedDict, total=False):
    """JSON of ``SeccompProfile``."""

    type: str
    localhostProfile: str


class SELinuxOptionsJSON(TypedDict, total=False):
    """JSON of ``SELinuxOptions``."""

    user: str
    role: str
    type: str
    level: str


class SysctlJSON(TypedDict, total=False):
    """JSON of ``Sysctl``."""

    name: str
    value: str


class PodSecurityContextJSON(TypedDict, total=False):
    """JSON of ``PodSecurityContext``."""

    runAsUser: int
    runAsGroup: int
    runAsNonRoot: bool
    fsGroup: int
    fsGroupChangePolicy: str
    supplementalGroups: list[int]
    supplementalGroupsPolicy: str
    seccompProfile: SeccompProfileJSON
    appArmorProfile: SeccompProfileJSON
    seLinuxOptions: SELinuxOptionsJSON
    sysctls: list[SysctlJSON]


class CapabilitiesJSON(TypedDict, total=False):
    """JSON of ``Capabilities``."""

    add: list[str]
    drop: list[str]


class ContainerSecurityContextJSON(TypedDict, total=False):
    """JSON of ``ContainerSecurityContext``."""

    readOnlyRootFilesystem: bool
    runAsUser: int
    runAsGroup: int
    runAsNonRoot: bool
    allowPrivilegeEscalation: bool
    capabilities: CapabilitiesJSON
    seccompProfile: SeccompProfileJSON
    appArmorProfile: SeccompProfileJSON
    seLinuxOptions: SELinuxOptionsJSON
    privileged: bool


class KeyToPathJSON(TypedDict, total=False):
    """JSON of ``KeyToPath``."""

    key: str
    path: str
    mode: int


class ConfigMapVolumeJSON(TypedDict, total=False):
    """JSON of ``ConfigMapVolume``."""

    name: str
    items: list[KeyToPathJSON]
    defaultMode: int
    optional: bool


class CSIVolumeJSON(TypedDict, total=False):
    """JSON of ``CSIVolume``."""

    driver: str
    fsType: str
    readOnly: bool
    nodePublishSecretRef: LocalObjectReferenceJSON
    volumeAttributes: dict[str, str]


class VolumeFieldRefJSON(TypedDict, total=False):
    """JSON of ``VolumeFieldRef``."""

    apiVersion: str
    fieldPath: str


class VolumeResourceFieldRefJSON(TypedDict, total=False):
    """JSON of ``VolumeResourceFieldRef``."""

    containerName: str
    resource: str
    divisor: int | str


class DownwardItemJSON(TypedDict, total=False):
    """JSON of ``DownwardItem``."""

    path: str
    fieldRef: VolumeFieldRefJSON
    resourceFieldRef: VolumeResourceFieldRefJSON
    mode: int


class DownwardVolumeJSON(TypedDict, total=False):
    """JSON of ``DownwardVolume``."""

    items: list[DownwardItemJSON]
    defaultMode: int


class EmptyDirVolumeJSON(TypedDict, total=False):
    """JSON of ``EmptyDirVolume``."""

    medium: str
    sizeLimit: int | str


class ClaimRequestsJSON(TypedDict, total=False):
    """JSON of ``ClaimRequests``."""

    storage: int | str


class ClaimLimitsJSON(TypedDict, total=False):
    """JSON of ``ClaimLimits``."""

    storage: int | str


class ClaimResourcesJSON(TypedDict, total=False):
    """JSON of ``ClaimResources``."""

    requests: ClaimRequestsJSON
    limits: ClaimLimitsJSON


class ClaimTemplateSpecJSON(TypedDict, total=False):
    """JSON of ``ClaimTemplateSpec``."""

    accessModes: list[str]
    storageClassName: str
    resources: ClaimResourcesJSON
    volumeMode: str


class ClaimTemplateJSON(TypedDict, total=False):
    """JSON of ``ClaimTemplate``."""

    spec: ClaimTemplateSpecJSON


class EphemeralVolumeJSON(TypedDict, total=False):
    """JSON of ``EphemeralVolume``."""

    volumeClaimTemplate: ClaimTemplateJSON


class ClaimVolumeJSON(TypedDict, total=False):
    """JSON of ``ClaimVolume``."""

    claimName: str
    readOnly: bool


class ObjectProjectionJSON(TypedDict, total=False):
    """JSON of ``ObjectProjection``."""

    name: str
    items: list[KeyToPathJSON]
    optional: bool


class DownwardProjectionJSON(TypedDict, total=False):
    """JSON of ``DownwardProjection``."""

    items: list[DownwardItemJSON]


class VolumeProjectionJSON(TypedDict, total=False):
    """JSON of ``VolumeProjection``."""

    configMap: ObjectProjectionJSON
    secret: ObjectProjectionJSON
    downwardAPI: DownwardProjectionJSON


class ProjectedVolumeJSON(TypedDict, total=False):
    """JSON of ``ProjectedVolume``."""

    sources: list[VolumeProjectionJSON]
    defaultMode: int


class SecretVolumeJSON(TypedDict, total=False):
    """JSON of ``SecretVolume``."""

    secretName: str
    items: list[KeyToPathJSON]
    defaultMode: int
    optional: bool


class HostPathJSON(TypedDict, total=False):
    """JSON of ``HostPath``."""

    path: str


class VolumeJSON(TypedDict, total=False):
    """JSON of ``Volume``."""

    name: str
    configMap: ConfigMapVolumeJSON
    csi: CSIVolumeJSON
    downwardAPI: DownwardVolumeJSON
    emptyDir: EmptyDirVolumeJSON
    ephemeral: EphemeralVolumeJSON
    persistentVolumeClaim: ClaimVolumeJSON
    projected: ProjectedVolumeJSON
    secret: SecretVolumeJSON
    hostPath: HostPathJSON


class AgentMountJSON(TypedDict, total=False):
    """JSON of ``AgentMount``."""

    name: str
    mountPath: str
    subPath: str
    readOnly: bool


class ContainerPortJSON(TypedDict, total=False):
    """JSON of ``ContainerPort``."""

    containerPort: int
    name: str
    protocol: str


class SidecarMountJSON(TypedDict, total=False):
    """JSON of ``SidecarMount``."""

    name: str
    mountPath: str
    subPath: str
    readOnly: bool


class ExecActionJSON(TypedDict, total=False):
    """JSON of ``ExecAction``."""

    command: list[str]


class HTTPGetActionJSON(TypedDict, total=False):
    """JSON of ``HTTPGetAction``."""

    port: int | str
    path: str
    scheme: str


class TCPSocketActionJSON(TypedDict, total=False):
    """JSON of ``TCPSocketAction``."""

    port: int | str


class ProbeJSON(TypedDict, total=False):
    """JSON of ``Probe``."""

    exec: ExecActionJSON
    httpGet: HTTPGetActionJSON
    tcpSocket: TCPSocketActionJSON
    initialDelaySeconds: int
    periodSeconds: int
    timeoutSeconds: int
    failureThreshold: int
    successThreshold: int


class ReadinessProbeJSON(TypedDict, total=False):
    """JSON of ``ReadinessProbe``."""

    exec: ExecActionJSON
    httpGet: HTTPGetActionJSON
    tcpSocket: TCPSocketActionJSON
    initialDelaySeconds: int
    periodSeconds: int
    timeoutSeconds: int
    failureThreshold: int
    successThreshold: int


class SidecarJSON(TypedDict, total=False):
    """JSON of ``Sidecar``."""

    name: str
    image: str
    imagePullPolicy: str
    command: list[str]
    args: list[str]
    workingDir: str
    env: list[EnvVarJSON]
    envFrom: list[EnvFromSourceJSON]
    ports: list[ContainerPortJSON]
    resources: ResourceRequirementsJSON
    volumeMounts: list[SidecarMountJSON]
    startupProbe: ProbeJSON
    readinessProbe: ReadinessProbeJSON
    livenessProbe: ProbeJSON
    securityContext: ContainerSecurityContextJSON


class HomeFileJSON(TypedDict, total=False):
    """JSON of ``HomeFile``."""

    path: str
    inline: str
    configMapKeyRef: KeyRefJSON
    secretKeyRef: KeyRefJSON
    configMapRef: LocalObjectReferenceJSON
    secretRef: LocalObjectReferenceJSON
    mode: int


class ProxyJSON(TypedDict, total=False):
    """JSON of ``Proxy``."""

    http: str
    https: str
    noProxy: str
    secretRef: LocalObjectReferenceJSON


class ClaimSourceJSON(TypedDict, total=False):
    """JSON of ``ClaimSource``."""

    claimName: str


class EmptyDirSourceJSON(TypedDict, total=False):
    """JSON of ``EmptyDirSource``."""

    sizeLimit: int | str


class WorkspaceJSON(TypedDict, total=False):
    """JSON of ``Workspace``."""

    persistentVolumeClaim: ClaimSourceJSON
    emptyDir: EmptyDirSourceJSON
    resources: ResourceRequirementsJSON


class GitCredentialsJSON(TypedDict, total=False):
    """JSON of ``GitCredentials``."""

    secretRef: LocalObjectReferenceJSON
    shareWithAgent: bool


class CABundleJSON(TypedDict, total=False):
    """JSON of ``CABundle``."""

    configMapKeyRef: KeyRefJSON
    secretKeyRef: KeyRefJSON


class GitHostJSON(TypedDict, total=False):
    """JSON of ``GitHost``."""

    name: str
    urlTemplate: str
    credentials: GitCredentialsJSON
    provider: str
    apiURL: str


class GitAuthorJSON(TypedDict, total=False):
    """JSON of ``GitAuthor``."""

    name: str
    email: str


class GitSigningJSON(TypedDict, total=False):
    """JSON of ``GitSigning``."""

    secretRef: LocalObjectReferenceJSON


class GitSettingsJSON(TypedDict, total=False):
    """JSON of ``GitSettings``."""

    urlTemplate: str
    credentials: GitCredentialsJSON
    caBundle: CABundleJSON
    hosts: list[GitHostJSON]
    provider: str
    apiURL: str
    partialClone: bool
    depth: int
    sparsePaths: list[str]
    submodules: bool
    lfs: bool
    branchTemplate: str
    onBranchExists: str
    author: GitAuthorJSON
    commitMessage: str
    signOff: bool
    signing: GitSigningJSON
    runHooks: bool
    timeoutSeconds: int


class WorkspaceConfigSpecJSON(TypedDict, total=False):
    """JSON of ``WorkspaceConfigSpec``."""

    agentImage: str
    imagePullPolicy: str
    imagePullSecrets: list[LocalObjectReferenceJSON]
    command: list[str]
    args: list[str]
    agent: AgentSettingsJSON
    env: list[EnvVarJSON]
    envFrom: list[EnvFromSourceJSON]
    credentials: list[CredentialJSON]
    allowedSecrets: list[str]
    resources: ResourceRequirementsJSON
    nodeSelector: dict[str, str]
    tolerations: list[TolerationJSON]
    affinity: AffinityJSON
    serviceAccountName: str
    securityContext: PodSecurityContextJSON
    containerSecurityContext: ContainerSecurityContextJSON
    runtimeClassName: str
    priorityClassName: str
    podLabels: dict[str, str]
    podAnnotations: dict[str, str]
    volumes: list[VolumeJSON]
    volumeMounts: list[AgentMountJSON]
    sidecars: list[SidecarJSON]
    homeFiles: list[HomeFileJSON]
    proxy: ProxyJSON
    workspace: WorkspaceJSON
    git: GitSettingsJSON
    pullRequest: PullRequestJSON
    maxConcurrentTasks: int


class ConditionJSON(TypedDict, total=False):
    """JSON of ``Condition``."""

    type: str
    status: str
    observedGeneration: int
    lastTransitionTime: str
    reason: str
    message: str


class ProgressJSON(TypedDict, total=False):
    """JSON of ``Progress``."""

    total: int
    pending: int
    running: int
    completed: int
    failed: int


class UsageJSON(TypedDict, total=False):
    """JSON of ``Usage``."""

    inputTokens: int
    outputTokens: int
    costUSD: str


class ConfigMapKeyJSON(TypedDict, total=False):
    """JSON of ``ConfigMapKey``."""

    name: str
    key: str


class StatusFileSourceJSON(TypedDict, total=False):
    """JSON of ``StatusFileSource``."""

    configMapKeyRef: ConfigMapKeyJSON
    secretKeyRef: ConfigMapKeyJSON


class StatusFileJSON(TypedDict, total=False):
    """JSON of ``StatusFile``."""

    name: str
    source: StatusFileSourceJSON


class StatusRepositoryJSON(TypedDict, total=False):
    """JSON of ``StatusRepository``."""

    host: str
    org: str
    repo: str
    branch: str


class StatusContextJSON(TypedDict, total=False):
    """JSON of ``StatusContext``."""

    type: str
    file: StatusFileJSON
    repository: StatusRepositoryJSON


class TaskResultJSON(TypedDict, total=False):
    """JSON of ``TaskResult``."""

    summary: str
    outcome: str
    pullRequest: str
    branch: str
    commits: list[str]
    usage: UsageJSON


class TaskStatusJSON(TypedDict, total=False):
    """JSON of ``TaskStatus``."""

    index: int
    contexts: list[StatusContextJSON]
    status: str
    reason: str
    message: str
    jobName: str
    startTime: str
    completionTime: str
    result: TaskResultJSON
    attempts: int
    disruptions: int
    replacements: int
    replacedTime: str
    replacedJobUID: str
    pendingSeconds: int


class BatchRunStatusJSON(TypedDict, total=False):
    """JSON of ``BatchRunStatus``."""

    observedGeneration: int
    phase: str
    reason: str
    message: str
    startTime: str
    completionTime: str
    conditions: list[ConditionJSON]
    progress: ProgressJSON
    done: str
    batchSnapshot: str
    snapshotDigest: str
    usage: UsageJSON
    omitted: list[str]
    startedIndexes: str
    completedIndexes: str
    failedIndexes: str
    tasks: list[TaskStatusJSON]


class TaskExecutionStatusJSON(TypedDict, total=False):
    """JSON of ``TaskExecutionStatus``."""

    observedGeneration: int
    phase: str
    reason: str
    message: str
    startTime: str
    completionTime: str
    conditions: list[ConditionJSON]
    jobName: str
    target: str
    result: TaskResultJSON
    attempts: int
    disruptions: int
    replacements: int
    replacedTime: str
    replacedJobUID: str
    pendingSeconds: int
