"use strict";
// The token stands in the fragment, which browsers send to no server. It leaves this page only in the bodies of the
// requests that the reader asks for, and the address at once: nobody finds it there, or going back in the tab.
// The browser's own list of what was visited keeps it, which no page can change; so a token works once, and not long.
(() => {
  const token = new URLSearchParams(location.hash.slice(1)).get("token");
  history.replaceState(null, "", location.pathname);
  // Another link that is opened in this tab changes the fragment alone, and browsers load nothing for that.
  addEventListener("hashchange", () => location.reload());

  const LINK_IS_DEAD = ["invalid_reset_token", "invalid_verification_token", "invalid_undo_token"];
  const byId = (id) => document.getElementById(id);
  const forms = [...document.forms];
  const problem = byId("problem");
  const done = byId("done");
  let form = forms[0]; // the one that is shown; the others are steps that may follow

  const words = (code) => byId("words").content.querySelector(`[data-code="${CSS.escape(code)}"]`)?.textContent;
  const removeForms = (but) => forms.forEach((one) => one === but || one.remove());

  // The focus goes to what is to be done next, and what it is on is read out.
  const tell = (text, field) => {
    problem.textContent = text;
    problem.hidden = false;
    field?.setAttribute("aria-invalid", "true");
    (field ?? problem).focus();
  };

  const forget = () => {
    problem.hidden = true;
    done.hidden = true;
    for (const field of form.querySelectorAll("[aria-invalid]")) field.removeAttribute("aria-invalid");
  };

  const open = (next) => {
    forget();
    form.hidden = true;
    form = next;
    form.hidden = false;
    // Not a button: who presses Enter twice would have answered a question that was not read.
    form.querySelector("input, [tabindex]").focus();
  };

  const finish = () => {
    done.textContent = words(form.dataset.done ?? "") ?? done.textContent;
    const next = byId(form.dataset.next);
    removeForms(next);
    if (next) {
      form = next;
      form.hidden = false;
    }
    done.hidden = false;
    done.focus();
  };

  const body = () => ({
    ...("token" in form.dataset ? { token } : {}),
    ...Object.fromEntries(new FormData(form)),
  });

  const send = () =>
    fetch(form.dataset.action, {
      method: "POST",
      headers: { "Content-Type": "application/json" },
      body: JSON.stringify(body()),
    });

  const explain = async (answer) => {
    const told = await answer.json();
    const { code, pointer } = told.errors?.[0] ?? told;
    if (byId(code) instanceof HTMLFormElement) return open(byId(code));
    const text = words(`${pointer} ${code}`) ?? words(code);
    if (!text) return tell(words("unavailable"));
    if (LINK_IS_DEAD.includes(code)) removeForms();
    return tell(text, form.elements[code === "wrong_password" ? "password" : pointer?.slice(1)]);
  };

  const submit = async () => {
    forget();
    const { new_password, again } = form.elements;
    if (again && new_password.value !== again.value) return tell(words("different"), again);
    const button = form.querySelector("[type=submit]");
    button.setAttribute("aria-disabled", "true");
    try {
      const answer = await send();
      // The status of a success and nothing else: whatever stands before the service may answer 200 in its place.
      await ([202, 204].includes(answer.status) ? finish() : explain(answer));
    } catch {
      tell(words("unavailable"));
    } finally {
      button.removeAttribute("aria-disabled");
    }
  };

  for (const one of forms)
    one.addEventListener("submit", (event) => {
      event.preventDefault();
      // Not the attribute "disabled", which would take the focus away from the button.
      if (!one.querySelector("[type=submit][aria-disabled]")) submit();
    });

  for (const button of document.querySelectorAll("[data-opens]"))
    button.addEventListener("click", () => open(byId(button.dataset.opens)));

  for (const button of document.querySelectorAll("[data-shows]"))
    button.addEventListener("click", () => {
      const field = byId(button.dataset.shows);
      const isShown = field.type === "text";
      field.type = isShown ? "password" : "text";
      button.setAttribute("aria-pressed", String(!isShown));
    });

  if (token) form.hidden = false;
  else {
    removeForms();
    tell(words("no_token"));
  }
})();
