// The page: one state, one bar of controls, one of five views.
import type { RampName, Rgb } from "./colours.ts";
import { CHOICES } from "./colours.ts";
import { compareView } from "./compare.ts";
import { bar, header, step } from "./controls.ts";
import { focusAgain, focused, make } from "./dom.ts";
import type { Exported } from "./exports.ts";
import { headView } from "./heads.ts";
import { helpElement } from "./help.ts";
import { type Legend, legendElement, scaleName } from "./legend.ts";
import type { AttentionMap } from "./manifest.ts";
import type { Matrix } from "./matrix.ts";
import { pressed } from "./gestures.ts";
import { numbersView } from "./numbers.ts";
import { overviewView } from "./overview.ts";
import { type Colouring, endOf, offered, type Pick, quantityName, quantityOf } from "./quantities.ts";
import { SearchBox } from "./search.ts";
import { decode, encode, startOf, type State } from "./state.ts";
import type { Store } from "./store.ts";
import { Surface } from "./surface.ts";
import { textView } from "./texts.ts";
import { headsName, round } from "./words.ts";

export interface Address {
  read(): string;
  write(text: string): void;
  /** Call back when somebody else has changed the address. */
  watch(changed: () => void): void;
  /** The URL that restores this state; null if there is none. */
  link(): string | null;
}

const PAINTERS = { overview: overviewView, head: headView, text: textView, compare: compareView, numbers: numbersView };

export class App {
  state: State;
  readonly store: Store;
  readonly root: HTMLElement;
  readonly body = make("div", { class: "body", role: "tabpanel" });
  readonly search = new SearchBox();
  readonly help = helpElement();
  matrices: Matrix[] = [];
  /** The matrix whose cell the sentence describes. */
  telling: Matrix | null = null;
  exported: (() => Exported) | null = null;
  /** Called when the window's size changes. */
  resized: (() => void) | null = null;
  legends: Legend[] = [];
  caption = "";
  about: Record<string, unknown> = {};
  private readonly header = make("header");
  private readonly bar = make("div", { class: "bar", role: "group", "aria-label": "What is shown" });
  private readonly says = make("p", { class: "says", role: "status", "aria-live": "polite" });
  private readonly captionLine = make("p", { class: "caption" });
  private readonly scale = make("div", { class: "legends" });
  private readonly address: Address;
  /** Defaults of the fields that the address does not have. */
  private readonly start: State;
  private readonly prefersDark = window.matchMedia("(prefers-color-scheme: dark)");
  private readonly inks = new Map<string, string>();
  private readonly surfaces: (Surface | null)[] = [];
  private printing = false;
  private saving = 0;

  constructor(store: Store, root: HTMLElement, address: Address) {
    this.store = store;
    this.root = root;
    this.address = address;
    this.start = startOf(store.manifest);
    this.state = this.sound(decode(address.read(), this.start));
    const foot = make("div", { class: "foot" }, make("footer", {}, this.scale, this.captionLine), this.says);
    root.replaceChildren(this.header, this.bar, this.body, foot);
    // A standalone page handles keys from the start; in a notebook they belong to the focused cell.
    const hears: Document | HTMLElement = root.classList.contains("whole") ? document : root;
    hears.addEventListener("keydown", (event) => this.key(event as KeyboardEvent));
    this.prefersDark.addEventListener("change", () => this.render());
    address.watch(() => this.restore());
    window.addEventListener("resize", () => this.resized?.());
    window.addEventListener("beforeprint", () => this.print(true));
    window.addEventListener("afterprint", () => this.print(false));
    this.render();
  }

