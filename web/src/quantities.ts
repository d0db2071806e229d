// The numbers that can be shown: those of the host, and those the page makes of them.
import { type RampName, colour, MASKED_COLOUR, MISSING_COLOUR, NAN_COLOUR, type Rgb } from "./colours.ts";
import type { AttentionMap } from "./manifest.ts";
import type { Scale } from "./state.ts";
import { isCode, MASKED, MISSING, type Store, type Tile } from "./store.ts";

export interface Quantity {
  id: string;
  name: string;
  needs: string[];
  ratio: boolean;
}

export const QUANTITIES: Quantity[] = [
  { id: "mass", name: "attention", needs: ["mass"], ratio: false },
  { id: "peak", name: "largest weight of the cell", needs: ["peak"], ratio: false },
  { id: "value", name: "weighted by values", needs: ["value"], ratio: false },
  { id: "lift", name: "lift: attention / even attention", needs: ["mass", "uniform"], ratio: true },
  { id: "observed", name: "observed / expected at the distance", needs: ["mass", "expected"], ratio: true },
];

/** One matrix of the picture: the mean over `heads` when there are several. */
export interface Pick {
  map: AttentionMap;
  heads: number[];
  quantity: Quantity;
}

export function quantityOf(id: string): Quantity {
  return QUANTITIES.find((one) => one.id === id) ?? QUANTITIES[0]!;
}

export function offered(map: AttentionMap): Quantity[] {
  return QUANTITIES.filter((one) => one.needs.every((need) => map.quantities[need]));
}

/** The lowest and highest zoom at which all that a quantity needs can be had. */
export function zooms(map: AttentionMap, quantity: Quantity): [number, number] {
  const ranges = quantity.needs.map((need): [number, number] => map.quantities[need] ?? [map.finest, map.coarsest]);
  return [Math.max(...ranges.map((r) => r[0])), Math.min(...ranges.map((r) => r[1]))];
}

export function ratios(top: Float32Array, bottom: Float32Array): Float32Array {
  return top.map((value, i) => {
    const under = bottom[i]!;
    if (isCode(value)) return value;
    if (isCode(under)) return under;
    return under === 0 ? MASKED : value / under;
  });
}

export function mean(parts: Float32Array[]): Float32Array {
  const first = parts[0]!;
  if (parts.length === 1) return first;
  return first.map((_, i) => {
    let sum = 0;
    let count = 0;
    let code = MASKED;
    for (const part of parts) {
      const value = part[i]!;
      if (value === MISSING) return MISSING;
      if (isCode(value)) code = value;
      else {
        sum += value;
        count++;
      }
    }
    return count === parts.length ? sum / count : code;
  });
}

export function difference(left: Float32Array, right: Float32Array): Float32Array {
  return left.map((value, i) => {
    const other = right[i]!;
    if (isCode(value)) return value;
    return isCode(other) ? other : value - other;
  });
}

export async function cells(store: Store, pick: Pick, z: number, row: number, column: number, signal?: AbortSignal): Promise<Tile> {
  const parts = await Promise.all(
    pick.heads.map(async (head) => {
      const [top, bottom] = await Promise.all(pick.quantity.needs.map((need) => store.tile(pick.map, head, need, z, row, column, signal)));
      return bottom ? { ...top!, values: ratios(top!.values, bottom.values) } : top!;
    }),
  );
  return { ...parts[0]!, values: mean(parts.map((part) => part.values)) };
}

export async function differenceCells(store: Store, left: Pick, right: Pick, z: number, row: number, column: number, signal?: AbortSignal): Promise<Tile> {
  const [one, other] = await Promise.all([cells(store, left, z, row, column, signal), cells(store, right, z, row, column, signal)]);
  return { ...one, values: difference(one.values, other.values) };
}

