"""The checks of the Pod Security Standards, baseline and restricted, on the spec of a Pod.

A check returns (reason, detail) of what it forbids, or None; messages follow k8s.io/pod-security-admission/policy.
Left out: Windows' HostProcess, AppArmor by annotation, host ports, procMount, and hosts in probes and lifecycle hooks.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterable, Iterator
from typing import Any

Spec = dict[str, Any]
Finding = tuple[str, str]
Check = Callable[[Spec], Finding | None]

_BASELINE_CAPABILITIES = frozenset(
    [
        "AUDIT_WRITE",
        "CHOWN",
        "DAC_OVERRIDE",
        "FOWNER",
        "FSETID",
        "KILL",
        "MKNOD",
        "NET_BIND_SERVICE",
        "SETFCAP",
        "SETGID",
        "SETPCAP",
        "SETUID",
        "SYS_CHROOT",
    ]
)
_SYSCTLS = frozenset(
    {
        "kernel.shm_rmid_forced",
        "net.ipv4.ip_local_port_range",
        "net.ipv4.ip_local_reserved_ports",
        "net.ipv4.ip_unprivileged_port_start",
        "net.ipv4.ping_group_range",
        "net.ipv4.tcp_fin_timeout",
        "net.ipv4.tcp_keepalive_intvl",
        "net.ipv4.tcp_keepalive_probes",
        "net.ipv4.tcp_keepalive_time",
        "net.ipv4.tcp_rmem",
        "net.ipv4.tcp_syncookies",
        "net.ipv4.tcp_wmem",
    }
)
_SELINUX_TYPES = frozenset(
    {"", "container_t", "container_init_t", "container_kvm_t", "container_engine_t"}
)
_RESTRICTED_VOLUMES = frozenset(
    {
        "configMap",
        "csi",
        "downwardAPI",
        "emptyDir",
        "ephemeral",
        "persistentVolumeClaim",
        "projected",
        "secret",
    }
)
_SECCOMP_TYPES = frozenset({"RuntimeDefault", "Localhost"})


def _containers(spec: Spec) -> Iterator[tuple[str, Spec, Spec]]:
    """(name, container, its securityContext), in the order in which the policy visits them."""
    for field in ("initContainers", "containers", "ephemeralContainers"):
        for container in spec.get(field) or ():
            yield container["name"], container, container.get("securityContext") or {}


def _pod_context(spec: Spec) -> Spec:
    context: Spec = spec.get("securityContext") or {}
    return context


def _quote(values: Iterable[str]) -> str:
    return ", ".join(json.dumps(each) for each in values)


def _plural(singular: str, values: list[Any]) -> str:
    return singular if len(values) == 1 else singular + "s"


def _named(names: list[str]) -> str:
    """`container "c"` or `containers "c", "d"`."""
    return f"{_plural('container', names)} {_quote(names)}"


def _setters(pod: bool, names: list[str]) -> str:
    """The setters of a field: `pod`, `container "c"` or `pod and container "c"`."""
    parts = ["pod"] if pod else []
    return " and ".join([*parts, *([_named(names)] if names else [])])


# --- baseline


def apparmor(spec: Spec) -> Finding | None:
    """No AppArmor profile but the runtime's and local ones."""
    bad: list[str] = []

    def forbidden(context: Spec) -> bool:
        type_ = (context.get("appArmorProfile") or {}).get("type")
        if type_ in (None, "RuntimeDefault", "Localhost"):
            return False
        bad.append(type_)
        return True

    pod = forbidden(_pod_context(spec))
    names = [name for name, _, context in _containers(spec) if forbidden(context)]
    if not bad:
        return None
    values = sorted(set(bad))
    detail = f"{_setters(pod, names)} must not set AppArmor profile type to {_quote(values)}"
    return f"forbidden AppArmor {_plural('profile', values)}", detail


