// A text as text: point at a token and see where it looks; patches of an image as the image.
import type { App } from "./app.ts";
import { css, ink } from "./colours.ts";
import { button, check, make } from "./dom.ts";
import { classesOf } from "./heads.ts";
import type { Axis, Side } from "./manifest.ts";
import { Board } from "./patches.ts";
import { cellColour, type Colouring, mean } from "./quantities.ts";
import { groups, rowOf, summed } from "./rows.ts";
import { matches, next } from "./search.ts";
import { pageSheet } from "./sheets.ts";
import { sinkOf } from "./sinks.ts";
import { isCode } from "./store.ts";
import { percent, plain, visible } from "./words.ts";

// More tokens than these are shown a stretch at a time.
const STRETCH = 600;
const SAID = 5;

/** One side: its tokens as buttons, in parts of one token or one word; those of an image on its board. */
interface Text {
  side: Side;
  axis: Axis;
  parts: number[][];
  names: string[];
  marks: (HTMLButtonElement | null)[];
  board: Board | null;
  element: HTMLElement;
}

async function textOf(app: App, side: Side, name: string, start: number, points: boolean, sink: number | null): Promise<Text> {
  const { store, state } = app;
  const axis = store.manifest.axes[side.axis]!;
  const labelling = axis.labels[state.labelling];
  const [tokens, words, labels] = await Promise.all([store.tokens(side.axis), state.words ? store.words(side.axis) : null, labelling ? store.labels(side.axis, state.labelling) : null]);
  const board = axis.grid ? new Board(app, side, axis.grid, points ? "Image: the query" : "Image: where it looks", points) : null;
  await board?.load(side.axis);
  const from = side.first + start;
  const parts = groups(words, from, board ? side.first + side.size : Math.min(from + STRETCH, side.first + side.size)).map((part) => part.map((i) => i - side.first));
  const list = make("div", { class: "tokens", role: "group", "aria-label": name });
  const names: string[] = [];
  const marks = parts.map((part) => {
    const place = part[0]!;
    if (board?.holds(place)) {
      names.push(board.nameOf(place));
      return null;
    }
    const text = tokens ? part.map((i) => visible(tokens[side.first + i] ?? "")).join("") : String(side.first + place);
    names.push(tokens ? text : `token ${text}`);
    const label = labels?.[side.first + place] ?? -1;
    const mark = make("button", { type: "button", tabindex: "-1" }, text, label < 0 ? null : make("sup", {}, labelling!.classes[label] ?? ""), sink !== null && part.includes(sink) ? make("sup", {}, "▼") : null);
    if (label >= 0) mark.style.borderBottomColor = labelling!.colours[label]!;
    list.append(mark);
    return mark;
  });
  const element = make("div", { class: "side" }, board?.canvas, list.childElementCount ? list : null);
  return { side, axis, parts, names, marks, board, element };
}

function stretches(app: App, side: Side, at: number, name: "query" | "key", whole: boolean): HTMLElement | null {
  if (whole || side.size <= STRETCH) return null;
  const begin = Math.floor(at / STRETCH) * STRETCH;
  const to = (where: number): void => app.change({ [name]: Math.max(0, Math.min(side.size - 1, where)) });
  return make("div", { class: "bar" }, button("←", `Earlier ${name} tokens`, null, () => to(begin - STRETCH)),
    make("span", {}, `tokens ${side.first + begin} to ${side.first + Math.min(begin + STRETCH, side.size) - 1} of ${side.size}`),
    button("→", `Later ${name} tokens`, null, () => to(begin + STRETCH)));
}

export async function textView(app: App): Promise<void> {
  const { store, state } = app;
  const { map, heads } = app.pick;
  const { axes } = store.manifest;
  const images = [axes[map.queries.axis]!.grid !== null, axes[map.keys.axis]!.grid !== null];
  const one = map.queries.axis === map.keys.axis && map.queries.size === map.keys.size && !images[1];
  const begin = (at: number): number => Math.floor(at / STRETCH) * STRETCH;
  const sink = await sinkOf(store, map, heads[0]!);
  const queries = await textOf(app, map.queries, one ? "Text" : "Queries", images[0] ? 0 : begin(state.query), true, one ? sink : null);
  const keys = one ? queries : await textOf(app, map.keys, "Keys", images[1] ? 0 : begin(state.key), false, sink);
  if (app.state !== state) return;
  const pairs = make("div", { class: "pair" });
  const section = (title: string, text: Text, pager: HTMLElement | null): HTMLElement => make("section", { class: "text" }, make("h2", {}, title), pager, text.element);
  pairs.append(section(one ? "Point at a token: the others show where it looks" : `Queries${named(queries)}: point at one`, queries, stretches(app, map.queries, state.query, "query", images[0]!)));
  if (!one) pairs.append(section(`Keys${named(keys)}: where it looks`, keys, stretches(app, map.keys, state.key, "key", images[1]!)));
  // The image as it is, where the queries do not show it already.
  if (keys.board && !queries.board) {
    const plain = new Board(app, map.keys, keys.axis.grid!, "Image", false);
    await plain.load(map.keys.axis);
    plain.paint(null, null, null);
    if (keys.axis.grid!.image) keys.element.prepend(plain.canvas);
  }
  if (app.state !== state) return;
  app.body.replaceChildren(headBar(app, queries, keys), pairs);
  new TextView(app, queries, keys, sink).start();
}

