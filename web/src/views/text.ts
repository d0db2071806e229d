// A text as text: point at a token and see where it looks; patches of an image as the image.
import { css, ink } from "../colours.ts";
import { button, check, make } from "../dom.ts";
import type { Axis, Side } from "../manifest.ts";
import { Board } from "../patches.ts";
import { classesOf, hiddenName } from "../pictures.ts";
import { cellColour, type Colouring } from "../quantities.ts";
import { firstLook, groups, type Row, rowOf, type Sum, total } from "../rows.ts";
import type { Scene } from "../scene.ts";
import { matches, next } from "../search.ts";
import { pageSheet } from "../sheets.ts";
import { sinksOf } from "../sinks.ts";
import { isCode, MASKED } from "../store.ts";
import { absent, lacking, percent, plain, visible } from "../words.ts";

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

/** A part as it is written: spaces before it become room, unless a line begins with it. */
export function written(text: string, begins: boolean): { text: string; gap: boolean } {
  const [, spaces, rest] = /^( *)([^]*)$/.exec(text)!;
  if (!rest || !spaces) return { text: visible(text), gap: false };
  return begins ? { text: "\u00a0".repeat(spaces.length) + visible(rest), gap: false } : { text: "\u00a0".repeat(spaces.length - 1) + visible(rest), gap: true };
}

async function textOf(scene: Scene, side: Side, name: string, start: number, points: boolean): Promise<Text> {
  const { store, state } = scene;
  const axis = store.manifest.axes[side.axis]!;
  const labelling = axis.labels[state.labelling];
  const [tokens, words, labels] = await Promise.all([store.tokens(side.axis), store.words(side.axis), labelling ? store.labels(side.axis, state.labelling) : null]);
  const board = axis.grid ? new Board(scene, side, axis.grid, points ? "Image: the query" : "Image: where it looks", points) : null;
  await board?.load(side.axis);
  const from = side.first + start;
  const parts = groups(state.words ? words : null, from, board ? side.first + side.size : Math.min(from + STRETCH, side.first + side.size)).map((part) => part.map((i) => i - side.first));
  const list = make("div", { class: "tokens", role: "group", "aria-label": name });
  const names: string[] = [];
  let begins = true;
  const marks = parts.map((part) => {
    const place = part[0]!;
    if (board?.holds(place)) {
      names.push(board.nameOf(place));
      return null;
    }
    const at = side.first + place;
    const token = tokens && part.map((i) => tokens[side.first + i] ?? "").join("");
    const { text, gap } = token === null ? { text: String(at), gap: false } : written(token, begins);
    names.push(token === null ? `token ${text}` : visible(token.trim() && token !== "" ? token.replace(/^ +/, "") : token));
    const label = labels?.classes[at] ?? -1;
    const goesOn = labels?.goesOn[at] === true && place > start;
    const inWord = words !== null && words[at]! >= 0 && place > start && words[at] === words[at - 1];
    const mark = make("button", { type: "button", tabindex: "-1", class: [gap ? "gap" : "", goesOn ? "on" : "", inWord ? "in" : "", label >= 0 ? "labelled" : ""].filter(Boolean).join(" ") }, text, label < 0 || goesOn ? null : make("sup", {}, labelling!.classes[label] ?? ""));
    if (label >= 0) mark.style.borderBottomColor = labelling!.colours[label]!;
    list.append(mark);
    begins = token?.includes("\n") ?? false;
    if (begins) list.append(make("br"));
    return mark;
  });
  const element = make("div", { class: "side" }, board?.canvas, list.childElementCount ? list : null);
  return { side, axis, parts, names, marks, board, element };
}

function stretches(scene: Scene, side: Side, at: number, name: "query" | "key", whole: boolean): HTMLElement | null {
  if (whole || side.size <= STRETCH) return null;
  const begin = Math.floor(at / STRETCH) * STRETCH;
  const to = (where: number): void => scene.change({ [name]: Math.max(0, Math.min(side.size - 1, where)) });
  return make("div", { class: "bar" }, button("←", `Earlier ${name} tokens`, null, () => to(begin - STRETCH)),
    make("span", {}, `tokens ${side.first + begin} to ${side.first + Math.min(begin + STRETCH, side.size) - 1} of ${side.size}`),
    button("→", `Later ${name} tokens`, null, () => to(begin + STRETCH)));
}

