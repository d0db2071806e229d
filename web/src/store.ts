// Blocks of a host, decoded and kept. A wrong length is an error that is shown, never guessed at.
import { joined, MASKED, MISSING, type Tile } from "./cells.ts";
import type { AttentionMap, HeadMeasures, Manifest, NumberKind } from "./manifest.ts";

export interface TileSource {
  /** `signal` aborts when nobody waits any longer. A host may then stop, with an error. */
  block(key: string, signal?: AbortSignal): Promise<ArrayBuffer | null>;
}

export { isCode, MASKED, MISSING, type Tile } from "./cells.ts";

const CAPACITY = 600;

export function halfToFloat(bits: number): number {
  const sign = bits & 0x8000 ? -1 : 1;
  const exponent = (bits >> 10) & 31;
  const fraction = bits & 1023;
  if (exponent === 0) return sign * fraction * 2 ** -24;
  if (exponent === 31) return fraction ? NaN : sign * Infinity;
  return sign * (1 + fraction / 1024) * 2 ** (exponent - 15);
}

let halves: Float32Array | null = null;

function table(): Float32Array {
  halves ??= Float32Array.from({ length: 65536 }, (_, bits) => halfToFloat(bits));
  return halves;
}

const WIDTHS = { u1: 1, f2: 2, f4: 4 };

/** `levels` has the number of each byte of "u1". */
export function numbers(block: ArrayBuffer, kind: NumberKind, length: number, key: string, levels?: Float32Array | null): Float32Array {
  const width = WIDTHS[kind];
  if (block.byteLength !== length * width) {
    throw new Error(`Block ${key} has ${block.byteLength} bytes; ${length * width} were expected.`);
  }
  const values = new Float32Array(length);
  if (kind === "f4") values.set(new Float32Array(block));
  else {
    const lookup = kind === "u1" ? levels : table();
    if (!lookup) throw new Error(`Block ${key} is rounded, and the block "levels" is not there.`);
    const bits = kind === "u1" ? new Uint8Array(block) : new Uint16Array(block);
    for (let i = 0; i < length; i++) values[i] = lookup[bits[i]!]!;
  }
  for (let i = 0; i < length; i++) {
    if (values[i] === -1) values[i] = MASKED;
    else if (values[i] === -2) values[i] = MISSING;
  }
  return values;
}

/** Class of each token, -1 for none; whether it goes on with the span of the token before. */
export interface Labels {
  classes: Int16Array;
  goesOn: boolean[];
}

// Added to the class of a token that goes on with a span.
const GOES_ON = 1 << 14;

export interface TopWeights {
  keys: Int32Array;
  weights: Float32Array;
}

export class Store {
  private readonly kept = new Map<string, Promise<unknown>>();
  private readonly asked = new Map<string, { waiting: number; end: AbortController }>();
  readonly source: TileSource;
  readonly manifest: Manifest;

  constructor(source: TileSource, manifest: Manifest) {
    this.source = source;
    this.manifest = manifest;
  }

  static async open(source: TileSource): Promise<Store> {
    const block = await source.block("manifest");
    if (!block) throw new Error("There is no manifest: the page has no data to show.");
    const manifest = JSON.parse(new TextDecoder().decode(block)) as Manifest;
    if (manifest.format !== "regard-view" || manifest.version !== 1) {
      throw new Error(`The data are ${manifest.format} ${manifest.version}; this page reads regard-view 1.`);
    }
    return new Store(source, manifest);
  }

  private keep<T>(key: string, make: () => Promise<T>): Promise<T> {
    const found = this.kept.get(key) as Promise<T> | undefined;
    if (found) {
      this.kept.delete(key);
      this.kept.set(key, found);
      return found;
    }
    const made = make();
    this.kept.set(key, made);
    made.catch(() => this.kept.get(key) === made && this.kept.delete(key));
    if (this.kept.size > CAPACITY) this.kept.delete(this.kept.keys().next().value!);
    return made;
  }

  private floats(key: string, length: number, kind: NumberKind = "f4", signal?: AbortSignal): Promise<Float32Array | null> {
    const made = this.keep(key, async () => {
      const asked = { waiting: 0, end: new AbortController() };
      this.asked.set(key, asked);
      try {
        const levels = kind === "u1" ? await this.floats("levels", 256) : null;
        const block = await this.source.block(key, asked.end.signal);
        return block && numbers(block, kind, length, key, levels);
      } finally {
        if (this.asked.get(key) === asked) this.asked.delete(key);
      }
    });
    this.wait(key, signal);
    return made;
  }

