// What is looked at, as the fragment of an address: a link restores the view.
import type { Manifest } from "./manifest.ts";

export type View = "overview" | "head" | "text" | "compare" | "numbers";
export type Theme = "auto" | "light" | "dark";
export type Scale = "linear" | "log";

export interface State {
  view: View;
  map: number;
  head: number;
  chosen: number[];
  quantity: string;
  scale: Scale;
  sinks: boolean;
  range: number;
  theme: Theme;
  sort: string;
  /** -1: what the page chooses. */
  otherMap: number;
  otherHead: number;
  /** -1: none was chosen. */
  query: number;
  key: number;
  x: number;
  y: number;
  zoom: number;
  words: boolean;
  colours: string;
  opaque: boolean;
  labelling: number;
  rowTrack: string;
  columnTrack: string;
  /** How cells are drawn: "auto", "canvas", or "webgl2" even where it is imitated. Not offered in the page. */
  draw: string;
}

export const START: State = {
  view: "overview", map: 0, head: 0, chosen: [], quantity: "mass", scale: "linear", sinks: true, range: 0, theme: "auto",
  sort: "layer", otherMap: -1, otherHead: -1, query: -1, key: -1, x: 0, y: 0, zoom: 0, words: false, colours: "cividis", opaque: false,
  labelling: 0, rowTrack: "auto", columnTrack: "auto", draw: "auto",
};

// Up to so many tokens a side each has its word in letters of full size beside the matrix, in a window of 1280 x 720;
// the small maps of the overview say little of so few.
const SHORT = 32;

/** What is seen first: one head where one short text is looked at, else all of them. */
export function startOf({ maps, axes }: Manifest): State {
  const [first] = maps;
  const short = first?.quantities["mass"]?.[0] === 0 && !axes.some((axis) => axis.grid) &&
    maps.every((map) => map.input === first.input && map.model === first.model && Math.max(map.queries.size, map.keys.size) <= SHORT);
  return { ...START, view: short ? "head" : START.view };
}

export const VIEWS: View[] = ["overview", "head", "text", "compare", "numbers"];

export function encode(state: State, start = START): string {
  const parts = new URLSearchParams();
  for (const name of Object.keys(START) as (keyof State)[]) {
    const value = state[name];
    if (String(value) === String(start[name])) continue;
    parts.set(name, typeof value === "number" ? String(Number(value.toPrecision(9))) : String(value));
  }
  return parts.toString();
}

export function decode(text: string, start = START): State {
  const parts = new URLSearchParams(text.replace(/^#/, ""));
  const state = structuredClone(start) as unknown as Record<string, unknown>;
  for (const [name, value] of parts) {
    const first = START[name as keyof State];
    if (first === undefined) continue;
    if (typeof first === "number" && Number.isFinite(Number(value))) state[name] = Number(value);
    else if (typeof first === "boolean") state[name] = value === "true";
    else if (typeof first === "string") state[name] = value;
    else if (Array.isArray(first)) state[name] = value.split(",").filter(Boolean).map(Number).filter((n) => Number.isInteger(n) && n >= 0);
  }
  const found = state as unknown as State;
  if (!VIEWS.includes(found.view)) found.view = start.view;
  if (found.theme !== "dark" && found.theme !== "light") found.theme = "auto";
  if (found.scale !== "log") found.scale = "linear";
  return found;
}

/** The state with invalid fields reset: a link may come from other data. */
export function sound(state: State, { maps, axes }: Manifest): State {
  const within = (at: number, count: number, otherwise = 0): number => (Number.isInteger(at) && at >= 0 && at < count ? at : otherwise);
  const map = within(state.map, maps.length);
  const otherMap = within(state.otherMap, maps.length, -1);
  const heads = maps[map]?.heads ?? 1;
  return {
    ...state, map, otherMap, head: within(state.head, heads), otherHead: within(state.otherHead, maps[otherMap]?.heads ?? heads, -1),
    chosen: state.chosen.filter((head) => head < heads), range: state.range > 0 ? state.range : 0,
    query: within(state.query, maps[map]?.queries.size ?? 1, -1), key: within(state.key, maps[map]?.keys.size ?? 1, -1),
    labelling: within(state.labelling, Math.max(1, ...axes.map((axis) => axis.labels.length))),
  };
}