export async function textView(scene: Scene): Promise<void> {
  const { store, state } = scene;
  const { map } = scene.pick;
  const { axes } = store.manifest;
  const images = [axes[map.queries.axis]!.grid !== null, axes[map.keys.axis]!.grid !== null];
  const one = map.queries.axis === map.keys.axis && map.queries.size === map.keys.size && !images[1];
  const begin = (at: number): number => Math.floor(at / STRETCH) * STRETCH;
  const [query, key] = [state.query < 0 ? await firstLook(store, map) : state.query, Math.max(0, state.key)];
  const queries = await textOf(scene, map.queries, one ? "Text" : "Queries", images[0] ? 0 : begin(query), true);
  const keys = one ? queries : await textOf(scene, map.keys, "Keys", images[1] ? 0 : begin(key), false);
  const measures = state.sinks ? null : await store.measures(map);
  const pairs = make("div", { class: "pair" });
  const section = (title: string, text: Text, pager: HTMLElement | null): HTMLElement => make("section", { class: "text" }, make("h2", {}, title), pager, text.element);
  pairs.append(section(one ? "Point at a token: the others show where it looks" : `Queries${named(queries)}: point at one`, queries, stretches(scene, map.queries, query, "query", images[0]!)));
  if (!one) pairs.append(section(`Keys${named(keys)}: where it looks`, keys, stretches(scene, map.keys, key, "key", images[1]!)));
  // The image as it is, where the queries do not show it already.
  if (keys.board && !queries.board) {
    const plain = new Board(scene, map.keys, keys.axis.grid!, "Image", false);
    await plain.load(map.keys.axis);
    plain.paint(null, null, null);
    if (keys.axis.grid!.image) keys.element.prepend(plain.canvas);
  }
  if (scene.state !== state) return;
  const view = new TextView(scene, queries, keys, (sinksOf(measures, scene.heads) ?? []).map((sink) => sink.key));
  scene.mount({ redraw: () => view.paint(), exported: () => view.exported(), close: () => view.close() }, headBar(scene, queries, keys), pairs);
  view.start(query);
  view.point(sinksOf(await store.measures(map), scene.heads) ?? []);
}

const named = (text: Text): string => (text.axis.name === "tokens" || text.axis.name === "keys" || text.axis.name === "queries" ? "" : ` (${text.axis.name})`);

class TextView {
  private latest = 0;
  private current = 0;
  /** Where the current query looks: at each key, and summed over the keys of each part. */
  private seen: { row: Row; sums: Sum[]; largest: { top: number; nan: boolean } } | null = null;
  private readonly scene: Scene;
  private readonly queries: Text;
  private readonly keys: Text;
  /** Keys that are hidden. */
  private readonly away: ReadonlySet<number>;
  /** Parts that hold one of them. */
  private readonly hidden: ReadonlySet<number>;

  constructor(scene: Scene, queries: Text, keys: Text, away: number[]) {
    this.scene = scene;
    this.queries = queries;
    this.keys = keys;
    this.away = new Set(away);
    this.hidden = new Set(keys.parts.flatMap((part, i) => (part.some((key) => this.away.has(key)) ? [i] : [])));
  }

  start(query: number): void {
    const { queries } = this;
    queries.marks.forEach((mark, index) => {
      mark?.addEventListener("pointerenter", () => this.begin(index, false));
      mark?.addEventListener("focus", () => this.begin(index, true));
      mark?.addEventListener("click", () => this.begin(index, true));
    });
    queries.board?.listen(() => queries.parts[this.current]?.[0] ?? 0, (place, hold) => this.begin(queries.parts.findIndex((part) => part.includes(place)), hold));
    queries.element.addEventListener("keydown", (event) => this.step(event));
    this.serve();
    const index = Math.max(0, queries.parts.findIndex((part) => part.includes(query)));
    this.reach(queries.marks[index]);
    this.begin(index, false);
  }

  close(): void {
    this.latest++;
  }

  /** Scroll to a token that is out of sight; a notebook around the page stays where it is. */
  private reach(mark: HTMLElement | null | undefined): void {
    const { root } = this.scene;
    if (!mark) return;
    const whole = root.classList.contains("whole");
    const [box, around] = [mark.getBoundingClientRect(), whole ? new DOMRect(0, 0, innerWidth, innerHeight) : root.getBoundingClientRect()];
    if (box.top >= around.top && box.bottom <= around.bottom - around.height / 4) return;
    (whole ? document.scrollingElement! : root).scrollTop += box.top - around.top - around.height / 2;
  }

