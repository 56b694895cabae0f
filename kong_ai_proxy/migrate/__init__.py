"""The command `migrate`: another gateway's configuration, turned into one for these plugins.

`kong` takes a declarative configuration with Kong's ai-proxy or ai-proxy-advanced and changes the file in
place,
so that comments and layout stay. `litellm` takes LiteLLM's config.yaml and writes a new one. Both tell, in a
`Report`, what was changed, what is left to do by hand, and what could not be carried.
"""