  /** The state with invalid fields reset: a link may come from other data. */
  private sound(state: State): State {
    const { maps, axes } = this.store.manifest;
    const within = (at: number, count: number): number => (Number.isInteger(at) && at >= 0 && at < count ? at : 0);
    const map = within(state.map, maps.length);
    const otherMap = within(state.otherMap, maps.length);
    const heads = maps[map]?.heads ?? 1;
    return {
      ...state, map, otherMap, head: within(state.head, heads), otherHead: within(state.otherHead, maps[otherMap]?.heads ?? 1),
      chosen: state.chosen.filter((head) => head < heads), range: state.range > 0 ? state.range : 0,
      query: within(state.query, maps[map]?.queries.size ?? 1), key: within(state.key, maps[map]?.keys.size ?? 1),
      labelling: within(state.labelling, Math.max(1, ...axes.map((axis) => axis.labels.length))),
    };
  }

  get dark(): boolean {
    const { theme } = this.state;
    return !this.printing && (theme === "dark" || (theme === "auto" && (notebookDark() ?? this.prefersDark.matches)));
  }

  get map(): AttentionMap {
    return this.store.map(this.state.map);
  }

  get heads(): number[] {
    return this.state.chosen.length ? this.state.chosen : [this.state.head];
  }

  get pick(): Pick {
    const wanted = quantityOf(this.state.quantity);
    const can = offered(this.map);
    return { map: this.map, heads: this.heads, quantity: can.includes(wanted) ? wanted : (can[0] ?? wanted) };
  }

  /** A colour of the style sheet. */
  ink(name: string): string {
    let found = this.inks.get(name);
    if (found === undefined) this.inks.set(name, (found = getComputedStyle(this.root).getPropertyValue(`--${name}`).trim()));
    return found;
  }

  get surfaceColour(): Rgb {
    return [1, 3, 5].map((at) => parseInt(this.ink("surface").slice(at, at + 2), 16)) as Rgb;
  }

  /** Size of the page's letters in pixels, which readers may have set. */
  get textSize(): number {
    return parseFloat(getComputedStyle(this.root).fontSize) || 14;
  }

  /** The surface that draws the cells of the matrix of a place; null without WebGL2. */
  surface(place: number): Surface | null {
    if (this.state.draw === "canvas") return null;
    const made = this.surfaces[place];
    if (made !== undefined) return made?.lost ? null : made;
    return (this.surfaces[place] = Surface.make(this.state.draw === "webgl2", () => this.render()));
  }

  /** Colours for numbers up to the largest, or up to where the reader has set the end of the bar; `moving` as in `endOf`. */
  colouring(kind: Colouring["kind"], largest: { top: number; nan: boolean }, moving = false): Colouring {
    const { scale, range, colours } = this.state;
    const set = range > 0 && kind === "plain";
    const top = set ? range : endOf(largest.top, kind, moving);
    const rounded = set || largest.top === 0 || Math.abs(top - largest.top) <= 1e-6 * top ? null : largest.top;
    const map = CHOICES.some(([id]) => id === colours) ? (colours as RampName) : "cividis";
    return { kind, scale, top, dark: this.dark, colours: map, rounded, over: kind !== "ratio" && largest.top > top * 1.000001, nan: largest.nan };
  }

  change(part: Partial<State>): void {
    this.state = this.sound({ ...this.state, ...part });
    this.render();
  }

  /** A change of state that needs no new layout: the position of the picture. */
  remember(part: Partial<State>): void {
    Object.assign(this.state, part);
    window.clearTimeout(this.saving);
    this.saving = window.setTimeout(() => this.address.write(encode(this.state, this.start)), 250);
  }

