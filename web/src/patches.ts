// The patches of an image: where a query looks, and which patch looks.
import { css } from "./colours.ts";
import { make } from "./dom.ts";
import type { Axis, Side } from "./manifest.ts";
import { cellColour, type Colouring } from "./quantities.ts";
import type { Scene } from "./scene.ts";
import { isCode, MASKED } from "./store.ts";

const MOST = 296;
const LEAST = 160;
const OVER_IMAGE = 0.65;

/** An image cut into the patches of an axis; places are those of the side, from 0. */
export class Board {
  readonly canvas: HTMLCanvasElement;
  private image: ImageBitmap | null = null;
  private readonly grid: NonNullable<Axis["grid"]>;
  private readonly shift: number;
  private readonly scene: Scene;

  constructor(scene: Scene, side: Side, grid: NonNullable<Axis["grid"]>, name: string, points: boolean) {
    this.scene = scene;
    this.grid = grid;
    this.shift = grid.first - side.first;
    const label = `${name}: ${grid.rows} × ${grid.columns} patches${points ? ". Arrows move to another patch." : ""}`;
    this.canvas = make("canvas", { class: "board", role: points ? "application" : "img", "aria-label": label, "data-name": label, ...(points ? { tabindex: "0" } : {}) });
  }

  async load(axis: number): Promise<void> {
    this.image = await this.scene.store.image(axis);
    const { canvas, grid } = this;
    const ratio = this.image ? this.image.height / this.image.width : grid.rows / grid.columns;
    const wide = Math.max(LEAST, Math.min(MOST, ratio > 1 ? MOST / ratio : MOST));
    canvas.width = wide * 2;
    canvas.height = Math.round(wide * ratio) * 2;
    canvas.style.width = `${wide}px`;
  }

  holds(place: number): boolean {
    return place >= this.shift && place < this.shift + this.grid.rows * this.grid.columns;
  }

  nameOf(place: number): string {
    const at = place - this.shift;
    return `patch in row ${Math.floor(at / this.grid.columns)}, column ${at % this.grid.columns}`;
  }

  /** Pixels of the canvas that a patch takes. */
  private box(at: number): [number, number, number, number] {
    const [wide, tall] = [this.canvas.width / this.grid.columns, this.canvas.height / this.grid.rows];
    return [(at % this.grid.columns) * wide, Math.floor(at / this.grid.columns) * tall, wide, tall];
  }

  /** The image, with numbers of the side's places over it where there are some. */
  paint(values: Float32Array | null, colouring: Colouring | null, chosen: number | null, hidden: ReadonlySet<number> = new Set()): void {
    const { canvas, grid, image, scene } = this;
    const context = canvas.getContext("2d")!;
    context.fillStyle = scene.ink("raised");
    context.fillRect(0, 0, canvas.width, canvas.height);
    context.imageSmoothingEnabled = true;
    // Grey under colours, so that every colour is one of the bar's.
    if (values) context.filter = "grayscale(1)";
    if (image) context.drawImage(image, 0, 0, canvas.width, canvas.height);
    context.filter = "none";
    for (let at = 0; at < grid.rows * grid.columns; at++) {
      const box = this.box(at);
      const value = values?.[at + this.shift];
      if (value !== undefined && colouring) {
        context.globalAlpha = image && !scene.state.opaque && !isCode(value) && !hidden.has(at + this.shift) ? OVER_IMAGE : 1;
        context.fillStyle = css(cellColour(colouring, hidden.has(at + this.shift) ? MASKED : value));
        context.fillRect(...box);
        context.globalAlpha = 1;
      } else {
        context.strokeStyle = "rgba(128, 128, 128, 0.6)";
        context.lineWidth = 1;
        context.strokeRect(...box);
      }
    }
    if (chosen === null || !this.holds(chosen)) return;
    const [x, y, wide, tall] = this.box(chosen - this.shift);
    for (const [colour, thick] of [["#fff", 8], ["#000", 3]] as const) {
      context.strokeStyle = colour;
      context.lineWidth = thick;
      context.strokeRect(x + 3, y + 3, wide - 6, tall - 6);
    }
  }

  /** Call back with the place that is pointed at or chosen. */
  listen(current: () => number, act: (place: number, hold: boolean) => void): void {
    const { canvas, grid } = this;
    const at = (event: PointerEvent | MouseEvent): number => {
      const box = canvas.getBoundingClientRect();
      const within = (part: number, count: number): number => Math.max(0, Math.min(count - 1, Math.floor(part * count)));
      return this.shift + within((event.clientY - box.top) / box.height, grid.rows) * grid.columns + within((event.clientX - box.left) / box.width, grid.columns);
    };
    canvas.addEventListener("pointermove", (event) => act(at(event), false));
    canvas.addEventListener("click", (event) => act(at(event), true));
    canvas.addEventListener("keydown", (event) => {
      const by = { ArrowLeft: -1, ArrowRight: 1, ArrowUp: -grid.columns, ArrowDown: grid.columns }[event.key];
      if (!by) return;
      event.preventDefault();
      const from = this.holds(current()) ? current() : this.shift - by;
      const to = from + by;
      act(this.holds(to) ? to : this.holds(from) ? from : this.shift, true);
    });
  }
}
