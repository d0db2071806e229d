// Where one query looks: exact where the host can, else from the finest tiles or the stored largest weights.
import { mean, type Pick } from "./quantities.ts";
import { MISSING, type Store } from "./store.ts";

export interface Row {
  values: Float32Array;
  /** How these numbers were had, in words; empty where nothing is missing. */
  note: string;
}

async function oneHead(store: Store, pick: Pick, head: number, query: number): Promise<Row> {
  const { map } = pick;
  const size = map.keys.size;
  if (map.exact) {
    const values = await store.row(map, head, query);
    if (values) return { values, note: "" };
  }
  if (map.quantities["mass"]?.[0] === 0) {
    const tile = store.manifest.tile;
    const values = new Float32Array(size);
    const count = Math.ceil(size / tile);
    const parts = await Promise.all(Array.from({ length: count }, (_, i) => store.tile(map, head, "mass", 0, Math.floor(query / tile), i)));
    parts.forEach((part, i) => values.set(part.values.subarray((query % tile) * part.columns, (query % tile + 1) * part.columns), i * tile));
    return { values, note: "" };
  }
  const values = new Float32Array(size).fill(MISSING);
  const links = map.links ? await store.links(map, head) : null;
  if (!links) return { values, note: "single weights were not stored" };
  for (let i = query * map.links; i < (query + 1) * map.links; i++) {
    if (links.keys[i]! >= 0) values[links.keys[i]!] = links.weights[i]!;
  }
  return { values, note: `the ${map.links} largest weights of each query; the others were not stored` };
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
    const known = part.map((i) => values[i]!).filter((value) => !(value <= -1e29));
    return known.length ? known.reduce((sum, value) => sum + value, 0) : values[part[0]!]!;
  });
}
