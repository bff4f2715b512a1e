"""A private, real OpenID Connect provider: Glewlwyd, with people and keys that tests change."""

from __future__ import annotations

import gzip
import json
import os
import shutil
import sqlite3
import subprocess
import tempfile
import time
from pathlib import Path
from typing import Any

import httpx2
from joserfc.jwk import ECKey, RSAKey

from neighbours.daemon import die_with_parent
from neighbours.postfix import free_port

ROOT = Path(os.environ.get("PENSTOCK_GLEWLWYD", "/var/tmp/penstock-glewlwyd"))
CLIENT, SECRET, PASSWORD = "penstock", "the-clients_secret.~", "a person's password"

CONFIGURATION = """
port = {port}
bind_address = "127.0.0.1"
external_url = "{url}"
login_url = "login.html"
api_prefix = "api"
static_files_path = "{folder}/pages"
static_files_mime_types = ({{ extension = ".html"; mime_type = "text/html"; compress = 0 }})
log_mode = "console"
log_level = "WARNING"
cookie_domain = ""
cookie_secure = 0
session_key = "SESSION"
admin_session_authentication = "cookie"
profile_session_authentication = "cookie"
admin_scope = "g_admin"
profile_scope = "g_profile"
user_module_path = "{modules}/user"
user_middleware_module_path = "{folder}"
client_module_path = "{modules}/client"
user_auth_scheme_module_path = "{modules}/scheme"
plugin_module_path = "{modules}/plugin"
hash_algorithm = "SHA512"
database = {{ type = "sqlite3"; path = "{folder}/database" }};
"""
CLAIMS = {
    "groups": {"type": "string"},
    "email_verified": {"type": "boolean", "boolean-value-true": "1", "boolean-value-false": "0"},
    "preferred_username": {"type": "string"},
}


