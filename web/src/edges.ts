// Along both sides of a matrix: tokens where there is room, else positions; tracks; classes of labels in colour.
import { type Camera, type Extent, tickStep } from "./camera.ts";
import { fitted, type Lettering, type Pen, textWidth } from "./pens.ts";
import { visible } from "./words.ts";

export interface Edge {
  /** Index on the axis of the first token of this side. */
  first: number;
  size: number;
  /** "queries" or "keys". */
  name: string;
  title: string;
  tokens: string[] | null;
  labels: Int16Array | null;
  /** Colour of each class of the labels. */
  colours: string[];
  /** Tracks; their numbers may not have arrived yet. */
  track: { name: string; values: Float32Array | null; top: number } | null;
  /** Places that hold what is searched for. */
  found: number[];
  /** Places that are pointed out: sinks among the keys. */
  marks: readonly number[];
  /** First place and length of what the pointer is at. */
  lit?: readonly [number, number] | null;
}
/** Colours and the size of letters that an edge is drawn with. */
export interface Look {
  text: string;
  faint: string;
  track: string;
  accent: string;
  size: number;
}
export interface Room {
  left: number;
  top: number;
}

const TRACK = 26;
const LABELS = 8;
const MARK = 9;
const LONGEST = 8;
// Where the whole picture has no room for tokens, less is kept free for them.
const SHORTER = 5;
// Tokens are written in letters down to this share of the usual size before positions take their place.
export const SMALLEST = 0.68;
const WIDEST = 0.16;
const SAMPLE = 3000;

const name = (edge: Edge, at: number, each: boolean): string => (each ? visible(edge.tokens![edge.first + at] ?? "") : String(edge.first + at));

/** Room for the text of an edge: its widest token, but at most a share of the picture's side. */
export function textRoom(edge: Edge, size: number, side: number, roomy: boolean, width = textWidth): number {
  let most = width(String(edge.first + edge.size), size);
  const every = edge.tokens ? Math.max(1, Math.ceil(edge.size / SAMPLE)) : edge.size;
  for (let i = 0; edge.tokens && i < edge.size; i += every) most = Math.max(most, width(name(edge, i, true).slice(0, 40), size));
  return Math.min(most, (roomy ? LONGEST : SHORTER) * size, Math.max(3 * size, side * WIDEST)) + 6;
}

export function edgeRoom(edge: Edge, text: number, size: number): number {
  return size * 1.6 + text + (edge.track ? TRACK : 0) + (edge.labels ? LABELS : 0) + (edge.marks.length ? MARK : 0);
}

/** Largest value of each of `bins` stretches from token `from` to token `to`. */
export function binned(values: Float32Array, from: number, to: number, bins: number): Float32Array {
  const out = new Float32Array(bins);
  for (let bin = 0; bin < bins; bin++) {
    const start = Math.max(0, Math.floor(from + ((to - from) * bin) / bins));
    const stop = Math.min(values.length, Math.max(start + 1, Math.floor(from + ((to - from) * (bin + 1)) / bins)));
    for (let i = start; i < stop; i++) if (values[i]! > out[bin]!) out[bin] = values[i]!;
  }
  return out;
}

/** The stretch of a side on the screen: from a place, so many pixels a place and in all, the matrix beginning at `before`. */
interface Stretch {
  edge: Edge;
  from: number;
  end: number;
  pixels: number;
  along: number;
  before: number;
  text: number;
  across: boolean;
}

// A side is written once, along and away from the matrix; `across` says that it lies on top and not on the left.
function bar(pen: Pen, side: Stretch, at: number, length: number, away: number, tall: number, fill: string): void {
  const [along, off] = [side.along + at, side.before - away - tall];
  if (side.across) pen.rect(along, off, length, tall, fill);
  else pen.rect(off, along, tall, length, fill);
}

function drawSide(pen: Pen, side: Stretch, look: Look): void {
  const { edge, from, end, pixels } = side;
  let away = 2;
  if (edge.marks.length) {
    for (const mark of edge.marks) {
      if (mark + 1 > from && mark < end) pen.text("▼", side.along + Math.max(3, (mark + 0.5 - from) * pixels), side.before - MARK / 2, { size: MARK, fill: look.accent, align: "middle" });
    }
    away += MARK;
  }
  if (edge.labels) {
    for (let i = Math.floor(from); i < end; i++) {
      const kind = edge.labels[edge.first + i] ?? -1;
      const [start, stop] = [Math.max(i, from), Math.min(i + 1, end)];
      if (kind >= 0) bar(pen, side, (start - from) * pixels, Math.max(1, (stop - start) * pixels), away, LABELS - 3, edge.colours[kind]!);
    }
    away += LABELS;
  }
  if (edge.track?.values) drawTrack(pen, side, edge.track.values, edge.track.top, away, look.track);
  if (edge.track) away += TRACK;
  for (const place of edge.found) {
    if (place + 1 > from && place < end) bar(pen, side, Math.max(0, (place - from) * pixels), Math.max(2, pixels), -1, 4, look.accent);
  }
  drawNames(pen, side, look, away + 2);
}

