// The controls above the views.
import { elsewhere, mapSelects } from "./choices.ts";
import { CHOICES } from "./colours.ts";
import { button, check, make, select } from "./dom.ts";
import { offered } from "./quantities.ts";
import type { Scene } from "./scene.ts";
import { type State, type Theme, type View, VIEWS } from "./state.ts";

const NAMES: Record<View, string> = { overview: "Overview", head: "One head", text: "Text", compare: "Compare", numbers: "Numbers" };
const ENDS = [1, 0.5, 0.2, 0.1, 0.05, 0.02, 0.01, 0.005, 0.002, 0.001];

export function header(scene: Scene, element: HTMLElement, help: HTMLElement): void {
  const { state } = scene;
  const tabs = VIEWS.map((view) => {
    const on = view === state.view;
    const tab = make("button", { type: "button", role: "tab", id: `regard-tab-${view}`, "data-name": `tab ${view}`, "aria-selected": String(on), tabindex: on ? "0" : "-1" }, NAMES[view]);
    tab.addEventListener("click", () => scene.change({ view }));
    return tab;
  });
  const list = make("div", { role: "tablist", "aria-label": "Views" }, ...tabs);
  list.addEventListener("keydown", (event) => {
    const by = { ArrowRight: 1, ArrowLeft: -1 }[event.key];
    if (!by) return;
    event.preventDefault();
    const view = VIEWS[(VIEWS.indexOf(scene.state.view) + by + VIEWS.length) % VIEWS.length]!;
    scene.change({ view });
    element.querySelector<HTMLElement>("[aria-selected=true]")?.focus();
  });
  const theme = select("Theme", [["auto", "as the system"], ["light", "light"], ["dark", "dark"]], state.theme, (value) => scene.change({ theme: value as Theme }));
  element.replaceChildren(make("h1", {}, scene.store.manifest.title), list, theme, saveBar(scene), help);
}

export function bar(scene: Scene, element: HTMLElement): void {
  const { manifest } = scene.store;
  const { state, map } = scene;
  const single = state.view !== "overview";
  const parts: (HTMLElement | null)[] = mapSelects(scene, "", map, single ? state.head : null, (id, head) => scene.change({ ...elsewhere(scene, id), head, chosen: [] }));
  if (single) {
    if (map.heads > 1) {
      const all = Array.from({ length: map.heads }, (_, i) => i);
      parts.push(check("Mean of all heads", state.chosen.length === map.heads, (on) => scene.change({ chosen: on ? all : [] })));
    }
    if (state.view !== "text") parts.push(select("Quantity", offered(map).map((one) => [one.id, scene.store.quantityOf(one)]), scene.pick.quantity.id, (value) => scene.change({ quantity: value })));
  }
  parts.push(select("Scale", [["linear", "linear"], ["log", "logarithmic"]], state.scale, (value) => scene.change({ scale: value as State["scale"] })));
  const ends = state.range && !ENDS.includes(state.range) ? [state.range, ...ENDS] : ENDS;
  parts.push(select("Colours up to", [["0", "the largest seen"], ...ends.map((end): [string, string] => [String(end), String(end)])], String(state.range), (value) => scene.change({ range: Number(value) })));
  parts.push(select("Colours", CHOICES, state.colours, (value) => scene.change({ colours: value })));
  const labellings = [...new Set(manifest.axes.flatMap((axis) => axis.labels.map((labels) => labels.name)))];
  if (labellings.length > 1 && single) parts.push(select("Labels", labellings.map((name, i) => [String(i), name]), String(state.labelling), (value) => scene.change({ labelling: Number(value) })));
  parts.push(check("Hide sinks", !state.sinks, (on) => scene.change({ sinks: !on })));
  const old = element.contains(scene.search.input);
  // The search stays in the page while it is typed in: an element that is moved loses the focus.
  for (const child of [...element.children]) if (child !== scene.search.input) child.remove();
  if (!old) element.append(scene.search.input);
  scene.search.input.before(...parts.filter((part) => part !== null));
}

/** Brackets turn heads and layers; true when the key was one. */
export function step(scene: Scene, key: string): boolean {
  const { state } = scene;
  const turn = (at: number, by: number, count: number): number => (at + by + count) % count;
  if (key === "[" || key === "]") scene.change({ head: turn(state.head, key === "]" ? 1 : -1, scene.map.heads), chosen: [] });
  else if (key === "{" || key === "}") {
    const layers = scene.store.manifest.maps.filter((map) => map.model === scene.map.model && map.input === scene.map.input);
    const to = layers[turn(layers.indexOf(scene.map), key === "}" ? 1 : -1, layers.length)]!;
    scene.change({ ...elsewhere(scene, to.id), chosen: [] });
  } else return false;
  return true;
}

function saveBar(scene: Scene): HTMLElement {
  const kinds = ["png", "svg", "csv", "json"].map((kind) => button(kind.toUpperCase(), `Save ${kind.toUpperCase()}`, null, () => scene.save(kind)));
  const link = scene.link() === null ? null : button("Link", "Copy the link to this view", null, () => copyLink(scene));
  return make("div", { class: "save", role: "group", "aria-label": "Save what is seen" }, make("span", { "aria-hidden": "true" }, "Save"), ...kinds, link);
}

function copyLink(scene: Scene): void {
  const link = scene.link() ?? "";
  const shown = (): void => scene.say(`The link to this view: ${link}`);
  if (navigator.clipboard) navigator.clipboard.writeText(link).then(() => scene.say("The link to this view was copied."), shown);
  else shown();
}
