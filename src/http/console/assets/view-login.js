// The log-in form: exchanges a key for a session.

import { ask } from "./api.js";
import { fill, h } from "./dom.js";
import { failure, field } from "./parts.js";

/** Makes the form. `enter` gets the session once there is one. */
export function loginForm(enter) {
  const key = h("input", {
    type: "password", id: "key", name: "key", autocomplete: "current-password", required: true, spellcheck: "false",
  });
  const submit = h("button", { class: "button primary", type: "submit" }, "Log in");
  const problem = h("div", {});
  const form = h("form", {
    class: "login panel",
    on: {
      submit: async (event) => {
        event.preventDefault();
        if (key.value.trim() === "") return key.focus();
        submit.disabled = true;
        fill(problem);
        try {
          const session = await ask("login", { key: key.value.trim() });
          key.value = "";
          enter(session);
        } catch (error) {
          if (error.code === "unauthenticated") error.message = "The server does not know this key.";
          fill(problem, failure(error));
          key.select();
        } finally {
          submit.disabled = false;
        }
      },
    },
  },
  h("h1", { tabindex: "-1" }, "Log in"),
  h("p", { class: "muted" }, "With a key of the roles ", h("code", {}, "serve"), " and ", h("code", {}, "read-profile"),
    ". It is exchanged for a session, and not kept in the browser."),
  field("Key", key), problem, submit);
  return form;
}
