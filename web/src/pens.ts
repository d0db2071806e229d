// One way to draw for the screen, for PNG and for SVG: rectangles, lines of text, images.
export interface Lettering {
  size: number;
  fill: string;
  align?: "start" | "middle" | "end";
  bold?: boolean;
  /** Whether the text runs upwards. */
  turned?: boolean;
}
export interface Pen {
  /** Shapes stay shapes: worth drawing single ones. */
  readonly vector: boolean;
  rect(x: number, y: number, width: number, height: number, fill: string): void;
  outline(x: number, y: number, width: number, height: number, stroke: string, thick: number): void;
  /** `y` is the middle of the letters. */
  text(text: string, x: number, y: number, how: Lettering): void;
  image(picture: HTMLCanvasElement, x: number, y: number, width: number, height: number): void;
  /** What `draw` draws is cut off at the borders of a rectangle. */
  within(x: number, y: number, width: number, height: number, draw: () => void): void;
}
/** Something that can be drawn at (0, 0). */
export interface Sheet {
  width: number;
  height: number;
  draw(pen: Pen): void;
}

export const FONT = "system-ui, -apple-system, 'Segoe UI', Roboto, 'DejaVu Sans', sans-serif";
// Half of the height of small letters and capitals together, as a share of the font's size.
const MIDDLE = 0.35;
const HEAVY = 600;

export class CanvasPen implements Pen {
  readonly vector = false;
  private readonly context: CanvasRenderingContext2D;

  constructor(context: CanvasRenderingContext2D) {
    this.context = context;
  }

  rect(x: number, y: number, width: number, height: number, fill: string): void {
    this.context.fillStyle = fill;
    this.context.fillRect(x, y, width, height);
  }

  outline(x: number, y: number, width: number, height: number, stroke: string, thick: number): void {
    this.context.strokeStyle = stroke;
    this.context.lineWidth = thick;
    this.context.strokeRect(x, y, width, height);
  }

  text(text: string, x: number, y: number, how: Lettering): void {
    const { context } = this;
    context.font = `${how.bold ? HEAVY : 400} ${how.size}px ${FONT}`;
    context.fillStyle = how.fill;
    context.textAlign = how.align === "middle" ? "center" : (how.align ?? "start");
    context.textBaseline = "alphabetic";
    if (!how.turned) {
      context.fillText(text, x, y + MIDDLE * how.size);
      return;
    }
    context.save();
    context.translate(x, y);
    context.rotate(-Math.PI / 2);
    context.fillText(text, 0, MIDDLE * how.size);
    context.restore();
  }

  image(picture: HTMLCanvasElement, x: number, y: number, width: number, height: number): void {
    this.context.imageSmoothingEnabled = false;
    this.context.drawImage(picture, x, y, width, height);
  }

  within(x: number, y: number, width: number, height: number, draw: () => void): void {
    this.context.save();
    this.context.beginPath();
    this.context.rect(x, y, width, height);
    this.context.clip();
    draw();
    this.context.restore();
  }
}

export const escaped = (text: string): string =>
  text.replace(/[&<>"']/g, (letter) => `&#${letter.charCodeAt(0)};`).replace(/[\u0000-\u0008\u000b\u000c\u000e-\u001f\ufffe\uffff]|[\ud800-\udbff](?![\udc00-\udfff])|(?<![\ud800-\udbff])[\udc00-\udfff]/g, "\ufffd");

const short = (value: number): string => String(Math.round(value * 100) / 100);

/** Vectors: text stays text. Only presentation attributes, no style sheet. */
export class SvgPen implements Pen {
  readonly vector = true;
  private readonly parts: string[] = [];
  private clips = 0;

  rect(x: number, y: number, width: number, height: number, fill: string): void {
    this.parts.push(`<rect x="${short(x)}" y="${short(y)}" width="${short(width)}" height="${short(height)}" fill="${escaped(fill)}"/>`);
  }

  outline(x: number, y: number, width: number, height: number, stroke: string, thick: number): void {
    this.parts.push(`<rect x="${short(x)}" y="${short(y)}" width="${short(width)}" height="${short(height)}" fill="none" stroke="${escaped(stroke)}" stroke-width="${thick}"/>`);
  }

  text(text: string, x: number, y: number, how: Lettering): void {
    const place = how.turned ? `transform="translate(${short(x + MIDDLE * how.size)} ${short(y)}) rotate(-90)"` : `x="${short(x)}" y="${short(y + MIDDLE * how.size)}"`;
    const align = how.align && how.align !== "start" ? ` text-anchor="${how.align}"` : "";
    this.parts.push(`<text ${place} font-size="${short(how.size)}" fill="${escaped(how.fill)}"${align}${how.bold ? ` font-weight="${HEAVY}"` : ""} xml:space="preserve">${escaped(text)}</text>`);
  }

  image(picture: HTMLCanvasElement, x: number, y: number, width: number, height: number): void {
    this.parts.push(`<image x="${short(x)}" y="${short(y)}" width="${short(width)}" height="${short(height)}" preserveAspectRatio="none" image-rendering="pixelated" href="${picture.toDataURL()}"/>`);
  }

  within(x: number, y: number, width: number, height: number, draw: () => void): void {
    const id = `clip${this.clips++}`;
    this.parts.push(`<clipPath id="${id}"><rect x="${short(x)}" y="${short(y)}" width="${short(width)}" height="${short(height)}"/></clipPath><g clip-path="url(#${id})">`);
    draw();
    this.parts.push("</g>");
  }

  document(width: number, height: number, description: string): string {
    const size = `${short(width)} ${short(height)}`;
    return `<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 ${size}" width="${short(width)}" height="${short(height)}" font-family="${escaped(FONT)}" shape-rendering="crispEdges"><desc>${escaped(description)}</desc>${this.parts.join("")}</svg>`;
  }
}

let measuring: CanvasRenderingContext2D | null = null;

export function textWidth(text: string, size: number, bold = false): number {
  measuring ??= document.createElement("canvas").getContext("2d")!;
  measuring.font = `${bold ? HEAVY : 400} ${size}px ${FONT}`;
  return measuring.measureText(text).width;
}

/** Text cut off with an ellipsis where it would be wider than `room`. */
export function fitted(text: string, room: number, size: number, width = textWidth): string {
  if (width(text, size) <= room) return text;
  const letters = [...text.slice(0, 400)];
  let [least, most] = [0, letters.length];
  while (least < most) {
    const half = Math.ceil((least + most) / 2);
    if (width(`${letters.slice(0, half).join("")}…`, size) <= room) least = half;
    else most = half - 1;
  }
  return `${letters.slice(0, least).join("")}…`;
}

/** Lines of whole words no wider than `room`. */
export function wrapped(text: string, room: number, size: number, width = textWidth): string[] {
  const lines: string[] = [];
  for (const word of text.split(/\s+/).filter(Boolean)) {
    const longer = lines.length ? `${lines.at(-1)} ${word}` : word;
    if (lines.length && width(longer, size) <= room) lines[lines.length - 1] = longer;
    else lines.push(fitted(word, room, size, width));
  }
  return lines;
}
