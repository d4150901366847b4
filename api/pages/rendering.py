"""Pages made of words: one style, no script, nothing from elsewhere; readable in light and in dark."""

from __future__ import annotations

import base64
import hashlib
from html import escape
from typing import Final
from urllib.parse import urlsplit

from starlette.responses import HTMLResponse

from api.headers import POLICY
from api.pages.words import Words, of_absence, of_ending, of_nowhere
from services.connecting.outcomes import Finished

_STYLE: Final = """
:root { color-scheme: light dark; --ink: #1c1f23; --paper: #f6f7f8; --card: #fff; --line: #d8dce1;
  --good: #17693a; --bad: #a3271e; --quiet: #59616b; }
@media (prefers-color-scheme: dark) { :root { --ink: #e7e9ec; --paper: #14171a; --card: #1d2125;
  --line: #3a4047; --good: #6fce95; --bad: #ff9b91; --quiet: #a4adb7; } }
* { box-sizing: border-box; }
body { margin: 0; min-height: 100vh; display: grid; place-items: center; padding: 1.5rem; background:
var(--paper);
  color: var(--ink); font: 1rem/1.55 system-ui, sans-serif; }
main { max-width: 34rem; width: 100%; padding: 2rem; background: var(--card); border: 1px solid var(--line);
  border-radius: .75rem; }
h1 { margin: 0 0 .75rem; font-size: 1.35rem; line-height: 1.3; overflow-wrap: anywhere; }
h1.good { color: var(--good); }
h1.bad { color: var(--bad); }
p, li { overflow-wrap: anywhere; }
p { margin: .75rem 0; }
code { font: .9em/1.4 ui-monospace, monospace; }
.quiet { color: var(--quiet); font-size: .9rem; }
a { color: inherit; }
a:focus-visible { outline: 3px solid currentColor; outline-offset: 2px; }
"""
_HASH: Final = base64.b64encode(hashlib.sha256(_STYLE.encode()).digest()).decode("ascii")
_HEADERS: Final = {"Content-Security-Policy": f"{POLICY}; style-src 'sha256-{_HASH}'"}


def finished(ended: Finished) -> HTMLResponse:
    """Return the page that says what an attempt to connect came to."""
    words = of_ending(ended)
    back = None if ended.redirect_to is None else ended.redirect_to
    return _page(words, back=back)


def away(display_name: str, *, bug: bool = False) -> HTMLResponse:
    """Return the page for when we cannot work at the moment.

    Args:
        bug: It is not something that we wait for, but a mistake of ours.
    """
    return _page(of_absence(display_name, bug=bug), back=None)


def nowhere() -> HTMLResponse:
    """Return the page for addresses of a provider that is none of ours."""
    return _page(of_nowhere(), back=None)


def _page(words: Words, *, back: str | None) -> HTMLResponse:
    """Write a page; every text is escaped, whoever it comes from."""
    kind = "good" if words.good else "bad"
    body = [f'<h1 class="{kind}">{escape(words.title)}</h1>']
    body += [f"<p>{escape(paragraph)}</p>" for paragraph in words.paragraphs]
    if words.items:
        items = "".join(f"<li><code>{escape(item)}</code></li>" for item in words.items)
        body.append(f"<ul>{items}</ul>")
    if back is not None:
        # Of an allowed origin, or there would have been no link.
        host = urlsplit(back).netloc
        body.append(f'<p><a href="{escape(back)}" rel="noreferrer">Back to {escape(host)}</a></p>')
    if words.code is not None:
        body.append(f'<p class="quiet">For whoever helps you: <code>{escape(words.code)}</code></p>')
    content = (
        '<!doctype html><html lang="en"><head><meta charset="utf-8">'
        '<meta name="viewport" content="width=device-width, initial-scale=1">'
        f"<title>{escape(words.title)}</title><style>{_STYLE}</style></head>"
        f"<body><main>{''.join(body)}</main></body></html>\n"
    )
    return HTMLResponse(content, words.status, _HEADERS)
