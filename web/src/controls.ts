// The controls above the views.
import type { App } from "./app.ts";
import { CHOICES } from "./colours.ts";
import { button, check, make, select } from "./dom.ts";
import { exportBar } from "./exports.ts";
import type { AttentionMap } from "./manifest.ts";
import { offered, quantityName } from "./quantities.ts";
import { START, type State, type Theme, type View, VIEWS } from "./state.ts";

const NAMES: Record<View, string> = { overview: "Overview", head: "One head", text: "Text", compare: "Compare", numbers: "Numbers" };
const ENDS = [1, 0.5, 0.2, 0.1, 0.05, 0.02, 0.01, 0.005, 0.002, 0.001];

export function header(app: App, element: HTMLElement): void {
  const { state } = app;
  const tabs = VIEWS.map((view) => {
    const on = view === state.view;
    const tab = make("button", { type: "button", role: "tab", id: `regard-tab-${view}`, "data-name": `tab ${view}`, "aria-selected": String(on), tabindex: on ? "0" : "-1" }, NAMES[view]);
    tab.addEventListener("click", () => app.change({ view }));
    return tab;
  });
  const list = make("div", { role: "tablist", "aria-label": "Views" }, ...tabs);
  list.addEventListener("keydown", (event) => {
    const by = { ArrowRight: 1, ArrowLeft: -1 }[event.key];
    if (!by) return;
    event.preventDefault();
    const view = VIEWS[(VIEWS.indexOf(app.state.view) + by + VIEWS.length) % VIEWS.length]!;
    app.change({ view });
    element.querySelector<HTMLElement>("[aria-selected=true]")?.focus();
  });
  const theme = select("Theme", [["auto", "as the system"], ["light", "light"], ["dark", "dark"]], state.theme, (value) => app.change({ theme: value as Theme }));
  element.replaceChildren(make("h1", {}, app.store.manifest.title), list, theme, exportBar(app), app.help);
}

const distinct = <T>(values: T[]): T[] => [...new Set(values)];

/** The map nearest to one of which some properties are changed: another input, model or layer. */
export function nearest(maps: AttentionMap[], from: AttentionMap, wanted: Partial<AttentionMap>): AttentionMap {
  const goal = { ...from, ...wanted };
  const score = (map: AttentionMap): number =>
    (Object.keys(wanted) as (keyof AttentionMap)[]).reduce((sum, name) => sum + (map[name] === goal[name] ? 100 : 0), 0) +
    (map.model === goal.model ? 8 : 0) + (map.input === goal.input ? 4 : 0) + (map.layer === goal.layer ? 2 : 0) + (map.pass === goal.pass ? 1 : 0);
  return maps.reduce((best, map) => (score(map) > score(best) ? map : best), maps[0] ?? from);
}

/** Selects for model, input, layer and head, as far as there is a choice. */
export function mapSelects(app: App, prefix: string, at: AttentionMap, head: number | null, change: (map: number, head: number) => void): HTMLElement[] {
  const { maps } = app.store.manifest;
  const called = (name: string): string => (prefix ? `${prefix} ${name.toLowerCase()}` : name);
  const go = (wanted: Partial<AttentionMap>): void => {
    const map = nearest(maps, at, wanted);
    change(map.id, Math.min(head ?? 0, map.heads - 1));
  };
  const parts: HTMLElement[] = [];
  const models = distinct(maps.map((map) => map.model));
  if (models.length > 1) parts.push(select(called("Model"), models.map((model) => [model, model || "unnamed"]), at.model, (model) => go({ model })));
  const inputs = distinct(maps.filter((map) => map.model === at.model).map((map) => map.input));
  if (inputs.length > 1) parts.push(select(called("Input"), inputs.map((input) => [String(input), String(input)]), String(at.input), (input) => go({ input: Number(input) })));
  if (head === null) return parts;
  const layers = maps.filter((map) => map.model === at.model && map.input === at.input);
  parts.push(select(called("Layer"), layers.map((map) => [String(map.id), layerName(map, layers)]), String(at.id), (id) => change(Number(id), Math.min(head, app.store.map(Number(id)).heads - 1))));
  parts.push(select(called("Head"), Array.from({ length: at.heads }, (_, i) => [String(i), String(i)]), String(head), (value) => change(at.id, Number(value))));
  return parts;
}

