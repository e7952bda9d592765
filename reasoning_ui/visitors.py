"""Who uses the page, where strangers can open it (a Space): told apart by their Hugging Face login where the Space has
one, else by a long random cookie that the server signs and no script can read.

`Visitors` is the middleware that gives the cookie and keeps files of the home from those they do not belong to;
`current` is the visitor of the request that is being answered, which `OwnedHome` asks.
"""

import hashlib
import hmac
import importlib.util
import os
import secrets
from collections.abc import MutableMapping
from contextlib import suppress
from http.cookies import CookieError, SimpleCookie
from pathlib import Path
from typing import Any
from urllib.parse import unquote

from gradio.context import LocalContext

from pipeline.owned_home import NOBODY, OwnedHome, Visitor
from pipeline.studio_home import StudioHome

COOKIE = "reasoning-studio-visitor"
YEAR = 365 * 24 * 3600
Scope = MutableMapping[str, Any]


class Identities:
    """Makes and reads the cookies of one home: `token.signature`, with a key that only the server has."""

    def __init__(self, home: Path) -> None:
        self.key = _key(home / "visitors" / "cookie.key")

    def new(self) -> str:
        """The cookie of a new visitor."""
        token = secrets.token_hex(32)
        return f"{token}.{self._signature(token)}"

    def visitor(self, scope: Scope) -> Visitor:
        """Who sent a request: the Hugging Face user, else the cookie's holder, else nobody."""
        user = ((scope.get("session") or {}).get("oauth_info") or {}).get("userinfo") or {}
        if name := user.get("preferred_username"):
            return Visitor(f"hf:{name}", trusted=_is_owner(user))
        token, _, signature = self.cookie(scope).partition(".")
        if token and hmac.compare_digest(signature, self._signature(token)):
            return Visitor("cookie:" + hashlib.sha256(token.encode()).hexdigest()[:32])  # studio.db holds no cookies
        return NOBODY

    @staticmethod
    def cookie(scope: Scope) -> str:
        """The cookie's value in a request, or an empty text."""
        for name, value in scope.get("headers", ()):
            if name == b"cookie":
                with suppress(CookieError):
                    if found := SimpleCookie(value.decode("latin-1")).get(COOKIE):
                        return str(found.value)
        return ""

    def _signature(self, token: str) -> str:
        return hmac.new(self.key, token.encode("utf-8", "replace"), hashlib.sha256).hexdigest()


class Visitors:
    """ASGI middleware: gives each new browser its cookie, and answers 404 for files that are not the visitor's."""

    def __init__(self, app: Any, home: OwnedHome, identities: Identities) -> None:
        self.app, self.home, self.identities = app, home, identities

    async def __call__(self, scope: Scope, receive: Any, send: Any) -> None:
        """Answer one request."""
        if scope["type"] != "http":
            return await self.app(scope, receive, send)
        visitor = self.identities.visitor(scope)
        if not may_fetch(self.home, visitor, scope.get("path", "")):
            await send({"type": "http.response.start", "status": 404, "headers": [(b"content-type", b"text/plain")]})
            return await send({"type": "http.response.body", "body": b"There is no such file."})
        welcome = scope["method"] == "GET" and visitor is NOBODY and "gradio_api" not in scope.get("path", "")

        async def greet(message: MutableMapping[str, Any]) -> None:
            if message["type"] == "http.response.start" and welcome:
                message["headers"] = [*message.get("headers", ()), (b"set-cookie", self._cookie(scope))]
            await send(message)

        return await self.app(scope, receive, greet)

    def _cookie(self, scope: Scope) -> bytes:
        headers = dict(scope.get("headers", ()))
        secure = scope.get("scheme") == "https" or headers.get(b"x-forwarded-proto", b"").startswith(b"https")
        where = "SameSite=None; Secure; Partitioned" if secure else "SameSite=Lax"  # a Space is shown inside a frame
        return f"{COOKIE}={self.identities.new()}; HttpOnly; Path=/; Max-Age={YEAR}; {where}".encode()


def shared_home(home: StudioHome) -> tuple[OwnedHome, Identities]:
    """The home as its visitors see it."""
    identities = Identities(home.path)
    return OwnedHome(home.path, who=lambda: current(identities)), identities


def can_log_in() -> bool:
    """Whether this is a Space that offers the Hugging Face login."""
    return bool(os.environ.get("OAUTH_CLIENT_ID")) and importlib.util.find_spec("authlib") is not None


def current(identities: Identities) -> Visitor:
    """Who asked for what this thread is doing; nobody outside of a request."""
    request = LocalContext.request.get(None)
    request = getattr(request, "request", request)  # gr.Request holds the server's own
    scope = getattr(request, "scope", None)
    return identities.visitor(scope) if scope else NOBODY


def may_fetch(home: OwnedHome, visitor: Visitor, path: str) -> bool:
    """Whether a visitor may have the answer to a request for `path`: of the home's files only exports of own runs."""
    for mark in ("/file=", "/file/"):
        if mark in path:
            asked = Path(unquote(path.split(mark, 1)[1])).resolve()
            break
    else:
        return True
    if not asked.is_relative_to(home.path.resolve()) or visitor.trusted:
        return True
    exports = home.path.resolve() / "exports"
    if not asked.is_relative_to(exports) or asked == exports:
        return False
    owner = home.whole.about(asked.relative_to(exports).parts[0])["owner"]
    return bool(visitor.name) and owner == visitor.name


# ----------------------------------------------------------------------------------------------------


def _is_owner(user: dict[str, Any]) -> bool:
    """The Space's author, or an administrator of the organisation that owns it."""
    author = os.environ.get("SPACE_AUTHOR_NAME") or os.environ.get("SPACE_ID", "").split("/")[0]
    admin_of = {org.get("preferred_username") for org in user.get("orgs") or [] if org.get("roleInOrg") == "admin"}
    return bool(author) and author in {user.get("preferred_username"), *admin_of}


def _key(file: Path) -> bytes:
    file.parent.mkdir(parents=True, exist_ok=True)
    try:
        handle = os.open(file, os.O_CREAT | os.O_EXCL | os.O_WRONLY, 0o600)
    except FileExistsError:
        return file.read_bytes()
    with os.fdopen(handle, "wb") as out:
        out.write(secrets.token_bytes(32))
    return file.read_bytes()
