"""What the pages say. For the person in front of the browser, who knows neither us nor OAuth."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

from services.connecting.outcomes import Failure, Finished


@dataclass(frozen=True, slots=True)
class Words:
    """A page's words.

    Attributes:
        status: Of the answer.
        items: A list below the paragraphs.
        code: For support; None: nothing to tell.
    """

    status: int
    good: bool
    title: str
    paragraphs: tuple[str, ...]
    items: tuple[str, ...] = ()
    code: str | None = None


_AGAIN: Final = "Go back to the app that sent you, and start connecting {name} again."
_UNCHANGED: Final = "Nothing was changed."
_PAGES: Final = {
    Failure.LINK_INVALID: (
        400,
        "This link is not valid",
        ("It may have been cut off or changed on its way.", _UNCHANGED, _AGAIN),
    ),
    Failure.LINK_EXPIRED: (410, "This link has expired", ("Such a link works for ten minutes.", _AGAIN)),
    Failure.UNKNOWN_STATE: (
        400,
        "This visit cannot be matched with a start",
        (
            (
                "The answer from {name} was used already, or it belongs to nothing that was started here. "
                "Reloading the page of a connection that was just made leads here too."
            ),
            _UNCHANGED,
            _AGAIN,
        ),
    ),
    Failure.EXPIRED_STATE: (
        410,
        "That took too long",
        ("For safety you have ten minutes to agree at {name}.", _UNCHANGED, _AGAIN),
    ),
    Failure.OTHER_PROVIDER: (400, "This answer is for another provider", (_UNCHANGED, _AGAIN)),
    Failure.OTHER_BROWSER: (
        400,
        "This was started in another browser",
        (
            (
                "Connecting has to end in the browser in which it was started, with cookies allowed. If you "
                "started nothing yourself, somebody may be trying to connect your account to theirs: close "
                "this page."
            ),
            _UNCHANGED,
            _AGAIN,
        ),
    ),
    Failure.ISSUER: (
        400,
        "This answer does not come from {name}",
        ("It names another sender than it should, so it was not used.", _UNCHANGED, _AGAIN),
    ),
    Failure.DENIED: (400, "{name} was not connected", ("You did not agree at {name}.", _UNCHANGED, _AGAIN)),
    Failure.PROVIDER_ERROR: (400, "{name} did not agree", ("It answered with an error.", _UNCHANGED, _AGAIN)),
    Failure.NO_CODE: (400, "{name} sent you back without an answer", (_UNCHANGED, _AGAIN)),
    Failure.UNAVAILABLE: (
        503,
        "{name} cannot be reached at the moment",
        (
            _UNCHANGED,
            "Wait a few minutes. Then go back to the app that sent you, and start connecting {name} again.",
        ),
    ),
    Failure.REFUSED: (
        502,
        "{name} did not confirm the connection",
        ("It refused to hand over what you agreed to.", _UNCHANGED, _AGAIN),
    ),
    Failure.ACCOUNT_UNKNOWN: (
        502,
        "{name} did not say which account this is",
        ("Without knowing that, the connection could be mistaken for another one.", _UNCHANGED, _AGAIN),
    ),
    Failure.OTHER_ACCOUNT: (
        409,
        "You signed in to another {name} account",
        (
            (
                "This link is for one account alone, and you agreed as another. Sign out at {name}, or "
                "choose the right account there, and try again."
            ),
            _UNCHANGED,
            _AGAIN,
        ),
    ),
    Failure.EXPIRED_DEVICE: (410, "That took too long", (_UNCHANGED, _AGAIN)),
}


def of_ending(ended: Finished) -> Words:
    """Return the words for an attempt's end."""
    name = ended.display_name
    if ended.failure is not None:
        status, title, paragraphs = _PAGES[ended.failure]
        code = str(ended.failure) if ended.code in (None, ended.failure) else f"{ended.failure}: {ended.code}"
        return Words(
            status,
            False,
            title.format(name=name),
            tuple(paragraph.format(name=name) for paragraph in paragraphs),
            code=code,
        )
    whose = f" as {ended.account}" if ended.account else ""
    if ended.kept:
        told = f"{name} gave no lasting access this time, so the connection that you have was left as it is."
        return Words(200, True, f"{name} is connected{whose}", (told, "You can close this page."))
    if ended.missing:
        told = f"You did not give all that was asked for at {name}, so some things may not work:"
        return Words(200, True, f"{name} is connected{whose}", (told,), ended.missing)
    return Words(200, True, f"{name} is connected{whose}", ("You can close this page.",))


def of_absence(display_name: str, *, bug: bool) -> Words:
    """Return the words for when our own database is away, or our own code fails."""
    return Words(
        500 if bug else 503,
        False,
        "We cannot finish this at the moment",
        (
            (
                f"Something on our side does not answer. Wait a minute, and start connecting {display_name} "
                "again from the app that sent you."
            ),
        ),
        code="internal_error" if bug else "unavailable",
    )


def of_nowhere() -> Words:
    """Return the words for an address of a provider that is none of ours."""
    return Words(
        404,
        False,
        "This address leads nowhere",
        (
            "It may have been cut off or changed on its way.",
            _UNCHANGED,
            "Go back to the app that sent you, and start again.",
        ),
        code="unknown_provider",
    )
