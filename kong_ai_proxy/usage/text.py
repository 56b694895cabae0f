"""The sum as a table for a terminal, as CSV, and as JSON."""

from __future__ import annotations

import csv
import io
import json
from collections.abc import Callable, Sequence
from typing import Final

from .records import NOBODY
from .summary import QUANTILES, Distribution, Key, Summary, Totals

_CSV = (
    "requests", "errors", "prompt_tokens", "completion_tokens", "total_tokens", "cached_tokens", "cost",
    "estimated", "partial", "unmetered", "failovers", "failed_attempts", "judged",
    "images", "seconds", "characters", "beside",
)  # fmt: skip
_HEADINGS = (
    "requests", "errors", "prompt", "completion", "total", "cost", "p50 ms", "p95 ms", "ttft p50", "ttft p95",
    "est/part",
)  # fmt: skip
_OTHERWISE: Final[tuple[tuple[str, Callable[[Totals], float]], ...]] = (
    ("images", lambda totals: totals.images),
    ("seconds", lambda totals: totals.seconds),
    ("characters", lambda totals: totals.characters),
)
"""What is billed instead of tokens; told where there is any."""
_WIDEST = 44
"""Characters of a group's name in a table."""


def as_json(summary: Summary) -> str:
    """Everything, for other programs."""
    return json.dumps(summary.to_json(), indent=2) + "\n"


def as_csv(summary: Summary) -> str:
    """A row for each group; where there are several groupings, `by` tells them apart."""
    out = io.StringIO()
    writer = csv.writer(out, lineterminator="\n")
    several = len(summary.groups) > 1
    groupings = list(summary.groups)
    names = ["by", "group"] if several else list(groupings[0])
    quantiles = [f"{kind}_p{quantile}" for kind in ("llm_latency", "first_token") for quantile in QUANTILES]
    writer.writerow([*names, *_CSV, *quantiles])
    for grouping in groupings:
        for key, totals in summary.rows(grouping):
            safe = [_no_formula(part) for part in key]
            where = ["/".join(grouping), " / ".join(safe)] if several else safe
            writer.writerow([*where, *_csv_numbers(totals)])
    return out.getvalue()


def as_table(summary: Summary, top: int = 0) -> str:
    """For people. `top`: so many groups of each grouping; 0 is all."""
    blocks = [overview(summary)]
    for grouping in summary.groups if summary.totals.requests else ():
        rows = summary.rows(grouping)
        shown = rows[:top] if top else rows
        blocks.append(_grouped(grouping, shown, len(rows) - len(shown)))
    return "\n\n".join(blocks) + "\n"


def overview(summary: Summary) -> str:
    """What is true of all records, and which ones were left out."""
    totals = summary.totals
    lines = []
    if summary.first is not None:
        lines.append(f"{summary.moment(summary.first)} to {summary.moment(summary.last)}")
    lines.append(
        f"{many(totals.requests, 'request')}, {many(totals.failed, 'error')}"
        f"{_statuses(totals)}, {many(totals.failovers, 'failover')}"
    )
    if not totals.requests:
        lines += [f"! {remark}" for remark in remarks(summary)]
        return "\n".join(lines)
    lines.append(
        f"{many(totals.total_tokens, 'token')}: {count(totals.prompt_tokens)} prompt "
        f"({count(totals.cached_tokens)} cached), {count(totals.completion_tokens)} completion; "
        f"cost {money(totals.cost)}"
    )
    if others := billed_otherwise(totals):
        lines.append(f"also {others}")
    lines.append(f"latency {_spread(totals.latency)}; first token {_spread(totals.first_token)}")
    lines += [f"! {remark}" for remark in remarks(summary)]
    return "\n".join(lines)


def remarks(summary: Summary) -> list[str]:
    """What a reader must know to judge the numbers."""
    totals = summary.totals
    found = []

    def remark(number: int, noun: str, text: str) -> None:
        if number:
            found.append(f"{many(number, noun)} {text}")

    remark(totals.estimated, "request", f"with estimated tokens ({share(totals.estimated, totals.requests)})")
    remark(totals.partial, "request", f"broken off ({share(totals.partial, totals.requests)}): usage so far")
    remark(totals.unmetered, "request", f"without usage ({share(totals.unmetered, totals.requests)})")
    remark(totals.failed_attempts, "failed attempt", "whose tokens are in the sums")
    remark(totals.judged, "judged answer", "whose judge's tokens are in the sums")
    remark(totals.beside, "use", "of a model beside the one asked (an advisor): tokens in the sums, no cost")
    remark(summary.outside, "request", "outside the period or without a time, left out")
    remark(summary.other_records, "record", "without AI usage, left out")
    remark(summary.bad_lines, "line", "that could not be read, left out")
    if summary.other_records and not totals.requests and not summary.outside:
        found.append(
            "no record has usage: see that logging.log_statistics is on, and that the usage filter covers "
            "the route (`kong-ai-proxy check kong.yml` tells)"
        )
    return found


