"use strict";
// A review by keys: what is seen is what is decided about, and each decision is kept before the next image.
(() => {
  const { all, one, make, get, post, show, sized, load: fetched } = desk;

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
    const RELABEL = String(buttons.length + 1); // the key of the list of classes
    const STEP = 200;
    const pages = new Map();
    const decided = new Map();
    const fresh = new Set(); // decided since the page was read: an answer that was on its way is older
    let at = 0, busy = false, turn = 0, seen = null;
    const cookie = window.deskEmbedded ? "" : document.cookie.split("; ").find((part) => part.startsWith("snellen-reviewer="));
    if (cookie) { try { name.value = decodeURIComponent(cookie.slice(17)); } catch { /* another program's */ } }
    if (window.deskEmbedded) name.value = window.deskEmbedded.reviewer;
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
        return item.pictures.map((key, place) => [base + "/pictures/" + key, place ? item.second : "as it is"]);
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
      const place = at;
      let item;
      try { item = await itemAt(place); } catch (error) { show(problem, error.message); return; }
      if (!item || place !== at) return; // moved on meanwhile
      seen = { item, place };
      stage.replaceChildren(...sources(item).map(([source, words], place) => {
        const figure = make("figure");
        const image = make("img");
        image.alt = item.images[Math.min(place, item.images.length - 1)].id;
        sized(image);
        image.addEventListener("error", () => { image.replaceWith(make("p", "refused", "This image cannot be shown.")); });
        if (source) fetched(image, source); else image.hidden = true;
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
      if (at + 1 < total) itemAt(at + 1).then((next) => sources(next).forEach(([source]) => { if (source && !window.deskEmbedded) new Image().src = source; })).catch(() => {});
    };
    const move = (step) => { const next = Math.min(Math.max(at + step, 0), total - 1); if (next !== at) { at = next; draw(); } };
    const nextOpen = async () => {
      try {
        for (let step = 1; step <= total; step += 1) {
          const place = (at + step) % total;
          const item = await itemAt(place);
          if (item && !decided.has(item.key)) { at = place; await draw(); return; }
        }
      } catch (error) { show(problem, error.message); return; }
      show(problem, "");
      one("[data-progress]", review).textContent = "All " + total + " are decided: see Decisions and export.";
    };
    const decide = async (verdict, label) => {
      if (busy || !seen) return;
      if (!who()) { show(problem, "Write your name first."); name.focus(); return; }
      busy = true;
      const { item, place } = seen; // not the one that is on its way
      const here = at === place; // else the next one was asked for already
      try {
        await post(address + "/decide", { item: item.key, reviewer: who(), verdict, label: label || null });
        decided.set(item.key, [verdict, label || null]);
        fresh.add(item.key);
        show(problem, "");
        if (here && at === place && at + 1 < total) at += 1;
        await draw();
      } catch (error) { show(problem, "Not kept: " + error.message); } finally { busy = false; }
    };
    const press = (verdict) => {
      if (verdict !== "relabel") decide(verdict);
      else if (seen && seen.item.suggested) decide("relabel", seen.item.suggested);
      else if (select) select.focus();
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
      if (window.deskEmbedded) window.deskEmbedded.remember(who());
      else document.cookie = "snellen-reviewer=" + encodeURIComponent(who()) + "; Path=/; SameSite=Strict; Max-Age=31536000";
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
      const keys = { ArrowRight: () => move(1), ArrowLeft: () => move(-1), n: nextOpen, u: undo, z: zoom, [RELABEL]: () => select && select.focus() };
      const found = button ? () => press(button.dataset.verdict) : keys[event.key];
      if (!found || event.repeat && button) return;
      event.preventDefault();
      found();
    });
    draw();
  }
})();
