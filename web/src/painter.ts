// Tiles to pixels without WebGL: coloured once, then only copied, so moving the picture costs nothing but copies.
import { MASKED_COLOUR, MISSING_COLOUR, NAN_COLOUR, rampTable } from "./colours.ts";
import { type Colouring, rampOf, share } from "./quantities.ts";
import { isCode, MISSING, type Tile } from "./store.ts";

export interface Shown {
  tile: Tile;
  firstRow: number;
  firstColumn: number;
  z: number;
}

/** The columns of a tile that hidden keys lie in. */
export function hiddenColumns(shown: Shown, keys: readonly number[]): number[] {
  const columns = keys.map((key) => Math.floor(key / 2 ** shown.z) - shown.firstColumn);
  return [...new Set(columns.filter((column) => column >= 0 && column < shown.tile.columns))];
}

export class Painter {
  private readonly coloured = new WeakMap<Float32Array, { key: string; canvas: HTMLCanvasElement }>();

  picture(tile: Tile, colouring: Colouring, hidden: readonly number[]): HTMLCanvasElement {
    const key = `${rampOf(colouring)} ${colouring.kind} ${colouring.scale} ${colouring.top} ${colouring.dark} ${hidden}`;
    const found = this.coloured.get(tile.values);
    if (found?.key === key) return found.canvas;
    const canvas = found?.canvas ?? document.createElement("canvas");
    canvas.width = tile.columns;
    canvas.height = tile.rows;
    const image = new ImageData(tile.columns, tile.rows);
    paint(image.data, tile, colouring, hidden);
    canvas.getContext("2d")!.putImageData(image, 0, 0);
    this.coloured.set(tile.values, { key, canvas });
    return canvas;
  }
}

/** Fill pixels, four bytes each, with a tile in colours; the columns `hidden` are striped. */
export function paint(pixels: Uint8ClampedArray, tile: Tile, colouring: Colouring, hidden: readonly number[]): void {
  const away = new Set(hidden);
  const ramp = rampTable(rampOf(colouring));
  const theme = colouring.dark ? "dark" : "light";
  for (let i = 0; i < tile.values.length; i++) {
    const value = tile.values[i]!;
    const column = i % tile.columns;
    const to = i * 4;
    pixels[to + 3] = 255;
    const sink = away.has(column) && !isCode(value);
    if (sink || isCode(value) || Number.isNaN(value)) {
      const rgb = sink ? MASKED_COLOUR[theme]! : isCode(value) ? (value === MISSING ? MISSING_COLOUR[theme]! : MASKED_COLOUR[theme]!) : NAN_COLOUR;
      const striped = (sink || value === MISSING) && (column + Math.floor(i / tile.columns)) % 2 === 0;
      for (let c = 0; c < 3; c++) pixels[to + c] = striped ? Math.round(rgb[c]! * 0.82) : rgb[c]!;
      continue;
    }
    const at = Math.max(0, Math.min(255, Math.round(share(colouring, value) * 255))) * 3;
    pixels[to] = ramp[at]!;
    pixels[to + 1] = ramp[at + 1]!;
    pixels[to + 2] = ramp[at + 2]!;
  }
}