  /** The address was changed from outside: a link was opened in this page. */
  private restore(): void {
    const text = this.address.read().replace(/^#/, "");
    if (text === encode(this.state, this.start)) return;
    this.state = this.sound(decode(text, this.start));
    this.render();
  }

  link(): string | null {
    window.clearTimeout(this.saving);
    this.address.write(encode(this.state, this.start));
    return this.address.link();
  }

  say(text: string): void {
    if (this.says.textContent !== text) this.says.textContent = text;
  }

  fail(error: Error): void {
    this.root.querySelector(".error")?.remove();
    this.root.prepend(make("p", { class: "error", role: "alert" }, error.message));
  }

  /** Name what is seen, in the page and in every file: quantity, layer, heads, averaging, scale, what is hidden. */
  show(legends: Legend[], parts: { quantity: string; where: string; heads: number[] | null; cells: string; extra?: string[]; sinkHidden?: boolean }): void {
    const { manifest } = this.store;
    const { state } = this;
    this.legends = legends;
    this.drawLegends();
    const { colouring } = legends.at(-1)!;
    const colours = `scale ${scaleName(colouring)}, colours up to ${round(colouring.top)}${colouring.over ? " (larger ones are seen)" : colouring.rounded === null ? "" : `, rounded up from ${round(colouring.rounded)}`}`;
    const sink = parts.sinkHidden ? "first key (place of the sink) hidden" : "";
    const words = [parts.quantity, parts.where, parts.heads && headsName(parts.heads), parts.cells, colours, sink, ...(parts.extra ?? [])];
    this.caption = `${words.filter(Boolean).join(" · ")}. ${manifest.holds}`;
    if (this.captionLine.textContent !== this.caption) this.captionLine.textContent = this.caption;
    this.about = {
      title: manifest.title, view: state.view, quantity: parts.quantity, layer: parts.where, heads: parts.heads, averaged: (parts.heads?.length ?? 0) > 1,
      cells: parts.cells, scale: scaleName(colouring), colours_up_to: colouring.top, sink_hidden: parts.sinkHidden ?? false, holds: manifest.holds,
    };
  }

  private drawLegends(): void {
    const shown = this.legends.map((legend) => ({ ...legend, colouring: { ...legend.colouring, dark: this.dark } }));
    const key = JSON.stringify(shown);
    if (this.scale.dataset["key"] === key) return;
    this.scale.dataset["key"] = key;
    this.scale.replaceChildren(...shown.map((legend, i) => make("div", { class: "scale" }, ...legendElement(legend, i === shown.length - 1))));
  }

  quantityName(): string {
    return quantityName(this.store.manifest, this.pick.quantity);
  }

  render(): void {
    const held = focused(this.root);
    this.address.write(encode(this.state, this.start));
    this.root.classList.toggle("dark", this.dark);
    this.inks.clear();
    for (const matrix of this.matrices) matrix.close();
    this.matrices = [];
    this.exported = null;
    this.resized = null;
    this.search.serve("Find", null);
    header(this, this.header);
    bar(this, this.bar);
    this.body.setAttribute("aria-labelledby", `regard-tab-${this.state.view}`);
    this.say("");
    focusAgain(this.root, held);
    const { state } = this;
    PAINTERS[state.view](this).then(
      () => {
        if (this.state === state) focusAgain(this.root, held);
      },
      (error: Error) => this.fail(error),
    );
  }

  /** Paper is light; what is on the screen is drawn again before it is printed. */
  private print(on: boolean): void {
    this.printing = on;
    this.root.classList.toggle("dark", this.dark);
    this.inks.clear();
    this.drawLegends();
    for (const matrix of this.matrices) matrix.drawNow();
  }

  private key(event: KeyboardEvent): void {
    const target = event.composedPath()[0] as HTMLElement;
    if (event.ctrlKey || event.metaKey || event.altKey || event.defaultPrevented || ["INPUT", "SELECT", "TEXTAREA"].includes(target.tagName)) return;
    if (event.key === "/") this.search.input.focus();
    else if (step(this, event.key)) this.say("");
    else if (!this.matrices[0] || target.closest("[role=tablist]") || !pressed(this.matrices[0], event)) return;
    event.preventDefault();
  }
}

/** Notebooks have themes of their own, whatever the system prefers; null where there is none. */
function notebookDark(): boolean | null {
  const { jpThemeLight, vscodeThemeKind } = document.body.dataset;
  if (jpThemeLight !== undefined) return jpThemeLight === "false";
  return vscodeThemeKind === undefined ? null : /dark|black/.test(vscodeThemeKind);
}
