"""Configuration: `models` of both plugins, `parse` of what Kong sends, `templates`, and what is generated.

`generate` writes the schemas, the examples and docs/configuration.md; `check` is the command.
"""