def billed_otherwise(totals: Totals) -> str:
    """Images, seconds of sound or video, and characters, as far as there are any; else ""."""
    return ", ".join(
        many(value, name.removesuffix("s")) for name, of in _OTHERWISE if (value := of(totals))
    )


def otherwise(all_totals: Sequence[Totals]) -> list[tuple[str, Callable[[Totals], float]]]:
    """Columns for what is billed instead of tokens: those that are not 0 everywhere."""
    return [(name, of) for name, of in _OTHERWISE if any(map(of, all_totals))]


def count(number: float) -> str:
    """12 345 as 12,345; parts of one to the tenth."""
    return f"{number:,.1f}".removesuffix(".0") if isinstance(number, float) else f"{number:,}"


def many(number: float, noun: str) -> str:
    """ "1 request", "12,345 requests"."""
    return f"{count(number)} {noun}" if number == 1 else f"{count(number)} {noun}s"


def money(amount: float) -> str:
    """Cents, and what is less than a thousand of them to six places."""
    if amount >= 10 or not amount:
        return f"{amount:,.2f}"
    whole, _, parts = f"{amount:.6f}".partition(".")
    return f"{whole}.{parts.rstrip('0').ljust(2, '0')}"


def share(part: int, whole: int) -> str:
    """Percent of the whole."""
    percent = 100 * part / whole if whole else 0.0
    return f"{percent:.1f}%" if percent >= 0.1 or not part else "<0.1%"


def _statuses(totals: Totals) -> str:
    told = ", ".join(f"{status}: {count(number)}" for status, number in sorted(totals.errors.items()))
    return f" ({told})" if told else ""


def _spread(values: Distribution) -> str:
    told = values.percentiles()
    if not told:
        return "unknown"
    return ", ".join(f"p{quantile} {count(value)} ms" for quantile, value in told.items())


def _grouped(grouping: Key, rows: Sequence[tuple[Key, Totals]], hidden: int) -> str:
    more = otherwise([totals for _, totals in rows])
    table = [["by " + ", ".join(grouping), *_HEADINGS, *(name for name, _ in more)]]
    table += [
        [_short(" / ".join(key)), *_cells(totals), *(count(of(totals)) for _, of in more)]
        for key, totals in rows
    ]
    widths = [max(len(line[column]) for line in table) for column in range(len(table[0]))]
    lines = []
    for line in table:
        first, *numbers = line
        cells = [first.ljust(widths[0])]
        cells += [text.rjust(width) for text, width in zip(numbers, widths[1:], strict=True)]
        lines.append("  ".join(cells).rstrip())
    lines.insert(1, "-" * max(map(len, lines)))
    if hidden:
        lines.append(f"… and {count(hidden)} more")
    return "\n".join(lines)


def _cells(totals: Totals) -> list[str]:
    latency, first = totals.latency.percentiles(), totals.first_token.percentiles()

    def ms(values: dict[int, int], quantile: int) -> str:
        return count(values[quantile]) if values else "-"

    doubtful = totals.estimated + totals.partial
    return [
        count(totals.requests), count(totals.failed), count(totals.prompt_tokens),
        count(totals.completion_tokens), count(totals.total_tokens), money(totals.cost),
        ms(latency, 50), ms(latency, 95), ms(first, 50), ms(first, 95),
        share(doubtful, totals.requests) if doubtful else "-",
    ]  # fmt: skip


def _csv_numbers(totals: Totals) -> list[object]:
    told = totals.to_json() | {"errors": totals.failed}
    numbers: list[object] = [told[name] for name in _CSV]
    for values in (totals.latency.percentiles(), totals.first_token.percentiles()):
        numbers += [values.get(quantile, "") for quantile in QUANTILES]
    return numbers


def _short(name: str) -> str:
    """On one line, and harmless in a terminal: names come from clients and configurations."""
    plain = "".join(each if each.isprintable() else "?" for each in name)
    return plain if len(plain) <= _WIDEST else plain[: _WIDEST - 1] + "…"


def _no_formula(name: str) -> str:
    """A spreadsheet takes what begins like this for a formula."""
    formula = name.startswith(("=", "+", "@", "\t", "\r")) or (name.startswith("-") and name != NOBODY)
    return f"'{name}" if formula else name
