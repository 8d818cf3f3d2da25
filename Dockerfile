# syntax=docker/dockerfile:1
# The controller, the init container that prepares a task's workspace, an agent without a tool, and one for each tool.
#
#   docker build --target controller -t quay.io/kubetask/kubetask-controller:v0.1.0 .
#   docker build --target workspace  -t quay.io/kubetask/kubetask-workspace:v0.1.0 .
#   docker build --target agent      -t quay.io/kubetask/kubetask-agent:v0.1.0 .
#   docker build --target agent-claude -t quay.io/kubetask/kubetask-agent-claude:v0.1.0 .    # or gemini, codex, opencode, goose
#
# Nothing in it is of one architecture; opencode and goose have packages for x64 alone.
# The bases are pinned by digest with: make pin-base
ARG NODE_IMAGE=docker.io/library/node:22-trixie-slim
ARG PYTHON_IMAGE=docker.io/library/python:3.13-slim-trixie

FROM ${PYTHON_IMAGE} AS build
ENV PIP_DISABLE_PIP_VERSION_CHECK=1 PIP_NO_CACHE_DIR=1 PYTHONDONTWRITEBYTECODE=1
WORKDIR /src
# Neither gets a pip of its own: what runs in a cluster installs nothing.
RUN python -m venv --without-pip /opt/kubetask && python -m venv --without-pip /opt/build
COPY hack/requirements/runtime.txt hack/requirements/build.txt ./
RUN python -m pip --python /opt/kubetask/bin/python install --no-compile --require-hashes -r runtime.txt
# Of the kubernetes package the controller uses kubernetes.config. The generated API classes, which are never imported, are two
# thirds of the whole image.
RUN cd /opt/kubetask/lib/python3*/site-packages/kubernetes \
    && rm -r aio && find client/api client/apis client/models -name '*.py' ! -name __init__.py -delete
RUN python -m pip --python /opt/build/bin/python install --no-compile --require-hashes -r build.txt
COPY pyproject.toml README.md LICENSE ./
COPY src src
RUN python -m pip --python /opt/build/bin/python wheel --no-deps --no-build-isolation --wheel-dir dist . \
    && python -m pip --python /opt/kubetask/bin/python install --no-compile --no-deps --no-index dist/*.whl \
    && /opt/kubetask/bin/python -m compileall -q -j 0 /opt/kubetask/lib

FROM ${PYTHON_IMAGE} AS base
ARG REVISION=""
ENV PATH=/opt/kubetask/bin:$PATH PYTHONUNBUFFERED=1 PYTHONDONTWRITEBYTECODE=1 KUBETASK_REVISION=${REVISION}
LABEL org.opencontainers.image.title="KubeTask" \
      org.opencontainers.image.licenses="Apache-2.0" \
      org.opencontainers.image.revision="${REVISION}"
COPY --from=build /opt/kubetask /opt/kubetask
USER 65532:65532

FROM base AS controller
ENTRYPOINT ["kubetask-controller"]

FROM base AS git
USER 0:0
RUN apt-get update \
    && apt-get install --yes --no-install-recommends ca-certificates git git-lfs gnupg libnss-wrapper openssh-client \
    && rm -rf /var/lib/apt/lists/*
ENV HOME=/home/agent
RUN mkdir --mode 1777 /home/agent /workspace
USER 65532:65532

FROM git AS workspace
ENTRYPOINT ["kubetask-workspace"]

# Tools of your own come on top: FROM this image, install the tool as root, set nothing else.
FROM git AS agent
WORKDIR /workspace
ENTRYPOINT ["kubetask-agent"]

# The tools that have a preset, at the versions of their lock files, which make test-agents tries. Node.js and npx are there for
# MCP servers too.
FROM ${NODE_IMAGE} AS node
ENV NPM_CONFIG_UPDATE_NOTIFIER=false
WORKDIR /opt/agent

FROM agent AS agent-node
COPY --from=node /usr/local/bin/node /usr/local/bin/node
COPY --from=node /usr/local/lib/node_modules /usr/local/lib/node_modules
USER 0:0
RUN ln -s ../lib/node_modules/npm/bin/npm-cli.js /usr/local/bin/npm \
    && ln -s ../lib/node_modules/npm/bin/npx-cli.js /usr/local/bin/npx
USER 65532:65532
ENV PATH=/opt/agent/node_modules/.bin:$PATH

FROM node AS claude
COPY hack/agents/claude/package.json hack/agents/claude/package-lock.json ./
RUN npm ci --no-audit --no-fund

FROM agent-node AS agent-claude
COPY --from=claude /opt/agent /opt/agent
ENV KUBETASK_AGENT=claude

FROM node AS gemini
COPY hack/agents/gemini/package.json hack/agents/gemini/package-lock.json ./
RUN npm ci --no-audit --no-fund

FROM agent-node AS agent-gemini
COPY --from=gemini /opt/agent /opt/agent
ENV KUBETASK_AGENT=gemini

FROM node AS codex
COPY hack/agents/codex/package.json hack/agents/codex/package-lock.json ./
RUN npm ci --no-audit --no-fund

FROM agent-node AS agent-codex
COPY --from=codex /opt/agent /opt/agent
ENV KUBETASK_AGENT=codex

FROM node AS opencode
COPY hack/agents/opencode/package.json hack/agents/opencode/package-lock.json ./
RUN npm ci --no-audit --no-fund

FROM agent-node AS agent-opencode
COPY --from=opencode /opt/agent /opt/agent
ENV KUBETASK_AGENT=opencode

FROM node AS goose
COPY hack/agents/goose/package.json hack/agents/goose/package-lock.json ./
RUN npm ci --no-audit --no-fund

FROM agent-node AS agent-goose
COPY --from=goose /opt/agent /opt/agent
ENV KUBETASK_AGENT=goose
