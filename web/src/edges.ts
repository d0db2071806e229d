// Along both sides of a matrix: tokens where there is room, else positions; tracks; classes of labels in colour.
import type { App } from "./app.ts";
import { type Camera, type Extent, tickStep } from "./camera.ts";
import { CLASSES } from "./colours.ts";
import { visible } from "./words.ts";

export interface Edge {
  first: number;
  title: string;
  tokens: string[] | null;
  labels: Int16Array | null;
  track: { name: string; values: Float32Array } | null;
}

const TEXT = 78;
const TRACK = 26;
const LABELS = 7;
const FONT = 12;

export function edgeRoom(edge: Edge): number {
  return TEXT + (edge.track ? TRACK : 0) + (edge.labels ? LABELS : 0);
}

/** Largest value of each of `bins` stretches from token `from` to token `to`. */
export function binned(values: Float32Array, from: number, to: number, bins: number): Float32Array {
  const out = new Float32Array(bins);
  for (let bin = 0; bin < bins; bin++) {
    const start = Math.max(0, Math.floor(from + ((to - from) * bin) / bins));
    const stop = Math.min(values.length, Math.max(start + 1, Math.floor(from + ((to - from) * (bin + 1)) / bins)));
    for (let i = start; i < stop; i++) out[bin] = Math.max(out[bin]!, values[i]!);
  }
  return out;
}

function drawEdge(context: CanvasRenderingContext2D, app: App, edge: Edge, from: number, count: number, pixels: number, length: number, before: number): void {
  // Drawn as a row along the top; the left side is the same, turned.
  const end = Math.min(count, from + length / pixels);
  const used = (end - from) * pixels;
  const tracks = before - (edge.labels ? LABELS : 0);
  if (edge.labels) {
    for (let i = Math.floor(from); i < end; i++) {
      const kind = edge.labels[edge.first + i] ?? -1;
      if (kind < 0) continue;
      context.fillStyle = CLASSES[kind % CLASSES.length]!;
      context.fillRect((i - from) * pixels, before - LABELS, Math.max(1, pixels), LABELS - 2);
    }
  }
  if (edge.track) {
    const bins = Math.max(1, Math.min(Math.floor(used), Math.ceil(end - from)));
    const values = binned(edge.track.values, from, end, bins);
    const top = edge.track.values.reduce((most, value) => (Number.isFinite(value) ? Math.max(most, value) : most), 0) || 1;
    context.fillStyle = app.ink("track");
    values.forEach((value, bin) => {
      const tall = (Math.min(1, Math.max(0, value) / top) || 0) * (TRACK - 4);
      context.fillRect((bin * used) / bins, tracks - 2 - tall, Math.max(1, used / bins - (used / bins > 4 ? 1 : 0)), tall);
    });
  }
  context.fillStyle = app.ink("text");
  context.textBaseline = "middle";
  const base = tracks - (edge.track ? TRACK : 0) - 4;
  const each = edge.tokens && pixels >= FONT;
  const step = each ? 1 : tickStep(pixels, 56);
  for (let i = Math.ceil(from / step) * step; i < end; i += step) {
    const middle = (i - from + 0.5) * pixels;
    context.save();
    context.translate(middle, base);
    context.rotate(-Math.PI / 2);
    const text = each ? visible(edge.tokens![edge.first + i] ?? "") : String(edge.first + i);
    context.fillText(text.length > 11 ? `${text.slice(0, 10)}…` : text, 0, 0);
    context.restore();
  }
}

export function drawEdges(context: CanvasRenderingContext2D, app: App, rows: Edge, columns: Edge, camera: Camera, extent: Extent, room: { left: number; top: number }): void {
  context.font = `${FONT}px system-ui, sans-serif`;
  context.fillStyle = app.ink("surface");
  context.save();
  context.translate(room.left, 0);
  context.textAlign = "left";
  drawEdge(context, app, columns, camera.x, extent.columns, camera.pixels, extent.width, room.top);
  context.restore();
  context.save();
  // The left side is the top, mirrored on the diagonal; its text then has to be turned back.
  context.translate(0, room.top);
  drawLeft(context, app, rows, camera, extent, room.left);
  context.restore();
  context.textAlign = "left";
  context.textBaseline = "middle";
  context.fillStyle = app.ink("faint");
  context.fillText(`${columns.title} →`, 4, 10);
  context.fillText(`${rows.title} ↓`, 4, 26);
}

function drawLeft(context: CanvasRenderingContext2D, app: App, edge: Edge, camera: Camera, extent: Extent, before: number): void {
  const { y: from, pixels } = camera;
  const end = Math.min(extent.rows, from + extent.height / pixels);
  const used = (end - from) * pixels;
  const tracks = before - (edge.labels ? LABELS : 0);
  if (edge.labels) {
    for (let i = Math.floor(from); i < end; i++) {
      const kind = edge.labels[edge.first + i] ?? -1;
      if (kind < 0) continue;
      context.fillStyle = CLASSES[kind % CLASSES.length]!;
      context.fillRect(before - LABELS, (i - from) * pixels, LABELS - 2, Math.max(1, pixels));
    }
  }
  if (edge.track) {
    const bins = Math.max(1, Math.min(Math.floor(used), Math.ceil(end - from)));
    const values = binned(edge.track.values, from, end, bins);
    const top = edge.track.values.reduce((most, value) => (Number.isFinite(value) ? Math.max(most, value) : most), 0) || 1;
    context.fillStyle = app.ink("track");
    values.forEach((value, bin) => {
      const wide = (Math.min(1, Math.max(0, value) / top) || 0) * (TRACK - 4);
      context.fillRect(tracks - 2 - wide, (bin * used) / bins, wide, Math.max(1, used / bins - (used / bins > 4 ? 1 : 0)));
    });
  }
  context.fillStyle = app.ink("text");
  context.textBaseline = "middle";
  context.textAlign = "right";
  const each = edge.tokens && pixels >= FONT;
  const step = each ? 1 : tickStep(pixels, 32);
  for (let i = Math.ceil(from / step) * step; i < end; i += step) {
    const text = each ? visible(edge.tokens![edge.first + i] ?? "") : String(edge.first + i);
    context.fillText(text.length > 11 ? `${text.slice(0, 10)}…` : text, tracks - (edge.track ? TRACK : 0) - 4, (i - from + 0.5) * pixels);
  }
}
