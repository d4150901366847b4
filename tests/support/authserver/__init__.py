"""An authorization server that is not of our design: Authlib's, on loopback, as a process of its own.

Everything it decides is decided by Authlib's server side; what is ours is a store in memory and the choice of
what is switched on: the authorization code grant with PKCE, refreshing with rotation, revocation (RFC 7009),
introspection (RFC 7662), a userinfo resource, and the issuer in the callback (RFC 9207).

==================  ==================================================================================
``/authorize``      consents at once as the user that ``login_hint`` names (``alice``), or refuses where
                    ``login_hint=nobody``
``/token``          codes and refresh tokens; Basic or the body, as the client is registered
``/revoke``         RFC 7009
``/introspect``     RFC 7662; for whoever names a registered client
``/userinfo``       ``sub``, ``email`` of the bearer
==================  ==================================================================================
"""
