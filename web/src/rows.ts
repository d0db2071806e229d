// Where queries look: exact where the host can, else from the finest tiles or the stored largest weights.
import type { AttentionMap } from "./manifest.ts";
import { mean, type Pick } from "./quantities.ts";
import { isCode, MASKED, MISSING, type Store, type Tile } from "./store.ts";
import { lacking, percent } from "./words.ts";

// Fewer stored weights of a query than these say less than the means of its cells.
const ENOUGH = 4;

export interface Row {
  values: Float32Array;
  /** How these numbers were obtained, in words; empty if they are exact. */
  note: string;
  /** Whether they are means over cells. */
  pooled: boolean;
}

/** The cells of the finest zoom that a query lies in, one number for each key: that of its cell. */
async function cellsOfRow(store: Store, map: AttentionMap, head: number, query: number, z: number): Promise<Float32Array> {
  const size = store.manifest.tile;
  const span = 2 ** z;
  const cells = Math.ceil(map.keys.size / span);
  const row = Math.floor(query / span);
  const parts = await Promise.all(Array.from({ length: Math.ceil(cells / size) }, (_, i) => store.tile(map, head, "mass", z, Math.floor(row / size), i)));
  const values = new Float32Array(map.keys.size);
  for (let key = 0; key < values.length; key++) {
    const cell = Math.floor(key / span);
    const part = parts[Math.floor(cell / size)]!;
    values[key] = part.values[(row % size) * part.columns + (cell % size)]!;
  }
  return values;
}

/** One query of one head. `alone`: no mean is taken of it, so that the largest weights of its own can stand for it. */
async function oneRow(store: Store, map: AttentionMap, head: number, query: number, alone: boolean): Promise<Row> {
  const exact = map.exact ? await store.row(map, head, query) : null;
  if (exact) return { values: exact, note: "", pooled: false };
  const finest = map.quantities["mass"]?.[0];
  if (finest === undefined && !map.top_weights) return { values: new Float32Array(map.keys.size).fill(MISSING), note: "no weights of this layer were recorded", pooled: false };
  const cells = finest === undefined ? new Float32Array(map.keys.size).fill(MISSING) : await cellsOfRow(store, map, head, query, finest);
  if (finest === 0) return { values: cells, note: "", pooled: false };
  const top = map.top_weights ? await store.topWeights(map, head) : null;
  const largest = top && Array.from({ length: map.top_weights }, (_, i) => query * map.top_weights + i).filter((i) => top.keys[i]! >= 0);
  // Of two rows other keys are known: their mean is known nowhere, but that of their cells is.
  if (top && largest && (finest === undefined || (alone && map.top_weights >= ENOUGH))) {
    const values = cells.map((value) => (value === MASKED ? MASKED : MISSING));
    for (const i of largest) values[top.keys[i]!] = top.weights[i]!;
    return { values, note: `the ${map.top_weights === 1 ? "largest weight" : `${map.top_weights} largest weights`} of each query; the others ${lacking(map)}`, pooled: false };
  }
  const span = 2 ** finest!;
  const values = cells.map((value, key) => (isCode(value) ? value : value / Math.min(span, map.keys.size - Math.floor(key / span) * span)));
  const known = alone && top && largest?.length ? `; its largest weight was: ${percent(top.weights[largest[0]!]!)} on key ${top.keys[largest[0]!]! + map.keys.first}` : "";
  return { values, note: `single weights ${lacking(map)}: means over cells of ${span} × ${span} tokens${known}`, pooled: true };
}

/** The mean over some heads and some queries (those of a word). */
export async function rowOf(store: Store, { map, heads }: Pick, queries: number[]): Promise<Row> {
  const alone = heads.length * queries.length === 1;
  const rows = await Promise.all(heads.flatMap((head) => queries.map((query) => oneRow(store, map, head, query, alone))));
  return { ...rows[0]!, values: mean(rows.map((row) => row.values)) };
}

/** The query to begin with: the last one under a causal mask, where the first sees but itself, else the first that sees something. */
export async function firstLook(store: Store, map: AttentionMap): Promise<number> {
  const tile = (await store.overview(map))?.[0];
  if (!tile) return 0;
  const seen = Array.from({ length: tile.rows }, (_, row) => visible(tile, row));
  const first = seen.findIndex((count) => count > 0);
  const last = seen.findLastIndex((count) => count > 0);
  if (first < 0) return 0;
  const span = 2 ** map.overview;
  const [from, by] = seen[last]! > seen[first]! ? [Math.min(map.queries.size, (last + 1) * span) - 1, -1] : [first * span, 1];
  // Inside of a cell some queries may see nothing, such as those of padding.
  for (let i = 0; i < span; i++) {
    const query = from + i * by;
    const row = await oneRow(store, map, 0, query, true);
    if (row.values.some((value) => value !== MASKED)) return query;
  }
  return from;
}

function visible({ values, columns }: Tile, row: number): number {
  return values.subarray(row * columns, (row + 1) * columns).reduce((count, value) => count + Number(value !== MASKED), 0);
}

/** Runs of tokens of one word; a token without a word stands alone. */
export function groups(words: Int32Array | null, from: number, to: number): number[][] {
  const found: number[][] = [];
  for (let i = from; i < to; i++) {
    const last = found.at(-1);
    if (last && words && words[i]! >= 0 && words[last.at(-1)!] === words[i]) last.push(i);
    else found.push([i]);
  }
  return found;
}

/** A sum over places. `least`: some of them are not known, so it is at least this much. */
export interface Sum {
  value: number;
  least: boolean;
}

/** The sum over some places: what is masked is nothing; a code where nothing else is known. */
export function total(values: Float32Array, places: number[]): Sum {
  let sum = 0;
  let known = 0;
  let missing = 0;
  for (const i of places) {
    const value = values[i]!;
    if (value === MISSING) missing++;
    else if (value !== MASKED) {
      sum += value;
      known++;
    }
  }
  if (known === 0) return { value: missing ? MISSING : MASKED, least: false };
  return { value: sum, least: missing > 0 };
}
