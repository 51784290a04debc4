"use strict";
// The token stands in the fragment, which browsers send to no server. It leaves this page only in the body of the
// one request that the reader asks for, and the address at once: nobody finds it there, or going back in the tab.
// The browser's own list of what was visited keeps it, which no page can change; so a token works once, and not long.
(() => {
  const token = new URLSearchParams(location.hash.slice(1)).get("token");
  history.replaceState(null, "", location.pathname);
  // Another link that is opened in this tab changes the fragment alone, and browsers load nothing for that.
  addEventListener("hashchange", () => location.reload());

  const LINK_IS_DEAD = ["no_token", "invalid_reset_token", "invalid_verification_token"];
  const byId = (id) => document.getElementById(id);
  const form = byId("form");
  const button = form.querySelector("button");
  const problem = byId("problem");
  const password = byId("password");
  const again = byId("again");

  const words = (code) => byId("words").content.querySelector(`[data-code="${CSS.escape(code)}"]`)?.textContent;

  // The focus goes to what is to be done next, and what it is on is read out.
  const tell = (code, field) => {
    problem.textContent = words(code);
    problem.hidden = false;
    if (LINK_IS_DEAD.includes(code)) form.remove();
    field?.setAttribute("aria-invalid", "true");
    (field ?? problem).focus();
  };

  const forget = () => {
    problem.hidden = true;
    for (const field of form.querySelectorAll("[aria-invalid]")) field.removeAttribute("aria-invalid");
  };

  const finish = () => {
    form.remove();
    byId("done").hidden = false;
    byId("done").focus();
  };

  const send = () =>
    fetch(form.dataset.action, {
      method: "POST",
      headers: { "Content-Type": "application/json" },
      body: JSON.stringify(password ? { token, new_password: password.value } : { token }),
    });

  const explain = async (answer) => {
    const told = await answer.json();
    const { code, pointer } = told.errors?.[0] ?? told;
    if (!words(code)) return tell("unavailable");
    return tell(code, pointer === "/new_password" ? password : undefined);
  };

  const submit = async () => {
    forget();
    if (password && password.value !== again.value) return tell("different", again);
    button.setAttribute("aria-disabled", "true");
    try {
      const answer = await send();
      // 204 and nothing else: whatever stands before the service may answer 200 in its place.
      await (answer.status === 204 ? finish() : explain(answer));
    } catch {
      tell("unavailable");
    } finally {
      button.removeAttribute("aria-disabled");
    }
  };

  form.addEventListener("submit", (event) => {
    event.preventDefault();
    // Not the attribute "disabled", which would take the focus away from the button.
    if (!button.hasAttribute("aria-disabled")) submit();
  });

  if (token) form.hidden = false;
  else tell("no_token");
})();
