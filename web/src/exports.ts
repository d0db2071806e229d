// What is seen, as a file: each carries the caption that says what it is.
import { make } from "./dom.ts";
import type { Matrix } from "./matrix.ts";
import type { Sheet } from "./pens.ts";
import type { Exported } from "./scene.ts";
import { type Frame, framed, matrixSheet, toCanvas, toSvg } from "./sheets.ts";
import { isCode } from "./store.ts";
import { absent, plain } from "./words.ts";

/** A table with what it shows, as it goes into CSV and JSON. */
export interface Table {
  caption: string;
  about: Record<string, unknown>;
  columns: string[];
  rows: (string | number)[][];
}

/** A field of a CSV file. A leading sign that a spreadsheet would run as a formula is kept as text. */
export function field(value: string | number): string {
  if (typeof value === "number") return String(value);
  const safe = /^[=+\-@\t\r]/.test(value) ? `'${value}` : value;
  return /[",\n\r]/.test(safe) ? `"${safe.replace(/"/g, '""')}"` : safe;
}

export function csv(table: Table): string {
  const lines = [table.columns, ...table.rows].map((row) => row.map(field).join(","));
  return `# ${table.caption.replace(/\s+/g, " ")}\n${lines.join("\n")}\n`;
}

export function json(table: Table): string {
  const rows = table.rows.map((row) => row.map((value) => (typeof value === "number" && !Number.isFinite(value) ? String(value) : value)));
  return `${JSON.stringify({ caption: table.caption, ...table.about, columns: table.columns, rows }, null, 1)}\n`;
}

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

export function matrixExport(name: string, matrix: Matrix, sheet: () => Sheet = () => matrixSheet(matrix)): Exported {
  const { map, heads } = matrix.picture.pick;
  return {
    name: `${name}-head-${heads.join("-")}`,
    columns: ["first query", "first key", "tokens a side", "value"],
    get rows() {
      return seen(matrix).map(({ query, key, span, value }) => [query + map.queries.first, key + map.keys.first, span, isCode(value) ? plain(value, absent(map)) : value]);
    },
    sheet,
  };
}

/** A file of what is seen. Returns what to say of it. */
export function save(made: Exported, kind: string, frame: Frame, about: Record<string, unknown>): string {
  const name = made.name.replace(/[^\w.-]+/g, "-").slice(0, 120);
  const { caption } = frame;
  if (kind === "csv" || kind === "json") {
    const table = { caption, about, columns: made.columns, rows: made.rows };
    download(`${name}.${kind}`, kind === "csv" ? csv(table) : json(table), kind === "csv" ? "text/csv" : "application/json");
    return `Saved ${name}.${kind}.`;
  }
  const whole = framed(made.sheet(), frame);
  if (kind === "svg") download(`${name}.svg`, toSvg(whole, caption), "image/svg+xml");
  else toCanvas(whole).toBlob((blob) => blob && download(`${name}.png`, blob, "image/png"), "image/png");
  return `Saved ${name}.${kind}.`;
}
