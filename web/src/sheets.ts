// A view as a sheet for a file: what is drawn by a matrix, or what stands in the page, element by element.
import { css } from "./colours.ts";
import { drawLegend, type Legend } from "./legend.ts";
import type { Matrix } from "./matrix.ts";
import { hiddenColumns } from "./painter.ts";
import { CanvasPen, fitted, type Pen, type Sheet, SvgPen, wrapped } from "./pens.ts";
import { cellColour } from "./quantities.ts";
import { isCode } from "./store.ts";

// More cells than these are one picture in an SVG, not a rectangle each.
const MOST_RECTANGLES = 20000;
const MARGIN = 12;

function rectangles(pen: Pen, matrix: Matrix): void {
  const area = matrix.area();
  const { x, y, pixels } = matrix.camera;
  const behind = matrix.colouring.dark ? "#3a3d44" : "#c3c6cc";
  for (const { tile, firstRow, firstColumn, z } of matrix.shown) {
    const span = 2 ** z;
    const hidden = new Set(hiddenColumns({ tile, firstRow, firstColumn, z }, matrix.hidden));
    for (let i = 0; i < tile.values.length; i++) {
      const [row, column] = [Math.floor(i / tile.columns), i % tile.columns];
      const left = area.left + ((firstColumn + column) * span - x) * pixels;
      const top = area.top + ((firstRow + row) * span - y) * pixels;
      if (left > area.left + area.width || top > area.top + area.height || left + span * pixels < area.left || top + span * pixels < area.top) continue;
      const value = tile.values[i]!;
      pen.rect(left, top, span * pixels, span * pixels, hidden.has(column) && !isCode(value) ? behind : css(cellColour(matrix.colouring, value)));
    }
  }
}

export function matrixSheet(matrix: Matrix): Sheet {
  const area = matrix.area();
  const seen = matrix.shown.reduce((sum, { tile, z }) => sum + Math.min(tile.values.length, (area.width * area.height) / (2 ** z * matrix.camera.pixels) ** 2), 0);
  return {
    width: area.left + area.width + 2, height: area.top + area.height + 2,
    draw(pen) {
      const frame = { shown: matrix.shown, colouring: matrix.colouring, hidden: matrix.hidden, ...area, ...matrix.camera };
      pen.within(area.left, area.top, area.width, area.height, () => {
        if (pen.vector && seen <= MOST_RECTANGLES) rectangles(pen, matrix);
        else matrix.drawTiles(pen, frame);
      });
      matrix.drawOver(pen, false);
    },
  };
}

/** Several sheets in a row, each under its name. */
export function besides(sheets: { name: string; sheet: Sheet }[], ink: string): Sheet {
  const gap = 24;
  return {
    width: sheets.reduce((sum, { sheet }) => sum + sheet.width + gap, -gap), height: 20 + Math.max(...sheets.map(({ sheet }) => sheet.height)),
    draw(pen) {
      let left = 0;
      for (const { name, sheet } of sheets) {
        pen.text(fitted(name, sheet.width, 12), left, 8, { size: 12, fill: ink, bold: true });
        pen.within(left, 20, sheet.width, sheet.height, () => sheet.draw(moved(pen, left, 20)));
        left += sheet.width + gap;
      }
    },
  };
}

export function moved(pen: Pen, dx: number, dy: number): Pen {
  return {
    vector: pen.vector,
    rect: (x, y, width, height, fill) => pen.rect(x + dx, y + dy, width, height, fill),
    outline: (x, y, width, height, stroke, thick) => pen.outline(x + dx, y + dy, width, height, stroke, thick),
    text: (text, x, y, how) => pen.text(text, x + dx, y + dy, how),
    image: (picture, x, y, width, height) => pen.image(picture, x + dx, y + dy, width, height),
    within: (x, y, width, height, draw) => pen.within(x + dx, y + dy, width, height, draw),
  };
}

