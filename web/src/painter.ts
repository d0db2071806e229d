// Tiles to pixels: coloured once, then only copied, so moving the picture costs nothing but copies.
import { rampTable, MASKED_COLOUR, MISSING_COLOUR, NAN_COLOUR } from "./colours.ts";
import { cellColour, type Colouring, rampOf, share } from "./quantities.ts";
import { isCode, type Tile } from "./store.ts";

export interface Shown {
  tile: Tile;
  firstRow: number;
  firstColumn: number;
  z: number;
}

export class Painter {
  private readonly coloured = new WeakMap<Tile, { key: string; canvas: HTMLCanvasElement }>();

  picture(tile: Tile, colouring: Colouring, hidden: number | null): HTMLCanvasElement {
    const key = `${colouring.kind} ${colouring.scale} ${colouring.top} ${colouring.dark} ${hidden}`;
    const found = this.coloured.get(tile);
    if (found?.key === key) return found.canvas;
    const canvas = found?.canvas ?? document.createElement("canvas");
    canvas.width = tile.columns;
    canvas.height = tile.rows;
    canvas.getContext("2d")!.putImageData(paint(tile, colouring, hidden), 0, 0);
    this.coloured.set(tile, { key, canvas });
    return canvas;
  }
}

/** A tile in colours; the column `hidden` is drawn as masked (the place of the sink, when it is hidden). */
export function paint(tile: Tile, colouring: Colouring, hidden: number | null): ImageData {
  const image = new ImageData(tile.columns, tile.rows);
  const pixels = image.data;
  const ramp = rampTable(rampOf(colouring));
  const theme = colouring.dark ? "dark" : "light";
  for (let i = 0; i < tile.values.length; i++) {
    const value = i % tile.columns === hidden && !isCode(tile.values[i]!) ? NaN : tile.values[i]!;
    if (isCode(value) || Number.isNaN(value)) {
      const sink = i % tile.columns === hidden;
      const rgb = sink ? MASKED_COLOUR[theme]! : isCode(value) ? cellColour(colouring, value) : NAN_COLOUR;
      const hatched = sink || (rgb === MISSING_COLOUR[theme] && (i + Math.floor(i / tile.columns)) % 2 === 0);
      for (let c = 0; c < 3; c++) pixels[i * 4 + c] = hatched ? Math.round(rgb[c]! * 0.85) : rgb[c]!;
    } else {
      const at = Math.max(0, Math.min(255, Math.round(share(colouring, value) * 255))) * 3;
      pixels[i * 4] = ramp[at]!;
      pixels[i * 4 + 1] = ramp[at + 1]!;
      pixels[i * 4 + 2] = ramp[at + 2]!;
    }
    pixels[i * 4 + 3] = 255;
  }
  return image;
}

/** The largest number of some tiles; the hidden column does not count. */
export function largest(shown: Shown[], hideFirst: boolean): number {
  let top = 0;
  for (const { tile, firstColumn } of shown) {
    const skip = hideFirst && firstColumn === 0;
    for (let i = 0; i < tile.values.length; i++) {
      const value = Math.abs(tile.values[i]!);
      if (value > top && value < 1e29 && !(skip && i % tile.columns === 0)) top = value;
    }
  }
  return top;
}
