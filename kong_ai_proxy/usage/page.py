"""The sum as one HTML page that needs nothing else: no script, no font, no picture from elsewhere."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from datetime import datetime, timedelta
from html import escape
from typing import Final

from .records import NOBODY
from .summary import Distribution, Key, Summary, Totals
from .text import billed_otherwise, count, many, money, otherwise, remarks, share

GROUPINGS: Final[tuple[Key, ...]] = (("day",), ("model",), ("provider",), ("consumer",), ("route",))
"""What the page shows."""

_BARS: Final = 20
_ROWS: Final = 200
_TIMES: Final = 120
_WIDTH: Final = 720
"""Of a chart, in its own units."""

_STYLE: Final = """
:root{color-scheme:light dark;--ink:#1c2430;--soft:#5b6675;--line:#dfe4ea;--back:#fff;--card:#f6f8fa;
--one:#2f6fde;--two:#e08a1e;--bad:#c4314b}
@media(prefers-color-scheme:dark){:root{--ink:#e6eaf0;--soft:#a0abba;--line:#323b47;--back:#14181e;
--card:#1d232b;--one:#6ea3ff;--two:#f0ad55;--bad:#ff7d92}}
*{box-sizing:border-box}
body{margin:0 auto;padding:2rem 1.25rem 4rem;max-width:80rem;background:var(--back);color:var(--ink);
font:16px/1.5 system-ui,sans-serif}
h1{font-size:1.6rem;margin:0}h2{font-size:1.15rem;margin:2.5rem 0 .5rem}
p{margin:.3rem 0}.soft{color:var(--soft)}
dl{display:grid;grid-template-columns:repeat(auto-fit,minmax(9.5rem,1fr));gap:.75rem;margin:1.5rem 0}
dl div{background:var(--card);border:1px solid var(--line);border-radius:.6rem;padding:.7rem .9rem}
dt{color:var(--soft);font-size:.85rem}
dd{margin:0;font-size:1.35rem;font-variant-numeric:tabular-nums;overflow-wrap:anywhere}
dd small{display:block;font-size:.8rem;color:var(--soft)}
ul.remarks{padding-left:1.1rem;color:var(--soft)}
svg{display:block;width:100%;min-width:34rem;max-width:62rem;height:auto}
svg text{fill:var(--ink);font:13px system-ui,sans-serif}svg .soft{fill:var(--soft)}
.one{fill:var(--one)}.two{fill:var(--two)}.bad{fill:var(--bad)}.axis{stroke:var(--line)}
.key span{display:inline-block;width:.8em;height:.8em;border-radius:.2em;margin:0 .35em 0 1em}
.key span:first-child{margin-left:0}.key .k1{background:var(--one)}.key .k2{background:var(--two)}
.wide{overflow-x:auto}
table{border-collapse:collapse;width:100%;font-size:.88rem;font-variant-numeric:tabular-nums;margin-top:.6rem}
th,td{padding:.32rem .5rem;border-bottom:1px solid var(--line);text-align:right;white-space:nowrap}
th:first-child{text-align:left;white-space:normal;overflow-wrap:break-word;min-width:10rem;max-width:20rem;
position:sticky;left:0;background:var(--back)}
thead th{color:var(--soft);font-weight:600;white-space:normal;vertical-align:bottom}tbody th{font-weight:400}
@media print{body{max-width:none}}
"""

_TITLES: Final = {
    "day": "By day", "hour": "By hour", "model": "By model", "provider": "By provider",
    "consumer": "By consumer", "route": "By route", "service": "By service", "mode": "By mode",
    "status": "By status",
}  # fmt: skip


def as_html(summary: Summary) -> str:
    """The page. Every name in it is escaped: models and consumers are whatever somebody wrote."""
    period = ""
    if summary.first is not None:
        period = f"{_moment(summary, summary.first)} to {_moment(summary, summary.last)}"
    parts = [
        "<!doctype html>\n<html lang=en>\n<meta charset=utf-8>\n",
        '<meta name=viewport content="width=device-width,initial-scale=1">\n',
        "<meta http-equiv=Content-Security-Policy "
        "content=\"default-src 'none'; style-src 'unsafe-inline'\">\n",
        f"<title>AI usage</title>\n<style>{_STYLE}</style>\n",
        f"<main>\n<h1>AI usage</h1>\n<p class=soft>{escape(period) or 'No requests'}</p>\n",
        _cards(summary.totals),
    ]
    if found := remarks(summary):
        parts.append("<ul class=remarks>" + "".join(f"<li>{escape(text)}</li>" for text in found) + "</ul>\n")
    if summary.totals.errors:
        parts.append(_errors(summary.totals))
    parts += [_section(grouping, summary.rows(grouping)) for grouping in summary.groups]
    parts.append("</main>\n</html>\n")
    return "".join(parts)


def _moment(summary: Summary, at: float | None) -> str:
    """To the minute, with the time zone as people write it."""
    day, _, time = (summary.moment(at) or "").partition("T")
    zone = time[8:]
    return f"{day} {time[:5]} {'UTC' if zone == '+00:00' else zone}".rstrip()


def _cards(totals: Totals) -> str:
    latency, first = _spread(totals.latency), _spread(totals.first_token)
    cards = [
        ("Requests", count(totals.requests), many(totals.failovers, "failover")),
        ("Errors", count(totals.failed), share(totals.failed, totals.requests)),
        (
            "Tokens",
            count(totals.total_tokens),
            f"{count(totals.prompt_tokens)} prompt, {count(totals.completion_tokens)} completion",
        ),
        (
            "Cost",
            f"{totals.cost:,.2f}" if totals.cost >= 1 else money(totals.cost),
            "in the currency of the configured prices",
        ),
        ("Latency, median", *latency),
        ("First token, median", *first),
    ]
    if others := billed_otherwise(totals):
        cards.insert(3, ("Billed otherwise", *_first(others)))
    inner = "".join(
        f"<div><dt>{escape(name)}</dt><dd>{escape(value)}<small>{escape(note)}</small></dd></div>"
        for name, value, note in cards
    )
    return f"<dl>{inner}</dl>\n"


def _first(told: str) -> tuple[str, str]:
    """The first of several, and the others."""
    head, _, rest = told.partition(", ")
    return head, rest


def _spread(values: Distribution) -> tuple[str, str]:
    told = values.percentiles()
    if not told:
        return NOBODY, "not in the records"
    return f"{count(told[50])} ms", f"p95 {count(told[95])}, p99 {count(told[99])} ms"


def _errors(totals: Totals) -> str:
    found = sorted(totals.errors.items())
    rows = [(str(status), [(number, "bad")], count(number)) for status, number in found]
    return f"<section>\n<h2>Errors by status</h2>\n{_bars(rows, 'Errors by status')}</section>\n"


def _section(grouping: Key, rows: Sequence[tuple[Key, Totals]]) -> str:
    title = _TITLES[grouping[0]] + "".join(f", {name}" for name in grouping[1:])
    parts = [f"<section>\n<h2>{escape(title)}</h2>\n"]
    if rows:
        tokens = "prompt and completion tokens"
        parts.append(
            "<p class='key soft'><span class=k1></span>prompt tokens"
            "<span class=k2></span>completion tokens</p>\n"
        )
        if grouping in (("day",), ("hour",)):
            parts.append(_columns(_with_gaps(rows)[-_TIMES:], f"{title}: {tokens}"))
        else:
            parts.append(_bars([_bar(key, totals) for key, totals in rows[:_BARS]], f"{title}: {tokens}"))
    parts.append(_table(grouping, rows))
    parts.append("</section>\n")
    return "".join(parts)


def _bar(key: Key, totals: Totals) -> tuple[str, list[tuple[int, str]], str]:
    told = billed_otherwise(totals) if not totals.total_tokens else ""
    told = told or many(totals.total_tokens, "token")
    told += f" · cost {money(totals.cost)}" if totals.cost else ""
    return " / ".join(key), [(totals.prompt_tokens, "one"), (totals.completion_tokens, "two")], told


def _bars(rows: Sequence[tuple[str, list[tuple[int, str]], str]], label: str) -> str:
    """Lying bars, each with its name above it and its numbers behind it. The table below says the same."""
    step, room = 40, 215
    most = max((sum(value for value, _ in parts) for _, parts, _ in rows), default=0) or 1
    drawn = []
    for number, (name, parts, told) in enumerate(rows):
        top, x = number * step, 0.0
        shapes = []
        for value, look in parts:
            width = (_WIDTH - room) * value / most
            if width:
                shapes.append(
                    f'<rect class={look} x="{x:.1f}" y="{top + 18}" width="{width:.1f}" height="14"/>'
                )
            x += width
        shown = name if len(name) <= 90 else name[:89] + "…"
        drawn.append(
            f"<g><title>{escape(name)}: {escape(told)}</title>"
            f'<text x="0" y="{top + 13}">{escape(shown)}</text>'
            f'{"".join(shapes)}<text class=soft x="{x + 8:.1f}" y="{top + 30}">{escape(told)}</text></g>'
        )
    return _svg(len(rows) * step + 4, label, "".join(drawn))


def _columns(rows: Sequence[tuple[Key, Totals]], label: str) -> str:
    """Standing bars over time."""
    high, foot = 150, 22
    most = max((totals.prompt_tokens + totals.completion_tokens for _, totals in rows), default=0) or 1
    step = _WIDTH / max(len(rows), 8)
    labelled = max(1, -(-len(rows) // 8))
    drawn = [f'<line class=axis x1="0" x2="{_WIDTH}" y1="{high + 14}" y2="{high + 14}"/>']
    for number, (key, totals) in enumerate(rows):
        x, y = number * step, float(high + 14)
        shapes = []
        for value, look in ((totals.prompt_tokens, "one"), (totals.completion_tokens, "two")):
            tall = high * value / most
            if tall:
                y -= tall
                shapes.append(
                    f'<rect class={look} x="{x + step * 0.1:.1f}" y="{y:.1f}" width="{step * 0.8:.1f}" '
                    f'height="{tall:.1f}"/>'
                )
        told = f"{key[0]}: {many(totals.total_tokens, 'token')}, {many(totals.requests, 'request')}"
        under = ""
        if number % labelled == 0:
            under = f'<text class=soft x="{x + step * 0.1:.1f}" y="{high + foot + 8}">{escape(key[0])}</text>'
        drawn.append(f"<g><title>{escape(told)}</title>{''.join(shapes)}{under}</g>")
    top = f'<text class=soft x="0" y="11">{count(most)} tokens</text>'
    return _svg(high + foot + 14, label, top + "".join(drawn))


def _svg(height: int, label: str, inner: str) -> str:
    svg = f'<svg viewBox="0 0 {_WIDTH} {height}" role=img aria-label="{escape(label)}">{inner}</svg>'
    return f"<div class=wide>{svg}</div>\n"


def _with_gaps(rows: Sequence[tuple[Key, Totals]]) -> list[tuple[Key, Totals]]:
    """With the days or hours in between on which nothing happened, as far as the chart goes back."""
    known = {key: totals for key, totals in rows if key[0] != NOBODY}
    if not known:
        return list(rows)
    hours = " " in max(known)[0]
    pattern, step = ("%Y-%m-%d %H:00", timedelta(hours=1)) if hours else ("%Y-%m-%d", timedelta(days=1))
    at, first = datetime.strptime(max(known)[0], pattern), datetime.strptime(min(known)[0], pattern)
    found: list[tuple[Key, Totals]] = []
    while at >= first and len(found) < _TIMES:
        key = (at.strftime(pattern),)
        found.append((key, known.get(key) or Totals()))
        at -= step
    return found[::-1]


_COLUMNS: Final[tuple[tuple[str, Callable[[Totals], str]], ...]] = (
    ("requests", lambda totals: count(totals.requests)),
    ("errors", lambda totals: count(totals.failed)),
    ("prompt", lambda totals: count(totals.prompt_tokens)),
    ("completion", lambda totals: count(totals.completion_tokens)),
    ("total", lambda totals: count(totals.total_tokens)),
    ("cost", lambda totals: money(totals.cost)),
    ("latency p50\u00a0ms", lambda totals: _ms(totals.latency, 50)),
    ("p95\u00a0ms", lambda totals: _ms(totals.latency, 95)),
    ("first\u00a0token p50\u00a0ms", lambda totals: _ms(totals.first_token, 50)),
    ("p95\u00a0ms", lambda totals: _ms(totals.first_token, 95)),
    ("estimated", lambda totals: share(totals.estimated, totals.requests)),
    ("partial", lambda totals: share(totals.partial, totals.requests)),
)


_SELDOM: Final = frozenset({"estimated", "partial"})
"""Columns that are left out where they would say nothing."""


def _ms(values: Distribution, quantile: int) -> str:
    told = values.percentiles()
    return count(told[quantile]) if told else NOBODY


def _table(grouping: Key, rows: Sequence[tuple[Key, Totals]]) -> str:
    columns = [
        column
        for column in _COLUMNS
        if column[0] not in _SELDOM or any(column[1](each) != "0.0%" for _, each in rows)
    ]
    columns += [
        (name, lambda totals, of=of: count(of(totals)))  # type: ignore[misc]
        for name, of in otherwise([totals for _, totals in rows])
    ]
    names = (" / ".join(grouping), *(name for name, _ in columns))
    head = "".join(f"<th scope=col>{escape(name)}</th>" for name in names)
    body = "".join(
        f"<tr><th scope=row>{escape(' / '.join(key))}</th>"
        + "".join(f"<td>{escape(show(totals))}</td>" for _, show in columns)
        + "</tr>\n"
        for key, totals in rows[:_ROWS]
    )
    rest = f"<p class=soft>… and {count(len(rows) - _ROWS)} more</p>\n" if len(rows) > _ROWS else ""
    whole = f"<table>\n<thead><tr>{head}</tr></thead>\n<tbody>\n{body}</tbody></table>"
    return f"<div class=wide>{whole}</div>\n{rest}"