  /** Mark the sinks among the keys. */
  point(sinks: { key: number }[]): void {
    for (const { key } of sinks) {
      const mark = this.keys.marks[this.keys.parts.findIndex((part) => part.includes(key))];
      if (mark && !mark.querySelector(".sink")) mark.append(make("sup", { class: "sink", title: "a sink" }, "▼"));
    }
  }

  private begin(index: number, hold: boolean): void {
    if (index >= 0) this.show(index, hold).catch((error: Error) => this.scene.fail(error));
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
    const { scene, queries, keys } = this;
    const mine = ++this.latest;
    const part = queries.parts[index]!;
    const { pick, store, state } = scene;
    // Sum over the keys of a word, mean over the queries of a word.
    const row = await rowOf(store, pick, part);
    const tokens = await store.tokens(keys.side.axis);
    if (mine !== this.latest) return;
    this.current = index;
    const sums = keys.parts.map((places) => total(row.values, places));
    const top = sums.reduce((most, { value }, i) => (this.hidden.has(i) || !Number.isFinite(value) ? most : Math.max(most, value)), 0);
    this.seen = { row, sums, largest: { top, nan: sums.some(({ value }) => Number.isNaN(value)) } };
    this.paint();
    const { quantity } = store.manifest;
    scene.show([{ colouring: this.colouring(), name: quantity, classes: classesOf(scene, pick.map), missing: absent(pick.map) }], {
      quantity, where: store.nameOf(pick.map), heads: pick.heads, cells: state.words ? "summed over the keys of a word, mean over the queries of a word" : row.note ? "" : "one token a cell",
      hidden: hiddenName(this.away.size), extra: [`query ${part[0]! + queries.side.first} "${queries.names[index]}"`, row.note, (keys.board || queries.board) && !state.opaque ? "colours laid over the image" : ""],
    });
    scene.say(this.sentence(tokens));
    if (hold) scene.remember({ query: part[0]! });
  }

  exported(): ReturnType<Parameters<Scene["mount"]>[0]["exported"]> {
    const { scene, queries, keys, seen, current } = this;
    if (!seen) return null;
    const { map } = scene.pick;
    return {
      name: `${scene.store.nameOf(map)}-query-${queries.parts[current]![0]}`, columns: ["key", "token", "value"],
      rows: keys.parts.map((part, i) => [part[0]! + keys.side.first, keys.names[i]!, isCode(seen.sums[i]!.value) || seen.sums[i]!.least ? this.write(seen.sums[i]!, plain) : seen.sums[i]!.value]),
      sheet: () => pageSheet(scene.body),
    };
  }

  private write({ value, least }: Sum, how: (value: number) => string): string {
    return isCode(value) ? plain(value, absent(this.scene.pick.map)) : `${least ? "≥ " : ""}${how(value)}`;
  }

  private colouring(): Colouring {
    return this.scene.colouring("plain", this.seen?.largest ?? { top: 0, nan: false });
  }

  paint(): void {
    const { queries, keys, hidden, current, seen } = this;
    if (!seen) return;
    const colouring = this.colouring();
    keys.marks.forEach((mark, i) => {
      if (!mark) return;
      const rgb = hidden.has(i) ? null : cellColour(colouring, seen.sums[i]!.value);
      mark.style.background = rgb ? css(rgb) : "none";
      mark.style.color = rgb ? ink(rgb) : "inherit";
      mark.title = hidden.has(i) ? "hidden: a sink" : this.write(seen.sums[i]!, plain);
    });
    queries.marks.forEach((mark, i) => {
      mark?.setAttribute("aria-pressed", String(i === current));
      mark?.setAttribute("tabindex", i === current || (i === 0 && !queries.marks[current]) ? "0" : "-1");
      mark?.classList.toggle("chosen", i === current);
    });
    keys.board?.paint(seen.row.values, colouring, null, this.away);
    queries.board?.paint(null, null, queries.parts[current]![0]!);
  }

