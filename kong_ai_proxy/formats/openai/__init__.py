"""OpenAI's chat completions, completions and embeddings: as clients speak them, and as providers do.

====================  ===================================================================================
module                what is in it
====================  ===================================================================================
`client`              the client side: checks of the request, the stream's encoding, the error object
`observer`            the same format on both sides: bytes pass through, read for usage, edited where needed
`adapter`             the provider side for the many that speak OpenAI's form with an accent (a `Dialect`)
`dialect`             what such an accent is made of, as data
`request`             the request in a dialect
`messages`            its messages
`answer`, `stream`    the whole and the streamed answer, brought to OpenAI's own form
`functions`           the deprecated `functions`, towards clients
`errors`              the five shapes errors come in
====================  ===================================================================================

Source: https://platform.openai.com/docs/api-reference/chat, .../completions and .../embeddings.
"""
