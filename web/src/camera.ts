// The position of the picture: the token at its upper left corner, and pixels per token.
export interface Camera {
  x: number;
  y: number;
  pixels: number;
}
export interface Extent {
  columns: number;
  rows: number;
  width: number;
  height: number;
}

export const MOST_PIXELS = 48;

export function fitting(extent: Extent): number {
  return Math.min(MOST_PIXELS, extent.width / extent.columns, extent.height / extent.rows);
}

/** The camera, moved back inside the matrix. */
export function held(camera: Camera, extent: Extent): Camera {
  const pixels = Math.max(fitting(extent), Math.min(MOST_PIXELS, camera.pixels));
  const hold = (at: number, count: number, room: number): number => Math.max(0, Math.min(at, count - room / pixels));
  return { x: hold(camera.x, extent.columns, extent.width), y: hold(camera.y, extent.rows, extent.height), pixels };
}

/** Zoom by a factor; the token under the point (in pixels) stays where it is. */
export function zoomed(camera: Camera, factor: number, x: number, y: number, extent: Extent): Camera {
  const pixels = Math.max(fitting(extent), Math.min(MOST_PIXELS, camera.pixels * factor));
  return held({ pixels, x: camera.x + x / camera.pixels - x / pixels, y: camera.y + y / camera.pixels - y / pixels }, extent);
}

/** The zoom of the tiles: cells of at least one pixel, among the available zooms. */
export function zoomFor(pixels: number, [lowest, highest]: [number, number], ratio = 1): number {
  const wanted = Math.ceil(Math.log2(1 / (pixels * ratio)) - 1e-9);
  return Math.max(lowest, Math.min(highest, Math.max(0, wanted)));
}

export interface Patch {
  row: number;
  column: number;
}

/** The tiles that the picture shows at a zoom. */
export function patches(camera: Camera, extent: Extent, z: number, tile: number): Patch[] {
  const span = tile * 2 ** z;
  const end = (at: number, room: number, count: number): number => Math.min(count, at + room / camera.pixels);
  const found: Patch[] = [];
  const lastRow = Math.ceil(end(camera.y, extent.height, extent.rows) / span);
  const lastColumn = Math.ceil(end(camera.x, extent.width, extent.columns) / span);
  for (let row = Math.floor(camera.y / span); row < lastRow; row++) {
    for (let column = Math.floor(camera.x / span); column < lastColumn; column++) found.push({ row, column });
  }
  return found;
}

/** Ticks at round positions, at least `room` pixels apart. */
export function tickStep(pixels: number, room: number): number {
  const least = room / pixels;
  const power = 10 ** Math.floor(Math.log10(Math.max(least, 1)));
  return [1, 2, 5, 10].map((one) => one * power).find((step) => step >= least) ?? 10 * power;
}