const named = (text: Text): string => (text.axis.name === "tokens" || text.axis.name === "keys" || text.axis.name === "queries" ? "" : ` (${text.axis.name})`);

class TextView {
  private latest = 0;
  private current = 0;
  private readonly app: App;
  private readonly queries: Text;
  private readonly keys: Text;
  private readonly sink: number | null;

  constructor(app: App, queries: Text, keys: Text, sink: number | null) {
    this.app = app;
    this.queries = queries;
    this.keys = keys;
    this.sink = sink;
  }

  start(): void {
    const { app, queries } = this;
    queries.marks.forEach((mark, index) => {
      mark?.addEventListener("pointerenter", () => this.begin(index, false));
      mark?.addEventListener("focus", () => this.begin(index, true));
      mark?.addEventListener("click", () => this.begin(index, true));
    });
    queries.board?.listen(() => queries.parts[this.current]?.[0] ?? 0, (place, hold) => this.begin(queries.parts.findIndex((part) => part.includes(place)), hold));
    queries.element.addEventListener("keydown", (event) => this.step(event));
    this.serve();
    this.begin(Math.max(0, queries.parts.findIndex((part) => part.includes(app.state.query))), false);
  }

  private begin(index: number, hold: boolean): void {
    if (index >= 0) this.show(index, hold).catch((error: Error) => this.app.fail(error));
  }

  /** Arrows go from token to token; only one of them is in the order of the tabulator. */
  private step(event: KeyboardEvent): void {
    const by = { ArrowRight: 1, ArrowLeft: -1, ArrowDown: 1, ArrowUp: -1 }[event.key];
    if (!by || event.defaultPrevented) return;
    event.preventDefault();
    let index = this.current + by;
    while (index >= 0 && index < this.queries.marks.length && !this.queries.marks[index]) index += by;
    this.queries.marks[index]?.focus();
  }

  private async show(index: number, hold: boolean): Promise<void> {
    const { app, queries, keys } = this;
    const mine = ++this.latest;
    const part = queries.parts[index]!;
    const pick = { ...app.pick };
    // Sum over the keys of a word, mean over the queries of a word.
    const rows = await Promise.all(part.map((query) => rowOf(app.store, pick, query)));
    const keyTokens = await app.store.tokens(keys.side.axis);
    if (mine !== this.latest) return;
    this.current = index;
    const whole = mean(rows.map((row) => row.values));
    const values = summed(whole, keys.parts);
    const colouring = this.colouring(values);
    this.paint(values, whole, colouring);
    const quantity = app.store.manifest.quantity;
    app.show([{ colouring, name: quantity, classes: classesOf(app, pick.map) }], {
      quantity, where: app.store.nameOf(pick.map), heads: pick.heads, cells: app.state.words ? "summed over the keys of a word, mean over the queries of a word" : rows[0]!.note ? "" : "one token a cell",
      sinkHidden: this.hidden >= 0, extra: [`query ${part[0]! + queries.side.first} "${queries.names[index]}"`, rows[0]!.note, (keys.board || queries.board) && !app.state.opaque ? "colours laid over the image" : ""],
    });
    app.say(`${queries.names[index]} looks at: ${this.largest(values, whole, keyTokens)}`);
    if (hold) app.remember({ query: part[0]! });
    app.exported = () => ({
      name: `${app.store.nameOf(pick.map)}-query-${part[0]}`, columns: ["key", "token", "value"],
      rows: keys.parts.map((keyPart, i) => [keyPart[0]! + keys.side.first, keys.names[i]!, isCode(values[i]!) ? plain(values[i]!) : values[i]!]),
      sheet: () => pageSheet(app.body),
    });
  }

  private get hidden(): number {
    const { sink } = this;
    return this.app.state.sinks || sink === null ? -1 : this.keys.parts.findIndex((part) => part.includes(sink));
  }

  private colouring(values: Float32Array): Colouring {
    const { hidden } = this;
    const top = values.reduce((most, value, i) => (i === hidden || !Number.isFinite(value) ? most : Math.max(most, value)), 0);
    return this.app.colouring("plain", { top, nan: values.some(Number.isNaN) });
  }