def capabilities_baseline(spec: Spec) -> Finding | None:
    """No capabilities beyond the usual ones."""
    names: list[str] = []
    extra: set[str] = set()
    for name, _, context in _containers(spec):
        bad = set((context.get("capabilities") or {}).get("add") or ()) - _BASELINE_CAPABILITIES
        if bad:
            names.append(name)
            extra |= bad
    if not names:
        return None
    detail = f"{_named(names)} must not include {_quote(sorted(extra))} in securityContext.capabilities.add"
    return "non-default capabilities", detail


def host_namespaces(spec: Spec) -> Finding | None:
    """No namespace of the host."""
    used = [f"{field}=true" for field in ("hostNetwork", "hostPID", "hostIPC") if spec.get(field)]
    return ("host namespaces", ", ".join(used)) if used else None


def host_path_volumes(spec: Spec) -> Finding | None:
    """No hostPath volume."""
    names = [each["name"] for each in spec.get("volumes") or () if each.get("hostPath") is not None]
    return ("hostPath volumes", f"{_plural('volume', names)} {_quote(names)}") if names else None


def privileged(spec: Spec) -> Finding | None:
    """No privileged container."""
    names = [name for name, _, context in _containers(spec) if context.get("privileged")]
    return (
        ("privileged", f"{_named(names)} must not set securityContext.privileged=true")
        if names
        else None
    )


def selinux(spec: Spec) -> Finding | None:
    """No SELinux user or role, and only containers' types."""
    types: set[str] = set()
    user = role = False

    def forbidden(context: Spec) -> bool:
        nonlocal user, role
        options = context.get("seLinuxOptions") or {}
        bad_type = options.get("type", "") not in _SELINUX_TYPES
        if bad_type:
            types.add(options["type"])
        user = user or bool(options.get("user"))
        role = role or bool(options.get("role"))
        return bad_type or bool(options.get("user") or options.get("role"))

    pod = forbidden(_pod_context(spec))
    names = [name for name, _, context in _containers(spec) if forbidden(context)]
    if not pod and not names:
        return None
    said = [f"{_plural('type', list(types))} {_quote(sorted(types))}"] if types else []
    said += ["user may not be set"] if user else []
    said += ["role may not be set"] if role else []
    detail = (
        f"{_setters(pod, names)} set forbidden securityContext.seLinuxOptions: {'; '.join(said)}"
    )
    return "seLinuxOptions", detail


def seccomp_baseline(spec: Spec) -> Finding | None:
    """No unconfined seccomp profile."""
    return _seccomp_set_wrongly(spec)


def _seccomp_set_wrongly(spec: Spec) -> Finding | None:
    bad: set[str] = set()

    def wrong(context: Spec) -> bool:
        profile = context.get("seccompProfile")
        if profile is None or profile.get("type") in _SECCOMP_TYPES:
            return False
        bad.add(profile.get("type", ""))
        return True

    pod = wrong(_pod_context(spec))
    names = [name for name, _, context in _containers(spec) if wrong(context)]
    if not bad:
        return None
    detail = f"{_setters(pod, names)} must not set securityContext.seccompProfile.type to {_quote(sorted(bad))}"
    return "seccompProfile", detail


def sysctls(spec: Spec) -> Finding | None:
    """Only sysctls that stay inside the Pod."""
    names = sorted({each["name"] for each in _pod_context(spec).get("sysctls") or ()} - _SYSCTLS)
    return ("forbidden " + _plural("sysctl", [0, 0]), ", ".join(names)) if names else None


# --- restricted


def privilege_escalation(spec: Spec) -> Finding | None:
    """Every container disallows privilege escalation."""
    names = [
        name
        for name, _, context in _containers(spec)
        if context.get("allowPrivilegeEscalation") is not False
    ]
    if not names:
        return None
    detail = f"{_named(names)} must set securityContext.allowPrivilegeEscalation=false"
    return "allowPrivilegeEscalation != false", detail


