"""How real providers sign and word the webhooks by which they tell of a revocation, as definitions say it."""

from __future__ import annotations

import tomllib
from typing import Any, Final

from providers.definition import ProviderDefinition
from tests.providers.making import acme

_HOOKS: Final = """
# https://docs.slack.dev/authentication/verifying-requests-from-slack,
# https://docs.slack.dev/reference/events/app_uninstalled, .../tokens_revoked (names users, not tokens),
# https://docs.slack.dev/reference/events/url_verification.
[slack]
kind = "webhook"
topic = [{ member = "type" }, { member = "event.type" }]
id = { member = "event_id" }
account = { member = "team_id" }
at = { member = "event_time" }
challenge = { value = "challenge", echo_as = "challenge" }
[slack.signature]
header = "X-Slack-Signature"
prefix = "v0="
content = "v0:{timestamp}:{body}"
timestamp = "X-Slack-Request-Timestamp"
[slack.topics]
"url_verification" = "challenge"
"event_callback.app_uninstalled" = "revoked"
"event_callback.tokens_revoked" = "look"

# https://shopify.dev/docs/apps/build/webhooks/subscribe/https. The shop is read from what is signed.
[shopify]
kind = "webhook"
secret = "client_secret"
signature = { header = "X-Shopify-Hmac-Sha256", encoding = "base64" }
topic = [{ header = "X-Shopify-Topic" }]
id = { header = "X-Shopify-Webhook-Id" }
account = { member = "myshopify_domain" }
at = { header = "X-Shopify-Triggered-At" }
topics = { "app/uninstalled" = "revoked" }

# https://docs.github.com/en/webhooks/using-webhooks/validating-webhook-deliveries,
# https://docs.github.com/en/webhooks/webhook-events-and-payloads#github_app_authorization.
[github-app]
kind = "webhook"
signature = { header = "X-Hub-Signature-256", prefix = "sha256=" }
topic = [{ header = "X-GitHub-Event" }, { member = "action" }]
id = { header = "X-GitHub-Delivery" }
account = { member = "sender.id" }
topics = { "github_app_authorization.revoked" = "revoked" }

# https://developers.zoom.us/docs/api/webhooks/#verify-webhook-events.
[zoom]
kind = "webhook"
topic = [{ member = "event" }]
account = { member = "payload.user_id" }
at = { member = "payload.deauthorization_time" }
challenge = { value = "payload.plainToken", echo_as = "plainToken", signed_as = "encryptedToken" }
topics = { "app_deauthorized" = "revoked", "endpoint.url_validation" = "challenge" }
[zoom.signature]
header = "x-zm-signature"
prefix = "v0="
content = "v0:{timestamp}:{body}"
timestamp = "x-zm-request-timestamp"

# https://docs.stripe.com/webhooks#verify-manually, https://docs.stripe.com/api/events/types.
[stripe]
kind = "webhook"
signature = { header = "Stripe-Signature", key = "v1", timestamp = "t", content = "{timestamp}.{body}" }
topic = [{ member = "type" }]
id = { member = "id" }
account = { member = "account" }
at = { member = "created" }
topics = { "account.application.deauthorized" = "revoked" }

# https://developers.facebook.com/docs/facebook-login/guides/advanced/oauth-deauthorization: a form field.
[meta]
kind = "webhook"
secret = "client_secret"
scheme = "signed_request"
account = { member = "user_id" }
at = { member = "issued_at" }
topics = { "" = "revoked" }
"""
HOOKS: Final[dict[str, dict[str, Any]]] = tomllib.loads(_HOOKS)


def hooked(provider: str) -> ProviderDefinition:
    """A provider that pushes as this one does."""
    return acme(events=HOOKS[provider])
