// The colour bar with its numbers, and the legend of other colours: on the page and in files.
import { colour, css, MASKED_COLOUR, MISSING_COLOUR, NAN_COLOUR, type Rgb } from "./colours.ts";
import { make } from "./dom.ts";
import type { Pen } from "./pens.ts";
import { fitted, textWidth } from "./pens.ts";
import { type Colouring, rampOf, valueAt } from "./quantities.ts";
import { round } from "./words.ts";

export interface Legend {
  colouring: Colouring;
  /** The quantity that the colours stand for. */
  name: string;
  /** Names and colours of the classes of labels that are shown. */
  classes: [string, string][];
  /** What is said of a number that is not there: "not recorded", or "not in this file". */
  missing: string;
}

/** Numbers along the bar, as pairs of place (0 to 1) and text. */
export function marks(colouring: Colouring): [number, string][] {
  const { kind, scale, over } = colouring;
  const at = (place: number): string => round(valueAt(colouring, place));
  const last = `${over ? "≥ " : ""}${at(1)}`;
  if (kind === "difference") return [[0, at(0)], [0.5, "0"], [1, last]];
  if (kind === "ratio") return [[0, `≤ ${at(0)}`], [0.5, "1"], [1, `≥ ${at(1)}`]];
  return scale === "log" ? [[0, `≤ ${at(0)}`], [0.5, at(0.5)], [1, last]] : [[0, "0"], [0.5, at(0.5)], [1, last]];
}

export function scaleName({ kind, scale }: Colouring): string {
  if (kind === "ratio") return "logarithmic around 1";
  if (kind === "difference") return "linear around 0";
  return scale === "log" ? "logarithmic" : "linear";
}

function keys(legend: Legend): [Rgb | string, string][] {
  const theme = legend.colouring.dark ? "dark" : "light";
  const found: [Rgb | string, string][] = [[MASKED_COLOUR[theme]!, "masked"], [MISSING_COLOUR[theme]!, legend.missing]];
  if (legend.colouring.nan) found.push([NAN_COLOUR, "not a number (NaN)"]);
  for (const [name, fill] of legend.classes) found.push([fill, name]);
  return found;
}

const box = (fill: Rgb | string): string => (typeof fill === "string" ? fill : css(fill));

/** The bar in words; an end that is not the largest number seen and that nobody has set is named. */
export function title({ colouring, name }: Legend): string {
  const { rounded } = colouring;
  return `${name}, ${scaleName(colouring)}${rounded === null ? "" : `, end rounded up from ${round(rounded)}`}`;
}

/** The parts of a legend; without `full` only the bar. */
export function legendElement(legend: Legend, full = true): HTMLElement[] {
  const { colouring } = legend;
  const bar = make("canvas", { width: "256", height: "1", "aria-hidden": "true" });
  const context = bar.getContext("2d")!;
  for (let x = 0; x < 256; x++) {
    context.fillStyle = css(colour(rampOf(colouring), x / 255));
    context.fillRect(x, 0, 1, 1);
  }
  const numbers = marks(colouring);
  const said = `Colours: ${title(legend)}, from ${numbers[0]![1]} to ${numbers.at(-1)![1]}`;
  const ticks = make("span", { class: "ticks" }, ...numbers.map(([, text]) => make("span", {}, text)));
  const squares = (full ? keys(legend) : []).map(([fill, text]) => {
    const square = make("i");
    square.style.background = box(fill);
    return make("span", { class: "key" }, square, text);
  });
  return [make("span", { class: "name" }, title(legend)), make("span", { class: "ramp", role: "img", "aria-label": said }, bar, ticks), ...squares];
}

const BAR = 220;

/** Draw the legend in rows no wider than `room`; returns how tall it is. */
export function drawLegend(pen: Pen, legend: Legend, x: number, y: number, room: number, ink: { text: string; line: string }): number {
  const { colouring } = legend;
  const size = 11;
  pen.text(fitted(title(legend), room, size), x, y + 8, { size, fill: ink.text });
  const wide = Math.min(BAR, room - 40);
  for (let i = 0; i < 128; i++) pen.rect(x + (i * wide) / 128, y + 18, wide / 128 + 0.3, 10, css(colour(rampOf(colouring), (i + 0.5) / 128)));
  pen.outline(x, y + 18, wide, 10, ink.line, 1);
  for (const [place, text] of marks(colouring)) {
    pen.text(text, x + place * wide, y + 37, { size: 10, fill: ink.text, align: place === 0 ? "start" : place === 1 ? "end" : "middle" });
  }
  let [across, down] = [wide + 24 > room - 150 ? 0 : wide + 24, wide + 24 > room - 150 ? 54 : 23];
  for (const [fill, text] of keys(legend)) {
    const needed = 18 + textWidth(text, size) + 14;
    if (across > 0 && across + needed > room) [across, down] = [0, Math.max(down + 18, 54)];
    pen.rect(x + across, y + down - 5, 10, 10, box(fill));
    pen.outline(x + across, y + down - 5, 10, 10, ink.line, 1);
    pen.text(text, x + across + 15, y + down, { size, fill: ink.text });
    across += needed;
  }
  return Math.max(46, down + 12);
}
