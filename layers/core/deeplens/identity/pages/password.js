"use strict";
// Shows a password on request, and how hard a new one is to guess, by the server's own estimate.
(() => {
  const PAUSE_MILLISECONDS = 400;

  for (const button of document.querySelectorAll("button[data-shows]")) {
    const input = document.getElementById(button.dataset.shows);
    const show = (shown) => {
      input.type = shown ? "text" : "password";
      button.setAttribute("aria-pressed", String(shown));
    };
    button.hidden = false;
    button.addEventListener("click", () => show(input.type === "password"));
    // Browsers offer to save a password only from a field of passwords.
    input.form.addEventListener("submit", () => show(false));
  }

  for (const meter of document.querySelectorAll("[data-rates]")) {
    const input = document.getElementById(meter.dataset.rates);
    let waiting;
    let request;
    async function rate() {
      request?.abort();
      request = new AbortController();
      const form = new FormData(input.form);
      const body = new URLSearchParams({ form_secret: form.get("form_secret"), password: input.value });
      try {
        const answer = await fetch("/account/password-strength", { method: "POST", body, signal: request.signal });
        if (!answer.ok) throw new Error(answer.status);
        const { level, text } = await answer.json();
        meter.dataset.level = level;
        meter.lastElementChild.textContent = text;
        meter.hidden = false;
      } catch (error) {
        if (error.name !== "AbortError") meter.hidden = true;
      }
    }
    input.addEventListener("input", () => {
      clearTimeout(waiting);
      if (input.value) waiting = setTimeout(rate, PAUSE_MILLISECONDS);
      else meter.hidden = true;
    });
  }
})();
