"use strict";
// Images of one run or of two: a sheet in a window, and one of them enlarged.
(() => {
  const { all, one, make, get, show, sized, load: fetched } = desk;

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
      const mine = place = (next + total) % total;
      const row = await sheetOf().at(mine);
      if (!row || mine !== place) return; // the next one was wished for meanwhile
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
    fetched(image, address + "/" + kind);
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
        if (!window.deskEmbedded) history.replaceState(null, "", "?" + address());
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
})();