  /** A block that several wait for is given up when the last of them does; who has no signal waits to the end. */
  private wait(key: string, signal?: AbortSignal): void {
    const asked = this.asked.get(key);
    if (!asked) return;
    asked.waiting += signal ? 1 : Infinity;
    signal?.addEventListener("abort", () => {
      if (--asked.waiting > 0 || this.asked.get(key) !== asked) return;
      this.asked.delete(key);
      this.kept.delete(key);
      asked.end.abort();
    }, { once: true });
  }

  map(id: number): AttentionMap {
    const found = this.manifest.maps[id];
    if (!found) throw new Error(`There is no map ${id}.`);
    return found;
  }

  /** Name of a quantity; that of the first depends on what was recorded. */
  quantityOf({ id, name }: { id: string; name: string }): string {
    return id === "mass" ? this.manifest.quantity : name;
  }

  /** What distances along a map are counted in. */
  unitOf(map: AttentionMap): string {
    return map.kind === "self" && this.manifest.axes[map.queries.axis]?.grid ? "patches" : "tokens";
  }

  /** A map in words: with its model, input and call where there are several. */
  nameOf(map: AttentionMap): string {
    const { maps } = this.manifest;
    const parts = [map.model, map.name].filter(Boolean);
    if (maps.some((other) => other.input !== map.input)) parts.push(`input ${map.input}`);
    if (maps.some((other) => other.pass !== map.pass && other.name === map.name)) parts.push(`call ${map.pass + 1}`);
    return parts.join(", ");
  }

  async tile(map: AttentionMap, head: number, quantity: string, z: number, row: number, column: number, signal?: AbortSignal): Promise<Tile> {
    const size = this.manifest.tile;
    const cells = (total: number, at: number): number => Math.min(size, Math.ceil(total / 2 ** z) - size * at);
    const rows = cells(map.queries.size, row);
    const columns = cells(map.keys.size, column);
    const values = await this.cells(map, head, quantity, z, row, column, rows * columns, signal);
    return { rows, columns, values: values ?? new Float32Array(rows * columns).fill(MISSING) };
  }

  private async cells(map: AttentionMap, head: number, quantity: string, z: number, row: number, column: number, length: number, signal?: AbortSignal): Promise<Float32Array | null> {
    if (quantity === "mass" && map.derived && z === map.overview) return (await this.overview(map))?.[head]?.values ?? null;
    if (map.derived?.includes(z)) {
      const parts = [0, 1].map((r) => [0, 1].map((c) => this.finer(map, head, quantity, z - 1, 2 * row + r, 2 * column + c, signal)));
      return joined(await Promise.all(parts.map((line) => Promise.all(line))), 2 ** (z - 1), map.queries.size - row * this.manifest.tile * 2 ** z);
    }
    const kind = ["uniform", "expected", "value"].includes(quantity) ? "f4" : this.manifest.number;
    const values = await this.floats(`tile/${map.id}/${head}/${quantity}/${z}/${row}/${column}`, length, kind, signal);
    return values && kind === "u1" && z === 0 && map.top_weights ? this.withLargest(map, head, row, column, values) : values;
  }

  private async finer(map: AttentionMap, head: number, quantity: string, z: number, row: number, column: number, signal?: AbortSignal): Promise<Tile | null> {
    const side = this.manifest.tile * 2 ** z;
    return row * side < map.queries.size && column * side < map.keys.size ? this.tile(map, head, quantity, z, row, column, signal) : null;
  }

  /** Rounded weights, with the largest of each query as they are. */
  private async withLargest(map: AttentionMap, head: number, row: number, column: number, values: Float32Array): Promise<Float32Array> {
    const top = await this.topWeights(map, head);
    const size = this.manifest.tile;
    const columns = Math.min(size, map.keys.size - size * column);
    for (let i = 0; top && i < values.length / columns; i++) {
      for (let n = 0, at = (row * size + i) * map.top_weights; n < map.top_weights; n++, at++) {
        const place = top.keys[at]! - column * size;
        if (place >= 0 && place < columns) values[i * columns + place] = top.weights[at]!;
      }
    }
    return values;
  }

