// The page: one state, one bar of controls, one of five views.
import { css, colour, MASKED_COLOUR, MISSING_COLOUR } from "./colours.ts";
import { compareView } from "./compare.ts";
import { button, check, make, select } from "./dom.ts";
import { exportMenu, type Exported } from "./exports.ts";
import { headView } from "./heads.ts";
import type { AttentionMap } from "./manifest.ts";
import type { Matrix } from "./matrix.ts";
import { numbersView } from "./numbers.ts";
import { overviewView } from "./overview.ts";
import { type Colouring, offered, type Pick, quantityName, quantityOf, rampOf, valueAt } from "./quantities.ts";
import { decode, encode, type State, type Theme, type View } from "./state.ts";
import type { Store } from "./store.ts";
import { textView } from "./texts.ts";
import { headsName, plain } from "./words.ts";

export interface Address {
  read(): string;
  write(text: string): void;
}

const VIEWS: [View, string][] = [["overview", "Overview"], ["head", "One head"], ["text", "Text"], ["compare", "Compare"], ["numbers", "Numbers"]];
const PAINTERS = { overview: overviewView, head: headView, text: textView, compare: compareView, numbers: numbersView };

export class App {
  state: State;
  readonly store: Store;
  readonly root: HTMLElement;
  readonly body = make("div", { class: "body" });
  matrices: Matrix[] = [];
  exported: (() => Exported) | null = null;
  private readonly header = make("header");
  private readonly bar = make("div", { class: "bar", role: "group", "aria-label": "What is shown" });
  private readonly says = make("p", { class: "says", "aria-live": "polite" });
  private readonly caption = make("p", { class: "caption" });
  private readonly scale = make("div", { class: "scale" });
  private readonly address: Address;
  private readonly prefersDark = window.matchMedia("(prefers-color-scheme: dark)");
  private saving = 0;

  constructor(store: Store, root: HTMLElement, address: Address) {
    this.store = store;
    this.root = root;
    this.address = address;
    this.state = this.sound(decode(address.read()));
    const footer = make("footer", {}, this.scale, this.caption, this.says);
    root.replaceChildren(this.header, this.bar, this.body, footer);
    root.classList.add("regard");
    root.addEventListener("keydown", (event) => this.key(event));
    this.prefersDark.addEventListener("change", () => this.render());
    this.render();
  }

  /** A state that the data can show: a link may come from other data. */
  private sound(state: State): State {
    const maps = this.store.manifest.maps;
    const within = (at: number, count: number): number => (Number.isInteger(at) && at >= 0 && at < count ? at : 0);
    const map = within(state.map, maps.length);
    const otherMap = within(state.otherMap, maps.length);
    const heads = maps[map]?.heads ?? 1;
    return {
      ...state, map, otherMap, head: within(state.head, heads), otherHead: within(state.otherHead, maps[otherMap]?.heads ?? 1),
      chosen: state.chosen.filter((head) => head < heads),
      query: within(state.query, maps[map]?.queries.size ?? 1), key: within(state.key, maps[map]?.keys.size ?? 1),
    };
  }

  get dark(): boolean {
    return this.state.theme === "dark" || (this.state.theme === "auto" && this.prefersDark.matches);
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
    return getComputedStyle(this.root).getPropertyValue(`--${name}`).trim();
  }

  change(part: Partial<State>): void {
    this.state = this.sound({ ...this.state, ...part });
    this.render();
  }

  /** State that needs no new page: where the picture stands. */
  remember(part: Partial<State>): void {
    Object.assign(this.state, part);
    window.clearTimeout(this.saving);
    this.saving = window.setTimeout(() => this.address.write(encode(this.state)), 250);
  }

  say(text: string): void {
    this.says.textContent = text;
  }

  fail(error: Error): void {
    const shown = make("p", { class: "error", role: "alert" }, error.message);
    this.root.querySelector(".error")?.remove();
    this.root.prepend(shown);
  }

  describe(extra: string): string {
    const { manifest } = this.store;
    const { state, pick } = this;
    const parts = [quantityName(manifest, pick.quantity), `${pick.map.name}, ${headsName(pick.heads)}`, extra];
    if (state.scale === "log") parts.push("logarithmic colours");
    if (!state.sinks) parts.push("first key (place of the sink) hidden");
    return `${parts.filter(Boolean).join(" · ")}. ${manifest.holds}`;
  }

  setCaption(text: string): void {
    if (this.caption.textContent !== text) this.caption.textContent = text;
  }

  get captionText(): string {
    return this.caption.textContent ?? "";
  }