class Glewlwyd:
    """`with Glewlwyd(redirect_uri) as provider`: it asks for PKCE, and signs by RS256 until its key is changed."""

    def __init__(self, redirect_uri: str) -> None:
        self.redirect_uri = redirect_uri
        self.port = free_port()
        self.url = f"http://127.0.0.1:{self.port}"
        self.issuer = f"{self.url}/api/oidc"
        self.folder = Path(tempfile.mkdtemp(prefix="penstock-oidc-"))
        self.process: subprocess.Popen[bytes] | None = None
        self._keys = 0
        self._admin = httpx2.Client(base_url=f"{self.url}/api", timeout=10)

    def __enter__(self) -> Glewlwyd:
        share, modules = ROOT / "usr" / "share", ROOT / "usr" / "lib" / "glewlwyd"
        schema = gzip.decompress((share / "doc/glewlwyd/database/init.sqlite3.sql.gz").read_bytes())
        with sqlite3.connect(self.folder / "database") as database:
            database.executescript(schema.decode())
        text = CONFIGURATION.format(port=self.port, url=self.url, folder=self.folder, modules=modules)
        (self.folder / "configuration").write_text(text)
        (self.folder / "pages").mkdir()
        (self.folder / "pages" / "login.html").write_text("<title>Log in</title>")
        self.start()
        try:
            self._furnish()
        except BaseException:
            self.__exit__()
            raise
        return self

    def __exit__(self, *_: object) -> None:
        self.stop()
        self._admin.close()
        shutil.rmtree(self.folder, ignore_errors=True)

    def start(self) -> None:
        """Begin to answer."""
        log = self.folder / "log"
        with open(log, "ab") as file:
            command = [ROOT / "usr" / "bin" / "glewlwyd", "-c", self.folder / "configuration"]
            self.process = subprocess.Popen(command, stdout=file, stderr=file, preexec_fn=die_with_parent)
        for _ in range(200):
            assert self.process.poll() is None, log.read_text()
            try:
                self._admin.get("/")
                return
            except httpx2.TransportError:
                time.sleep(0.05)
        raise TimeoutError(log.read_text())

    def stop(self) -> None:
        """Answer no more."""
        if self.process is not None:
            self.process.kill()
            self.process.wait(10)
            self.process = None

    def _furnish(self) -> None:
        self._log_in(self._admin, "admin", "password")
        backend = self._admin.get("/mod/user/database").json()
        own = {name: {"multiple": name == "groups", "read": True, "write": True} for name in CLAIMS}
        backend["parameters"]["data-format"].update(own)
        self._do("PUT", "/mod/user/database", backend)
        self._do("PUT", "/mod/user/database/reset")
        client = {
            "client_id": CLIENT, "name": "Penstock", "enabled": True, "confidential": True, "client_secret": SECRET,
            "redirect_uri": [self.redirect_uri], "authorization_type": ["code"], "scope": ["openid"],
            "token_endpoint_auth_method": ["client_secret_basic"],
        }  # fmt: skip
        self._do("POST", "/client/", client)
        self._do("POST", "/mod/plugin/", self._plugin("RS256"))

    def _plugin(self, algorithm: str) -> dict[str, Any]:
        self._keys += 1
        names = {"kid": f"key-{self._keys}", "alg": algorithm}
        key = RSAKey.generate_key(2048, names) if algorithm == "RS256" else ECKey.generate_key("P-256", names)
        claims = [{"name": name, "user-property": name, "mandatory": True, **more} for name, more in CLAIMS.items()]
        parameters = {
            "iss": self.issuer, "jwks-private": json.dumps({"keys": [key.as_dict(private=True)]}), "jwks-show": True,
            "jwt-type": "rsa", "jwt-key-size": "256", "access-token-duration": 3600, "refresh-token-duration": 3600,
            "code-duration": 60, "auth-type-code-enabled": True, "subject-type": "public", "allow-non-oidc": False,
            "pkce-allowed": True, "pkce-required": True, "pkce-method-plain-allowed": False,
            "email-claim": "mandatory", "name-claim": "mandatory", "claims": claims,
        }  # fmt: skip
        return {"module": "oidc", "name": "oidc", "display_name": "oidc", "enabled": True, "parameters": parameters}

    def change_key(self, algorithm: str = "ES256") -> None:
        """Sign with a new key from now on; the old one is gone."""
        self._do("PUT", "/mod/plugin/oidc", self._plugin(algorithm))
        self._do("PUT", "/mod/plugin/oidc/reset")

    def keep(self, user: str, **claims: object) -> None:
        """Add somebody, or change what is said of them; `groups`, `email`, `email_verified` ("1"), …"""
        body = {"username": user, "name": user, "password": PASSWORD, "enabled": True, "scope": ["openid"], **claims}
        if self._admin.get(f"/user/{user}").status_code == 200:
            self._do("PUT", f"/user/{user}", body)
        else:
            self._do("POST", "/user/", body)

    def log_in(self, user: str, url: str) -> str:
        """Where the provider sends a browser that came to `url` and logs in there."""
        with httpx2.Client(base_url=f"{self.url}/api", timeout=10) as browser:
            self._log_in(browser, user, PASSWORD)
            browser.put(f"/auth/grant/{CLIENT}", json={"scope": "openid"}).raise_for_status()
            answer = browser.get(f"{url}&g_continue")
            assert answer.status_code == 302, answer.text
            return answer.headers["location"]

    def _log_in(self, browser: httpx2.Client, user: str, password: str) -> None:
        answer = browser.post("/auth/", json={"username": user, "password": password})
        answer.raise_for_status()
        # Its cookies are for no domain, which no jar takes.
        browser.headers["Cookie"] = answer.headers["set-cookie"].partition(";")[0]

    def _do(self, method: str, path: str, body: object = None) -> None:
        answer = self._admin.request(method, path, json=body)
        assert answer.status_code == 200, (path, answer.status_code, answer.text)
