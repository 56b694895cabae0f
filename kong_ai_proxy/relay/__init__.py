"""The relay: the server that Kong proxies to, the client towards providers, the loop carrying an exchange.

All I/O of the data path is here, and nothing else: what is sent and answered is decided in `exchange`.
"""