/** One bar a token where there is room, else the largest of those that share a pixel. Whole pixels: half ones would shimmer. */
function drawTrack(pen: Pen, side: Stretch, values: Float32Array, top: number, away: number, fill: string): void {
  const { from, end, pixels } = side;
  const used = (end - from) * pixels;
  const each = pixels >= 1;
  const start = each ? Math.floor(from) : from;
  const bins = each ? Math.ceil(end) - start : Math.max(1, Math.floor(used));
  const at = (bin: number): number => Math.round(Math.max(0, Math.min(used, each ? (start + bin - from) * pixels : (bin * used) / bins)));
  binned(values, start, each ? start + bins : end, bins).forEach((value, i) => {
    const [low, high] = [at(i), at(i + 1)];
    const tall = Math.min(1, Math.max(0, value) / top || 0) * (TRACK - 4);
    if (high > low) bar(pen, side, low, high - low - (pixels > 4 ? 1 : 0), away, tall, fill);
  });
}

function drawNames(pen: Pen, side: Stretch, look: Look, away: number): void {
  const { edge, from, end, pixels } = side;
  const each = edge.tokens !== null && pixels >= look.size * SMALLEST;
  const size = each ? Math.min(look.size, pixels * 0.95) : look.size;
  const step = each ? 1 : tickStep(pixels, look.size * (side.across ? 3 : 2.4));
  const found = new Set(edge.found);
  const lit = edge.lit && edge.lit[0] + edge.lit[1] > from && edge.lit[0] < end ? edge.lit : null;
  const litAt = lit && lit[0] + (lit[1] - 1) / 2;
  for (let i = Math.ceil(from / step) * step; i < end; i += step) {
    const middle = side.along + (i - from + 0.5) * pixels;
    if (middle > side.along + (end - from) * pixels + 1) break;
    if (litAt !== null && Math.abs(i - litAt) * pixels < look.size * 1.1) continue;
    written(pen, side, middle, away, name(edge, i, each), { size, fill: found.has(i) ? look.accent : look.text, bold: found.has(i) });
  }
  if (lit && litAt !== null) {
    const text = lit[1] === 1 ? name(edge, lit[0], edge.tokens !== null) : `${edge.first + lit[0]}–${Math.min(edge.first + edge.size, edge.first + lit[0] + lit[1]) - 1}`;
    const middle = Math.max(side.along, Math.min(side.along + (end - from) * pixels, side.along + (litAt - from + 0.5) * pixels));
    written(pen, side, middle, away, text, { size: look.size, fill: look.accent, bold: true });
  }
}

function written(pen: Pen, side: Stretch, middle: number, away: number, text: string, how: Lettering): void {
  const short = fitted(text, side.text - 4, how.size);
  if (side.across) pen.text(short, middle, side.before - away, { ...how, turned: true });
  else pen.text(short, side.before - away, middle, { ...how, align: "end" });
}

export function drawEdges(pen: Pen, look: Look, rows: Edge, columns: Edge, camera: Camera, extent: Extent, room: Room, texts: Room): void {
  const { x, y, pixels } = camera;
  const endX = Math.min(extent.columns, x + extent.width / pixels);
  const endY = Math.min(extent.rows, y + extent.height / pixels);
  drawSide(pen, { edge: columns, from: x, end: endX, pixels, along: room.left, before: room.top, text: texts.top, across: true }, look);
  drawSide(pen, { edge: rows, from: y, end: endY, pixels, along: room.top, before: room.left, text: texts.left, across: false }, look);
  const faint = { size: look.size * 0.95, fill: look.faint };
  const wide = Math.max(extent.width - 4, 60);
  pen.text(fitted(`${columns.title} →`, wide, faint.size), room.left, look.size * 0.7, faint);
  const left = `← ${rows.title}`;
  pen.text(fitted(left, Math.max(extent.height - 4, 60), faint.size), look.size * 0.7, room.top + Math.min(textWidth(left, faint.size), Math.max(extent.height - 4, 60)), { ...faint, turned: true });
}
