"""`kong-ai-proxy doctor`: what is wrong with a running setup, and how to mend it.

`local` asks the sockets and the relay, `admin` judges what Kong's Admin API told; `cli` prints the findings.
"""