/** How numbers become colours. `top` is the largest number of the bar; ratios and differences have a middle. */
export interface Colouring {
  kind: "plain" | "ratio" | "difference";
  scale: Scale;
  top: number;
  dark: boolean;
  colours: RampName;
  /** The largest number seen, where the bar ends at a rounder one above it; null where it ends at the number itself. */
  rounded: number | null;
  /** Numbers above the bar are seen, in its last colour. */
  over: boolean;
  /** NaN is seen. */
  nan: boolean;
}

// A logarithmic bar spans this many powers of ten; what is smaller has the lowest colour, and zero too.
export const DECADES = 4;

export function rampOf(colouring: Colouring): RampName {
  return colouring.kind === "plain" ? colouring.colours : "diverging";
}

export function share(colouring: Colouring, value: number): number {
  const { kind, top, scale } = colouring;
  if (kind === "difference") return 0.5 + value / (2 * top);
  if (kind === "ratio") return value <= 0 ? 0 : 0.5 + Math.log(value) / (2 * Math.log(top));
  if (scale === "linear") return value / top;
  return value <= 0 ? 0 : 1 + Math.log10(value / top) / DECADES;
}

/** The number that stands at a place of the bar. */
export function valueAt(colouring: Colouring, place: number): number {
  const { kind, top, scale } = colouring;
  if (kind === "difference") return (place - 0.5) * 2 * top;
  if (kind === "ratio") return top ** ((place - 0.5) * 2);
  return scale === "linear" ? place * top : top * 10 ** ((place - 1) * DECADES);
}

export function cellColour(colouring: Colouring, value: number): Rgb {
  const theme = colouring.dark ? "dark" : "light";
  if (value === MASKED) return MASKED_COLOUR[theme]!;
  if (value === MISSING) return MISSING_COLOUR[theme]!;
  if (Number.isNaN(value)) return NAN_COLOUR;
  return colour(rampOf(colouring), share(colouring, value));
}

/** The largest number among the cells without its sign, and whether one is NaN; hidden columns do not count. */
export interface Largest {
  top: number;
  nan: boolean;
}

const known = new WeakMap<Float32Array, Map<string, Largest>>();

export function largestOf(values: Float32Array, columns: number, hidden: readonly number[]): Largest {
  const away = new Set(hidden);
  const key = hidden.join();
  let found = known.get(values);
  if (!found) known.set(values, (found = new Map()));
  const before = found.get(key);
  if (before) return before;
  const made = { top: 0, nan: false };
  for (let i = 0; i < values.length; i++) {
    const value = values[i]!;
    if (away.size && away.has(i % columns)) continue;
    if (value !== value) made.nan = true;
    else if (value <= MASKED) continue;
    else if (Math.abs(value) > made.top && Number.isFinite(value)) made.top = Math.abs(value);
  }
  found.set(key, made);
  return made;
}

/**
 * Where the bar ends unless the reader has set it: at the largest number seen. `moving`: the picture is larger than a
 * tile; its end stays the same for most steps, a round number, so that the colours do not change under the hand.
 */
export function endOf(largest: number, kind: Colouring["kind"], moving: boolean): number {
  return moving || kind === "ratio" ? niceTop(largest, kind) : largest > 0 && Number.isFinite(largest) ? largest : 1;
}

/** A number to end the bar at: the largest seen, rounded up to a number of one digit or 1.5 times a power of ten. */
export function niceTop(largest: number, kind: Colouring["kind"]): number {
  if (kind === "ratio") return Math.max(2, Math.min(1024, 2 ** Math.ceil(Math.log2(Math.max(largest, 1.01)))));
  if (!(largest > 0) || !Number.isFinite(largest)) return 1;
  const power = 10 ** Math.floor(Math.log10(largest));
  const step = [1, 1.5, 2, 3, 4, 5, 6, 8, 10].find((one) => one * power >= largest * 0.999999)!;
  const top = Number((step * power).toPrecision(6));
  return kind === "plain" ? Math.min(top, largest > 1 ? top : 1) : top;
}
