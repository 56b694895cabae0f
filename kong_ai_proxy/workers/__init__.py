"""Several relay processes for one plugin server (`serve --workers N`).

The process that answers Kong's phases keeps all that must be one: tickets, instances, what the balancers
know. It accepts Kong's connections and hands each to a worker process, which carries what comes on it.

`channel` is how the two talk, `wire` what they say; `pool`, `desk` and `merge` are the one side, `process`,
`worker` and `remote` the other.
"""
