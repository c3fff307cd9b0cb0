"""An identity provider: Django OAuth Toolkit, served in a process of its own.

    python provider.py <folder> <callback of the node>

It prints its address. Its client must use PKCE and show its secret; a browser says in the cookie
`who` who is logged in at the provider. Groups stand in the ID token, of ada in userinfo only.
"""

from __future__ import annotations

import secrets
import sys
from pathlib import Path
from typing import Any
from wsgiref.simple_server import WSGIRequestHandler, make_server

import django
from cryptography.hazmat.primitives.asymmetric.rsa import generate_private_key
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat
from django.conf import settings

CLIENT, SECRET = "skerry", "a client's secret: 17 % of it is +/="
urlpatterns: list[Any] = []
GROUPS = {"grace": ["staff", "admins"], "linus": ["developers"], "ada": ["developers"], "eve": []}


def configure(folder: Path) -> None:
    key = generate_private_key(65537, 2048)
    pem = key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption()).decode()
    settings.configure(
        SECRET_KEY=secrets.token_hex(),
        ALLOWED_HOSTS=["127.0.0.1"],
        ROOT_URLCONF=__name__,
        DEFAULT_AUTO_FIELD="django.db.models.AutoField",
        DATABASES={"default": {"ENGINE": "django.db.backends.sqlite3", "NAME": folder / "idp.db"}},
        INSTALLED_APPS=[
            "django.contrib.auth",
            "django.contrib.contenttypes",
            "django.contrib.sessions",
            "oauth2_provider",
        ],
        MIDDLEWARE=[
            "django.contrib.sessions.middleware.SessionMiddleware",
            "django.contrib.auth.middleware.AuthenticationMiddleware",
            f"{__name__}.log_in",
        ],
        PASSWORD_HASHERS=["django.contrib.auth.hashers.MD5PasswordHasher"],
        OAUTH2_PROVIDER={
            "OIDC_ENABLED": True,
            "OIDC_RSA_PRIVATE_KEY": pem,
            "PKCE_REQUIRED": True,
            "SCOPES": {"openid": "who", "profile": "more", "email": "mail"},
            "OAUTH2_VALIDATOR_CLASS": f"{__name__}.make_validator",
            "OIDC_RESPONSE_TYPES_SUPPORTED": ["code"],
        },
        USE_TZ=True,
    )
    django.setup()


def log_in(get_response: Any) -> Any:
    """Take the word of the browser's cookie for who it is."""

    def middleware(request: Any) -> Any:
        from django.contrib.auth.models import User

        name = request.COOKIES.get("who")
        if name:
            request.user = User.objects.get(username=name)
        return get_response(request)

    return middleware


def make_validator() -> Any:
    from oauth2_provider.oauth2_validators import OAuth2Validator

    class Validator(OAuth2Validator):  # type: ignore[misc]
        oidc_claim_scope = None

        def get_additional_claims(self, request: Any) -> dict[str, Any]:
            name = request.user.username
            claims: dict[str, Any] = {"preferred_username": f"{name}@example.org"}
            if name != "ada":
                claims["groups"] = GROUPS[name]
            return claims

        def get_userinfo_claims(self, request: Any) -> dict[str, Any]:
            claims = dict(super().get_userinfo_claims(request))
            return {**claims, "groups": GROUPS[request.user.username]}

    return Validator()


class Silent(WSGIRequestHandler):
    def log_message(self, *args: object) -> None:
        """Say nothing."""


def main() -> None:
    folder, callback = Path(sys.argv[1]), sys.argv[2]
    configure(folder)
    from django.contrib.auth.models import User
    from django.core.management import call_command
    from django.core.wsgi import get_wsgi_application
    from oauth2_provider.models import get_application_model

    urlpatterns.extend(_urls())
    call_command("migrate", verbosity=0)
    for name in GROUPS:
        User.objects.create_user(name)
    get_application_model().objects.create(
        name="skerry",
        client_id=CLIENT,
        client_secret=SECRET,
        client_type="confidential",
        authorization_grant_type="authorization-code",
        redirect_uris=callback,
        skip_authorization=True,
        algorithm="RS256",
    )
    with make_server("127.0.0.1", 0, get_wsgi_application(), handler_class=Silent) as server:
        sys.stdout.write(f"http://127.0.0.1:{server.server_port}/o\n")
        sys.stdout.flush()
        server.serve_forever()


def _urls() -> list[Any]:
    from django.urls import include, path

    return [path("o/", include("oauth2_provider.urls", namespace="oauth2_provider"))]


if __name__ == "__main__":
    # Django finds settings, addresses and the validator by the name of this module.
    __name__ = "provider"
    sys.modules[__name__] = sys.modules["__main__"]
    main()