  private paint(values: Float32Array, whole: Float32Array, colouring: Colouring): void {
    const { queries, keys, hidden, current } = this;
    keys.marks.forEach((mark, i) => {
      if (!mark) return;
      const rgb = i === hidden ? null : cellColour(colouring, values[i]!);
      mark.style.background = rgb ? css(rgb) : "none";
      mark.style.color = rgb ? ink(rgb) : "inherit";
      mark.title = i === hidden ? "hidden: the place of the sink" : plain(values[i]!);
    });
    queries.marks.forEach((mark, i) => {
      mark?.setAttribute("aria-pressed", String(i === current));
      mark?.setAttribute("tabindex", i === current || (i === 0 && !queries.marks[current]) ? "0" : "-1");
      mark?.classList.toggle("chosen", i === current);
    });
    const place = queries.parts[current]![0]!;
    if (keys.board) {
      const shown = whole.slice();
      if (hidden >= 0 && this.sink !== null) shown[this.sink] = NaN;
      keys.board.paint(shown, colouring, null);
    }
    if (queries.board) queries.board.paint(null, null, place);
  }

  private largest(values: Float32Array, whole: Float32Array, tokens: string[] | null): string {
    const { app, keys, hidden } = this;
    const { first, size } = keys.side;
    const write = app.store.manifest.sums_to_one ? percent : plain;
    const said = (name: string, value: number): string => `${name} ${write(value)}`;
    if (keys.parts.reduce((count, part) => count + part.length, 0) === size) {
      const best = topOf(values, SAID, hidden).map((i) => said(keys.board?.holds(keys.parts[i]![0]!) ? keys.names[i]! : `"${keys.names[i]}"`, values[i]!));
      return best.length ? `${best.join(", ")}.` : "nothing that was recorded.";
    }
    // Only a stretch is on the screen: the largest of the whole text, and how much of it is seen here.
    const away = app.state.sinks || this.sink === null ? -1 : this.sink;
    const best = topOf(whole, SAID, away).map((i) => said(tokens ? `${first + i} "${visible(tokens[first + i] ?? "")}"` : String(first + i), whole[i]!));
    const here = keys.parts.flat().reduce((sum, i) => (isCode(whole[i]!) ? sum : sum + whole[i]!), 0);
    return best.length ? `${best.join(", ")}; ${write(here)} on the tokens shown here.` : "nothing that was recorded.";
  }

  private serve(): void {
    const { app, queries } = this;
    app.search.serve("Find a token", {
      changed: (text) => {
        const wanted = text.trim().toLowerCase();
        for (const one of new Set([queries, this.keys])) one.marks.forEach((mark, i) => mark?.classList.toggle("found", wanted !== "" && one.names[i]!.toLowerCase().includes(wanted)));
      },
      go: (text) => {
        const { side } = queries;
        void app.store.tokens(side.axis).then((tokens) => {
          const to = next(matches(tokens, side.first, side.size, text), queries.parts[this.current]?.at(-1) ?? 0);
          if (to === null) return app.say(`No query holds "${text}".`);
          const index = queries.parts.findIndex((part) => part.includes(to));
          if (index >= 0) this.begin(index, true);
          else app.change({ query: to });
        });
      },
    });
  }
}

/** Places of the largest numbers, largest first; codes and one place do not count. */
export function topOf(values: Float32Array, count: number, without: number): number[] {
  const best: number[] = [];
  for (let i = 0; i < values.length; i++) {
    const value = values[i]!;
    if (i === without || isCode(value) || Number.isNaN(value) || (best.length === count && value <= values[best.at(-1)!]!)) continue;
    const at = best.findIndex((other) => value > values[other]!);
    best.splice(at < 0 ? best.length : at, 0, i);
    if (best.length > count) best.pop();
  }
  return best;
}

/** Which heads are looked at, and how their tokens are put together. */
function headBar(app: App, queries: Text, keys: Text): HTMLElement {
  const heads = Array.from({ length: app.map.heads }, (_, head) => {
    const on = app.heads.includes(head);
    return button(String(head), `Head ${head}`, on, () => {
      const chosen = (on ? app.heads.filter((one) => one !== head) : [...app.heads, head]).sort((a, b) => a - b);
      app.change(chosen.length === 1 ? { head: chosen[0]!, chosen: [] } : { chosen });
    });
  });
  const words = queries.axis.words || keys.axis.words;
  const over = [queries, keys].some((text) => text.axis.grid?.image);
  return make("div", { class: "bar" }, make("div", { class: "heads-bar", role: "group", "aria-label": "Heads, averaged where several are chosen" }, make("span", {}, "Heads (several: their mean)"), ...heads),
    words ? check("Whole words", app.state.words, (on) => app.change({ words: on })) : null,
    over ? check("Colours without the image", app.state.opaque, (on) => app.change({ opaque: on })) : null);
}
