// One matrix as a map: tiles under a camera, labels and tracks along both axes, a cell under the pointer.
import type { App } from "./app.ts";
import { type Camera, type Extent, fitting, held, MOST_PIXELS, patches, zoomed, zoomFor } from "./camera.ts";
import { make } from "./dom.ts";
import { drawEdges, type Edge, edgeRoom } from "./edges.ts";
import { largest, Painter, type Shown } from "./painter.ts";
import { type Colouring, niceTop, type Pick, zooms } from "./quantities.ts";
import { MISSING, type Tile } from "./store.ts";

export interface Picture {
  pick: Pick;
  kind: Colouring["kind"];
  cells(z: number, row: number, column: number): Promise<Tile>;
  rows: Edge;
  columns: Edge;
}
export interface Cell {
  query: number;
  key: number;
  z: number;
  value: number;
}

export class Matrix {
  readonly canvas: HTMLCanvasElement;
  readonly element: HTMLElement;
  camera: Camera = { x: 0, y: 0, pixels: 0 };
  shown: Shown[] = [];
  colouring: Colouring;
  /** Called when the numbers on the screen or their colours have changed. */
  onDraw: () => void = () => undefined;
  onCell: (cell: Cell | null) => void = () => undefined;
  onMove: () => void = () => undefined;
  /** A matrix that shares the colour range of this one. */
  partner: Matrix | null = null;
  ownTop = 0;
  selected: { query: number; key: number } | null = null;
  private readonly painter = new Painter();
  private readonly ready = new Map<string, Tile>();
  private readonly asked = new Set<string>();
  private readonly pointers = new Map<number, { x: number; y: number }>();
  private frame = 0;
  private fitted = 0;
  private readonly app: App;
  readonly picture: Picture;

  constructor(app: App, picture: Picture) {
    this.app = app;
    this.picture = picture;
    this.colouring = { kind: picture.kind, scale: app.state.scale, top: 1, dark: app.dark };
    this.canvas = make("canvas", { tabindex: "0", role: "application", "aria-label": "Attention map. Arrows move the cell, plus and minus zoom." });
    this.element = make("div", { class: "matrix" }, this.canvas);
    this.listen();
    new ResizeObserver(() => this.draw()).observe(this.element);
  }

  private get room(): { left: number; top: number } {
    return { left: edgeRoom(this.picture.rows), top: edgeRoom(this.picture.columns) };
  }

  extent(): Extent {
    const { map } = this.picture.pick;
    return {
      columns: map.keys.size, rows: map.queries.size,
      width: Math.max(40, this.element.clientWidth - this.room.left), height: Math.max(40, this.element.clientHeight - this.room.top),
    };
  }

  get zoom(): number {
    return zoomFor(this.camera.pixels, zooms(this.picture.pick.map, this.picture.pick.quantity), window.devicePixelRatio);
  }

  draw(): void {
    if (this.frame) return;
    this.frame = requestAnimationFrame(() => {
      this.frame = 0;
      this.drawNow();
    });
  }

  move(camera: Camera): void {
    this.camera = held(camera, this.extent());
    this.onMove();
    this.draw();
  }

  zoomBy(factor: number, x?: number, y?: number): void {
    const extent = this.extent();
    this.camera = zoomed(this.camera, factor, x ?? extent.width / 2, y ?? extent.height / 2, extent);
    this.onMove();
    this.draw();
  }

  reveal(query: number, key: number): void {
    const { width, height } = this.extent();
    const { x, y, pixels } = this.camera;
    const near = (at: number, from: number, room: number): number => (at < from ? at : at + 1 > from + room / pixels ? at + 1 - room / pixels : from);
    this.move({ pixels, x: near(key, x, width), y: near(query, y, height) });
  }

  private drawNow(): void {
    const ratio = window.devicePixelRatio || 1;
    const extent = this.extent();
    const { left, top } = this.room;
    const width = this.element.clientWidth;
    const height = this.element.clientHeight;
    if (!width || !height) return;
    if (this.canvas.width !== Math.round(width * ratio) || this.canvas.height !== Math.round(height * ratio)) {
      this.canvas.width = Math.round(width * ratio);
      this.canvas.height = Math.round(height * ratio);
      this.canvas.style.width = `${width}px`;
      this.canvas.style.height = `${height}px`;
    }
    // A picture that shows all keeps showing all when its room changes.
    if (!this.camera.pixels || this.camera.pixels === this.fitted) this.camera.pixels = fitting(extent);
    this.fitted = fitting(extent);
    this.camera = held(this.camera, extent);
    this.collect(extent);
    const context = this.canvas.getContext("2d")!;
    context.setTransform(ratio, 0, 0, ratio, 0, 0);
    context.fillStyle = this.app.ink("surface");
    context.fillRect(0, 0, width, height);
    context.save();
    context.beginPath();
    context.rect(left, top, Math.min(extent.width, extent.columns * this.camera.pixels), Math.min(extent.height, extent.rows * this.camera.pixels));
    context.clip();
    this.drawTiles(context, left, top);
    this.drawSelected(context, left, top);
    context.restore();
    drawEdges(context, this.app, this.picture.rows, this.picture.columns, this.camera, extent, { left, top });
    this.onDraw();
  }

