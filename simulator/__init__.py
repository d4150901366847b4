"""A simulator of OAuth providers: a real HTTP server that plays four real ones and two strict ones.

What it is
    One process, one port, real sockets. Each *dialect* speaks the token, check and revocation endpoints of a
    provider under a path prefix of its own, remembers every grant it minted and every refresh token that was
    presented to it, and can be told to misbehave on the wire: refuse, hang, hang up, drip, answer nonsense.
    Afterwards it says from the provider's side what happened. The demo, the tests and the benchmarks use it.

What it is not
    It is no provider, and nothing here was called against a real one. It knows no users, passwords or consent
    pages, has no TLS, and its tokens open nothing. It answers only what is documented (or marked here as a
    guess); limits and undocumented habits of the real services are missing. Never point a product at it that
    should talk to the real thing. Every token begins with ``sim-at-`` or ``sim-rt-``, so a search for these
    two strings finds each place a token has reached.

Run it with ``python -m simulator --port 0 --port-file FILE``. Drive it with `simulator.client` or with any
HTTP client through ``/_sim/…`` (see `simulator.control`).

================  ==========================================================================================
dialect           paths
================  ==========================================================================================
``google``        ``/google/token`` ``/google/revoke`` ``/google/webmasters/v3/sites``
                  ``/google/oauth2/v3/certs``: the keys of the security events that it pushes
``bing``          ``/bing/webmasters/oauth/token`` (and ``/bing/webmasters/token``)
                  ``/bing/webmaster/api.svc/json/GetUserSites``
``wordpress``     ``/wordpress/oauth2/token`` ``/wordpress/oauth2/token-info``
``wix``           ``/wix/oauth2/token`` ``/wix/oauth2/token-info`` (headless: camelCase, no secret)
``wix-app``       the same two (``client_credentials`` with ``instance_id``, no refresh token)
``wix-legacy``    ``/wix/oauth/access`` ``/wix/oauth2/token-info``
``strict``        ``/strict/token`` ``/strict/userinfo`` ``/strict/revoke``: single use, reuse kills the grant
``window``        ``/window/token`` ``/window/userinfo`` ``/window/revoke``: rotation with a replay window
================  ==========================================================================================

Beside these it has a *player* (`simulator.playing`): it plays one exchange at a time of a *transcript*
(`simulator.transcripts`), which holds what a provider's own pages show it saying, and keeps no state.

The simulator imports nothing of the product on purpose: both write the protocol down on their own, so a
mistake in one is found by the other.
"""
