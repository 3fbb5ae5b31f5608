"use strict";
// Every page of the desk: commands as they are typed, figures that come in, and what the other scripts are made of.
// Everything that comes from a run is put into pages as text, never as HTML.
const desk = (() => {
  const all = (selector, within = document) => Array.from(within.querySelectorAll(selector));
  const one = (selector, within = document) => within.querySelector(selector);
  const make = (tag, className, text) => {
    const made = document.createElement(tag);
    if (className) made.className = className;
    if (text !== undefined) made.textContent = text;
    if (tag === "button") made.type = "button";
    return made;
  };
  const get = async (address) => read(await fetch(address, { headers: { accept: "application/json" } }));
  const post = async (address, values) => read(await fetch(address, {
    method: "POST", headers: { "content-type": "application/json", accept: "application/json" },
    body: JSON.stringify(values),
  }));
  const read = async (response) => {
    let found = {};
    try { found = await response.json(); } catch { /* an answer in words, such as that of a desk that ended */ }
    if (!response.ok) throw new Error(found.error || "The desk answered " + response.status + ".");
    return found;
  };
  const percent = (value) => (100 * value).toFixed(1) + "%";
  const show = (element, words) => { if (element) { element.textContent = words || ""; element.hidden = !words; } };
  // Small images are shown as squares of pixels.
  const sized = (image) => image.addEventListener("load", () => {
    image.classList.toggle("pixels", Math.max(image.naturalWidth, image.naturalHeight) <= 64);
  });

  // In a notebook pictures come over its channel.
  const load = (image, address) => { if (window.deskEmbedded) window.deskEmbedded.load(image, address); else image.src = address; };

  // ---- commands: copied by a button
  const copyable = (command) => {
    if (!navigator.clipboard) return;
    const button = make("button", "copy", "Copy");
    button.setAttribute("aria-label", "Copy the command");
    const spoken = make("span", "unseen");
    spoken.setAttribute("role", "status");
    command.after(button, spoken);
    button.addEventListener("click", () => navigator.clipboard.writeText(command.textContent).then(
      () => { button.textContent = "Copied"; spoken.textContent = "Copied"; },
      () => getSelection().selectAllChildren(command),
    ));
  };
  all(".command").forEach(copyable);

  // ---- forms that start a command: the equal command line is always shown
  all("form[data-command]").forEach((form) => {
    const line = one("[data-line]", form);
    const problem = one("[data-problem]", form);
    let asked = 0;
    const values = (only) => {
      const found = {};
      for (const [name, value] of new FormData(form)) (found[name] = found[name] || []).push(value);
      return { ...found, only: [only || ""] };
    };
    const update = async () => {
      const turn = ++asked;
      try {
        const found = await post("/jobs/command", values());
        if (turn !== asked) return;
        const empty = all("[required]", form).some((field) => !field.value);
        if (found.line) line.textContent = found.line;
        show(problem, empty ? "" : found.problem);
      } catch (error) { if (turn === asked) show(problem, error.message); }
    };
    form.addEventListener("input", update);
    update();
  });

  // ---- what runs: asked again each second while the page is seen
  all("[data-state]").forEach((place) => {
    const field = (name) => one('[data-field="' + name + '"]', place);
    const put = (name, words) => { const found = field(name); if (found && found.textContent !== words) found.textContent = words; };
    const update = async () => {
      if (document.hidden) return setTimeout(update, 1000);
      let now;
      try { now = await get(place.dataset.state); } catch { return setTimeout(update, 3000); }
      const bar = one("progress", place);
      if (bar) { bar.max = now.total || 1; bar.value = now.done; }
      put("parts", now.done + " of " + (now.total || "?"));
      if (now.accuracy !== undefined && now.accuracy !== null) {
        put("accuracy", percent(now.accuracy) + ", 95 % interval " + percent(now.low) + " – " + percent(now.high) + ", " + now.images + " images");
      }
      if (place.dataset.reload && now.status === place.dataset.reload) return window.deskEmbedded ? window.deskEmbedded.go() : location.reload();
      if (now.state) {
        put("state", now.state);
        put("took", now.took);
        const printed = field("output");
        if (printed && printed.textContent !== now.output) {
          const below = printed.scrollTop + printed.clientHeight >= printed.scrollHeight - 8;
          printed.textContent = now.output;
          if (below) printed.scrollTop = printed.scrollHeight;
        }
        one("[data-if-total]", place).hidden = !now.total;
        const link = one("[data-link]", place);
        link.hidden = !now.run_id;
        if (now.run_id) one("a", link).href = "/runs/" + now.run_id;
        if (now.state !== "running") { const stop = one("[data-stop]", place); if (stop) stop.remove(); return undefined; }
      }
      return setTimeout(update, 1000);
    };
    setTimeout(update, 500);
  });

  return { all, one, make, get, post, show, sized, load };
})();
