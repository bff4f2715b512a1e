// Asks a security key (WebAuthn) what the form's question says, and sends the answer with the form.
"use strict";
(() => {
  const form = document.getElementById("key");
  const trouble = document.getElementById("key-trouble");
  const again = document.getElementById("key-again");
  const parts = { make: ["create", "parseCreationOptionsFromJSON"], show: ["get", "parseRequestOptionsFromJSON"] };
  const [verb, parse] = parts[form.dataset.verb];

  async function ask() {
    again.disabled = true;
    trouble.hidden = true;
    try {
      const publicKey = PublicKeyCredential[parse](JSON.parse(form.dataset.options));
      const found = await navigator.credentials[verb]({ publicKey });
      form.elements.answer.value = JSON.stringify(found.toJSON());
      form.submit();
    } catch (why) {
      // InvalidStateError: the key is registered already; the rest is timed out, called off, or too old a browser.
      trouble.textContent = why.name === "InvalidStateError" ? trouble.dataset.known : trouble.dataset.failed;
      trouble.hidden = false;
      again.disabled = false;
    }
  }

  again.addEventListener("click", ask);
  ask();
})();
