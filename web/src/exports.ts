// What is seen, as a file: each carries the caption that says what it is.
import type { App } from "./app.ts";
import { css } from "./colours.ts";
import { make, select } from "./dom.ts";
import type { Matrix } from "./matrix.ts";
import { cellColour } from "./quantities.ts";
import { isCode } from "./store.ts";
import { plain, visible } from "./words.ts";

export interface Exported {
  name: string;
  caption: string;
  canvas: HTMLCanvasElement | null;
  columns: string[];
  rows: (string | number)[][];
  svg?: () => string;
}

const MOST_RECTANGLES = 40000;

/** A field of a CSV file. A leading sign that a spreadsheet would run as a formula is kept as text. */
export function field(value: string | number): string {
  if (typeof value === "number") return String(value);
  const safe = /^[=+\-@\t\r]/.test(value) ? `'${value}` : value;
  return /[",\n\r]/.test(safe) ? `"${safe.replace(/"/g, '""')}"` : safe;
}

export function csv(made: Exported): string {
  const lines = [made.columns, ...made.rows].map((row) => row.map(field).join(","));
  return `# ${made.caption.replace(/\s+/g, " ")}\n${lines.join("\n")}\n`;
}

export function json(made: Exported): string {
  return JSON.stringify({ caption: made.caption, columns: made.columns, rows: made.rows.map((row) => row.map((value) => (typeof value === "number" && !Number.isFinite(value) ? String(value) : value))) }, null, 1);
}

export const escaped = (text: string): string => text.replace(/[&<>"']/g, (letter) => `&#${letter.charCodeAt(0)};`).replace(/[\u0000-\u0008\u000b-\u001f\ufffe\uffff]/g, "�");

function download(name: string, content: BlobPart, type: string): void {
  const link = make("a", { download: name, href: URL.createObjectURL(new Blob([content], { type })) });
  link.click();
  setTimeout(() => URL.revokeObjectURL(link.href), 10000);
}

interface SeenCell {
  query: number;
  key: number;
  value: number;
  span: number;
}

/** The cells of the finest zoom on the screen. */
export function seen(matrix: Matrix): SeenCell[] {
  const { x, y, pixels } = matrix.camera;
  const { width, height } = matrix.extent();
  const finest = matrix.shown.at(-1)?.z ?? 0;
  const found: SeenCell[] = [];
  for (const { tile, firstRow, firstColumn, z } of matrix.shown) {
    if (z !== finest) continue;
    const span = 2 ** z;
    for (let i = 0; i < tile.values.length; i++) {
      const query = (firstRow + Math.floor(i / tile.columns)) * span;
      const key = (firstColumn + (i % tile.columns)) * span;
      if (query + span > y && key + span > x && query < y + height / pixels && key < x + width / pixels) found.push({ query, key, value: tile.values[i]!, span });
    }
  }
  return found;
}

function svg(app: App, matrix: Matrix, caption: string): string {
  const all = seen(matrix);
  const { x, y, pixels } = matrix.camera;
  const { width, height, columns, rows } = matrix.extent();
  const [left, top] = [100, 100];
  const wide = Math.min(width, columns * pixels);
  const tall = Math.min(height, rows * pixels);
  const parts: string[] = [];
  if (all.length <= MOST_RECTANGLES) {
    for (const { query, key, value, span } of all) {
      const hidden = !app.state.sinks && key === 0 && !isCode(value);
      const fill = hidden ? app.ink("raised") : css(cellColour(matrix.colouring, value));
      parts.push(`<rect x="${left + (key - x) * pixels}" y="${top + (query - y) * pixels}" width="${span * pixels}" height="${span * pixels}" fill="${fill}"/>`);
    }
  } else {
    const { canvas } = matrix;
    parts.push(`<image href="${canvas.toDataURL()}" x="0" y="0" width="${canvas.clientWidth}" height="${canvas.clientHeight}"/>`);
  }
  const label = (tokens: string[] | null, at: number): string => escaped(tokens ? visible(tokens[at] ?? "") : String(at));
  if (pixels >= 6 && all.length <= MOST_RECTANGLES) {
    const { rows: rowEdge, columns: columnEdge } = matrix.picture;
    for (let i = Math.ceil(y - 0.5); i < Math.min(rows, y + height / pixels); i++) {
      parts.push(`<text x="${left - 4}" y="${top + (i - y + 0.5) * pixels}" text-anchor="end" dominant-baseline="middle">${label(rowEdge.tokens, rowEdge.first + i)}</text>`);
    }
    for (let i = Math.ceil(x - 0.5); i < Math.min(columns, x + width / pixels); i++) {
      const at = left + (i - x + 0.5) * pixels;
      parts.push(`<text transform="translate(${at} ${top - 4}) rotate(-90)" dominant-baseline="middle">${label(columnEdge.tokens, columnEdge.first + i)}</text>`);
    }
  }
  const size = Math.max(5, Math.min(12, pixels * 0.9));
  return `<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 ${left + wide + 10} ${top + tall + 40}" width="${left + wide + 10}" height="${top + tall + 40}" font-family="sans-serif" font-size="${size}"><desc>${escaped(caption)}</desc><clipPath id="c"><rect x="${left}" y="${top}" width="${wide}" height="${tall}"/></clipPath><g>${parts.join("")}</g><text x="4" y="${top + tall + 20}" font-size="9">${escaped(caption)}</text></svg>`;
}

export function matrixExport(app: App, matrix: Matrix): Exported {
  const { map } = matrix.picture.pick;
  const caption = app.captionText;
  return {
    name: `${map.name}-head-${matrix.picture.pick.heads.join("-")}`, caption, canvas: matrix.canvas,
    columns: ["first query", "first key", "tokens a side", "value"],
    rows: seen(matrix).map(({ query, key, span, value }) => [query + map.queries.first, key + map.keys.first, span, isCode(value) ? plain(value) : value]),
    svg: () => svg(app, matrix, caption),
  };
}

/** The picture with its caption under it. */
function captioned(made: Exported, app: App): HTMLCanvasElement {
  const source = made.canvas!;
  const ratio = source.width / Math.max(1, source.clientWidth);
  const canvas = make("canvas");
  canvas.width = source.width;
  canvas.height = source.height + Math.ceil(40 * ratio);
  const context = canvas.getContext("2d")!;
  context.fillStyle = app.ink("surface");
  context.fillRect(0, 0, canvas.width, canvas.height);
  context.drawImage(source, 0, 0);
  context.fillStyle = app.ink("text");
  context.font = `${11 * ratio}px sans-serif`;
  const { kind, scale, top } = app.matrices[0]!.colouring;
  context.fillText(made.caption, 6 * ratio, source.height + 15 * ratio, canvas.width - 12 * ratio);
  context.fillText(`Colours end at ${plain(top)}${kind === "plain" ? `, ${scale}` : `, ${kind}`}.`, 6 * ratio, source.height + 32 * ratio);
  return canvas;
}

function save(app: App, kind: string): void {
  const made = app.exported?.();
  if (kind === "link") {
    void navigator.clipboard?.writeText(location.href).then(() => app.say("The link was copied."), () => app.say(location.href));
    return;
  }
  if (!made) return app.say("There is nothing to save yet.");
  const name = made.name.replace(/[^\w.-]+/g, "-");
  if (kind === "csv") download(`${name}.csv`, csv(made), "text/csv");
  else if (kind === "json") download(`${name}.json`, json(made), "application/json");
  else if (kind === "svg" && made.svg) download(`${name}.svg`, made.svg(), "image/svg+xml");
  else if (kind === "png" && made.canvas) captioned(made, app).toBlob((blob) => blob && download(`${name}.png`, blob, "image/png"));
  else app.say("This view has no picture of its own to save: open One head or Compare, or save CSV or JSON.");
}

export function exportMenu(app: App): HTMLElement {
  const menu = select("Save", [["", "choose"], ["png", "PNG"], ["svg", "SVG"], ["csv", "CSV"], ["json", "JSON"], ["link", "copy the link"]], "", (kind) => {
    if (kind) save(app, kind);
    menu.querySelector("select")!.value = "";
  });
  return menu;
}