  private collect(extent: Extent): void {
    const z = this.zoom;
    const size = this.app.store.manifest.tile;
    const [, highest] = zooms(this.picture.pick.map, this.picture.pick.quantity);
    const wanted = patches(this.camera, extent, z, size);
    const found: Shown[] = [];
    for (const { row, column } of wanted) {
      const tile = this.get(z, row, column);
      if (tile) found.push({ tile, firstRow: row * size, firstColumn: column * size, z });
    }
    // Until all are there, the finest coarser level that is lies under them.
    let under: Shown[] = [];
    for (let up = z + 1; found.length < wanted.length && up <= highest && !under.length; up++) {
      under = patches(this.camera, extent, up, size).flatMap(({ row, column }) => {
        const tile = this.ready.get(`${up}/${row}/${column}`) ?? (up === highest ? this.get(up, row, column) : undefined);
        return tile ? [{ tile, firstRow: row * size, firstColumn: column * size, z: up }] : [];
      });
    }
    this.shown = [...under, ...found];
    const { state } = this.app;
    const counted = found.length ? found : under;
    const before = this.ownTop;
    this.ownTop = niceTop(largest(counted, !state.sinks), this.picture.kind);
    const fixed = state.range > 0 && this.picture.kind !== "difference";
    const top = fixed ? state.range : Math.max(this.ownTop, this.partner?.ownTop ?? 0);
    if (this.ownTop !== before) this.partner?.draw();
    this.colouring = { kind: this.picture.kind, scale: state.scale, top, dark: this.app.dark };
  }

  private get(z: number, row: number, column: number): Tile | undefined {
    const key = `${z}/${row}/${column}`;
    const tile = this.ready.get(key);
    if (tile || this.asked.has(key)) return tile;
    this.asked.add(key);
    this.picture.cells(z, row, column).then(
      (made) => {
        if (this.ready.size > 200) {
          const oldest = this.ready.keys().next().value!;
          this.ready.delete(oldest);
          this.asked.delete(oldest);
        }
        this.ready.set(key, made);
        this.draw();
      },
      (error: Error) => this.app.fail(error),
    );
    return undefined;
  }

  private drawTiles(context: CanvasRenderingContext2D, left: number, top: number): void {
    const { x, y, pixels } = this.camera;
    context.imageSmoothingEnabled = false;
    for (const { tile, firstRow, firstColumn, z } of this.shown) {
      const cell = 2 ** z * pixels;
      const hidden = !this.app.state.sinks && firstColumn === 0 ? 0 : null;
      const image = this.painter.picture(tile, this.colouring, hidden);
      context.drawImage(image, left + firstColumn * cell - x * pixels, top + firstRow * cell - y * pixels, tile.columns * cell, tile.rows * cell);
    }
  }

  private drawSelected(context: CanvasRenderingContext2D, left: number, top: number): void {
    if (!this.selected) return;
    const { x, y, pixels } = this.camera;
    const span = 2 ** this.zoom;
    const at = (token: number): number => Math.floor(token / span) * span;
    const side = Math.max(3, span * pixels);
    const box: [number, number, number, number] = [left + (at(this.selected.key) - x) * pixels, top + (at(this.selected.query) - y) * pixels, side, side];
    for (const [colour, line] of [["#000", 3.5], ["#fff", 1.5]] as const) {
      context.strokeStyle = colour;
      context.lineWidth = line;
      context.strokeRect(...box);
    }
  }

