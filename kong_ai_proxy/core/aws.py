"""AWS's partitions, as far as host names go. Source: botocore's partitions.json."""

from __future__ import annotations

from typing import Final

_BY_REGION: Final = (
    ("cn-", "amazonaws.com.cn"),
    ("us-iso-", "c2s.ic.gov"),
    ("us-isob-", "sc2s.sgov.gov"),
    ("us-isof-", "csp.hci.ic.gov"),
    ("eu-isoe-", "cloud.adc-e.uk"),
    ("eusc-", "amazonaws.eu"),
)
"""Beginning of a region's name → the domain its services are in."""
_DOMAIN: Final = "amazonaws.com"
AWS_DOMAINS: Final = (_DOMAIN, *(domain for _, domain in _BY_REGION))


def aws_domain(region: str) -> str:
    """The domain of a region's services, as in `bedrock-runtime.<region>.<domain>`."""
    return next((domain for start, domain in _BY_REGION if region.startswith(start)), _DOMAIN)
