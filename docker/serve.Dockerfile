# Nodes of a Ray cluster that only serve: the same wheel and versions, without a compiler.
#   docker build -f docker/serve.Dockerfile -t lavaflow-serve:0.1.0 .

FROM python:3.11-slim-bookworm AS wheel
WORKDIR /src
COPY pyproject.toml README.md LICENSE NOTICE ./
COPY components components
COPY workflows workflows
RUN pip wheel --no-cache-dir --no-deps --wheel-dir /wheel .

FROM python:3.11-slim-bookworm
# wget: KubeRay's probes. Debian's own version: see train.Dockerfile.
# hadolint ignore=DL3008
RUN apt-get update \
    && apt-get install --yes --no-install-recommends wget \
    && rm -rf /var/lib/apt/lists/*
COPY constraints.txt /opt/lavaflow/constraints.txt
COPY --from=wheel /wheel /opt/lavaflow/wheel
RUN pip install --no-cache-dir -c /opt/lavaflow/constraints.txt /opt/lavaflow/wheel/*.whl \
    && useradd --create-home --home-dir /srv/ray --uid 1000 ray
USER 1000
WORKDIR /srv/ray
ENV PYTHONUNBUFFERED=1 RAY_USAGE_STATS_ENABLED=0
EXPOSE 8000
CMD ["lavaflow", "--help"]
