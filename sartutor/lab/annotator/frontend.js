// What only the browser can do: hear keys, cut the upper of two pictures along a line (swipe), and mark a shape that may
// be being edited.

const ROOT = ".sartutor-annotator";
const TYPED = "input:not([type=checkbox]):not([type=radio]), textarea, select, [contenteditable=true]";

function tool(root, name) {
  const button = root.querySelector(`.leaflet-draw-draw-${name}`);
  if (button) button.click();
}

// Keys go to the kernel by name; those that choose a drawing tool stay in the browser.
function listen(root, model) {
  const onKey = (event) => {
    if (event.altKey || event.target.closest(TYPED)) return;
    const bare = !event.ctrlKey && !event.metaKey;
    const key = (bare ? "" : "Control+") + (event.shiftKey && event.key.length > 1 ? "Shift+" : "") + event.key;
    const isMove = /Arrow|Enter|Escape/.test(key);
    const mayRepeat = /Arrow|^[+-]$/.test(key);
    const tools = model.get("tools");
    if (event.repeat && !mayRepeat && (key in tools || model.get("heard").includes(key)));  // a key held down acts once
    else if (key in tools) tool(root, tools[key]);
    else if (model.get("heard").includes(key) && (!isMove || model.get("drafting"))) model.send({ key });
    else return;
    event.preventDefault();
    event.stopPropagation();
  };
  const onPress = (event) => {
    if (!event.target.closest(`${TYPED}, button, a, [tabindex]:not(${ROOT})`)) root.focus({ preventScroll: true });
  };
  root.addEventListener("keydown", onKey, true);
  root.addEventListener("mousedown", onPress);
  return () => {
    root.removeEventListener("keydown", onKey, true);
    root.removeEventListener("mousedown", onPress);
  };
}

// The share `swipe` of the map's width shows the upper picture; while two are compared it follows the map as that moves.
function swipe(root, model) {
  let frame = 0;
  const cut = () => {
    frame = requestAnimationFrame(cut);
    const upper = root.querySelector("img.sartutor-upper");
    const map = root.querySelector(".leaflet-container");
    if (!upper || !map) return;
    const [around, inside] = [map.getBoundingClientRect(), upper.getBoundingClientRect()];
    const line = around.left + model.get("swipe") * around.width;
    const share = Math.min(Math.max((inside.right - line) / inside.width, 0), 1);
    upper.style.clipPath = `inset(0 ${(100 * share).toFixed(3)}% 0 0)`;
    let handle = root.querySelector(".sartutor-line");
    if (!handle) {
      handle = document.createElement("div");
      handle.className = "sartutor-line";
      map.append(handle);
    }
    handle.style.left = `${line - around.left}px`;
    handle.hidden = upper.style.opacity === "0" || !upper.getAttribute("src");
  };
  const begin = () => {
    cancelAnimationFrame(frame);
    if (model.get("comparing")) cut();
    else root.querySelector(".sartutor-line")?.remove();
  };
  model.on("change:comparing", begin);
  begin();
  return () => {
    model.off("change:comparing", begin);
    cancelAnimationFrame(frame);
  };
}

// The chosen object's shape has a strong line. No shape is made anew for that, and the map's tools, which put styles back
// that they found, are followed.
function mark(model) {
  let alive = true;
  const followed = new Set();
  const restyle = async () => {
    const control = await model.widget_manager.get_model(model.get("control").slice("IPY_MODEL_".length));
    const views = await Promise.all(Object.values(control.views ?? {}));
    if (!alive) return;
    for (const source of [control, ...views.map((view) => view.map_view.obj)]) {
      if (followed.has(source)) continue;
      followed.add(source);
      source.on("change:data draw:editstop draw:deletestop", restyle);
    }
    for (const view of views) {
      view.feature_group?.eachLayer((shape) => {
        const id = shape.feature?.properties.id;
        if (id !== undefined) shape.setStyle({ weight: id === model.get("chosen") ? 3 : 1.5 });
      });
    }
  };
  model.on("change:chosen", restyle);
  restyle();
  return () => {
    alive = false;
    model.off("change:chosen", restyle);
    for (const source of followed) source.off("change:data draw:editstop draw:deletestop", restyle);
  };
}

function render({ model, el }) {
  el.style.display = "none";
  let undo = [];
  const attach = () => {
    const root = el.closest(ROOT);
    if (!root) {
      undo = [((id) => () => cancelAnimationFrame(id))(requestAnimationFrame(attach))];
      return;
    }
    root.tabIndex = 0;
    root.setAttribute("role", "application");
    root.setAttribute("aria-label", model.get("label"));
    root.setAttribute("data-lm-suppress-shortcuts", "true");
    undo = [listen(root, model), swipe(root, model), mark(model)];
  };
  attach();
  return () => undo.forEach((stop) => stop());
}

export default { render };
