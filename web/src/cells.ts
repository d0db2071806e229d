// Cells of a matrix: the codes that stand for no number, and a zoom out of the next finer one.
export interface Tile {
  rows: number;
  columns: number;
  values: Float32Array;
}

// Codes inside the page; differences may be negative, so the codes of the protocol (-1, -2) will not do here.
// Powers of two: exact in float32.
export const MASKED = -(2 ** 100);
export const MISSING = -(2 ** 101);
export const isCode = (value: number): boolean => value <= MASKED && value >= MISSING;

/**
 * Two by two tiles, those beyond the edge null, as one of half as many cells a side: sums over keys, means over queries.
 * A finer cell has `span` queries, the last one as many as are left of `queries`.
 */
export function joined(parts: (Tile | null)[][], span: number, queries: number): Float32Array {
  const [[first, beside], [below]] = parts as [[Tile, Tile | null], [Tile | null]];
  const height = first.rows + (below?.rows ?? 0);
  const width = first.columns + (beside?.columns ?? 0);
  const rows = Math.ceil(height / 2);
  const columns = Math.ceil(width / 2);
  const values = new Float32Array(rows * columns);
  const at = (row: number, column: number): number => {
    const tile = parts[row < first.rows ? 0 : 1]![column < first.columns ? 0 : 1]!;
    return tile.values[(row % first.rows) * tile.columns + (column % first.columns)]!;
  };
  for (let row = 0; row < rows; row++) {
    const counts = [2 * row, 2 * row + 1].map((finer) => (finer < height ? Math.min(span, queries - finer * span) : 0));
    for (let column = 0; column < columns; column++) {
      let sum = 0;
      let code = MASKED;
      let seen = false;
      for (let r = 0; r < 2 && 2 * row + r < height; r++) {
        for (let c = 0; c < 2 && 2 * column + c < width; c++) {
          const value = at(2 * row + r, 2 * column + c);
          if (isCode(value)) code = Math.min(code, value); // what is not recorded of a part is not known of the whole
          else {
            seen = true;
            sum += value * counts[r]!;
          }
        }
      }
      values[row * columns + column] = seen && code === MASKED ? sum / (counts[0]! + counts[1]!) : code;
    }
  }
  return values;
}
