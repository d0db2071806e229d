// A text as text: point at a token and see where it looks.
import type { App } from "./app.ts";
import { CLASSES, css, ink } from "./colours.ts";
import { button, check, make } from "./dom.ts";
import type { Axis, Side } from "./manifest.ts";
import { drawPatches } from "./patches.ts";
import { cellColour, type Colouring, mean, niceTop, quantityName } from "./quantities.ts";
import { groups, rowOf, summed } from "./rows.ts";
import { isCode, type Store } from "./store.ts";
import { headsName, percent, plain, visible } from "./words.ts";

// More tokens than these are shown a stretch at a time.
const STRETCH = 600;

interface Text {
  side: Side;
  axis: Axis;
  parts: number[][];
  buttons: HTMLButtonElement[];
  element: HTMLElement;
}

async function textOf(app: App, side: Side, name: string, start: number): Promise<Text> {
  const { store, state } = app;
  const axis = store.manifest.axes[side.axis]!;
  const [tokens, words, labels] = await Promise.all([store.tokens(side.axis), state.words ? store.words(side.axis) : null, axis.labels.length ? store.labels(side.axis, 0) : null]);
  const from = side.first + start;
  const parts = groups(words, from, Math.min(from + STRETCH, side.first + side.size));
  const element = make("div", { class: "tokens", role: "group", "aria-label": name });
  const buttons = parts.map((part) => {
    const text = tokens ? part.map((i) => visible(tokens[i] ?? "")).join("") : String(part[0]);
    const label = labels && labels[part[0]!]! >= 0 ? labels[part[0]!]! : -1;
    const token = make("button", { type: "button" }, text, label < 0 ? null : make("sup", {}, axis.labels[0]!.classes[label] ?? ""));
    if (label >= 0) token.style.borderBottomColor = CLASSES[label % CLASSES.length]!;
    element.append(token);
    return token;
  });
  return { side, axis, parts: parts.map((part) => part.map((i) => i - side.first)), buttons, element };
}

function stretches(app: App, side: Side, at: number, name: "query" | "key"): HTMLElement | null {
  if (side.size <= STRETCH) return null;
  const begin = Math.floor(at / STRETCH) * STRETCH;
  const to = (where: number): void => app.change({ [name]: Math.max(0, Math.min(side.size - 1, where)) });
  return make("div", { class: "bar" }, button("←", "Earlier tokens", null, () => to(begin - STRETCH)),
    make("span", {}, `tokens ${side.first + begin} to ${side.first + Math.min(begin + STRETCH, side.size) - 1} of ${side.size}`),
    button("→", "Later tokens", null, () => to(begin + STRETCH)));
}

/** Sum over the keys of a word, mean over the queries of a word. */
async function looks(app: App, query: number[], keys: Text): Promise<{ values: Float32Array; note: string; whole: Float32Array }> {
  const pick = { ...app.pick };
  const rows = await Promise.all(query.map((one) => rowOf(app.store, pick, one)));
  const whole = mean(rows.map((row) => row.values));
  return { values: summed(whole, keys.parts), note: rows[0]!.note, whole };
}

