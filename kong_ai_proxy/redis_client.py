"""A client of redis-py for a Redis as `config.vectordb.redis` and `kong_ai_proxy.redis` describe it.

redis-py blocks its thread: connect, and use what is made here, in gevent's thread pool.
"""

from __future__ import annotations

from importlib import import_module
from typing import Any, Final

from .auth.redis_login import RedisLogin
from .config.models import Redis

_PROTOCOL: Final = 2
"""RESP. Every server and proxy speaks it; nothing of version 3 is needed."""


def connect(settings: Redis) -> Any:
    """Connects when first used. Raises ImportError where redis-py is not installed.

    Each connection asks for its credentials anew, so that no token is too old when it is used.
    """
    redis: Any = import_module("redis")
    options: dict[str, Any] = {
        "protocol": _PROTOCOL,
        "socket_connect_timeout": settings.connect_timeout / 1000,
        # There is one for both ways, and commands this short are not waited for when they are sent.
        "socket_timeout": settings.read_timeout / 1000,
        # Whoever uses the client tries again in its own time.
        "retry": import_module("redis.retry").Retry(import_module("redis.backoff").NoBackoff(), 0),
    }
    tls = _tls(settings)
    login = RedisLogin.of(settings)
    who = (
        {"username": settings.username, "password": settings.password}
        if login is None
        else {"credential_provider": login}
    )
    if settings.cluster_nodes:
        nodes = [redis.cluster.ClusterNode(node.ip, node.port) for node in settings.cluster_nodes]
        cluster = redis.RedisCluster(startup_nodes=nodes, **options, **tls, **who)
        cluster.RedisClusterRequestTTL = settings.cluster_max_redirections
        return cluster
    if not settings.connection_is_proxied:
        # What stands before it need not know the command that chooses one.
        options["db"] = settings.database
    if settings.sentinel_nodes:
        sentinels = redis.Sentinel(
            [(node.host, node.port) for node in settings.sentinel_nodes],
            sentinel_kwargs={
                **{name: value for name, value in options.items() if name != "db"},
                **tls,
                "username": settings.sentinel_username,
                "password": settings.sentinel_password,
            },
            **options,
            **tls,
            **who,
        )
        for sentinel in sentinels.sentinels:
            _name(sentinel, settings)
        # Failures are written: only a master will do, whatever sentinel_role says.
        return _name(sentinels.master_for(settings.sentinel_master), settings)
    return _name(redis.Redis(settings.host, settings.port, **options, **tls, **who), settings)


def _tls(settings: Redis) -> dict[str, Any]:
    if not settings.ssl:
        return {}
    required = "required" if settings.ssl_verify else "none"
    return {"ssl": True, "ssl_cert_reqs": required, "ssl_check_hostname": settings.ssl_verify}


def _name(client: Any, settings: Redis) -> Any:
    """The client, its connections naming `server_name` in TLS and expecting a certificate for it."""
    name, pool = settings.server_name, client.connection_pool
    if not (settings.ssl and name):
        return client
    base: Any = pool.connection_class

    class Named(base):  # type: ignore[misc]
        host: Any

        def _wrap_socket_with_ssl(self, sock: Any) -> Any:
            # redis-py takes the host that it connects to.
            host, self.host = self.host, name
            try:
                return super()._wrap_socket_with_ssl(sock)
            finally:
                self.host = host

    pool.connection_class = Named
    return client