/** What stands in an element: backgrounds, canvases and text, where the browser laid them out; controls are left out. */
export function pageSheet(element: HTMLElement): Sheet {
  const origin = element.getBoundingClientRect();
  let [left, top, right, bottom] = [Infinity, Infinity, 0, 0];
  // The first walk measures; what is drawn by the second begins at the corner.
  const place = (box: DOMRect): DOMRect => new DOMRect(box.x - origin.x, box.y - origin.y, box.width, box.height);
  const walk = (one: HTMLElement, pen: Pen | null): void => {
    if (one.matches(".bar, .hidden, [hidden], .note")) return;
    const style = getComputedStyle(one);
    const box = place(one.getBoundingClientRect());
    const drawn = one instanceof HTMLCanvasElement || !/^(rgba\(0, 0, 0, 0\)|transparent)$/.test(style.backgroundColor);
    const written = [...one.childNodes].some((child) => child.nodeType === Node.TEXT_NODE && child.textContent?.trim());
    if (one !== element && (drawn || written)) {
      [left, top, right, bottom] = [Math.min(left, box.left), Math.min(top, box.top), Math.max(right, box.right), Math.max(bottom, box.bottom)];
    }
    if (pen && drawn && one !== element) {
      if (one instanceof HTMLCanvasElement) pen.image(one, box.x, box.y, box.width, box.height);
      else pen.rect(box.x, box.y, box.width, box.height, style.backgroundColor);
    }
    if (pen && one.getAttribute("aria-pressed") === "true") pen.outline(box.x, box.y, box.width, box.height, style.outlineColor, 2);
    const border = parseFloat(style.borderBottomWidth);
    if (pen && one.style.borderBottomColor && border > 0) pen.rect(box.x, box.bottom - 3, box.width, 3, style.borderBottomColor);
    for (const child of one.childNodes) {
      if (child instanceof HTMLElement) walk(child, pen);
      else if (pen && child.nodeType === Node.TEXT_NODE && child.textContent?.trim()) letters(pen, child as Text, style, box, place);
    }
  };
  walk(element, null);
  if (!right) return { width: 0, height: 0, draw: () => undefined };
  return { width: right - left + 4, height: bottom - top + 4, draw: (pen) => walk(element, moved(pen, 2 - left, 2 - top)) };
}

function letters(pen: Pen, node: Text, style: CSSStyleDeclaration, around: DOMRect, place: (box: DOMRect) => DOMRect): void {
  const range = document.createRange();
  range.selectNodeContents(node);
  const boxes = [...range.getClientRects()].filter((box) => box.width > 0);
  if (!boxes.length) return;
  const size = parseFloat(style.fontSize);
  const how = { size, fill: style.color, bold: Number(style.fontWeight) >= 600 };
  const text = node.textContent!.replace(/\s+/g, " ");
  const lines = boxes.length === 1 ? [fitted(text, around.width + 1, size)] : wrapped(text, boxes.reduce((most, box) => Math.max(most, box.width), 0) + 2, size);
  lines.forEach((line, i) => {
    const box = place(boxes[Math.min(i, boxes.length - 1)]!);
    pen.text(line, box.x, box.y + box.height / 2, how);
  });
}

/** What stands around a picture in a file and on paper. */
export interface Frame {
  title: string;
  legends: Legend[];
  caption: string;
  ink: { surface: string; text: string; faint: string; line: string };
}

/** A whole file: title, what is seen, the bar of colours, the caption. */
export function framed(sheet: Sheet, { title, legends, caption, ink }: Frame): Sheet {
  const width = Math.max(sheet.width, 420) + 2 * MARGIN;
  const room = width - 2 * MARGIN;
  const lines = wrapped(caption, room, 11);
  const below = MARGIN + 22 + sheet.height + 10;
  const all = (pen: Pen): number => legends.reduce((tall, legend) => tall + drawLegend(pen, legend, MARGIN, below + tall, room, ink), 0);
  const legendTall = all(new Nothing());
  const height = below + legendTall + lines.length * 15 + MARGIN;
  return {
    width, height,
    draw(pen) {
      pen.rect(0, 0, width, height, ink.surface);
      pen.text(fitted(title, room, 13), MARGIN, MARGIN + 8, { size: 13, fill: ink.text, bold: true });
      sheet.draw(moved(pen, MARGIN, MARGIN + 22));
      all(pen);
      lines.forEach((line, i) => pen.text(line, MARGIN, below + legendTall + 8 + i * 15, { size: 11, fill: ink.faint }));
    },
  };
}

/** Draws nothing: to know how large something is. */
class Nothing implements Pen {
  readonly vector = false;
  rect(): void {}
  outline(): void {}
  text(): void {}
  image(): void {}
  within(_x: number, _y: number, _width: number, _height: number, draw: () => void): void {
    draw();
  }
}

export function toSvg(sheet: Sheet, description: string): string {
  const pen = new SvgPen();
  sheet.draw(pen);
  return pen.document(sheet.width, sheet.height, description);
}

// Files are twice as fine as the screen, but no canvas grows beyond what browsers make.
const LARGEST_SIDE = 8000;

export function toCanvas(sheet: Sheet): HTMLCanvasElement {
  const canvas = document.createElement("canvas");
  const ratio = Math.min(2, LARGEST_SIDE / Math.max(sheet.width, sheet.height));
  canvas.width = Math.ceil(sheet.width * ratio);
  canvas.height = Math.ceil(sheet.height * ratio);
  const context = canvas.getContext("2d")!;
  context.scale(ratio, ratio);
  sheet.draw(new CanvasPen(context));
  return canvas;
}

