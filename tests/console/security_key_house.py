"""A house that may ask for security keys, and a security key that may lie."""

import hashlib
import html
import json
import re
import secrets

from console_house import SETTINGS, House, furnish
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec
from fido2.cose import ES256
from fido2.utils import websafe_decode, websafe_encode
from fido2.webauthn import AttestationObject, AttestedCredentialData, AuthenticatorData

SITE = "http://console.example"


async def made(folder, site=SITE):
    """A furnished house whose console has an address."""
    one = House(folder, SETTINGS.replace("secure_cookies = false", f'secure_cookies = false\nbase_url = "{site}"'))
    await one.service.store.open()
    await furnish(one)
    return one


class Authenticator:
    """A key as browsers pass its words on (WebAuthn level 3, section 5.1); it says whatever a test wants."""

    def __init__(self):
        self.private = ec.generate_private_key(ec.SECP256R1())
        self.id = secrets.token_bytes(16)
        self.counter = 0

    def made(self, options, **lies):
        """The answer to a question for a new key."""
        public = ES256.from_cryptography_key(self.private.public_key())
        credential = AttestedCredentialData.create(bytes(16), self.id, public)
        said = self._said("webauthn.create", options, {"rp": options["rp"]["id"], **lies})
        data = AuthenticatorData.create(said.rp_hash, said.flags | 0x40, said.counter, credential)
        attestation = AttestationObject.create("none", data, {})
        return self._answer(said, attestationObject=attestation)

    def shown(self, options, **lies):
        """The answer to a question at the login."""
        said = self._said("webauthn.get", options, {"rp": options["rpId"], **lies})
        data = AuthenticatorData.create(said.rp_hash, said.flags, said.counter)
        signed = bytes(data) + hashlib.sha256(said.client_data).digest()
        signature = self.private.sign(signed, ec.ECDSA(hashes.SHA256()))
        return self._answer(said, authenticatorData=data, signature=lies.get("signature", signature))

    def _said(self, type, options, lies):
        self.counter += 1
        return _Said(self, type, options, **lies)

    def _answer(self, said, **response):
        id = websafe_encode(said.id)
        parts = {name: websafe_encode(bytes(value)) for name, value in response.items()}
        return json.dumps(
            {"id": id, "rawId": id, "type": "public-key", "clientExtensionResults": {},
             "response": {"clientDataJSON": websafe_encode(said.client_data), **parts}}
        )  # fmt: skip


class _Said:
    """What a key and its browser say, with a test's lies in it."""

    def __init__(
        self,
        key,
        type,
        options,
        *,
        rp,
        origin=SITE,
        challenge="",
        counter=None,
        flags=1,
        id=b"",
        kind="",
        signature=b"",
    ):
        data = {"type": kind or type, "challenge": challenge or options["challenge"], "origin": origin}
        self.client_data = json.dumps(data).encode()
        self.rp_hash = hashlib.sha256(rp.encode()).digest()
        self.counter = key.counter if counter is None else counter
        self.flags = flags
        self.id = id or key.id


def question(answer):
    """(options, the hidden fields) of a page that asks for a key."""
    options = re.search(r'data-options="([^"]*)"', answer.text)[1]
    fields = dict(re.findall(r'type="hidden" name="(\w+)" value="([^"]*)"', answer.text))
    return json.loads(html.unescape(options)), {name: html.unescape(value) for name, value in fields.items()}


def is_challenge(text):
    """Whether it is as long as it must be (section 13.4.3)."""
    return len(websafe_decode(text)) >= 16