  setScale(colouring: Colouring | null, name: string): void {
    if (!colouring) {
      this.scale.replaceChildren();
      return;
    }
    const bar = make("canvas", { width: "200", height: "1", role: "img", "aria-label": "Colour range" });
    const context = bar.getContext("2d")!;
    for (let x = 0; x < 200; x++) {
      context.fillStyle = css(colour(rampOf(colouring), x / 199));
      context.fillRect(x, 0, 1, 1);
    }
    const theme = this.dark ? "dark" : "light";
    const box = (rgb: readonly [number, number, number] | undefined, text: string): HTMLElement => {
      const square = make("i");
      square.style.background = css([...rgb!] as [number, number, number]);
      return make("span", { class: "key" }, square, text);
    };
    const low = colouring.kind === "plain" && colouring.scale === "log" ? `≤ ${plain(valueAt(colouring, 0))}` : plain(valueAt(colouring, 0));
    const middle = colouring.kind === "plain" ? null : `middle: ${plain(valueAt(colouring, 0.5))}`;
    this.scale.replaceChildren(
      make("span", {}, name), make("span", {}, low), bar, make("span", {}, plain(colouring.top)), ...(middle ? [make("span", {}, middle)] : []),
      box(MASKED_COLOUR[theme], "masked"), box(MISSING_COLOUR[theme], "not recorded"),
    );
  }

  render(): void {
    this.address.write(encode(this.state));
    this.root.classList.toggle("dark", this.dark);
    this.matrices = [];
    this.exported = null;
    this.renderHeader();
    this.renderBar();
    this.body.replaceChildren();
    this.setScale(null, "");
    this.say("");
    this.setCaption(this.describe(""));
    const view = this.state.view;
    PAINTERS[view](this).catch((error: Error) => this.fail(error));
  }

  private renderHeader(): void {
    const tabs = VIEWS.map(([id, name]) => {
      const tab = button(name, name, null, () => this.change({ view: id }));
      if (id === this.state.view) tab.setAttribute("aria-current", "page");
      return tab;
    });
    const theme = select("Theme", [["auto", "as the system"], ["light", "light"], ["dark", "dark"]], this.state.theme, (value) => this.change({ theme: value as Theme }));
    this.header.replaceChildren(make("h1", {}, this.store.manifest.title), make("nav", { "aria-label": "Views" }, ...tabs), theme, exportMenu(this));
  }

  private renderBar(): void {
    const { manifest } = this.store;
    const { state } = this;
    const parts: HTMLElement[] = [];
    if (state.view !== "overview") {
      parts.push(select("Layer", manifest.maps.map((map) => [String(map.id), mapName(map)]), String(state.map), (value) => this.change({ map: Number(value), x: 0, y: 0, zoom: 0, chosen: [] })));
      parts.push(select("Head", Array.from({ length: this.map.heads }, (_, i) => [String(i), String(i)]), String(state.head), (value) => this.change({ head: Number(value), chosen: [] })));
      const all = Array.from({ length: this.map.heads }, (_, i) => i);
      parts.push(check("mean of all heads", state.chosen.length > 1, (on) => this.change({ chosen: on ? all : [] })));
      if (state.view !== "text") parts.push(select("Quantity", offered(this.map).map((one) => [one.id, quantityName(manifest, one)]), this.pick.quantity.id, (value) => this.change({ quantity: value, range: 0 })));
    }
    parts.push(check("logarithmic", state.scale === "log", (on) => this.change({ scale: on ? "log" : "linear" })));
    parts.push(check("hide first key (sink)", !state.sinks, (on) => this.change({ sinks: !on })));
    if (state.view === "head" || state.view === "compare") {
      const hold = check("hold the colour range", state.range > 0, (on) => this.change({ range: on ? (this.matrices[0]?.colouring.top ?? 0) : 0 }));
      parts.push(hold);
    }
    this.bar.replaceChildren(...parts);
  }

  private key(event: KeyboardEvent): void {
    const target = event.composedPath()[0] as HTMLElement;
    if (event.ctrlKey || event.metaKey || event.altKey || ["INPUT", "SELECT", "TEXTAREA"].includes(target.tagName)) return;
    const { state } = this;
    const turn = (at: number, by: number, count: number): number => (at + by + count) % count;
    if (event.key === "]" || event.key === "[") {
      this.change({ head: turn(state.head, event.key === "]" ? 1 : -1, this.map.heads), chosen: [] });
    } else if (event.key === "}" || event.key === "{") {
      this.change({ map: turn(state.map, event.key === "}" ? 1 : -1, this.store.manifest.maps.length), chosen: [] });
    } else if (event.key === "/") {
      const search = this.root.querySelector<HTMLInputElement>("input[type=search]");
      if (search) search.focus();
      else this.change({ view: "text" });
    } else if (!this.matrices[0]?.key(event)) return;
    event.preventDefault();
    this.root.focus();
  }
}

export function mapName(map: AttentionMap): string {
  const parts = [map.model, map.name].filter(Boolean);
  if (map.input) parts.push(`input ${map.input}`);
  if (map.pass) parts.push(`pass ${map.pass}`);
  return parts.join(" · ");
}
