"use strict";
// Pages of the desk: windowed galleries, reviews by keys, figures that come in, commands as they are typed.
// Everything that comes from a run is put into pages as text, never as HTML.
(() => {
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
      if (place.dataset.reload && now.status === place.dataset.reload) return location.reload();
      if (now.state) {
        put("state", now.state);
        put("seconds", Math.round(now.seconds) + " s");
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

  // ---- a sheet of images of which only those that are seen are in the page
  const TALLEST = 8000000; // pixels; browsers draw no taller element
  const PAGE = 120;
  const KEPT = 40;
  const sheet = (view, fetchRows, draw, open, ratio) => {
    const list = view.firstElementChild;
    const cells = new Map();
    const free = [];
    const pages = new Map();
    let total = 0, columns = 1, width = 150, height = 190, turn = 0, focused = 0, frame = 0, waiting = 0;
    const rows = () => Math.ceil(total / columns);
    const real = () => rows() * height;
    const tall = () => Math.min(real(), TALLEST);
    const room = () => Math.max(tall() - view.clientHeight, 1);
    const scale = () => (real() <= TALLEST ? 1 : Math.max(real() - view.clientHeight, 1) / room());
    const top = () => view.scrollTop * scale();
    const measure = () => {
      const wide = view.clientWidth;
      const wished = (wide < 500 ? 118 : 150) * ratio;
      columns = Math.max(Math.floor(wide / wished), 1);
      width = Math.floor(wide / columns);
      height = Math.round((width - 8) / ratio) + (ratio > 1 ? 70 : 52);
      list.style.height = tall() + "px";
    };
    const data = (place) => { const found = pages.get(Math.floor(place / PAGE)); return found && found[place % PAGE]; };
    const load = async (number) => {
      if (pages.has(number)) return;
      pages.set(number, null);
      const mine = turn;
      try {
        const found = await fetchRows(number * PAGE, PAGE);
        if (mine !== turn) return;
        pages.set(number, found.rows);
        for (const key of pages.keys()) { if (pages.size <= KEPT) break; if (pages.get(key) && Math.abs(key - number) > KEPT / 4) pages.delete(key); }
        paint();
      } catch { if (mine === turn) pages.delete(number); }
    };
    const fill = (place) => {
      const cell = cells.get(place);
      const row = data(place);
      if (!cell || cell.drawn === place || !row) return;
      cell.drawn = place;
      draw(cell, row);
      cell.button.removeAttribute("aria-label");
    };
    const cellAt = (place) => {
      let cell = free.pop();
      if (!cell) {
        const element = make("div", "cell");
        element.setAttribute("role", "listitem");
        const button = make("button");
        element.append(button);
        cell = { element, button, drawn: -1 };
        button.addEventListener("click", () => open(cell.place));
        button.addEventListener("focus", () => { focused = cell.place; });
      }
      cell.place = place;
      cell.drawn = -1;
      cell.element.className = "cell";
      cell.button.replaceChildren();
      cell.button.setAttribute("aria-label", "loading");
      cell.element.setAttribute("aria-setsize", total);
      cell.element.setAttribute("aria-posinset", place + 1);
      list.append(cell.element);
      cells.set(place, cell);
      return cell;
    };
    const paint = () => {
      frame = 0;
      const from = top();
      const first = Math.max(Math.floor(from / height) - 2, 0) * columns;
      const last = Math.min((Math.floor((from + view.clientHeight) / height) + 3) * columns, total);
      for (const [place, cell] of cells) {
        if (place < first || place >= last) {
          cells.delete(place);
          cell.element.remove();
          free.push(cell);
        }
      }
      for (let place = first; place < last; place += 1) {
        const cell = cells.get(place) || cellAt(place);
        const shift = Math.floor(place / columns) * height - from + view.scrollTop;
        cell.element.style.width = width + "px";
        cell.element.style.height = height + "px";
        cell.element.style.transform = "translate(" + (place % columns) * width + "px," + shift + "px)";
        cell.button.tabIndex = place === focused ? 0 : -1;
        fill(place);
      }
      if (!cells.has(focused) && cells.size) { const near = cells.get(first); if (near) near.button.tabIndex = 0; }
      clearTimeout(waiting);
      const ask = () => { for (let page = Math.floor(first / PAGE); page * PAGE < last; page += 1) load(page); };
      if (pages.size) waiting = setTimeout(ask, 40); else ask();
    };
    const soon = () => { if (!frame) frame = requestAnimationFrame(paint); };
    const reveal = (place) => {
      const at = Math.floor(place / columns) * height;
      const from = top();
      if (at < from) view.scrollTop = at / scale();
      else if (at + height > from + view.clientHeight) view.scrollTop = (at + height - view.clientHeight) / scale();
    };
    const focus = (place) => {
      focused = Math.min(Math.max(place, 0), total - 1);
      reveal(focused);
      paint();
      const cell = cells.get(focused);
      if (cell) cell.button.focus({ preventScroll: true });
    };
    view.addEventListener("scroll", soon, { passive: true });
    view.addEventListener("keydown", (event) => {
      const page = Math.max(Math.floor(view.clientHeight / height), 1) * columns;
      const steps = { ArrowRight: 1, ArrowLeft: -1, ArrowDown: columns, ArrowUp: -columns, PageDown: page, PageUp: -page, Home: -focused, End: total - 1 - focused };
      if (!(event.key in steps) || event.ctrlKey || event.altKey || event.metaKey || !total) return;
      event.preventDefault();
      focus(document.activeElement === view ? focused : focused + steps[event.key]);
    });
    new ResizeObserver(() => { const before = Math.floor(top() / height) * columns; measure(); view.scrollTop = (Math.floor(before / columns) * height) / scale(); soon(); }).observe(view);
    return {
      async start() {
        const mine = (turn += 1);
        const found = await fetchRows(0, PAGE);
        if (mine !== turn) return null;
        pages.clear();
        for (const cell of cells.values()) { cell.element.remove(); free.push(cell); }
        cells.clear();
        total = found.total;
        pages.set(0, found.rows);
        focused = 0;
        view.scrollTop = 0;
        measure();
        paint();
        return found;
      },
      async at(place) { if (!data(place)) { pages.delete(Math.floor(place / PAGE)); await load(Math.floor(place / PAGE)); } return data(place); },
      total: () => total,
      focus,
    };
  };

  const enlarged = (sheetOf, stageOf) => {
    const dialog = one("dialog.large");
    const stage = one(".stage", dialog);
    const words = one("[data-words]", dialog);
    let place = 0;
    const put = async (next) => {
      const total = sheetOf().total();
      place = (next + total) % total;
      const row = await sheetOf().at(place);
      if (!row) return;
      const found = stageOf(row);
      stage.replaceChildren(...found.images);
      words.textContent = found.words + " · " + (place + 1) + " of " + total;
    };
    all("[data-turn]", dialog).forEach((button) => button.addEventListener("click", () => put(place + Number(button.dataset.turn))));
    one("[data-close]", dialog).addEventListener("click", () => dialog.close());
    dialog.addEventListener("click", (event) => { if (event.target === dialog) dialog.close(); });
    dialog.addEventListener("keydown", (event) => {
      if (event.key === "ArrowRight" || event.key === "ArrowLeft") { event.preventDefault(); put(place + (event.key === "ArrowRight" ? 1 : -1)); }
    });
    dialog.addEventListener("close", () => sheetOf().focus(place));
    return (at) => { put(at); dialog.showModal(); };
  };

  let hidden = false; // the images of this run cannot be shown, and the page says why
  const picture = (address, words, kind) => {
    const image = make("img");
    if (hidden) { image.alt = words || ""; image.className = "none"; return image; }
    image.alt = words || "";
    image.decoding = "async";
    sized(image);
    image.src = address + "/" + kind;
    return image;
  };
  const sentence = (row) => row.id + (row.label ? ": labelled " + row.label : "") + (row.prediction ? ", taken for " + row.prediction : "") + (row.confidence === null ? "" : ", confidence " + row.confidence.toFixed(2)) + (row.right === false ? ", wrong" : "");
  const caption = (row) => {
    const line = make("span", "");
    if (row.right === false) {
      const mark = make("span", "mark", "✗ ");
      mark.setAttribute("aria-hidden", "true");
      line.append(mark, row.label, make("span", "unseen", " taken for "), " → ", row.prediction);
    } else line.textContent = row.label || row.prediction || "";
    return line;
  };

  const turned = (words, line) => { line.prepend(words); return line; };

  // ---- gallery
  const gallery = one("[data-gallery]");
  if (gallery) {
    const base = gallery.dataset.gallery;
    const view = one("[data-window]");
    const address = () => new URLSearchParams(Array.from(new FormData(gallery)).filter(([name, value]) => value !== "" && !(name === "under" && !gallery.elements.setting.value)));
    let made = null;
    const open = enlarged(() => made, (row) => ({ images: [picture(base + "/images/" + row.row, row.id, "large")], words: sentence(row) }));
    made = sheet(view, async (offset, limit) => { const found = await get(base + "/rows?" + address() + "&offset=" + offset + "&limit=" + limit); hidden = Boolean(found.why); return found; }, (cell, row) => {
      cell.element.classList.toggle("wrong", row.right === false);
      cell.button.replaceChildren(picture(base + "/images/" + row.row, "", "small"), caption(row), make("span", "soft", (row.confidence === null ? "" : row.confidence.toFixed(2) + " · ") + row.id));
    }, open, 1);
    let wait = 0;
    const start = async () => {
      try {
        const found = await made.start();
        if (!found) return;
        one("[data-total]").textContent = found.total + (found.total === 1 ? " image" : " images");
        show(one("[data-why]"), found.why && "Pictures cannot be shown: " + found.why);
        history.replaceState(null, "", "?" + address());
      } catch (error) { show(one("[data-why]"), error.message); }
    };
    gallery.addEventListener("input", () => { clearTimeout(wait); wait = setTimeout(start, 200); });
    gallery.addEventListener("reset", () => { all("select", gallery).forEach((select) => { select.selectedIndex = 0; }); all("input", gallery).forEach((input) => { input.defaultValue = ""; }); all("option", gallery).forEach((option) => { option.defaultSelected = false; }); setTimeout(start); });
    gallery.addEventListener("submit", (event) => event.preventDefault());
    start();
  }

  // ---- two runs side by side
  const compared = one("[data-compare]");
  if (compared) {
    const view = one("[data-window]");
    const sides = [compared.dataset.first, compared.dataset.second];
    const both = (row, kind, named) => [row.first, row.second].map((own, side) => picture(sides[side] + "/images/" + own.row, named ? own.id + (side ? ", second run" : ", first run") : "", kind));
    const words = (row) => row.first.id + ": labelled " + row.first.label + "; first run: " + row.first.prediction + (row.first.right === false ? ", wrong" : "") + "; second run: " + row.second.prediction + (row.second.right === false ? ", wrong" : "");
    let made = null;
    const open = enlarged(() => made, (row) => ({ images: both(row, "large", true), words: words(row) }));
    made = sheet(view, (offset, limit) => get(compared.dataset.compare + "&which=" + compared.elements.which.value + "&offset=" + offset + "&limit=" + limit), (cell, row) => {
      const duo = make("div", "duo");
      duo.append(...both(row, "small", false));
      cell.button.replaceChildren(duo, turned("1: ", caption(row.first)), turned("2: ", caption(row.second)), make("span", "soft", row.first.id));
    }, open, 2);
    const start = async () => {
      try {
        const found = await made.start();
        if (!found) return;
        one("[data-total]", compared).textContent = found.total + " images";
        show(one("[data-why]"), found.why && "Pictures cannot be shown: " + found.why);
      } catch (error) { show(one("[data-why]"), error.message); }
    };
    compared.addEventListener("input", start);
    compared.addEventListener("submit", (event) => event.preventDefault());
    start();
  }

  // ---- review
  const review = one("[data-review]");
  if (review) {
    const base = review.dataset.review;
    const address = base + "/review/" + review.dataset.finding;
    const total = Number(review.dataset.total);
    const problem = one("[data-problem]", review);
    const name = one("[name=reviewer]", review);
    const stage = one("[data-stage]", review);
    const select = one("[data-class]", review);
    const buttons = all("[data-verdict]", review);
    const STEP = 200;
    const pages = new Map();
    const decided = new Map();
    const fresh = new Set(); // decided since the page was read: an answer that was on its way is older
    let at = 0, busy = false, turn = 0;
    const cookie = document.cookie.split("; ").find((part) => part.startsWith("snellen-reviewer="));
    if (cookie) { try { name.value = decodeURIComponent(cookie.slice(17)); } catch { /* another program's */ } }
    const who = () => name.value.trim();
    const load = async (number) => {
      if (pages.has(number)) return pages.get(number);
      const mine = turn;
      const found = await get(address + "/items?offset=" + number * STEP + "&reviewer=" + encodeURIComponent(who()));
      if (mine !== turn) return load(number); // of another reviewer, or before an undo
      pages.set(number, found.items);
      Object.entries(found.decided).forEach(([key, value]) => { if (!fresh.has(key)) decided.set(key, value); });
      return found.items;
    };
    const forget = () => { turn += 1; pages.clear(); decided.clear(); fresh.clear(); };
    const itemAt = async (place) => (await load(Math.floor(place / STEP)))[place % STEP];
    const sources = (item) => {
      const rows = item.images.every((image) => image.row !== null);
      if (item.pictures.length && (!rows || item.pictures.length > item.images.length)) {
        return item.pictures.map((key, place) => [base + "/pictures/" + key, place ? "changed" : "as it is"]);
      }
      return item.images.map((image) => [image.row === null ? "" : base + "/images/" + image.row + "/large", image.label ? "labelled " + image.label : ""]);
    };
    const put = (field, words) => {
      const place = one('[data-field="' + field + '"]', review);
      if (place) place.textContent = words;
      const box = one('[data-if="' + field + '"]', review);
      if (box) box.hidden = !words;
    };
    const progress = () => {
      const bar = one(".who progress", review);
      bar.value = decided.size;
      one("[data-progress]", review).textContent = at + 1 + " of " + total + " · " + decided.size + " decided";
    };
    const draw = async () => {
      let item;
      try { item = await itemAt(at); } catch (error) { show(problem, error.message); return; }
      if (!item) return;
      stage.replaceChildren(...sources(item).map(([source, words], place) => {
        const figure = make("figure");
        const image = make("img");
        image.alt = item.images[Math.min(place, item.images.length - 1)].id;
        sized(image);
        image.addEventListener("error", () => { image.replaceWith(make("p", "refused", "This image cannot be shown.")); });
        if (source) image.src = source; else image.hidden = true;
        figure.append(image, make("figcaption", "", words));
        return figure;
      }));
      put("given", item.given);
      put("suggested", item.suggested);
      put("caption", item.caption);
      put("id", item.images.map((image) => image.id).join(" and "));
      const own = decided.get(item.key);
      put("verdict", own ? own[0] + (own[1] ? ": " + own[1] : "") : "none yet");
      buttons.forEach((button) => {
        button.setAttribute("aria-pressed", String(Boolean(own) && own[0] === button.dataset.verdict));
        if (button.dataset.verdict === "relabel") one("[data-words]", button).textContent = item.suggested ? "relabel: " + item.suggested : "relabel";
      });
      if (select) select.value = own && own[0] === "relabel" ? own[1] : "";
      progress();
      if (at + 1 < total) itemAt(at + 1).then((next) => sources(next).forEach(([source]) => { if (source) new Image().src = source; })).catch(() => {});
    };
    const move = (step) => { const next = Math.min(Math.max(at + step, 0), total - 1); if (next !== at) { at = next; draw(); } };
    const nextOpen = async () => {
      for (let step = 1; step <= total; step += 1) {
        const place = (at + step) % total;
        const item = await itemAt(place);
        if (item && !decided.has(item.key)) { at = place; await draw(); return; }
      }
      show(problem, "");
      one("[data-progress]", review).textContent = "All " + total + " are decided: see Decisions and export.";
    };
    const decide = async (verdict, label) => {
      if (busy) return;
      if (!who()) { show(problem, "Write your name first."); name.focus(); return; }
      busy = true;
      try {
        const item = await itemAt(at);
        await post(address + "/decide", { item: item.key, reviewer: who(), verdict, label: label || null });
        decided.set(item.key, [verdict, label || null]);
        fresh.add(item.key);
        show(problem, "");
        if (at + 1 < total) at += 1;
        await draw();
      } catch (error) { show(problem, "Not kept: " + error.message); } finally { busy = false; }
    };
    const press = async (verdict) => {
      if (verdict !== "relabel") return decide(verdict);
      const item = await itemAt(at);
      if (item.suggested) return decide("relabel", item.suggested);
      if (select) select.focus();
      return undefined;
    };
    const undo = async () => {
      if (busy || !who()) return;
      busy = true;
      try {
        const found = await post(address + "/undo", { reviewer: who() });
        if (found.item) {
          forget();
          for (let number = 0; number * STEP < total; number += 1) {
            const place = (await load(number)).findIndex((item) => item.key === found.item);
            if (place >= 0) { at = number * STEP + place; break; }
          }
        } else show(problem, "Nothing to undo.");
        await draw();
      } catch (error) { show(problem, error.message); } finally { busy = false; }
    };
    const zoom = () => { const on = review.classList.toggle("zoomed"); one("[data-zoom]", review).setAttribute("aria-pressed", String(on)); };
    buttons.forEach((button) => button.addEventListener("click", () => press(button.dataset.verdict)));
    if (select) select.addEventListener("change", () => { const label = select.value; if (label) { select.blur(); decide("relabel", label); } });
    all("[data-move]", review).forEach((button) => button.addEventListener("click", () => move(Number(button.dataset.move))));
    one("[data-open]", review).addEventListener("click", nextOpen);
    one("[data-undo]", review).addEventListener("click", undo);
    one("[data-zoom]", review).addEventListener("click", zoom);
    name.addEventListener("change", () => {
      document.cookie = "snellen-reviewer=" + encodeURIComponent(who()) + "; Path=/; SameSite=Strict; Max-Age=31536000";
      forget();
      show(problem, "");
      draw();
    });
    document.addEventListener("keydown", (event) => {
      if (event.ctrlKey || event.altKey || event.metaKey) return;
      if (event.target.closest("input, select, textarea")) {
        if (event.key === "Enter" && event.target === name) { event.preventDefault(); name.blur(); }
        if (event.key === "Escape") event.target.blur();
        return;
      }
      const button = buttons[Number(event.key) - 1];
      const keys = { ArrowRight: () => move(1), ArrowLeft: () => move(-1), n: nextOpen, u: undo, z: zoom, 5: () => select && select.focus() };
      const found = button ? () => press(button.dataset.verdict) : keys[event.key];
      if (!found || event.repeat && button) return;
      event.preventDefault();
      found();
    });
    draw();
  }
})();
