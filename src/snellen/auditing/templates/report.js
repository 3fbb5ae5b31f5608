"use strict";
// The page is complete without this: it filters findings, sorts tables, enlarges pictures and copies commands.
(() => {
  const all = (selector, within = document) => Array.from(within.querySelectorAll(selector));
  const make = (tag, className, text) => {
    const made = document.createElement(tag);
    if (className) made.className = className;
    if (text) made.textContent = text;
    if (tag === "button") made.type = "button";
    return made;
  };

  const form = document.querySelector(".filter");
  if (form) {
    const findings = all(".finding");
    const words = findings.map((finding) => finding.textContent.toLowerCase());
    const folds = all(".folded");
    const filter = () => {
      const levels = all("[name=level]:checked", form).map((box) => box.value);
      const kind = form.elements.kind.value;
      const text = form.elements.text.value.trim().toLowerCase();
      const narrowed = Boolean(kind || text);
      findings.forEach((finding, place) => {
        const { level, kind: own } = finding.dataset;
        finding.hidden = !levels.includes(level) || (kind && own !== kind) || !words[place].includes(text);
      });
      folds.forEach((fold) => {
        const shown = all(".finding", fold).some((finding) => !finding.hidden);
        fold.hidden = !shown;
        if (narrowed) fold.open = shown;
      });
      const count = findings.filter((finding) => !finding.hidden).length;
      form.querySelector("output").textContent = count + " of " + findings.length + " findings";
    };
    form.hidden = false;
    form.addEventListener("input", filter);
    form.addEventListener("submit", (event) => event.preventDefault());
    filter();
  }

  all("table.sortable").forEach((table) => {
    const body = table.tBodies[0];
    all("thead th", table).forEach((head, column) => {
      const button = make("button", "sort", head.textContent);
      head.replaceChildren(button);
      button.addEventListener("click", () => {
        const down = head.getAttribute("aria-sort") === "ascending";
        all("thead th", table).forEach((other) => other.removeAttribute("aria-sort"));
        head.setAttribute("aria-sort", down ? "descending" : "ascending");
        const number = head.classList.contains("number");
        const rows = Array.from(body.rows).map((row) => {
          const text = row.cells[column] ? row.cells[column].textContent : "";
          return { row, value: number ? Number(text) : text };
        });
        const compare = number
          ? (a, b) => (Number.isNaN(a.value) ? 1 : Number.isNaN(b.value) ? -1 : a.value - b.value)
          : (a, b) => a.value.localeCompare(b.value, "en", { numeric: true });
        rows.sort((a, b) => (down ? -1 : 1) * compare(a, b));
        body.append(...rows.map(({ row }) => row));
      });
    });
  });

  all(".command").forEach((command) => {
    if (!navigator.clipboard) return;
    const button = make("button", "copy", "copy");
    button.setAttribute("aria-label", "Copy the command");
    const told = make("span", "unseen");
    told.setAttribute("role", "status");
    command.after(button, told);
    button.addEventListener("click", () => {
      navigator.clipboard.writeText(command.textContent).then(
        () => { button.textContent = "copied"; told.textContent = "Copied"; },
        () => { getSelection().selectAllChildren(command); },
      );
    });
  });

  const pictures = all(".finding .picture, .sheet .picture");
  if (pictures.length && typeof HTMLDialogElement === "function") {
    const dialog = make("dialog");
    dialog.setAttribute("aria-label", "Picture, enlarged");
    const stage = make("div");
    const words = make("p");
    words.setAttribute("aria-live", "polite");
    const turns = make("div", "turn");
    const before = make("button", "", "Previous");
    const after = make("button", "", "Next");
    const close = make("button", "", "Close");
    turns.append(before, after, close);
    dialog.append(stage, words, turns);
    document.body.append(dialog);
    let row = [];
    let place = 0;
    const show = (next) => {
      place = (next + row.length) % row.length;
      const picture = row[place].cloneNode(true);
      stage.replaceChildren(picture);
      const first = row[place].closest(".example, .sheet").querySelector(".caption, .caption-text").firstChild;
      const caption = first.nodeType === Node.TEXT_NODE ? first.textContent.trim() : "";
      const name = picture.getAttribute("alt") || picture.getAttribute("aria-label");
      words.textContent = [name, caption, place + 1 + " of " + row.length].filter(Boolean).join(" · ");
    };
    pictures.forEach((picture) => {
      const button = make("button", "zoom");
      picture.before(button);
      button.append(picture);
      button.addEventListener("click", () => {
        row = all(".picture", button.closest(".finding, .sheets"));
        show(row.indexOf(picture));
        dialog.showModal();
      });
    });
    before.addEventListener("click", () => show(place - 1));
    after.addEventListener("click", () => show(place + 1));
    close.addEventListener("click", () => dialog.close());
    dialog.addEventListener("click", (event) => { if (event.target === dialog) dialog.close(); });
    dialog.addEventListener("keydown", (event) => {
      const step = { ArrowLeft: -1, ArrowRight: 1 }[event.key];
      if (step) { event.preventDefault(); show(place + step); }
    });
  }

  addEventListener("beforeprint", () => all("details").forEach((fold) => { fold.open = true; }));
})();
