"""Amazon Bedrock's runtime.

Sources: https://docs.aws.amazon.com/general/latest/gr/bedrock.html (endpoints),
https://docs.aws.amazon.com/bedrock/latest/APIReference/API_Operations_Amazon_Bedrock_Runtime.html (paths),
shared/kong/providers.json (Kong's driver).
"""

from __future__ import annotations

import os
import re
from typing import ClassVar, Final

from ..config.models import Options
from ..core.aws import aws_domain
from ..core.call import Call
from ..core.errors import ApiError, BadRequest
from ..core.http import Headers, Url
from ..formats.base import Adapter, Observer
from ..formats.batches.bedrock import BedrockBatches
from ..formats.bedrock.adapter import ConverseAdapter
from ..formats.bedrock.embeddings import EmbeddingsAdapter
from ..formats.bedrock.invoke import InvokeMessagesAdapter, InvokeMessagesObserver
from ..formats.bedrock.models import is_claude
from ..formats.bedrock.observer import CONVERSE_OBSERVER
from ..formats.images.bedrock import bedrock_images
from ..formats.over_chat import CompletionsOverChat
from ..formats.steps import Step, StepsTranslation
from ..formats.videos.bedrock import BedrockVideos
from .base import Provider
from .compatible import missing, path_segment, upstream_url, with_path

_BUCKET_LABEL: Final = re.compile(r"[a-z0-9][a-z0-9-]{1,61}[a-z0-9]")
"""A bucket's name without dots: such a one is covered by S3's certificate as the first part of a host."""
_REGION: Final = re.compile(r"[a-z]{2,6}(-[a-z]+)+-\d{1,2}")

_CONVERSE: Final = ConverseAdapter()
_COMPLETIONS: Final = CompletionsOverChat(_CONVERSE)
_EMBEDDINGS: Final = EmbeddingsAdapter()
_VIDEOS: Final = BedrockVideos()
_BATCHES: Final = BedrockBatches(_CONVERSE)
_MESSAGES: Final = InvokeMessagesAdapter()
_MESSAGES_OBSERVER: Final = InvokeMessagesObserver()


class Bedrock(Provider):
    """bedrock-runtime in the configured region."""

    name: ClassVar[str] = "bedrock"
    operations: ClassVar[frozenset[str]] = frozenset(
        {
            "chat", "completions", "embeddings", "files", "batches", "image.generations", "image.edits",
            "video.generations",
        }
    )
    cloud: ClassVar = "aws"

    def adapter(self, call: Call) -> Adapter:
        if call.operation == "embeddings":
            return _EMBEDDINGS
        if call.operation == "completions":
            return _COMPLETIONS
        return _MESSAGES if _speaks_messages(call) else _CONVERSE

    def observer(self, call: Call) -> Observer | None:
        if call.client_format == "bedrock":
            return CONVERSE_OBSERVER
        return _MESSAGES_OBSERVER if _speaks_messages(call) else None

    def url(self, call: Call) -> Url:
        base, path = self._base(call), call.options.upstream_path
        if path is None:
            if base.path != "/":
                return base  # an upstream_url that names the whole path
            if not call.model:
                raise BadRequest("provider bedrock needs a model: it is part of the path", param="model")
            path = f"/model/{path_segment(call.model, 'model')}/{_action(call)}"
        elif call.options.upstream_url:
            return base
        return with_path(base, path)

    def headers(self, call: Call) -> Headers:
        return {"accept": "application/vnd.amazon.eventstream" if call.stream else "application/json"}

    def _base(self, call: Call) -> Url:
        if call.options.upstream_url:
            return upstream_url(call.options.upstream_url)
        region = region_of(call)
        return Url("https", f"bedrock-runtime.{region}.{aws_domain(region)}", 443, "/")

    def steps(self, call: Call) -> StepsTranslation | None:
        if call.operation.startswith("image."):
            return bedrock_images(call)
        if call.operation in ("files", "batches"):
            return _BATCHES
        return _VIDEOS if call.operation == "video.generations" else None

    def id_forms(self, operation: str, options: Options) -> frozenset[str | None]:
        return frozenset({_VIDEOS.form if operation == "video.generations" else _BATCHES.form})

    def step_errors(self, call: Call) -> Adapter | None:
        return _CONVERSE

    def step_url(self, call: Call, step: Step) -> Url:
        """Services: "" is the runtime, "control" Bedrock's control plane, "s3" S3 with paths of the form
        `/bucket/key`."""
        if step.service == "s3":
            return _s3_url(call, step.path)
        if step.service == "control":
            region = region_of(call)
            own = os.environ.get("AWS_ENDPOINT_URL_BEDROCK") or call.options.upstream_url
            host = f"https://bedrock.{region}.{aws_domain(region)}"
            return with_path(upstream_url(own or host), step.path)
        return with_path(self._base(call), step.path)


def _s3_url(call: Call, path: str) -> Url:
    """Virtual-hosted where the bucket's name can be part of a host's, as AWS wants it of new code:
    https://docs.aws.amazon.com/AmazonS3/latest/userguide/VirtualHosting.html. AWS_ENDPOINT_URL_S3 is where
    AWS's own SDKs look for an endpoint: https://docs.aws.amazon.com/sdkref/latest/guide/feature-ss-endpoints.html.
    """
    endpoint = os.environ.get("AWS_ENDPOINT_URL_S3")
    if endpoint:
        return with_path(Url.parse(endpoint), path)
    region = region_of(call)
    host = f"s3.{region}.{aws_domain(region)}"
    bucket, slash, key = path.lstrip("/").partition("/")
    if _BUCKET_LABEL.fullmatch(bucket):
        return with_path(Url("https", f"{bucket}.{host}", 443, "/"), f"/{key}")
    return with_path(Url("https", host, 443, "/"), f"/{bucket}{slash}{key}")


def region_of(call: Call) -> str:
    """The region that is called. ApiError (500) where none is configured, or what is configured is none."""
    options = call.options.bedrock
    region = options.aws_region if options else None
    region = region or os.environ.get("AWS_REGION") or os.environ.get("AWS_DEFAULT_REGION")
    if not region:
        raise missing("bedrock.aws_region", "bedrock")
    if not _REGION.fullmatch(region):
        # A region can come from a template: it must not lead to another host.
        raise ApiError(500, "model.options.bedrock.aws_region is not a region", code="invalid_configuration")
    return region


def _speaks_messages(call: Call) -> bool:
    return call.client_format == "anthropic" and call.operation == "chat" and is_claude(call.model)


def _action(call: Call) -> str:
    if call.operation == "embeddings":
        return "invoke"
    if _speaks_messages(call):
        return "invoke-with-response-stream" if call.stream else "invoke"
    return "converse-stream" if call.stream else "converse"


PROVIDER: Final = Bedrock()