  /** The cell of a query and a key; its value is that of the finest picture on the screen. */
  cellAt(query: number, key: number): Cell | null {
    const { map } = this.picture.pick;
    if (query < 0 || key < 0 || query >= map.queries.size || key >= map.keys.size) return null;
    for (let i = this.shown.length - 1; i >= 0; i--) {
      const { tile, firstRow, firstColumn, z } = this.shown[i]!;
      const span = 2 ** z;
      const row = Math.floor(query / span) - firstRow;
      const column = Math.floor(key / span) - firstColumn;
      if (row < 0 || column < 0 || row >= tile.rows || column >= tile.columns) continue;
      return { query: Math.floor(query / span) * span, key: Math.floor(key / span) * span, z, value: tile.values[row * tile.columns + column]! };
    }
    return { query, key, z: this.zoom, value: MISSING };
  }

  private point(event: MouseEvent): { x: number; y: number } {
    const box = this.canvas.getBoundingClientRect();
    return { x: event.clientX - box.left - this.room.left, y: event.clientY - box.top - this.room.top };
  }

  private listen(): void {
    const { canvas } = this;
    canvas.addEventListener("wheel", (event) => {
      event.preventDefault();
      const { x, y } = this.point(event);
      if (event.shiftKey) this.move({ ...this.camera, x: this.camera.x + (event.deltaY + event.deltaX) / this.camera.pixels });
      else this.zoomBy(Math.exp(-event.deltaY * 0.0016), x, y);
    }, { passive: false });
    canvas.addEventListener("pointerdown", (event) => {
      canvas.setPointerCapture(event.pointerId);
      this.pointers.set(event.pointerId, this.point(event));
    });
    canvas.addEventListener("pointermove", (event) => this.moved(event));
    const up = (event: PointerEvent): void => void this.pointers.delete(event.pointerId);
    canvas.addEventListener("pointerup", up);
    canvas.addEventListener("pointercancel", up);
    canvas.addEventListener("pointerleave", () => this.onCell(null));
    canvas.addEventListener("click", (event) => {
      const { x, y } = this.point(event);
      const cell = this.cellAt(Math.floor(this.camera.y + y / this.camera.pixels), Math.floor(this.camera.x + x / this.camera.pixels));
      this.selected = cell && { query: cell.query, key: cell.key };
      this.onCell(cell);
      this.draw();
    });
    canvas.addEventListener("dblclick", (event) => {
      const { x, y } = this.point(event);
      this.zoomBy(this.camera.pixels > MOST_PIXELS / 2 ? 1e-9 : 4, x, y);
    });
  }

  private moved(event: PointerEvent): void {
    const now = this.point(event);
    const before = this.pointers.get(event.pointerId);
    if (!before) {
      const { x, y, pixels } = this.camera;
      this.onCell(now.x < 0 || now.y < 0 ? null : this.cellAt(Math.floor(y + now.y / pixels), Math.floor(x + now.x / pixels)));
      return;
    }
    const other = [...this.pointers].find(([id]) => id !== event.pointerId)?.[1];
    this.pointers.set(event.pointerId, now);
    if (other) {
      const apart = (p: { x: number; y: number }): number => Math.hypot(p.x - other.x, p.y - other.y);
      this.zoomBy(apart(now) / Math.max(1, apart(before)), (now.x + other.x) / 2, (now.y + other.y) / 2);
    }
    const { pixels } = this.camera;
    this.move({ pixels, x: this.camera.x - (now.x - before.x) / pixels / (other ? 2 : 1), y: this.camera.y - (now.y - before.y) / pixels / (other ? 2 : 1) });
  }

  /** Keys that move the cell or the picture; true when the key was one of them. */
  key(event: KeyboardEvent): boolean {
    const steps: Record<string, [number, number]> = { ArrowUp: [-1, 0], ArrowDown: [1, 0], ArrowLeft: [0, -1], ArrowRight: [0, 1] };
    const step = steps[event.key];
    if (step) {
      const span = 2 ** this.zoom * (event.shiftKey ? 10 : 1);
      const { map } = this.picture.pick;
      const within = (at: number, size: number): number => Math.max(0, Math.min(size - 1, at));
      const from = this.selected ?? { query: Math.floor(this.camera.y), key: Math.floor(this.camera.x) };
      const moved = this.selected ? { query: within(from.query + step[0] * span, map.queries.size), key: within(from.key + step[1] * span, map.keys.size) } : from;
      this.selected = moved;
      this.reveal(moved.query, moved.key);
      this.onCell(this.cellAt(moved.query, moved.key));
      return true;
    }
    if (event.key === "+" || event.key === "=") this.zoomBy(2);
    else if (event.key === "-") this.zoomBy(0.5);
    else if (event.key === "0") this.zoomBy(1e-9);
    else return false;
    return true;
  }
}
