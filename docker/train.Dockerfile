# Nodes of a Ray cluster that prepare, train, evaluate and register: head and workers alike.
#   docker build -f docker/train.Dockerfile -t lavaflow-train:0.1.0 .
# Versions come from constraints.txt alone, so this image and a laptop run the same code.

FROM python:3.11-slim-bookworm AS wheel
WORKDIR /src
COPY pyproject.toml README.md LICENSE NOTICE ./
COPY components components
COPY workflows workflows
RUN pip wheel --no-cache-dir --no-deps --wheel-dir /wheel .

FROM python:3.11-slim-bookworm
# g++ and ninja: DeepSpeed compiles its optional CPU ops at first use. wget: KubeRay's probes.
# Debian's own versions: a point release replaces a package and takes the old one off the mirrors.
# hadolint ignore=DL3008
RUN apt-get update \
    && apt-get install --yes --no-install-recommends g++ ninja-build wget \
    && rm -rf /var/lib/apt/lists/*
COPY constraints.txt /opt/lavaflow/constraints.txt
COPY --from=wheel /wheel /opt/lavaflow/wheel
# From the public index this takes torch's CUDA build, which pins its CUDA libraries; the driver comes
# from the node.
RUN pip install --no-cache-dir -c /opt/lavaflow/constraints.txt /opt/lavaflow/wheel/*.whl \
    && useradd --create-home --home-dir /srv/ray --uid 1000 ray
USER 1000
WORKDIR /srv/ray
ENV PYTHONUNBUFFERED=1 MLFLOW_DISABLE_TELEMETRY=true RAY_USAGE_STATS_ENABLED=0
CMD ["lavaflow", "--help"]