def capabilities_restricted(spec: Spec) -> Finding | None:
    """Every container drops all capabilities; NET_BIND_SERVICE may be added."""
    keeping: list[str] = []
    adding: list[str] = []
    added: set[str] = set()
    for name, _, context in _containers(spec):
        capabilities = context.get("capabilities") or {}
        if "ALL" not in (capabilities.get("drop") or ()):
            keeping.append(name)
        bad = set(capabilities.get("add") or ()) - {"NET_BIND_SERVICE"}
        if bad:
            adding.append(name)
            added |= bad
    said: list[str] = []
    if keeping:
        said.append(f'{_named(keeping)} must set securityContext.capabilities.drop=["ALL"]')
    if adding:
        said.append(
            f"{_named(adding)} must not include {_quote(sorted(added))} in securityContext.capabilities.add"
        )
    return ("unrestricted capabilities", "; ".join(said)) if said else None


def restricted_volumes(spec: Spec) -> Finding | None:
    """Only volumes that cannot reach beyond the Pod's own data."""
    bad: list[tuple[str, str]] = []
    for volume in spec.get("volumes") or ():
        kinds = [key for key in volume if key != "name"]
        if kinds and kinds[0] not in _RESTRICTED_VOLUMES:
            bad.append((volume["name"], kinds[0]))
    if not bad:
        return None
    names, kinds = [name for name, _ in bad], sorted({kind for _, kind in bad})
    verb = "uses" if len(names) == 1 else "use"
    detail = (
        f"{_plural('volume', names)} {_quote(names)} {verb} restricted volume "
        f"{_plural('type', kinds)} {_quote(kinds)}"
    )
    return "restricted volume types", detail


def run_as_non_root(spec: Spec) -> Finding | None:
    """Every container sets runAsNonRoot."""
    if spec.get("hostUsers") is False:
        return None
    pod = _pod_context(spec).get("runAsNonRoot")
    wrong: list[str] = []
    silent: list[str] = []
    for name, _, context in _containers(spec):
        own = context.get("runAsNonRoot")
        if own is False:
            wrong.append(name)
        elif own is None and not pod:
            silent.append(name)
    reason = "runAsNonRoot != true"
    if pod is False or wrong:
        return (
            reason,
            f"{_setters(pod is False, wrong)} must not set securityContext.runAsNonRoot=false",
        )
    if silent:
        return reason, f"pod or {_named(silent)} must set securityContext.runAsNonRoot=true"
    return None


def run_as_user(spec: Spec) -> Finding | None:
    """No runAsUser is 0."""
    if spec.get("hostUsers") is False:
        return None
    pod = _pod_context(spec).get("runAsUser") == 0
    names = [name for name, _, context in _containers(spec) if context.get("runAsUser") == 0]
    if not pod and not names:
        return None
    return "runAsUser=0", f"{_setters(pod, names)} must not set runAsUser=0"


def seccomp_restricted(spec: Spec) -> Finding | None:
    """Every container has a seccomp profile."""
    wrong = _seccomp_set_wrongly(spec)
    if wrong is not None:
        return wrong
    if _pod_context(spec).get("seccompProfile") is not None:
        return None
    names = [
        name for name, _, context in _containers(spec) if context.get("seccompProfile") is None
    ]
    if not names:
        return None
    detail = f'pod or {_named(names)} must set securityContext.seccompProfile.type to "RuntimeDefault" or "Localhost"'
    return "seccompProfile", detail


BASELINE: tuple[Check, ...] = (
    apparmor,
    capabilities_baseline,
    host_namespaces,
    host_path_volumes,
    privileged,
    selinux,
    seccomp_baseline,
    sysctls,
)
# Stricter checks replace three of the baseline.
RESTRICTED: tuple[Check, ...] = (
    apparmor,
    host_namespaces,
    privileged,
    selinux,
    sysctls,
    privilege_escalation,
    capabilities_restricted,
    restricted_volumes,
    run_as_non_root,
    run_as_user,
    seccomp_restricted,
)
