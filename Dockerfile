# The plugin server and its relay, for a stock Kong beside it (docker-compose.yml).
FROM python:3.12-slim AS build
WORKDIR /src
# The same packages in every build, to the hash (.ci/lock).
COPY docker/requirements.txt ./
RUN python -m venv /opt/kong-ai-proxy \
 && /opt/kong-ai-proxy/bin/pip install --no-cache-dir --no-deps --require-hashes -r requirements.txt
COPY pyproject.toml README.md LICENSE ./
COPY kong_ai_proxy kong_ai_proxy
RUN /opt/kong-ai-proxy/bin/pip install --no-cache-dir --no-deps --no-build-isolation . \
 && /opt/kong-ai-proxy/bin/pip uninstall -q -y setuptools pip

FROM python:3.12-slim
# The sockets' directory belongs to the user: a named volume mounted there takes its owner over.
RUN useradd --system --uid 10001 --user-group --no-create-home --shell /usr/sbin/nologin kong-ai-proxy \
 && install -d -o kong-ai-proxy -g kong-ai-proxy -m 0755 /run/kong-ai-proxy
COPY --from=build /opt/kong-ai-proxy /opt/kong-ai-proxy
ENV PATH=/opt/kong-ai-proxy/bin:$PATH \
    PYTHONUNBUFFERED=1 \
    PYTHONDONTWRITEBYTECODE=1 \
    KONG_PREFIX=/run/kong-ai-proxy \
    KONG_AI_PROXY_RELAY=0.0.0.0:8125
USER kong-ai-proxy
EXPOSE 8125
HEALTHCHECK --interval=5s --timeout=3s --start-period=10s --retries=3 \
  CMD ["python", "-c", "import urllib.request as r; r.urlopen('http://127.0.0.1:8125/health', timeout=2)"]
# SIGTERM lets running exchanges end.
STOPSIGNAL SIGTERM
ENTRYPOINT ["kong-ai-proxy"]
# Kong runs as another user in another container; only what mounts the volume reaches the sockets.
CMD ["serve", "--socket-mode", "666"]