export function layerName(map: AttentionMap, among: AttentionMap[]): string {
  return among.some((other) => other !== map && other.name === map.name) ? `${map.name} (call ${map.pass + 1})` : map.name;
}

export function bar(app: App, element: HTMLElement): void {
  const { manifest } = app.store;
  const { state, map } = app;
  const single = state.view !== "overview";
  const parts: (HTMLElement | null)[] = mapSelects(app, "", map, single ? state.head : null, (id, head) => app.change({ ...elsewhere(app, id), head, chosen: [] }));
  if (single) {
    if (map.heads > 1) {
      const all = Array.from({ length: map.heads }, (_, i) => i);
      parts.push(check("Mean of all heads", state.chosen.length === map.heads, (on) => app.change({ chosen: on ? all : [] })));
    }
    if (state.view !== "text") parts.push(select("Quantity", offered(map).map((one) => [one.id, quantityName(manifest, one)]), app.pick.quantity.id, (value) => app.change({ quantity: value })));
  }
  parts.push(select("Scale", [["linear", "linear"], ["log", "logarithmic"]], state.scale, (value) => app.change({ scale: value as State["scale"] })));
  const ends = state.range && !ENDS.includes(state.range) ? [state.range, ...ENDS] : ENDS;
  parts.push(select("Colours up to", [["0", "the largest seen"], ...ends.map((end): [string, string] => [String(end), String(end)])], String(state.range), (value) => app.change({ range: Number(value) })));
  parts.push(select("Colours", CHOICES, state.colours, (value) => app.change({ colours: value })));
  const labellings = distinct(manifest.axes.flatMap((axis) => axis.labels.map((labels) => labels.name)));
  if (labellings.length > 1 && single) parts.push(select("Labels", labellings.map((name, i) => [String(i), name]), String(state.labelling), (value) => app.change({ labelling: Number(value) })));
  parts.push(check("Hide the first key (sink)", !state.sinks, (on) => app.change({ sinks: !on })));
  const old = element.contains(app.search.input);
  // The search stays in the page while it is typed in: an element that is moved loses the focus.
  for (const child of [...element.children]) if (child !== app.search.input) child.remove();
  if (!old) element.append(app.search.input);
  app.search.input.before(...parts.filter((part) => part !== null));
}

/** Another map: where the picture stood means nothing in a matrix of another size. */
export function elsewhere(app: App, id: number): Partial<State> {
  const [from, to] = [app.map, app.store.map(id)];
  const same = from.queries.size === to.queries.size && from.keys.size === to.keys.size;
  return same ? { map: id } : { map: id, x: START.x, y: START.y, zoom: START.zoom, query: 0, key: 0 };
}

/** Brackets turn heads and layers; true when the key was one. */
export function step(app: App, key: string): boolean {
  const { state } = app;
  const turn = (at: number, by: number, count: number): number => (at + by + count) % count;
  if (key === "[" || key === "]") app.change({ head: turn(state.head, key === "]" ? 1 : -1, app.map.heads), chosen: [] });
  else if (key === "{" || key === "}") {
    const layers = app.store.manifest.maps.filter((map) => map.model === app.map.model && map.input === app.map.input);
    const to = layers[turn(layers.indexOf(app.map), key === "}" ? 1 : -1, layers.length)]!;
    app.change({ ...elsewhere(app, to.id), chosen: [] });
  } else return false;
  return true;
}

/** Buttons that zoom, for users without wheel or keyboard. */
export function zoomBar(app: App): HTMLElement {
  const by = (factor: number) => (): void => app.matrices[0]?.zoomBy(factor);
  return make("div", { class: "zooms", role: "group", "aria-label": "Zoom" }, button("+", "Zoom in", null, by(2)), button("−", "Zoom out", null, by(0.5)), button("⤢", "Show all", null, by(1e-9)));
}
