# syntax=docker/dockerfile:1
# The image of every application process; docker-compose.yml says which command each one runs.

ARG PYTHON=python:3.12-slim-bookworm

FROM ${PYTHON} AS build
ENV PIP_DISABLE_PIP_VERSION_CHECK=1 PIP_NO_INPUT=1
RUN python -m venv /opt/evergrant
ENV PATH=/opt/evergrant/bin:$PATH
WORKDIR /src
# The packages first: they change less often than the code, and stay in the layer cache.
COPY requirements/installer.lock requirements/app.lock requirements/
RUN --mount=type=cache,target=/root/.cache/pip \
    pip install --require-hashes --only-binary :all: -r requirements/installer.lock \
    && pip install --require-hashes --only-binary :all: --no-deps -r requirements/app.lock
COPY pyproject.toml README.md LICENSE beat_schedule.py ./
COPY domain/ domain/
COPY storage/ storage/
COPY providers/ providers/
COPY services/ services/
COPY tasks/ tasks/
COPY workers/ workers/
COPY api/ api/
COPY simulator/ simulator/
# What builds and installs is of no use to what runs.
RUN pip install --no-deps --no-build-isolation --no-index . \
    && pip uninstall --yes setuptools pip

FROM ${PYTHON}
LABEL org.opencontainers.image.title="Evergrant" \
      org.opencontainers.image.licenses="Apache-2.0"
RUN groupadd --gid 10001 evergrant \
    && useradd --uid 10001 --gid 10001 --no-create-home --home-dir /var/lib/evergrant \
       --shell /usr/sbin/nologin evergrant \
    && install -d -o evergrant -g evergrant -m 0700 /var/lib/evergrant /var/lib/evergrant/spool
COPY --from=build /opt/evergrant /opt/evergrant
ENV PATH=/opt/evergrant/bin:$PATH \
    PYTHONUNBUFFERED=1 \
    PYTHONDONTWRITEBYTECODE=1 \
    EVERGRANT_DATA_DIR=/var/lib/evergrant
USER 10001:10001
WORKDIR /var/lib/evergrant
CMD ["evergrant", "--help"]
