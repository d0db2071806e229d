// Attention on the patches of an image, over the image.
import type { App } from "./app.ts";
import { css } from "./colours.ts";
import type { Axis, Side } from "./manifest.ts";
import { cellColour, type Colouring, share } from "./quantities.ts";
import { isCode } from "./store.ts";

const SIDE = 336;

export async function drawPatches(app: App, canvas: HTMLCanvasElement, side: Side, grid: NonNullable<Axis["grid"]>, values: Float32Array, colouring: Colouring): Promise<void> {
  const image = await app.store.image(side.axis);
  const ratio = image ? image.height / image.width : grid.rows / grid.columns;
  canvas.width = SIDE * 2 + 12;
  canvas.height = Math.round(SIDE * ratio);
  canvas.style.maxWidth = "100%";
  const context = canvas.getContext("2d")!;
  if (image) context.drawImage(image, 0, 0, SIDE, canvas.height);
  const left = image ? SIDE + 12 : 0;
  if (image) context.drawImage(image, left, 0, SIDE, canvas.height);
  const wide = SIDE / grid.columns;
  const tall = canvas.height / grid.rows;
  for (let i = 0; i < grid.rows * grid.columns; i++) {
    const value = values[grid.first + i - side.first];
    if (value === undefined) continue;
    context.globalAlpha = image && !isCode(value) ? 0.25 + 0.6 * Math.max(0, Math.min(1, share(colouring, value))) : 1;
    context.fillStyle = css(cellColour(colouring, value));
    context.fillRect(left + (i % grid.columns) * wide, Math.floor(i / grid.columns) * tall, wide, tall);
  }
  context.globalAlpha = 1;
}
