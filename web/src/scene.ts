// What a view knows of the page that shows it: the state, what may be done, how things are drawn, and nothing else.
import type { Rgb } from "./colours.ts";
import type { Legend } from "./legend.ts";
import type { AttentionMap } from "./manifest.ts";
import type { Sheet } from "./pens.ts";
import type { Colouring, Largest, Pick } from "./quantities.ts";
import type { SearchBox } from "./search.ts";
import type { State } from "./state.ts";
import type { Store } from "./store.ts";
import type { Surface } from "./surface.ts";

/** What is seen, for a file. */
export interface Exported {
  name: string;
  columns: string[];
  rows: (string | number)[][];
  sheet(): Sheet;
}

/** What stands in the caption, and in every file, besides the colours. */
export interface Caption {
  quantity: string;
  where: string;
  heads: number[] | null;
  cells: string;
  /** In words what is hidden, "" for nothing. */
  hidden?: string;
  extra?: string[];
  /** Of files only. */
  about?: Record<string, unknown>;
}

/** How the page looks now. */
export interface Appearance {
  readonly dark: boolean;
  /** Size of the page's letters in pixels, which readers may have set. */
  readonly textSize: number;
  readonly ground: Rgb;
  /** A colour of the style sheet. */
  ink(name: string): string;
  /** The surface that draws the cells of the matrix of a place; null without WebGL2. */
  surface(place: number): Surface | null;
  /** Colours for numbers up to the largest, or up to where the reader has set the end of the bar; `moving` as in `endOf`. */
  colouring(kind: Colouring["kind"], largest: Largest, moving?: boolean): Colouring;
}

/** What a view may do. */
export interface Actions {
  change(part: Partial<State>): void;
  /** A change of state that needs no new layout: the position of the picture. */
  remember(part: Partial<State>): void;
  say(text: string): void;
  fail(error: Error): void;
  /** Name what is seen, in the page and in every file. */
  show(legends: Legend[], caption: Caption): void;
  /** Stand on the page, in place of what stood there. */
  mount(view: Mounted, ...elements: (HTMLElement | null)[]): void;
  /** Save what is seen as a file of this kind. */
  save(kind: string): void;
  /** The address that leads back here; null where there is none. */
  link(): string | null;
}

export interface Scene extends Appearance, Actions {
  readonly state: State;
  readonly store: Store;
  readonly root: HTMLElement;
  readonly body: HTMLElement;
  readonly search: SearchBox;
  readonly map: AttentionMap;
  readonly heads: number[];
  readonly pick: Pick;
  /** Who the sentence below the picture is about. */
  teller: unknown;
}

/** What a view leaves with the page. */
export interface Mounted {
  exported(): Exported | null;
  /** Draw again, in the colours that the page has now. */
  redraw(): void;
  /** The window has another size. */
  resized?(): void;
  /** A key was pressed; true when it was one of the view's. */
  pressed?(event: KeyboardEvent): boolean;
  close?(): void;
}