  async overview(map: AttentionMap): Promise<Tile[] | null> {
    const rows = Math.ceil(map.queries.size / 2 ** map.overview);
    const columns = Math.ceil(map.keys.size / 2 ** map.overview);
    const all = await this.floats(`overview/${map.id}`, map.heads * rows * columns, this.manifest.number === "u1" ? "u1" : "f2");
    if (!all) return null;
    const area = rows * columns;
    return Array.from({ length: map.heads }, (_, head) => ({
      rows,
      columns,
      values: all.subarray(head * area, (head + 1) * area),
    }));
  }

  track(map: AttentionMap, head: number, name: string): Promise<Float32Array | null> {
    const side = map.tracks[name];
    if (!side) return Promise.resolve(null);
    return this.floats(`track/${map.id}/${head}/${name}`, map[side].size);
  }

  row(map: AttentionMap, head: number, query: number): Promise<Float32Array | null> {
    return this.floats(`row/${map.id}/${head}/${query}`, map.keys.size);
  }

  column(map: AttentionMap, head: number, key: number): Promise<Float32Array | null> {
    return this.floats(`column/${map.id}/${head}/${key}`, map.queries.size);
  }

  topWeights(map: AttentionMap, head: number): Promise<TopWeights | null> {
    const key = `top_weights/${map.id}/${head}`;
    return this.keep(key, async () => {
      const block = await this.source.block(key);
      const count = map.queries.size * map.top_weights;
      if (!block) return null;
      if (block.byteLength !== count * 8) throw new Error(`Block ${key} has ${block.byteLength} bytes; ${count * 8} were expected.`);
      return { keys: new Int32Array(block, 0, count), weights: new Float32Array(block, count * 4, count) };
    });
  }

  measures(map: AttentionMap): Promise<HeadMeasures | null> {
    return this.keep(`measures/${map.id}`, async () => {
      const block = await this.source.block(`measures/${map.id}`);
      if (!block) return null;
      const raw = JSON.parse(new TextDecoder().decode(block)) as Record<string, unknown>;
      const found: HeadMeasures = { numbers: {}, kind: [], sinks: [], rowSums: null };
      for (const [name, value] of Object.entries(raw)) {
        if (name === "kind") found.kind = (value ?? []) as string[];
        else if (name === "sinks") found.sinks = (value ?? []) as HeadMeasures["sinks"];
        else if (name === "row_sums") found.rowSums = value as [number, number] | null;
        else if (Array.isArray(value)) found.numbers[name] = value.map((one) => (one === "NaN" ? NaN : (one as number | null)));
      }
      return found;
    });
  }

  tokens(axis: number): Promise<string[] | null> {
    const known = this.manifest.axes[axis]!;
    if (!known.tokens) return Promise.resolve(null);
    return this.keep(`tokens/${axis}`, async () => {
      const [bytes, ends] = await Promise.all([this.source.block(`tokens/${axis}`), this.source.block(`offsets/${axis}`)]);
      if (!bytes || !ends) return null;
      const offsets = new Uint32Array(ends);
      if (offsets.length !== known.size + 1) throw new Error(`offsets/${axis} has ${offsets.length} numbers; ${known.size + 1} were expected.`);
      const decoder = new TextDecoder("utf-8", { ignoreBOM: true });
      return Array.from({ length: known.size }, (_, i) => decoder.decode(new Uint8Array(bytes, offsets[i]!, offsets[i + 1]! - offsets[i]!)));
    });
  }

  async words(axis: number): Promise<Int32Array | null> {
    if (!this.manifest.axes[axis]!.words) return null;
    return this.keep(`words/${axis}`, async () => {
      const block = await this.source.block(`words/${axis}`);
      return block && new Int32Array(block);
    });
  }

  async labels(axis: number, which: number): Promise<Labels | null> {
    return this.keep(`labels/${axis}/${which}`, async () => {
      const block = await this.source.block(`labels/${axis}/${which}`);
      if (!block) return null;
      const codes = new Int16Array(block);
      return { classes: codes.map((code) => (code >= GOES_ON ? code - GOES_ON : code)), goesOn: Array.from(codes, (code) => code >= GOES_ON) };
    });
  }

  async image(axis: number): Promise<ImageBitmap | null> {
    const type = this.manifest.axes[axis]!.grid?.image;
    if (!type) return null;
    return this.keep(`image/${axis}`, async () => {
      const block = await this.source.block(`image/${axis}`);
      return block && (await createImageBitmap(new Blob([block], { type })));
    });
  }
}
