// The desk in the output of a cell. Its page stands in a frame without an origin, and this script carries its questions to
// the kernel over the channel of the notebook: no port, no token, no cookie, and the same in Jupyter, VS Code and Colab.
const escaped = (text) => text.replace(/&/g, "&amp;").replace(/"/g, "&quot;").replace(/</g, "&lt;");
const render = ({ model, el }) => {
  const frame = document.createElement("iframe");
  frame.setAttribute("sandbox", "allow-scripts");
  frame.title = "Snellen";
  frame.style.cssText = "width: 100%; border: 1px solid #8888; height: " + model.get("height") + "px";
  const view = Math.random().toString(36).slice(2) + "-";
  const waiting = new Map();
  // Another page in the frame could ask as ours does; it does not know this.
  const key = Array.from(crypto.getRandomValues(new Uint32Array(4)), (one) => one.toString(36)).join("-");
  let number = 0, reviewer = "";
  const ask = ({ method, address, body, kind }) => new Promise((done) => {
    number += 1;
    waiting.set(view + number, done);
    model.send({ id: view + number, method, address, body, kind });
  });
  const answered = (message, buffers) => {
    const done = message && waiting.get(message.id);
    if (!done) return;
    waiting.delete(message.id);
    const found = buffers[0];
    const bytes = found instanceof ArrayBuffer ? found : found.buffer.slice(found.byteOffset, found.byteOffset + found.byteLength);
    done({ status: message.status, kind: message.kind, address: message.address, bytes });
  };
  const open = async (asked) => {
    const found = await ask(asked);
    const page = new TextDecoder().decode(found.bytes);
    frame.srcdoc = found.kind.startsWith("text/html") ? page.replace('data-reviewer=""', () => 'data-reviewer="' + escaped(reviewer) + '" data-key="' + key + '"') : escaped(page);
  };
  const listening = async (event) => {
    if (event.source !== frame.contentWindow || !event.data || event.data.key !== key) return;
    const asked = event.data;
    if (asked.reviewer !== undefined) reviewer = String(asked.reviewer);
    else if (asked.go) open(asked);
    else {
      const from = event.source;
      const found = await ask(asked);
      from.postMessage({ id: asked.id, ...found }, "*");
    }
  };
  window.addEventListener("message", listening);
  model.on("msg:custom", answered);
  el.append(frame);
  open({ method: "GET", address: model.get("start"), body: "", kind: "" });
  return () => { window.removeEventListener("message", listening); model.off("msg:custom", answered); };
};
export default { render };
