// The page: one state, one bar of controls, one of five views.
import type { RampName, Rgb } from "./colours.ts";
import { CHOICES } from "./colours.ts";
import { bar, header, step } from "./controls.ts";
import { focusAgain, focused, make, marked } from "./dom.ts";
import { save } from "./exports.ts";
import { helpElement } from "./help.ts";
import { type Legend, legendElement, scaleName } from "./legend.ts";
import type { AttentionMap } from "./manifest.ts";
import { type Colouring, endOf, type Largest, offered, type Pick, quantityOf } from "./quantities.ts";
import type { Caption, Mounted, Scene } from "./scene.ts";
import { SearchBox } from "./search.ts";
import { type Frame, framed, toCanvas } from "./sheets.ts";
import { decode, encode, sound, startOf, type State } from "./state.ts";
import type { Store } from "./store.ts";
import { Surface } from "./surface.ts";
import { compareView } from "./views/compare.ts";
import { headView } from "./views/head.ts";
import { numbersView } from "./views/numbers.ts";
import { overviewView } from "./views/overview.ts";
import { textView } from "./views/text.ts";
import { headsName, round } from "./words.ts";

export interface Address {
  read(): string;
  /** `step`: Back leads to what was there before. */
  write(text: string, step: boolean): void;
  /** Call back when somebody else has changed the address. */
  watch(changed: () => void): void;
  /** The URL that restores this state; null if there is none. */
  link(): string | null;
}

const VIEWS = { overview: overviewView, head: headView, text: textView, compare: compareView, numbers: numbersView };
// What leads somewhere else: Back undoes it.
const STEPS = ["view", "map", "head", "chosen", "otherMap", "otherHead"] as const;
// Steps within so many milliseconds of each other are one: heads that were leafed through.
const TOGETHER = 1000;

export class App implements Scene {
  state: State;
  teller: unknown = null;
  readonly store: Store;
  readonly root: HTMLElement;
  readonly body = make("div", { class: "body", role: "tabpanel" });
  readonly search = new SearchBox();
  private readonly help = helpElement();
  private mounted: Mounted | null = null;
  private legends: Legend[] = [];
  private caption = "";
  private about: Record<string, unknown> = {};
  private readonly header = make("header");
  private readonly bar = make("div", { class: "bar", role: "group", "aria-label": "What is shown" });
  private readonly says = make("p", { class: "says", role: "status", "aria-live": "polite" });
  private readonly captionLine = make("p", { class: "caption" });
  private readonly scale = make("div", { class: "legends" });
  private readonly paper = make("div", { class: "paper" });
  private readonly address: Address;
  /** Defaults of the fields that the address does not have. */
  private readonly start: State;
  private readonly prefersDark = window.matchMedia("(prefers-color-scheme: dark)");
  private readonly inks = new Map<string, string>();
  private readonly surfaces: (Surface | null)[] = [];
  private printing = false;
  private saving = 0;
  private stepped = -Infinity;

