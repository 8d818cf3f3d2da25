#!/usr/bin/env bash
# Runs the integration tests on the real nodes of a cluster.
#
#   KUBECONFIG=FILE KUBETASK_TEST_IMAGE=IMAGE [KUBETASK_TEST_ADDRESS=ADDRESS] hack/node.sh [PYTEST ARGUMENTS]
#   hack/node.sh --needs      which tests need what
#
# The CRDs and the roles are installed in the cluster, each test makes and removes a namespace of its own, and the controller runs on
# this machine. With kind:
#
#   docker build --target agent --tag kubetask-agent:test . && kind load docker-image kubetask-agent:test
#   KUBECONFIG=~/.kube/config KUBETASK_TEST_IMAGE=kubetask-agent:test \
#     KUBETASK_TEST_ADDRESS=$(docker network inspect kind --format '{{(index .IPAM.Config 0).Gateway}}') hack/node.sh
set -euo pipefail
cd "$(dirname "$0")/.."
python=.venv/bin/python
kubectl=.venv/bin/kubectl

needs() {
    cat <<'EOF'
needs                     tests
nodes and an image        test_disruption, test_pods, test_workspace; parts of test_kubectl_views, test_meshes, test_pipelines,
                          test_plugin and test_seed_examples: Pods run as processes
  an address              those with a server on this machine: a git server (test_workspace, parts of test_pods and
                          test_seed_examples), a proxy (test_pods), an admission webhook, which the API server calls (test_meshes)
  scripted Pods           those whose Pods wait for a reason that a test invents (parts of test_why, test_chaos, test_rights): a control
                          plane without nodes (KUBEBUILDER_ASSETS) or the development cluster
  images                  images that run as root or as a named user (parts of test_pods): the development cluster
  faults                  test_under_faults, parts of test_observed: the development cluster
the development cluster   test_documents, test_readme: each starts one of its own, beside the cluster under test
a control plane alone     the rest of test/integration
no cluster                everything outside of test/integration and test/security

The summary at the end of a run counts the skipped tests for each missing capability.
EOF
}

if [ "${1:-}" = --needs ]; then
    needs
    exit
fi
fail() {
    echo "node.sh: $1" >&2
    exit 2
}
[ -x "$python" ] || fail "run make install first"
[ -n "${KUBECONFIG:-}" ] || fail "set KUBECONFIG to the kubeconfig of a cluster that has nodes"
[ -n "${KUBETASK_TEST_IMAGE:-}" ] || fail "set KUBETASK_TEST_IMAGE to an image that the nodes can pull or have (Dockerfile, target agent)"
ready=$("$kubectl" get nodes --output 'jsonpath={range .items[*]}{.status.conditions[?(@.type=="Ready")].status}{"\n"}{end}' | grep -c True || true)
[ "$ready" -gt 0 ] || fail "the cluster of $KUBECONFIG has no node that is Ready"
[ -n "${KUBETASK_TEST_ADDRESS:-}" ] || echo "node.sh: without KUBETASK_TEST_ADDRESS the tests with a git server are skipped" >&2
[ $# -gt 0 ] || set -- test/integration
exec "$python" -m pytest --numprocesses=0 --timeout=180 "$@"
