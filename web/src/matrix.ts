// One matrix as a map: tiles under a camera, labels and tracks along both axes, a cell under the pointer.
import { type Camera, type Extent, fitting, held, patches, zoomed, zoomFor } from "./camera.ts";
import { ink } from "./colours.ts";
import { make } from "./dom.ts";
import { drawEdges, type Edge, edgeRoom, type Look, type Room, SMALLEST, textRoom } from "./edges.ts";
import { hiddenColumns, Painter, type Shown } from "./painter.ts";
import { CanvasPen, type Pen } from "./pens.ts";
import { cellColour, type Colouring, endOf, largestOf, type Pick } from "./quantities.ts";
import type { Scene } from "./scene.ts";
import { isCode, MISSING, type Tile } from "./store.ts";
import type { Frame, Surface } from "./surface.ts";
import { brief } from "./words.ts";

export interface Picture {
  pick: Pick;
  kind: Colouring["kind"];
  /** Lowest and highest zoom of the cells. */
  zooms: [number, number];
  cells(z: number, row: number, column: number, signal: AbortSignal): Promise<Tile>;
  rows: Edge;
  columns: Edge;
  /** Keys that take much of all attention; they can be hidden. */
  sinks: readonly number[];
}
export interface Cell {
  query: number;
  key: number;
  z: number;
  value: number;
}