  /** What the current query looks at, in words. */
  private sentence(tokens: string[] | null): string {
    const { scene, keys, hidden, away, seen, current } = this;
    const name = this.queries.names[current]!;
    const { map } = scene.pick;
    const { row, sums } = seen!;
    if (row.values.some(Number.isNaN)) return `Where ${name} looks is not a number (NaN).`;
    if (row.values.every((value) => value === MASKED)) return `${name} looks at nothing: every key is masked for it.`;
    const write = scene.store.manifest.sums_to_one ? percent : plain;
    const whole = keys.parts.reduce((count, part) => count + part.length, 0) === keys.side.size;
    const { first } = keys.side;
    // Where only a stretch is on the screen: the largest of the whole text, and how much of it is seen here.
    const best = whole
      ? topOf(sums.map(({ value }) => value), SAID, hidden).map((i) => `${keys.board?.holds(keys.parts[i]![0]!) ? keys.names[i]! : `"${keys.names[i]}"`} ${this.write(sums[i]!, write)}`)
      : topOf(row.values, SAID, away).map((i) => `${tokens ? `${first + i} "${visible(tokens[first + i] ?? "")}"` : first + i} ${write(row.values[i]!)}`);
    if (!best.length) return `Where ${name} looks: its weights ${row.values.every((value, i) => isCode(value) || away.has(i)) && away.size ? "on other keys than the hidden ones " : ""}${lacking(map)}.`;
    const here = whole ? "" : `; ${shownHere(total(row.values, keys.parts.flat()), row.pooled, write, lacking(map))}`;
    return `${name} looks at: ${best.join(", ")}${here}.`;
  }

  private serve(): void {
    const { scene, queries } = this;
    scene.search.serve("Find a token", {
      changed: (text) => {
        const wanted = text.trim().toLowerCase();
        for (const one of new Set([queries, this.keys])) one.marks.forEach((mark, i) => mark?.classList.toggle("found", wanted !== "" && one.names[i]!.toLowerCase().includes(wanted)));
      },
      go: (text) => {
        const { side } = queries;
        void scene.store.tokens(side.axis).then((tokens) => {
          const to = next(matches(tokens, side.first, side.size, text), queries.parts[this.current]?.at(-1) ?? 0);
          if (to === null) return scene.say(`No query holds "${text}".`);
          const index = queries.parts.findIndex((part) => part.includes(to));
          if (index < 0) return scene.change({ query: to });
          this.reach(queries.marks[index]);
          this.begin(index, true);
        });
      },
    });
  }
}

/** How much of a row falls on the tokens on the screen: never more than is known. */
export function shownHere({ value, least }: Sum, pooled: boolean, write: (value: number) => string, lacks: string): string {
  if (value === MASKED) return "the tokens shown here are masked for it";
  if (isCode(value)) return `its weights on the tokens shown here ${lacks}`;
  return `${least ? "at least " : pooled ? "about " : ""}${write(value)} on the tokens shown here`;
}

/** Places of the largest numbers, largest first; codes, NaN and some places do not count. */
export function topOf(values: ArrayLike<number>, count: number, without: ReadonlySet<number>): number[] {
  const best: number[] = [];
  for (let i = 0; i < values.length; i++) {
    const value = values[i]!;
    if (without.has(i) || isCode(value) || Number.isNaN(value) || (best.length === count && value <= values[best.at(-1)!]!)) continue;
    const at = best.findIndex((other) => value > values[other]!);
    best.splice(at < 0 ? best.length : at, 0, i);
    if (best.length > count) best.pop();
  }
  return best;
}

/** Which heads are looked at, and how their tokens are put together. */
function headBar(scene: Scene, queries: Text, keys: Text): HTMLElement {
  const heads = Array.from({ length: scene.map.heads }, (_, head) => {
    const on = scene.heads.includes(head);
    return button(String(head), `Head ${head}`, on, () => {
      const chosen = (on ? scene.heads.filter((one) => one !== head) : [...scene.heads, head]).sort((a, b) => a - b);
      scene.change(chosen.length === 1 ? { head: chosen[0]!, chosen: [] } : { chosen });
    });
  });
  const words = queries.axis.words || keys.axis.words;
  const over = [queries, keys].some((text) => text.axis.grid?.image);
  return make("div", { class: "bar" }, make("div", { class: "heads-bar", role: "group", "aria-label": "Heads, averaged where several are chosen" }, make("span", {}, "Heads (several: their mean)"), ...heads),
    words ? check("Whole words", scene.state.words, (on) => scene.change({ words: on })) : null,
    over ? check("Colours without the image", scene.state.opaque, (on) => scene.change({ opaque: on })) : null);
}
