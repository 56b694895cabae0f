"""Amazon Bedrock's runtime: Converse for chat with every model family, InvokeModel for what Converse lacks.

Source of all fields: https://docs.aws.amazon.com/bedrock/latest/APIReference/API_runtime_Converse.html, and
the service model of `bedrock-runtime` in botocore.
"""
