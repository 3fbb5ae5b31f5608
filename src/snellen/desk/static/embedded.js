"use strict";
// A page of the desk in a frame of a notebook: what it asks for goes through the notebook to the kernel.
window.deskEmbedded = (() => {
  const waiting = new Map();
  let number = 0;
  const here = document.documentElement.dataset.address || "/";
  const key = document.documentElement.dataset.key;
  const tell = (message) => parent.postMessage({ ...message, key }, "*");
  const ask = (method, address, body, kind) => new Promise((done) => {
    number += 1;
    waiting.set(number, done);
    tell({ id: number, method, address, body: body || "", kind: kind || "" });
  });
  addEventListener("message", (event) => {
    if (event.source !== parent || !event.data) return;
    const done = waiting.get(event.data.id);
    waiting.delete(event.data.id);
    if (done) done(event.data);
  });
  const words = (bytes) => new TextDecoder().decode(bytes);
  window.fetch = async (address, given = {}) => {
    const found = await ask(given.method || "GET", address, given.body, "application/json");
    return { ok: found.status < 400, status: found.status, json: async () => JSON.parse(words(found.bytes)) };
  };
  const go = (method, address, body, kind) => tell({ go: true, method, address, body: body || "", kind: kind || "" });
  const load = async (image, address) => {
    const found = await ask("GET", address);
    if (found.status >= 400) { image.dispatchEvent(new Event("error")); return; }
    const reader = new FileReader();
    reader.onload = () => { image.src = reader.result; };
    reader.readAsDataURL(new Blob([found.bytes], { type: found.kind.split(";")[0] }));
  };
  const jump = (name) => {
    const place = document.getElementById(name);
    if (place) { place.scrollIntoView(); if (place.tabIndex >= 0 || place.hasAttribute("tabindex")) place.focus(); }
  };
  // Nothing is downloaded out of a frame without an origin; the page says where the file is.
  document.querySelectorAll("a[download]").forEach((link) => link.remove());
  document.addEventListener("click", (event) => {
    const link = event.target.closest && event.target.closest("a[href]");
    if (!link) return;
    event.preventDefault();
    const address = link.getAttribute("href");
    if (address.startsWith("#")) jump(address.slice(1));
    else if (address.startsWith("/")) go("GET", address);
  });
  document.addEventListener("submit", (event) => {
    if (event.defaultPrevented) return;
    event.preventDefault();
    const form = event.target;
    const fields = new URLSearchParams(new FormData(form, event.submitter));
    const action = form.getAttribute("action") || here;
    if ((form.getAttribute("method") || "get").toLowerCase() === "post") go("POST", action, fields.toString(), "application/x-www-form-urlencoded");
    else go("GET", action.split("?")[0] + "?" + fields);
  });
  // A report stands by itself and has no way back.
  if (!document.querySelector("header.top")) {
    const back = document.createElement("a");
    back.href = here.split("/report")[0];
    back.textContent = "Back to the run";
    document.body.prepend(back);
  }
  const place = here.split("#")[1];
  if (place) addEventListener("load", () => jump(place));
  return {
    load, go: () => go("GET", here),
    reviewer: document.documentElement.dataset.reviewer,
    remember: (name) => tell({ reviewer: name }),
  };
})();