const TILES_KEPT = 200;
// Milliseconds to wait for an animation frame: a headless browser taking a screenshot may give none.
const LATE = 100;
// Cells of so many letters' sizes have room for their number.
const ROOM_FOR_NUMBERS = 2.9;

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
  /** Called when all tiles of the first picture are there. */
  onReady: (() => void) | null = null;
  /** A matrix that shares the colour range of this one. */
  partner: Matrix | null = null;
  largest = { top: 0, nan: false };
  selected: { query: number; key: number } | null = null;
  readonly painter = new Painter();
  private readonly ready = new Map<string, Tile>();
  private readonly asked = new Set<string>();
  /** Pending tiles, with their abort controllers. */
  private readonly coming = new Map<string, AbortController>();
  /** The small note at the pointer; the sentence below the picture says the same in full. */
  readonly note = make("div", { class: "note", "aria-hidden": "true", hidden: "" });
  private pointer: { x: number; y: number } | null = null;
  /** What the page's sentence is about, as a way to the cell that is there now, and the cell that was told. */
  private told: { cell: () => Cell | null; last: string } | null = null;
  // Drawn before the new size is seen; what is said about the picture may change the layout again and waits a frame.
  private readonly watch = new ResizeObserver(() => {
    if (this.paint()) this.draw();
  });
  private texts: Room | null = null;
  private textsFor = "";
  private complete = false;
  closed = false;
  private frame = 0;
  private late = 0;
  private fitted = 0;
  private readonly scene: Scene;
  private readonly surface: Surface | null;
  readonly picture: Picture;

  /** `surface` draws the cells where there is WebGL2; without it the canvas does. */
  constructor(scene: Scene, picture: Picture, surface: Surface | null, name = "Attention map") {
    this.scene = scene;
    this.picture = picture;
    this.surface = surface;
    this.colouring = scene.colouring(picture.kind, this.largest);
    this.canvas = make("canvas", { tabindex: "0", role: "application", "data-name": name, "aria-label": `${name}. Arrows move the cell, plus and minus zoom, 0 shows all.` });
    this.element = make("div", { class: "matrix", "data-drawn-by": surface ? "webgl2" : "canvas" }, surface?.canvas, this.canvas, this.note);
    this.watch.observe(this.element);
  }

  close(): void {
    this.closed = true;
    this.watch.disconnect();
    this.unplan();
    for (const end of this.coming.values()) end.abort();
  }

  private unplan(): void {
    cancelAnimationFrame(this.frame);
    window.clearTimeout(this.late);
    this.frame = 0;
  }

  get look(): Look {
    const { scene } = this;
    return { text: scene.ink("text"), faint: scene.ink("faint"), track: scene.ink("track"), accent: scene.ink("accent"), size: scene.textSize * 0.86 };
  }

  get textRooms(): Room {
    const { size } = this.look;
    const { clientWidth, clientHeight } = this.element;
    const key = `${size} ${clientWidth} ${clientHeight}`;
    if (!this.texts || this.textsFor !== key) {
      const { rows, columns } = this.picture;
      const roomy = 0.8 * Math.min(clientWidth / columns.size, clientHeight / rows.size) > size * SMALLEST;
      this.texts = { left: textRoom(rows, size, clientWidth, roomy), top: textRoom(columns, size, clientHeight, roomy) };
      this.textsFor = key;
    }
    return this.texts;
  }

  get room(): Room {
    const { size } = this.look;
    const { rows, columns } = this.picture;
    return { left: Math.round(edgeRoom(rows, this.textRooms.left, size)), top: Math.round(edgeRoom(columns, this.textRooms.top, size)) };
  }

  extent(): Extent {
    const { map } = this.picture.pick;
    return {
      columns: map.keys.size, rows: map.queries.size,
      width: Math.max(40, this.element.clientWidth - this.room.left - 2), height: Math.max(40, this.element.clientHeight - this.room.top - 2),
    };
  }

  /** Where the cells lie on the canvas. */
  area(): { left: number; top: number; width: number; height: number } {
    const extent = this.extent();
    const { pixels } = this.camera;
    return { ...this.room, width: Math.min(extent.width, extent.columns * pixels), height: Math.min(extent.height, extent.rows * pixels) };
  }

  get zoom(): number {
    return zoomFor(this.camera.pixels, this.picture.zooms, window.devicePixelRatio);
  }

  /** Whether other tiles come onto the screen as the picture is moved. */
  private get moving(): boolean {
    const { queries, keys } = this.picture.pick.map;
    return Math.max(queries.size, keys.size) > this.scene.store.manifest.tile * 2 ** this.picture.zooms[0];
  }

  /** Whether all of the picture is in view. */
  get whole(): boolean {
    return this.camera.pixels <= this.fitted * 1.000001;
  }

  /** The keys whose columns are hidden. */
  get hidden(): readonly number[] {
    return this.scene.state.sinks ? [] : this.picture.sinks;
  }

  draw(): void {
    if (this.frame || this.closed) return;
    this.frame = requestAnimationFrame(() => this.drawNow());
    this.late = window.setTimeout(() => this.drawNow(), LATE);
  }

  move(camera: Camera): void {
    this.camera = held(camera, this.extent());
    this.onMove();
    this.draw();
  }

  /** Zoom about a place of the picture; about the chosen cell if it is seen, else about the middle, when none is given. */
  zoomBy(factor: number, x?: number, y?: number): void {
    const { width, height } = this.area();
    const { camera, selected } = this;
    let [across, down] = [x ?? width / 2, y ?? height / 2];
    if (x === undefined && selected) {
      const [left, top] = [(selected.key + 0.5 - camera.x) * camera.pixels, (selected.query + 0.5 - camera.y) * camera.pixels];
      if (left >= 0 && top >= 0 && left <= width && top <= height) [across, down] = [left, top];
    }
    this.camera = zoomed(camera, factor, across, down, this.extent());
    this.onMove();
    this.draw();
  }

  /** Select a cell, bring it onto the screen and say what it holds. */
  point(query: number, key: number): void {
    const { width, height } = this.extent();
    const { x, y, pixels } = this.camera;
    const near = (at: number, from: number, room: number): number => (at < from ? at : at + 1 > from + room / pixels ? at + 1 - room / pixels : from);
    this.selected = { query, key };
    this.move({ pixels, x: near(key, x, width), y: near(query, y, height) });
    this.tell(() => this.cellAt(query, key));
  }

  choose(cell: Cell | null): void {
    this.selected = cell && { query: cell.query, key: cell.key };
    this.tell(cell && (() => this.cellAt(cell.query, cell.key)));
    this.draw();
  }

  /** A pointer is at a place of the picture, or has left it: its cell is said, its row and column are lit. */
  hover(at: { x: number; y: number } | null): void {
    const before = this.lit;
    this.pointer = at && at.x >= 0 && at.y >= 0 ? at : null;
    const { lit } = this;
    this.tell(lit && (() => this.lit));
    if (lit?.query !== before?.query || lit?.key !== before?.key) this.draw();
    this.placeNote();
  }

  /** The cell under the pointer. */
  get lit(): Cell | null {
    return this.pointer && this.under(this.pointer.x, this.pointer.y);
  }

  /** Beside the pointer, on the side where there is room. */
  private placeNote(): void {
    const { note, pointer, room, element } = this;
    note.hidden = !pointer || !note.textContent;
    if (!pointer || note.hidden) return;
    const [x, y] = [room.left + pointer.x, room.top + pointer.y];
    const { offsetWidth, offsetHeight } = note;
    note.style.left = `${x + 14 + offsetWidth > element.clientWidth ? Math.max(0, x - 14 - offsetWidth) : x + 14}px`;
    note.style.top = `${y + 18 + offsetHeight > element.clientHeight ? Math.max(0, y - 12 - offsetHeight) : y + 18}px`;
  }

  /** Say a cell in words, and again when finer numbers of it have come; null: the sentence stays as it is. */
  tell(cell: (() => Cell | null) | null): void {
    this.told = cell && { cell, last: "" };
    if (!cell) return;
    this.scene.teller = this;
    this.tellAgain();
  }

  private tellAgain(): void {
    const { told } = this;
    if (!told || this.scene.teller !== this) return;
    const cell = told.cell();
    const now = cell ? `${cell.query} ${cell.key} ${cell.z} ${cell.value}` : "";
    if (now === told.last) return;
    told.last = now;
    this.onCell(cell);
    this.placeNote();
  }

  /** The cell under a place of the picture, in pixels from its corner. */
  under(x: number, y: number): Cell | null {
    return this.cellAt(Math.floor(this.camera.y + y / this.camera.pixels), Math.floor(this.camera.x + x / this.camera.pixels));
  }

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

  drawNow(): void {
    this.unplan();
    if (!this.paint()) return;
    // Before any cell has come there is nothing to name.
    if (this.shown.length) this.onDraw();
    this.tellAgain();
    if (!this.complete || !this.onReady) return;
    this.onReady();
    this.onReady = null;
  }

  /** Draw everything; false where there is no room yet. */
  private paint(): boolean {
    const ratio = window.devicePixelRatio || 1;
    const width = this.element.clientWidth;
    const height = this.element.clientHeight;
    if (!width || !height) return false;
    const { canvas, surface } = this;
    if (canvas.width !== Math.round(width * ratio) || canvas.height !== Math.round(height * ratio)) {
      canvas.width = Math.round(width * ratio);
      canvas.height = Math.round(height * ratio);
      canvas.style.width = `${width}px`;
      canvas.style.height = `${height}px`;
    }
    const extent = this.extent();
    // A picture that shows all keeps showing all when its room changes.
    if (!this.camera.pixels || this.camera.pixels === this.fitted) this.camera.pixels = fitting(extent);
    this.fitted = fitting(extent);
    this.canvas.classList.toggle("whole", this.whole);
    this.camera = held(this.camera, extent);
    this.collect(extent);
    const context = canvas.getContext("2d")!;
    context.setTransform(ratio, 0, 0, ratio, 0, 0);
    context.clearRect(0, 0, width, height);
    const frame: Frame = { shown: this.shown, colouring: this.colouring, hidden: this.hidden, ...this.area(), ...this.camera };
    const pen = new CanvasPen(context);
    if (surface) surface.draw(frame, { width, height, ratio }, this.scene.ground);
    else pen.within(frame.left, frame.top, frame.width, frame.height, () => this.drawTiles(pen, frame));
    this.drawOver(pen);
    return true;
  }

  /** The tiles as pictures; the screen without WebGL and files do it so. */
  drawTiles(pen: Pen, frame: Frame): void {
    const { x, y, pixels } = this.camera;
    for (const one of frame.shown) {
      const cell = 2 ** one.z * pixels;
      const picture = this.painter.picture(one.tile, frame.colouring, hiddenColumns(one, frame.hidden));
      pen.image(picture, frame.left + one.firstColumn * cell - x * pixels, frame.top + one.firstRow * cell - y * pixels, one.tile.columns * cell, one.tile.rows * cell);
    }
  }

  /** Everything that is no cell: numbers in large cells, the sink's mark, the chosen cell, both sides. */
  drawOver(pen: Pen, chosen = true): void {
    const { look, room, lit } = this;
    const area = this.area();
    const { x, y, pixels } = this.camera;
    pen.within(area.left, area.top, area.width, area.height, () => {
      if (pixels >= look.size * ROOM_FOR_NUMBERS) this.drawNumbers(pen, look.size * 0.9);
      if (lit && chosen) this.drawCross(pen, lit);
      if (this.selected && chosen) {
        const span = Math.max(2 ** this.zoom * pixels, 4);
        const [left, top] = [room.left + (this.selected.key - x) * pixels, room.top + (this.selected.query - y) * pixels];
        pen.outline(left, top, span, span, "#fff", 3);
        pen.outline(left, top, span, span, "#000", 1);
      }
    });
    const at = chosen ? lit : null;
    const span = at ? 2 ** at.z : 1;
    drawEdges(pen, look, { ...this.picture.rows, lit: at && [at.query, span] }, { ...this.picture.columns, lit: at && [at.key, span] }, this.camera, this.extent(), room, this.textRooms);
  }

  /** Lines along the row and the column of a cell; the cells keep their colours. */
  private drawCross(pen: Pen, { query, key, z }: Cell): void {
    const { left, top, width, height } = this.area();
    const { x, y, pixels } = this.camera;
    const span = 2 ** z * pixels;
    const [across, down] = [left + (key - x) * pixels, top + (query - y) * pixels];
    for (const [at, fill] of [[0, "rgba(255, 255, 255, 0.9)"], [1, "rgba(0, 0, 0, 0.7)"]] as const) {
      for (const line of [down - 1 - at, down + span + at]) pen.rect(left, line, width, 1, fill);
      for (const line of [across - 1 - at, across + span + at]) pen.rect(line, top, 1, height, fill);
    }
  }

  private drawNumbers(pen: Pen, size: number): void {
    const { x, y, pixels } = this.camera;
    const area = this.area();
    const away = new Set(this.hidden);
    for (const { tile, firstRow, firstColumn, z } of this.shown) {
      if (z !== 0) continue;
      const last = { row: Math.min(tile.rows, Math.ceil(y + area.height / pixels) - firstRow), column: Math.min(tile.columns, Math.ceil(x + area.width / pixels) - firstColumn) };
      for (let row = Math.max(0, Math.floor(y) - firstRow); row < last.row; row++) {
        for (let column = Math.max(0, Math.floor(x) - firstColumn); column < last.column; column++) {
          const value = tile.values[row * tile.columns + column]!;
          if (isCode(value) || away.has(firstColumn + column)) continue;
          pen.text(brief(value), area.left + (firstColumn + column + 0.5 - x) * pixels, area.top + (firstRow + row + 0.5 - y) * pixels, { size, fill: ink(cellColour(this.colouring, value)), align: "middle" });
        }
      }
    }
  }

  private collect(extent: Extent): void {
    const z = this.zoom;
    const size = this.scene.store.manifest.tile;
    const [, highest] = this.picture.zooms;
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
    this.giveUp(new Set([...wanted.map(({ row, column }) => `${z}/${row}/${column}`), ...patches(this.camera, extent, highest, size).map(({ row, column }) => `${highest}/${row}/${column}`)]));
    this.complete = found.length === wanted.length;
    this.shown = [...under, ...found];
    const before = endOf(this.largest.top, this.picture.kind, this.moving);
    this.largest = { top: 0, nan: false };
    for (const one of found.length ? found : under) {
      const seen = largestOf(one.tile.values, one.tile.columns, hiddenColumns(one, this.hidden));
      this.largest = { top: Math.max(this.largest.top, seen.top), nan: this.largest.nan || seen.nan };
    }
    if (endOf(this.largest.top, this.picture.kind, this.moving) !== before) this.partner?.draw();
    const both = { top: Math.max(this.largest.top, this.partner?.largest.top ?? 0), nan: this.largest.nan };
    this.colouring = this.scene.colouring(this.picture.kind, both, this.moving);
  }

  private get(z: number, row: number, column: number): Tile | undefined {
    const key = `${z}/${row}/${column}`;
    const tile = this.ready.get(key);
    if (tile || this.asked.has(key)) return tile;
    this.asked.add(key);
    const end = new AbortController();
    this.coming.set(key, end);
    this.picture.cells(z, row, column, end.signal).then(
      (made) => {
        if (this.coming.get(key) === end) this.coming.delete(key);
        if (this.ready.size > TILES_KEPT) {
          const oldest = this.ready.keys().next().value!;
          this.ready.delete(oldest);
          this.asked.delete(oldest);
        }
        this.ready.set(key, made);
        this.draw();
      },
      (error: Error) => {
        if (end.signal.aborted) return;
        this.coming.delete(key);
        this.asked.delete(key);
        this.scene.fail(error);
      },
    );
    return undefined;
  }

  /** Tiles that were asked for on the way through other zooms and places are not waited for. */
  private giveUp(needed: Set<string>): void {
    for (const [key, end] of this.coming) {
      if (needed.has(key)) continue;
      this.coming.delete(key);
      this.asked.delete(key);
      end.abort();
    }
  }
}
