"use strict";
// Asks the authenticator for what the page's form needs, and sends its answer with the form.
(() => {
  const answer = document.querySelector("input[data-passkey]");
  const form = answer.form;
  document.querySelector("[data-scriptless]").hidden = true;
  const bytes = (text) =>
    Uint8Array.from(atob(text.replace(/-/g, "+").replace(/_/g, "/")), (character) => character.charCodeAt(0));
  const text = (buffer) =>
    btoa(String.fromCharCode(...new Uint8Array(buffer))).replace(/\+/g, "-").replace(/\//g, "_").replace(/=+$/, "");
  const described = (credentials) => (credentials || []).map((known) => ({ ...known, id: bytes(known.id) }));

  function options() {
    const given = JSON.parse(answer.dataset.options);
    const decoded = { ...given, challenge: bytes(given.challenge) };
    if (given.user) decoded.user = { ...given.user, id: bytes(given.user.id) };
    if (given.allowCredentials) decoded.allowCredentials = described(given.allowCredentials);
    if (given.excludeCredentials) decoded.excludeCredentials = described(given.excludeCredentials);
    return decoded;
  }

  function asJson(credential) {
    const response = {};
    for (const name of ["clientDataJSON", "attestationObject", "authenticatorData", "signature", "userHandle"]) {
      if (credential.response[name]) response[name] = text(credential.response[name]);
    }
    if (credential.response.getTransports) response.transports = credential.response.getTransports();
    return JSON.stringify({ id: credential.id, rawId: text(credential.rawId), type: credential.type, response });
  }

  form.addEventListener("submit", async (event) => {
    event.preventDefault();
    document.querySelector("[data-failed]").hidden = true;
    try {
      const credential = await navigator.credentials[answer.dataset.passkey]({ publicKey: options() });
      answer.value = asJson(credential);
      form.submit();
    } catch (error) {
      document.querySelector("[data-failed]").hidden = false;
    }
  });
})();
