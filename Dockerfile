# The plugin server and its relay, for a stock Kong beside it (docker-compose.yml).
FROM python:3.12-slim AS build
WORKDIR /src
# The same packages in every build, to the hash (.ci/lock). Nothing but wheels: no package's own code runs here.
COPY docker/requirements.txt ./
RUN python -m venv /opt/kong-ai-proxy \
 && /opt/kong-ai-proxy/bin/pip install --no-cache-dir --no-compile --no-deps --only-binary :all: \
      --require-hashes -r requirements.txt
COPY pyproject.toml README.md LICENSE ./
COPY kong_ai_proxy kong_ai_proxy
# The same files in every build of a commit, too. Byte code holds no times and no order of sets; the container cannot write it
# later. Of AWS's services only those that credentials come from are described.
ARG SOURCE_DATE_EPOCH=315532800
RUN /opt/kong-ai-proxy/bin/pip install --no-cache-dir --no-compile --no-deps --no-build-isolation . \
 && /opt/kong-ai-proxy/bin/pip uninstall -q -y setuptools pip \
 && cd /opt/kong-ai-proxy \
 && find lib/python3.*/site-packages/botocore/data -mindepth 1 -maxdepth 1 -type d \
      ! -name sts ! -name sso ! -name sso-oidc ! -name signin -exec rm -r {} + \
 && find . -name __pycache__ -exec rm -r {} + \
 && PYTHONHASHSEED=0 bin/python -m compileall -q --invalidation-mode unchecked-hash lib \
 && find . -exec touch -h -d "@$SOURCE_DATE_EPOCH" {} +

FROM python:3.12-slim
ARG SOURCE_DATE_EPOCH=315532800
# The sockets' directory belongs to the user: a named volume mounted there takes its owner over.
RUN groupadd --gid 10001 kong-ai-proxy \
 && useradd --uid 10001 --gid 10001 --no-log-init --no-create-home --home-dir /nonexistent \
      --shell /usr/sbin/nologin kong-ai-proxy \
 && install -d -o kong-ai-proxy -g kong-ai-proxy -m 0755 /run/kong-ai-proxy
COPY --from=build /opt/kong-ai-proxy /opt/kong-ai-proxy
ENV PATH=/opt/kong-ai-proxy/bin:$PATH \
    PYTHONUNBUFFERED=1 \
    PYTHONDONTWRITEBYTECODE=1 \
    KONG_PREFIX=/run/kong-ai-proxy \
    KONG_AI_PROXY_RELAY=0.0.0.0:8125
# A number: Kubernetes' runAsNonRoot cannot tell who a name is.
USER 10001:10001
EXPOSE 8125
# docker-compose.yml has it as well: images in the OCI format, podman's own, keep none.
HEALTHCHECK --interval=5s --timeout=3s --start-period=10s --retries=3 \
  CMD ["python", "-c", "__import__('urllib.request').request.urlopen('http://127.0.0.1:8125/health',timeout=2)"]
# SIGTERM lets running exchanges end.
STOPSIGNAL SIGTERM
ENTRYPOINT ["kong-ai-proxy"]
# Kong runs as another user in another container; only what mounts the volume reaches the sockets.
CMD ["serve", "--socket-mode", "666"]
