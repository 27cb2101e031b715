// Buttons that copy. Without this file, or without its permission to copy, a page has
// everything else: what would be copied can be selected.
(() => {
  "use strict";
  const said = document.getElementById("said");

  // byHand is for pages without TLS, where browsers have no clipboard for scripts.
  const byHand = (text) => {
    const field = document.createElement("textarea");
    field.value = text;
    field.readOnly = true;
    field.className = "sr";
    document.body.append(field);
    field.select();
    let done = false;
    try {
      done = document.execCommand("copy");
    } finally {
      field.remove();
    }
    return done;
  };

  const copy = async (text) => {
    try {
      await navigator.clipboard.writeText(text);
      return true;
    } catch {
      return byHand(text);
    }
  };

  for (const button of document.querySelectorAll("button[data-copy]")) {
    const label = button.firstChild;
    const before = label.data;
    let timer;
    button.hidden = false;
    button.addEventListener("click", async () => {
      const done = await copy(button.dataset.copy);
      button.focus();
      label.data = done ? "Copied" : "Select it";
      said.textContent = done ? "Copied" : "Could not copy. Select the text and copy it.";
      clearTimeout(timer);
      timer = setTimeout(() => {
        label.data = before;
        said.textContent = "";
      }, 2000);
    });
  }

  for (const field of document.querySelectorAll("input[readonly]")) {
    field.addEventListener("focus", () => field.select());
  }
})();