export async function textView(app: App): Promise<void> {
  const { store, state } = app;
  const { map } = app.pick;
  const one = map.queries.axis === map.keys.axis && map.queries.size === map.keys.size && !store.manifest.axes[map.keys.axis]!.grid;
  const begin = (at: number): number => Math.floor(at / STRETCH) * STRETCH;
  const queries = await textOf(app, map.queries, "Queries", begin(state.query));
  const keys = one ? queries : await textOf(app, map.keys, "Keys", begin(state.key));
  if (app.state !== state) return;
  const grid = keys.axis.grid;
  const patches = grid ? make("canvas", { role: "img", "aria-label": "Image: where the query looks" }) : null;
  app.body.replaceChildren(searchBar(app, store, queries), ...present(stretches(app, map.queries, state.query, "query")));
  const titles = one ? "Point at a token: the others show where it looks." : "Queries: point at one.";
  app.body.append(make("h2", {}, titles), queries.element);
  if (!one) app.body.append(make("h2", {}, "Keys: where it looks."), ...present(stretches(app, map.keys, state.key, "key")), ...present(patches), keys.element);
  let latest = 0;
  const show = async (index: number, hold: boolean): Promise<void> => {
    const mine = ++latest;
    const part = queries.parts[index];
    if (!part) return;
    const { values, note, whole } = await looks(app, part, keys);
    if (mine !== latest) return;
    const colouring = coloured(app, keys, values);
    paintTokens(queries, keys, values, colouring, index, state.sinks);
    app.setScale(colouring, store.manifest.quantity);
    if (patches && grid) await drawPatches(app, patches, keys.side, grid, whole, colouring);
    const units = `${quantityName(store.manifest, { ...app.pick.quantity, id: "mass" })} of ${headsName(app.heads)}`;
    app.setCaption(`${units} of ${map.name}${state.words ? " · summed over the keys of a word, mean over the queries of a word" : ""}${note ? ` · ${note}` : ""}${state.sinks ? "" : " · first key (place of the sink) hidden"}. ${store.manifest.holds}`);
    app.say(`${queries.buttons[index]!.textContent} looks at: ${largestOf(app, keys, values)}`);
    if (hold) app.remember({ query: part[0]! });
    app.exported = () => ({
      name: `query-${part[0]}`, caption: app.captionText, canvas: null, columns: ["key", "token", "value"],
      rows: keys.parts.map((keyPart, i) => [keyPart[0]! + map.keys.first, keys.buttons[i]!.textContent ?? "", values[i]! <= -1e29 ? plain(values[i]!) : values[i]!]),
    });
  };
  const begun = (index: number, hold: boolean): void => void show(index, hold).catch((error: Error) => app.fail(error));
  queries.buttons.forEach((token, index) => {
    token.addEventListener("pointerenter", () => begun(index, false));
    token.addEventListener("focus", () => begun(index, true));
    token.addEventListener("click", () => begun(index, true));
  });
  const start = queries.parts.findIndex((part) => part.includes(state.query));
  begun(Math.max(0, start), false);
}

const present = (node: Node | null): Node[] => (node ? [node] : []);

function coloured(app: App, keys: Text, values: Float32Array): Colouring {
  const top = values.reduce((most, value, i) => (!app.state.sinks && keys.parts[i]![0] === 0 ? most : Math.max(most, Number.isFinite(value) ? value : 0)), 0);
  return { kind: "plain", scale: app.state.scale, top: niceTop(top, "plain"), dark: app.dark };
}

function paintTokens(queries: Text, keys: Text, values: Float32Array, colouring: Colouring, at: number, sinks: boolean): void {
  keys.buttons.forEach((token, i) => {
    const value = values[i]!;
    const hidden = !sinks && keys.parts[i]![0] === 0;
    const rgb = hidden ? null : cellColour(colouring, value);
    token.style.background = rgb ? css(rgb) : "none";
    token.style.color = rgb ? ink(rgb) : "inherit";
    token.title = hidden ? "hidden: the place of the sink" : plain(value);
  });
  queries.buttons.forEach((token, i) => token.setAttribute("aria-pressed", String(i === at)));
}

function largestOf(app: App, keys: Text, values: Float32Array): string {
  const order = [...values.keys()].filter((i) => !isCode(values[i]!) && (app.state.sinks || keys.parts[i]![0] !== 0)).sort((a, b) => values[b]! - values[a]!);
  const write = app.store.manifest.sums_to_one ? percent : plain;
  if (!order.length) return "nothing that was recorded.";
  return `${order.slice(0, 5).map((i) => `"${keys.buttons[i]!.textContent}" ${write(values[i]!)}`).join(", ")}.`;
}

function searchBar(app: App, store: Store, queries: Text): HTMLElement {
  const search = make("input", { type: "search", placeholder: "Find a token (/)", "aria-label": "Find a token" });
  search.addEventListener("input", () => {
    for (const token of queries.buttons) token.classList.toggle("found", search.value !== "" && (token.textContent ?? "").toLowerCase().includes(search.value.toLowerCase()));
  });
  search.addEventListener("keydown", (event) => {
    if (event.key !== "Enter") return;
    void store.tokens(queries.side.axis).then((tokens) => {
      const from = queries.side.first;
      const at = tokens?.slice(from, from + queries.side.size).findIndex((token, i) => i > app.state.query && token.toLowerCase().includes(search.value.toLowerCase())) ?? -1;
      if (at >= 0) app.change({ query: at });
      else app.say(`No later token holds "${search.value}".`);
    });
  });
  const heads = Array.from({ length: app.map.heads }, (_, head) => {
    const on = app.heads.includes(head);
    return button(String(head), `Head ${head}`, on, () => app.change({ chosen: (on ? app.heads.filter((one) => one !== head) : [...app.heads, head]).sort((a, b) => a - b) }));
  });
  const words = queries.axis.words || store.manifest.axes[app.map.keys.axis]!.words;
  return make("div", { class: "bar" }, search, words ? check("whole words", app.state.words, (on) => app.change({ words: on })) : null, make("span", {}, "heads, averaged:"), ...heads);
}
