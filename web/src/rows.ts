// Where one query looks: exact where the host can, else from the finest tiles or the stored largest weights.
import type { AttentionMap } from "./manifest.ts";
import { mean, type Pick } from "./quantities.ts";
import { isCode, MASKED, MISSING, type Store } from "./store.ts";
import { percent } from "./words.ts";

// Fewer stored weights of a query than these say less than the means of its cells.
const ENOUGH = 4;

export interface Row {
  values: Float32Array;
  /** How these numbers were obtained, in words; empty if they are exact. */
  note: string;
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

async function oneHead(store: Store, pick: Pick, head: number, query: number): Promise<Row> {
  const { map } = pick;
  const exact = map.exact ? await store.row(map, head, query) : null;
  if (exact) return { values: exact, note: "" };
  const finest = map.quantities["mass"]?.[0];
  if (finest === undefined && !map.links) return { values: new Float32Array(map.keys.size).fill(MISSING), note: "no weights of this layer were recorded" };
  const cells = finest === undefined ? new Float32Array(map.keys.size).fill(MISSING) : await cellsOfRow(store, map, head, query, finest);
  if (finest === 0) return { values: cells, note: "" };
  const links = map.links ? await store.links(map, head) : null;
  const largest = links && Array.from({ length: map.links }, (_, i) => query * map.links + i).filter((i) => links.keys[i]! >= 0);
  if (links && largest && (map.links >= ENOUGH || finest === undefined)) {
    const values = cells.map((value) => (value === MASKED ? MASKED : MISSING));
    for (const i of largest) values[links.keys[i]!] = links.weights[i]!;
    return { values, note: `the ${map.links === 1 ? "largest weight" : `${map.links} largest weights`} of each query; the others were not recorded` };
  }
  const span = 2 ** finest!;
  const values = cells.map((value, key) => (isCode(value) ? value : value / Math.min(span, map.keys.size - Math.floor(key / span) * span)));
  const known = links && largest?.length ? `; its largest weight was: ${percent(links.weights[largest[0]!]!)} on key ${links.keys[largest[0]!]! + map.keys.first}` : "";
  return { values, note: `single weights were not recorded: means over cells of ${span} × ${span} tokens${known}` };
}

export async function rowOf(store: Store, pick: Pick, query: number): Promise<Row> {
  const rows = await Promise.all(pick.heads.map((head) => oneHead(store, pick, head, query)));
  return { values: mean(rows.map((row) => row.values)), note: rows[0]!.note };
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

/** Numbers of words: a sum over the keys of a word. Codes stay unless a number stands beside them. */
export function summed(values: Float32Array, parts: number[][]): Float32Array {
  return Float32Array.from(parts, (part) => {
    const known = part.map((i) => values[i]!).filter((value) => !isCode(value));
    return known.length ? known.reduce((sum, value) => sum + value, 0) : values[part[0]!]!;
  });
}