  constructor(store: Store, root: HTMLElement, address: Address) {
    this.store = store;
    this.root = root;
    this.address = address;
    this.start = startOf(store.manifest);
    this.state = sound(decode(address.read(), this.start), store.manifest);
    const foot = make("div", { class: "foot" }, make("footer", {}, this.scale, this.captionLine), this.says);
    root.replaceChildren(this.header, this.bar, this.body, foot, this.paper);
    marked(this.bar);
    // A standalone page handles keys from the start; in a notebook they belong to the focused cell.
    const hears: Document | HTMLElement = root.classList.contains("whole") ? document : root;
    // What another page has taken the place of, in a notebook's frame, hears nothing any longer.
    const here = (act: () => void) => (): void => {
      if (root.isConnected) act();
    };
    hears.addEventListener("keydown", (event) => root.isConnected && this.key(event as KeyboardEvent));
    this.prefersDark.addEventListener("change", here(() => this.render()));
    address.watch(here(() => this.restore()));
    window.addEventListener("resize", here(() => this.mounted?.resized?.()));
    window.addEventListener("beforeprint", here(() => this.print(true)));
    window.addEventListener("afterprint", here(() => this.print(false)));
    this.render();
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

  ink(name: string): string {
    let found = this.inks.get(name);
    if (found === undefined) this.inks.set(name, (found = getComputedStyle(this.root).getPropertyValue(`--${name}`).trim()));
    return found;
  }

  get ground(): Rgb {
    return [1, 3, 5].map((at) => parseInt(this.ink("surface").slice(at, at + 2), 16)) as Rgb;
  }

  get textSize(): number {
    return parseFloat(getComputedStyle(this.root).fontSize) || 14;
  }

  surface(place: number): Surface | null {
    if (this.state.draw === "canvas") return null;
    const made = this.surfaces[place];
    if (made !== undefined) return made?.lost ? null : made;
    return (this.surfaces[place] = Surface.make(this.state.draw === "webgl2", () => this.render()));
  }

  colouring(kind: Colouring["kind"], largest: Largest, moving = false): Colouring {
    const { scale, range, colours } = this.state;
    const set = range > 0 && kind === "plain";
    const top = set ? range : endOf(largest.top, kind, moving);
    const rounded = set || largest.top === 0 || Math.abs(top - largest.top) <= 1e-6 * top ? null : largest.top;
    const map = CHOICES.some(([id]) => id === colours) ? (colours as RampName) : "cividis";
    return { kind, scale, top, dark: this.dark, colours: map, rounded, over: kind !== "ratio" && largest.top > top * 1.000001, nan: largest.nan };
  }

  change(part: Partial<State>): void {
    const before = this.state;
    this.state = sound({ ...before, ...part }, this.store.manifest);
    this.render(STEPS.some((name) => String(before[name]) !== String(this.state[name])));
  }

  remember(part: Partial<State>): void {
    Object.assign(this.state, part);
    window.clearTimeout(this.saving);
    this.saving = window.setTimeout(() => this.write(false), 250);
  }

  private write(step: boolean): void {
    window.clearTimeout(this.saving);
    this.address.write(encode(this.state, this.start), step);
  }

  /** The address was changed from outside: a link was opened in this page, or Back was pressed. */
  private restore(): void {
    const text = this.address.read().replace(/^#/, "");
    if (text === encode(this.state, this.start)) return;
    this.state = sound(decode(text, this.start), this.store.manifest);
    this.render();
  }

  link(): string | null {
    this.write(false);
    return this.address.link();
  }

  say(text: string): void {
    if (this.says.textContent !== text) this.says.textContent = text;
  }

  fail(error: Error): void {
    this.root.querySelector(".error")?.remove();
    this.root.prepend(make("p", { class: "error", role: "alert" }, error.message));
  }

  show(legends: Legend[], parts: Caption): void {
    const { manifest } = this.store;
    this.legends = legends;
    this.drawLegends();
    const { colouring } = legends.at(-1)!;
    const colours = `scale ${scaleName(colouring)}, colours up to ${round(colouring.top)}${colouring.over ? " (larger ones are seen)" : colouring.rounded === null ? "" : `, rounded up from ${round(colouring.rounded)}`}`;
    const words = [parts.quantity, parts.where, parts.heads && headsName(parts.heads), parts.cells, colours, parts.hidden, ...(parts.extra ?? [])];
    this.caption = `${words.filter(Boolean).join(" · ")}. ${manifest.holds}`;
    if (this.captionLine.textContent !== this.caption) this.captionLine.textContent = this.caption;
    this.about = {
      title: manifest.title, view: this.state.view, quantity: parts.quantity, layer: parts.where, heads: parts.heads, averaged: (parts.heads?.length ?? 0) > 1,
      cells: parts.cells, scale: scaleName(colouring), colours_up_to: colouring.top, hidden: parts.hidden ?? "", holds: manifest.holds, ...parts.about,
    };
  }

  private drawLegends(): void {
    const shown = this.legends.map((legend) => ({ ...legend, colouring: { ...legend.colouring, dark: this.dark } }));
    const key = JSON.stringify(shown);
    if (this.scale.dataset["key"] === key) return;
    this.scale.dataset["key"] = key;
    this.scale.replaceChildren(...shown.map((legend, i) => make("div", { class: "scale" }, ...legendElement(legend, i === shown.length - 1))));
  }

  mount(view: Mounted, ...elements: (HTMLElement | null)[]): void {
    this.mounted?.close?.();
    this.mounted = view;
    this.body.replaceChildren(...elements.filter((one) => one !== null));
  }

  save(kind: string): void {
    const made = this.mounted?.exported();
    this.say(made ? save(made, kind, this.frame(), this.about) : "There is nothing to save yet.");
  }

  private frame(): Frame {
    const ink = { surface: this.ink("surface"), text: this.ink("text"), faint: this.ink("faint"), line: this.ink("line") };
    return { title: this.store.manifest.title, legends: this.legends, caption: this.caption, ink };
  }

  private render(step = false): void {
    const held = focused(this.root);
    const now = performance.now();
    this.write(step && now - this.stepped > TOGETHER);
    if (step) this.stepped = now;
    this.root.classList.toggle("dark", this.dark);
    this.inks.clear();
    this.mounted?.close?.();
    this.mounted = null;
    this.search.serve("Find", null);
    header(this, this.header, this.help);
    bar(this, this.bar);
    this.body.setAttribute("aria-labelledby", `regard-tab-${this.state.view}`);
    this.say("");
    focusAgain(this.root, held);
    const { state } = this;
    VIEWS[state.view](this).then(
      () => {
        if (this.state === state) focusAgain(this.root, held);
      },
      (error: Error) => this.fail(error),
    );
  }

  /** Paper is light and shows what a file shows, in one piece: the screen's canvases are cut off at its border or empty. */
  private print(on: boolean): void {
    if (on === this.printing) return;
    this.printing = on;
    this.root.classList.toggle("dark", this.dark);
    this.inks.clear();
    this.mounted?.redraw();
    this.drawLegends();
    const made = on ? this.mounted?.exported() : null;
    const picture = made && toCanvas(framed(made.sheet(), this.frame()));
    picture?.setAttribute("role", "img");
    picture?.setAttribute("aria-label", this.caption);
    this.paper.replaceChildren(...(picture ? [picture] : []));
    this.root.classList.toggle("printing", picture !== null && picture !== undefined);
  }

  private key(event: KeyboardEvent): void {
    const target = event.composedPath()[0] as HTMLElement;
    if (event.ctrlKey || event.metaKey || event.altKey || event.defaultPrevented || ["INPUT", "SELECT", "TEXTAREA"].includes(target.tagName)) return;
    if (event.key === "/") this.search.input.focus();
    else if (step(this, event.key)) this.say("");
    else if (target.closest("[role=tablist]") || !this.mounted?.pressed?.(event)) return;
    event.preventDefault();
  }
}

/** Notebooks have themes of their own, whatever the system prefers; null where there is none. */
function notebookDark(): boolean | null {
  const { jpThemeLight, vscodeThemeKind } = document.body.dataset;
  if (jpThemeLight !== undefined) return jpThemeLight === "false";
  return vscodeThemeKind === undefined ? null : /dark|black/.test(vscodeThemeKind);
}
