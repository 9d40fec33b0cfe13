# The MLflow server: tracking and registry over Postgres, files in an object store.
#   docker build -f docker/mlflow.Dockerfile -t lavaflow-mlflow:0.1.0 .
# Settings are environment variables of `mlflow server`; infra/mlflow/README.md lists them.

FROM python:3.11-slim-bookworm
COPY constraints.txt /opt/lavaflow/constraints.txt
# psycopg 3, not psycopg2: what SQLAlchemy 2.1 loads for a postgresql:// address. Not a dependency of
# lavaflow, so pinned here and not in constraints.txt. boto3: files on s3://.
RUN pip install --no-cache-dir -c /opt/lavaflow/constraints.txt \
    mlflow boto3 'psycopg[binary]==3.3.9' \
    && useradd --create-home --home-dir /srv/mlflow --uid 1000 mlflow \
    && install --directory --owner mlflow /srv/mlflow/artifacts
USER 1000
WORKDIR /srv/mlflow
ENV PYTHONUNBUFFERED=1 MLFLOW_DISABLE_TELEMETRY=true MLFLOW_HOST=0.0.0.0 MLFLOW_PORT=5000 \
    MLFLOW_SERVER_ENABLE_JOB_EXECUTION=false
EXPOSE 5000
HEALTHCHECK --interval=10s --timeout=5s --start-period=30s \
    CMD ["python", "-c", "import urllib.request as r; r.urlopen('http://127.0.0.1:5000/health', timeout=4)"]
CMD ["mlflow", "server"]
