# syntax=docker/dockerfile:1
# Three images: the controller, the init container that prepares a task's workspace, and an agent for command line tools.
#
#   docker build --target controller -t quay.io/kubetask/kubetask-controller:v0.1.0 .
#   docker build --target workspace  -t quay.io/kubetask/kubetask-workspace:v0.1.0 .
#   docker build --target agent      -t quay.io/kubetask/kubetask-agent:v0.1.0 .
#
# Nothing in it is of one architecture. To pin the base by digest: --build-arg PYTHON_IMAGE=python@sha256:…
ARG PYTHON_IMAGE=docker.io/library/python:3.13-slim-trixie

FROM ${PYTHON_IMAGE} AS build
ENV PIP_DISABLE_PIP_VERSION_CHECK=1 PIP_NO_CACHE_DIR=1 PYTHONDONTWRITEBYTECODE=1
WORKDIR /src
# Neither gets a pip of its own: what runs in a cluster installs nothing.
RUN python -m venv --without-pip /opt/kubetask && python -m venv --without-pip /opt/build
COPY hack/requirements/runtime.txt hack/requirements/build.txt ./
RUN python -m pip --python /opt/kubetask/bin/python install --no-compile --require-hashes -r runtime.txt
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

# Command line tools of agents come on top: FROM this image, install the tool, set nothing else.
FROM git AS agent
WORKDIR /workspace
ENTRYPOINT ["kubetask-agent"]
