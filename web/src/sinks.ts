// The position of the sink: the first visible key, if it is the same for all queries.
import type { AttentionMap } from "./manifest.ts";
import { MASKED, type Store, type Tile } from "./store.ts";

/** The first column that is not masked, where all rows that see something agree on it. */
export function sinkColumn(tile: Tile): number | null {
  let found: number | null = null;
  for (let row = 0; row < tile.rows; row++) {
    const line = tile.values.subarray(row * tile.columns, (row + 1) * tile.columns);
    const first = line.findIndex((value) => value !== MASKED);
    if (first < 0) continue;
    if (found !== null && found !== first) return null;
    found = first;
  }
  return found;
}

/** The key of the sink; null where each query has a first key of its own (windows), or nothing is known. */
export async function sinkOf(store: Store, map: AttentionMap, head: number): Promise<number | null> {
  const range = map.quantities["mass"];
  if (!range) return null;
  const [finest, coarsest] = range;
  const column = sinkColumn(await store.tile(map, head, "mass", coarsest, 0, 0));
  if (column === null || coarsest === finest) return column === null ? null : column * 2 ** coarsest;
  // The last query that sees something: padding on the left begins inside of a coarse cell.
  const side = store.manifest.tile * 2 ** finest;
  const first = column * 2 ** coarsest;
  const last = map.queries.size - 1;
  const tile = await store.tile(map, head, "mass", finest, Math.floor(last / side), Math.floor(first / side));
  const start = Math.floor((first % side) / 2 ** finest);
  const fine = lastFirst(tile, start);
  return fine === null ? first : Math.floor(first / side) * side + fine * 2 ** finest;
}

function lastFirst(tile: Tile, start: number): number | null {
  for (let row = tile.rows - 1; row >= 0; row--) {
    const line = tile.values.subarray(row * tile.columns + start, (row + 1) * tile.columns);
    const first = line.findIndex((value) => value !== MASKED);
    if (first >= 0) return start + first;
  }
  return null;
}
