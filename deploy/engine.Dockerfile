# The image of an engine: vLLM for CUDA, interp-engine, and traitvec without its requirements. From
# the root:
#   docker build -f deploy/engine.Dockerfile -t traitvec-engine .
# Not a slim base: Triton needs a C compiler at run time.
# The digest of 2026-09-19, from github.com/docker-library/repo-info.
ARG BASE=python:3.11-bookworm@sha256:b99029c95d3d37fb1e4e76d287f7984373dca77c665885986e31b2c95260c13c
FROM ${BASE}

ENV PATH=/opt/venv/bin:$PATH \
    PIP_NO_CACHE_DIR=1 \
    PIP_DISABLE_PIP_VERSION_CHECK=1 \
    PYTHONUNBUFFERED=1

ARG UID=1000
RUN python3 -m venv /opt/venv && \
    useradd --non-unique --uid "$UID" --create-home traitvec && \
    install -d -o "$UID" /models

WORKDIR /opt/traitvec

# It requires one version of vLLM, which requires its own torch: constraints.txt does not apply.
RUN pip install "interp-engine[vllm,server]==1.14.2"

COPY pyproject.toml README.md LICENSE ./
COPY traitvec_core ./traitvec_core
COPY traitvec_dagster ./traitvec_dagster
RUN pip install --no-deps .

ENV HF_HOME=/models
USER ${UID}
WORKDIR /home/traitvec
ENTRYPOINT ["python", "-m", "traitvec_core.serving"]
