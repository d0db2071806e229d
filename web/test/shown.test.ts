// What is seen and what is written into files, as far as it needs no browser.
import assert from "node:assert/strict";
import { test } from "node:test";

import { colour, ink, type Rgb } from "../src/colours.ts";
import { nearest, opposite } from "../src/choices.ts";
import { binned, type Edge, textRoom } from "../src/edges.ts";
import { thumbSize } from "../src/fitting.ts";
import { KINDS, kindInWords } from "../src/help.ts";
import { marks, scaleName, title } from "../src/legend.ts";
import type { AttentionMap, HeadMeasures, Manifest } from "../src/manifest.ts";
import { hiddenColumns, paint } from "../src/painter.ts";
import { escaped, fitted, SvgPen, wrapped } from "../src/pens.ts";
import { trackOf } from "../src/pictures.ts";
import { type Colouring, endOf, largestOf, quantityOf } from "../src/quantities.ts";
import { firstLook, rowOf, total } from "../src/rows.ts";
import { matches, next } from "../src/search.ts";
import { besides, moved } from "../src/sheets.ts";
import { named, sinksOf } from "../src/sinks.ts";
import { decode, encode, startOf } from "../src/state.ts";
import { MASKED, MISSING, Store } from "../src/store.ts";
import { type Item, sorted } from "../src/views/overview.ts";
import { shownHere, topOf, written } from "../src/views/text.ts";
import { brief, round, visible } from "../src/words.ts";

const plainly: Colouring = { kind: "plain", scale: "linear", top: 1, dark: false, colours: "cividis", rounded: null, over: false, nan: false };
const side = { axis: 0, first: 0, size: 8 };
const map = {
  id: 0, name: "layer.0", model: "", input: 0, layer: 0, pass: 0, kind: "self", heads: 1, queries: side, keys: side, finest: 0, recorded: 0, coarsest: 0, overview: 0, exact: false,
  quantities: { mass: [0, 0] }, tracks: { entropy: "queries", received: "keys" }, top_weights: 0, notes: [],
} as AttentionMap;
const tile = (rows: number, columns: number, numbers: number[]) => ({ rows, columns, values: new Float32Array(numbers) });
const letters = (text: string): number => [...text].length;

function store(one: AttentionMap, blocks: Record<string, ArrayBuffer>): Store {
  const manifest = { format: "regard-view", version: 1, tile: 256, number: "f4", axes: [], maps: [one] } as unknown as Manifest;
  return new Store({ block: (key) => Promise.resolve(blocks[key] ?? null) }, manifest);
}

test("sinks of some heads are those of each, largest first; nothing is said where one is not known", () => {
  const measures = { numbers: {}, kind: [], rowSums: null, sinks: [[[3, 0.6], [1, 0.2]], [[1, 0.9]], [], null] } as HeadMeasures;
  assert.deepEqual(sinksOf(measures, [0]), [{ key: 3, share: 0.6 }, { key: 1, share: 0.2 }]);
  assert.deepEqual(sinksOf(measures, [0, 1])!.map((sink) => sink.key), [1, 3]);
  assert.deepEqual(sinksOf(measures, [2]), []);
  assert.equal(sinksOf(measures, [0, 3]), null);
  assert.equal(sinksOf(null, [0]), null);
});

test("sinks are named with their tokens and shares, equal tokens together", () => {
  const tokens = ["[CLS]", "a", ".", "b", "[SEP]", ".", ".", "."];
  const sinks = [{ key: 4, share: 0.5 }, { key: 2, share: 0.1 }, { key: 5, share: 0.05 }];
  assert.equal(named(map, sinks, tokens, true), '"[SEP]" at 4 (50.0 %), "." at 2, 5 (15.0 %)');
  assert.equal(named(map, sinks, null, true), "key 4 (50.0 %), key 2 (10.0 %), key 5 (5.0 %)");
  assert.equal(named(map, [2, 5, 6, 7].map((key) => ({ key, share: 0.1 })), tokens, false), '4 × "."');
});

test("hidden keys are columns of each tile that holds them", () => {
  const shown = { tile: tile(1, 4, [0, 0, 0, 0]), firstRow: 0, firstColumn: 4, z: 1 };
  assert.deepEqual([0, 8, 11, 15, 16].map((key) => hiddenColumns(shown, [key])), [[], [0], [1], [3], []]);
  assert.deepEqual(hiddenColumns(shown, [8, 9, 14]), [0, 3]);
});

test("masked, not recorded, NaN, hidden and zero have five colours", () => {
  const cells = tile(1, 5, [MASKED, MISSING, NaN, 0, 0.5]);
  const pixels = new Uint8ClampedArray(20);
  paint(pixels, cells, plainly, [4]);
  const seen = [0, 1, 2, 3, 4].map((i) => pixels.slice(i * 4, i * 4 + 3).join());
  assert.equal(new Set(seen).size, 5);
  assert.equal(seen[3], colour("cividis", 0).join());
});

test("the largest number leaves out codes, NaN and the hidden column", () => {
  const values = new Float32Array([0.9, 0.2, MASKED, -0.4, NaN, MISSING]);
  assert.deepEqual(largestOf(values, 3, []), { top: Math.fround(0.9), nan: true });
  assert.deepEqual(largestOf(values, 3, [0]), { top: Math.fround(0.2), nan: true });
});

test("letters can be read on every colour of every map", () => {
  const light = (rgb: Rgb): number => {
    const [r, g, b] = rgb.map((part) => (part / 255 <= 0.04045 ? part / 255 / 12.92 : ((part / 255 + 0.055) / 1.055) ** 2.4)) as Rgb;
    return 0.2126 * r + 0.7152 * g + 0.0722 * b;
  };
  for (const name of ["cividis", "viridis", "blues", "greys", "diverging"] as const) {
    for (let i = 0; i < 256; i++) {
      const behind = light(colour(name, i / 255)) + 0.05;
      const contrast = ink(colour(name, i / 255)) === "#000" ? behind / 0.05 : 1.05 / behind;
      assert.ok(contrast >= 4.5, `${name} ${i}: ${contrast}`);
    }
  }
});

test("the bar says where it ends, and when something larger is seen", () => {
  assert.deepEqual(marks({ ...plainly, top: 0.5 }), [[0, "0"], [0.5, "0.25"], [1, "0.5"]]);
  assert.deepEqual(marks({ ...plainly, top: 0.5, over: true }).at(-1), [1, "≥ 0.5"]);
  assert.deepEqual(marks({ ...plainly, scale: "log" })[0], [0, "≤ 1.0e-04"]);
  assert.deepEqual(marks({ ...plainly, kind: "difference" }), [[0, "-1"], [0.5, "0"], [1, "1"]]);
  assert.deepEqual(marks({ ...plainly, kind: "ratio", top: 4 }), [[0, "≤ 0.25"], [0.5, "1"], [1, "≥ 4"]]);
  assert.equal(scaleName({ ...plainly, scale: "log" }), "logarithmic");
});

test("a row without single weights is had from its cells, and says so", async () => {
  const pooled = { ...map, finest: 2, recorded: 2, coarsest: 2, quantities: { mass: [2, 2] } } as AttentionMap;
  const pick = { map: pooled, heads: [0], quantity: quantityOf("mass") };
  const blocks = { "tile/0/0/mass/2/0/0": new Float32Array([0.8, -1, 0.4, 0.6]).buffer };
  const found = await rowOf(store(pooled, blocks), pick, [1]);
  assert.deepEqual([...found.values].map((value) => (value === MASKED ? "masked" : value.toFixed(3))), [...Array(4).fill("0.200"), ...Array(4).fill("masked")]);
  assert.match(found.note, /means over cells of 4 × 4 tokens/);
});

test("a row of stored largest weights: the others are not recorded, what is masked stays masked", async () => {
  const linked = { ...map, finest: 2, recorded: 2, coarsest: 2, quantities: { mass: [2, 2] }, top_weights: 4 } as AttentionMap;
  const top = new ArrayBuffer(256);
  new Int32Array(top, 0, 32).set([2, 0, -1, -1]);
  new Float32Array(top, 128, 32).set([0.75, 0.125]);
  const blocks = { "tile/0/0/mass/2/0/0": new Float32Array([0.8, -1, 0.4, 0.6]).buffer, "top_weights/0/0": top };
  const found = await rowOf(store(linked, blocks), { map: linked, heads: [0], quantity: quantityOf("mass") }, [0]);
  assert.deepEqual([...found.values], [0.125, MISSING, 0.75, MISSING, MASKED, MASKED, MASKED, MASKED]);
  assert.match(found.note, /^the 4 largest weights/);
});

test("one stored weight is told beside the means of the cells", async () => {
  const single = { ...map, finest: 2, recorded: 2, coarsest: 2, quantities: { mass: [2, 2] }, top_weights: 1 } as AttentionMap;
  const top = new ArrayBuffer(64);
  new Int32Array(top, 0, 8).fill(3);
  new Float32Array(top, 32, 8).fill(0.5);
  const blocks = { "tile/0/0/mass/2/0/0": new Float32Array([0.8, 0.2, 0.4, 0.6]).buffer, "top_weights/0/0": top };
  const found = await rowOf(store(single, blocks), { map: single, heads: [0], quantity: quantityOf("mass") }, [0]);
  assert.ok(Math.abs(found.values[7]! - 0.05) < 1e-6);
  assert.match(found.note, /cells of 4 × 4 tokens; its largest weight was: 50\.0 % on key 3$/);
});

test("a layer of which no weights were recorded says that", async () => {
  const bare = { ...map, quantities: {} } as AttentionMap;
  const found = await rowOf(store(bare, {}), { map: bare, heads: [0], quantity: quantityOf("mass") }, [0]);
  assert.ok(found.values.every((value) => value === MISSING));
  assert.equal(found.note, "no weights of this layer were recorded");
});

test("tokens are found by text and by position", () => {
  const tokens = ["[CLS]", "The", "cat", "the", "12"];
  assert.deepEqual(matches(tokens, 0, 5, "the"), [1, 3]);
  assert.deepEqual(matches(tokens, 1, 4, "the"), [0, 2]);
  assert.deepEqual(matches(tokens, 0, 5, "3"), [3]);
  assert.deepEqual(matches(tokens, 0, 5, "12"), [4]);
  assert.deepEqual(matches(null, 10, 5, "12"), [2]);
  assert.deepEqual(matches(tokens, 0, 5, "  "), []);
  assert.deepEqual([next([1, 3], 1), next([1, 3], 3), next([], 0)], [3, 1, null]);
});

test("heads are sorted with the largest first, unknown ones last", () => {
  const row = { map: { ...map, heads: 3 }, name: "layer.0", tiles: null, measures: { numbers: { entropy: [1, null, 2] }, kind: ["sink", "broad", null], sinks: [], rowSums: null } };
  const order = (by: string): number[] => sorted([row], by).map((item: Item) => item.head);
  assert.deepEqual(order("layer"), [0, 1, 2]);
  assert.deepEqual(order("entropy"), [2, 0, 1]);
  assert.deepEqual(order("kind"), [1, 0, 2]);
});

test("another input, model or layer is the nearest that there is", () => {
  const maps = [{ ...map, id: 0 }, { ...map, id: 1, layer: 1 }, { ...map, id: 2, input: 1 }, { ...map, id: 3, input: 1, layer: 1 }, { ...map, id: 4, model: "b", input: 0, layer: 7 }];
  assert.equal(nearest(maps, maps[1]!, { input: 1 }).id, 3);
  assert.equal(nearest(maps, maps[3]!, { model: "b" }).id, 4);
});

test("tracks that take seconds are shown when asked for", () => {
  const long = { ...map, exact: true, queries: { ...side, size: 100000 }, keys: { ...side, size: 100000 } } as AttentionMap;
  assert.equal(trackOf(map, "queries", "auto"), "entropy");
  assert.equal(trackOf(long, "queries", "auto"), "");
  assert.equal(trackOf(long, "queries", "entropy"), "entropy");
  assert.equal(trackOf({ ...long, exact: false }, "keys", "auto"), "received");
  assert.equal(trackOf(map, "queries", "received"), "");
});

test("tracks keep the largest number of each stretch, and no NaN", () => {
  assert.deepEqual([...binned(new Float32Array([1, 5, 2, NaN, 3, 4]), 0, 6, 3)], [5, 2, 4]);
  const edge: Edge = { first: 0, size: 3, name: "keys", title: "keys", tokens: ["a", "longest", "bb"], labels: null, colours: [], track: null, found: [], marks: [] };
  assert.equal(textRoom(edge, 10, 1000, true, (text) => text.length * 6), 48);
  assert.ok(textRoom({ ...edge, tokens: ["x".repeat(1000)] }, 10, 1000, true, (text) => text.length * 6) <= 86);
});

test("the largest of a row come first, codes and the hidden one not at all", () => {
  assert.deepEqual(topOf(new Float32Array([0.1, MASKED, 0.7, NaN, 0.3, 0.7]), 3, new Set([2])), [5, 4, 0]);
  assert.deepEqual(topOf(new Float32Array([MISSING]), 3, new Set()), []);
});

test("numbers in cells are short and never a false zero", () => {
  assert.deepEqual([0, 0.312, 1, 0.004, -0.25, 12.3, NaN].map(brief), ["0", ".31", "1.0", "4e-3", "-.25", "12", "NaN"]);
  assert.deepEqual([0.25, 1, 0, 32, 0.0002].map(round), ["0.25", "1", "0", "32", "2.0e-04"]);
});

test("lines are wrapped and fitted to their room", () => {
  assert.deepEqual(wrapped("one two  three", 7, 1, letters), ["one two", "three"]);
  assert.equal(fitted("abcdef", 4, 1, letters), "abc…");
  assert.equal(fitted("abc", 4, 1, letters), "abc");
});

test("an SVG holds text as text, whatever it says", () => {
  const pen = new SvgPen();
  moved(pen, 10, 20).rect(1, 2, 3, 4, "rgb(1, 2, 3)");
  for (const text of ["</text><script>alert(1)</script>", "]]>&amp;", "\u0000\ud800", "\u202egnp"]) pen.text(text, 0, 0, { size: 10, fill: "#000" });
  const made = pen.document(100, 50, "a <b> & \"c\"");
  assert.match(made, /<rect x="11" y="22" width="3" height="4" fill="rgb\(1, 2, 3\)"\/>/);
  assert.ok(!made.includes("<script") && !made.includes("\u0000") && !/[\ud800-\udfff]/.test(made));
  assert.match(made, /<desc>a &#60;b&#62; &#38; &#34;c&#34;<\/desc>/);
  assert.equal(escaped("a\ud83d\ude00b"), "a\ud83d\ude00b");
});

test("sheets side by side take the room of all", () => {
  const one = { width: 100, height: 50, draw: () => undefined };
  const both = besides([{ name: "a", sheet: one }, { name: "b", sheet: { ...one, height: 70 } }], "#000");
  assert.deepEqual([both.width, both.height], [224, 90]);
});

test("signs that cannot be seen become signs that can", () => {
  assert.equal(visible(""), "∅");
  assert.equal(visible("a b\n\t\u202e\u0007\u200b"), "a␣b⏎⇥���");
  assert.equal(visible("\u{1f469}\u200d\u{1f680}"), "\u{1f469}\u200d\u{1f680}");
  assert.equal(visible("x".repeat(100000)).length, 200);
});

test("the bar ends at the largest number seen; an end above it is named, except where the reader has set it", () => {
  assert.equal(endOf(0.2131, "plain", false), 0.2131);
  assert.equal(endOf(0.2131, "plain", true), 0.3);
  assert.equal(endOf(1.4, "ratio", false), 2);
  assert.equal(endOf(0, "plain", false), 1);
  const legend = { colouring: plainly, name: "attention weight", classes: [], missing: "not recorded" };
  assert.equal(title(legend), "attention weight, linear");
  assert.equal(title({ ...legend, colouring: { ...plainly, top: 0.3, rounded: 0.2131 } }), "attention weight, linear, end rounded up from 0.213");
});

test("one short text begins with one head, anything else with all of them", () => {
  const short = { axes: [{ grid: null }], maps: [map, { ...map, layer: 1 }] } as unknown as Manifest;
  const begins = (part: object): string => startOf({ ...short, ...part } as Manifest).view;
  assert.equal(begins({}), "head");
  assert.equal(begins({ maps: [{ ...map, queries: { ...side, size: 33 } }] }), "overview");
  assert.equal(begins({ maps: [map, { ...map, input: 1 }] }), "overview");
  assert.equal(begins({ maps: [map, { ...map, model: "b" }] }), "overview");
  assert.equal(begins({ maps: [{ ...map, quantities: { mass: [1, 1] } }] }), "overview");
  assert.equal(begins({ axes: [{ grid: {} }] }), "overview");
  const start = startOf(short);
  assert.equal(encode(start, start), "");
  assert.equal(encode({ ...start, view: "overview" }, start), "view=overview");
  assert.equal(decode("#view=overview", start).view, "overview");
  assert.equal(decode("#view=evil", start).view, "head");
});

test("the maps of the overview are as large as lets all of them be seen", () => {
  const page = { width: 1000, height: 600, beside: 10, below: 40, gap: 5, tall: 1 };
  assert.equal(thumbSize([4], page, 70, 300), 236);
  assert.equal(thumbSize([4, 4], page, 70, 300), 236);
  assert.equal(thumbSize([8], page, 70, 300), 236);
  assert.equal(thumbSize([4, 4, 4], page, 70, 300), 155);
  assert.equal(thumbSize([1], page, 70, 300), 300);
  assert.equal(thumbSize(Array(12).fill(12), page, 70, 300), 70);
  assert.equal(thumbSize([2], { ...page, tall: 0.1 }, 70, 900), 900);
});

test("every word for a head has its meaning", () => {
  for (const kind of ["itself", "previous token", "next token", "neighbours", "sink", "local", "broad", "mixed", "sees nothing"]) assert.ok(KINDS[kind]!.length > 10, kind);
  assert.match(kindInWords("broad"), /^broad: it spreads/);
  assert.equal(kindInWords("new"), "new");
});

test("a block is given up when nobody waits for it any longer, and can be asked for again", async () => {
  const asked: AbortSignal[] = [];
  const source = {
    block: (_key: string, signal?: AbortSignal) =>
      new Promise<ArrayBuffer>((_done, failed) => {
        asked.push(signal!);
        signal!.addEventListener("abort", () => failed(new Error("given up")));
      }),
  };
  const held = new Store(source, { format: "regard-view", version: 1, tile: 256, number: "f4", axes: [], maps: [map] } as unknown as Manifest);
  const [one, other] = [new AbortController(), new AbortController()];
  const both = [one, other].map((end) => held.tile(map, 0, "mass", 0, 0, 0, end.signal));
  one.abort();
  assert.deepEqual(asked.map((signal) => signal.aborted), [false]);
  other.abort();
  assert.deepEqual(asked.map((signal) => signal.aborted), [true]);
  const again = new AbortController();
  void held.tile(map, 0, "mass", 0, 0, 0, again.signal);
  for (const made of both) await assert.rejects(made, /given up/);
  void held.tile(map, 0, "mass", 0, 0, 0);
  again.abort();
  assert.deepEqual(asked.map((signal) => signal.aborted), [true, false]);
});

test("a mean over heads is that of their cells: other keys are known of each", async () => {
  const linked = { ...map, heads: 2, finest: 2, recorded: 0, coarsest: 2, quantities: { mass: [2, 2] }, top_weights: 4 } as AttentionMap;
  const top = new ArrayBuffer(256);
  new Int32Array(top, 0, 32).fill(-1);
  const blocks = { "tile/0/0/mass/2/0/0": new Float32Array([0.8, -1, 0.4, 0.6]).buffer, "tile/0/1/mass/2/0/0": new Float32Array([0.4, -1, 0.4, 0.6]).buffer, "top_weights/0/0": top, "top_weights/0/1": top };
  const pick = { map: linked, heads: [0, 1], quantity: quantityOf("mass") };
  const found = await rowOf(store(linked, blocks), pick, [0]);
  assert.deepEqual([...found.values].map((value) => (value === MASKED ? "masked" : value.toFixed(2))), [...Array(4).fill("0.15"), ...Array(4).fill("masked")]);
  assert.match(found.note, /^single weights are not in this file: means over cells/);
  assert.match((await rowOf(store(linked, blocks), { ...pick, heads: [0] }, [0, 1])).note, /means over cells/);
  assert.match((await rowOf(store(linked, blocks), { ...pick, heads: [0] }, [0])).note, /; the others are not in this file$/);
});

test("a sum is no more than is known", () => {
  const values = new Float32Array([0.5, MISSING, MASKED, 0.25, NaN]);
  assert.deepEqual(total(values, [0, 3]), { value: 0.75, least: false });
  assert.deepEqual(total(values, [0, 1, 2]), { value: 0.5, least: true });
  assert.deepEqual(total(values, [1, 2]), { value: MISSING, least: false });
  assert.deepEqual(total(values, [2]), { value: MASKED, least: false });
  assert.ok(Number.isNaN(total(values, [0, 4]).value));
  const write = (value: number): string => `${value}`;
  assert.equal(shownHere({ value: MISSING, least: false }, false, write, "were not recorded"), "its weights on the tokens shown here were not recorded");
  assert.equal(shownHere({ value: 0.5, least: true }, false, write, ""), "at least 0.5 on the tokens shown here");
  assert.equal(shownHere({ value: 0.5, least: false }, true, write, ""), "about 0.5 on the tokens shown here");
});

test("a text begins with the last query under a causal mask, else with the first that sees something", async () => {
  const all = { ...map, queries: { ...side, size: 3 }, keys: { ...side, size: 3 } } as AttentionMap;
  const begins = (numbers: number[]): Promise<number> => {
    const halves = Uint16Array.from(numbers, (value) => (value < 0 ? 0xbc00 : 0x3400)).buffer;
    return firstLook(store(all, { "overview/0": halves, "tile/0/0/mass/0/0/0": new Float32Array(numbers).buffer }), all);
  };
  assert.equal(await begins([1, -1, -1, 1, 1, -1, 1, 1, 1]), 2);
  assert.equal(await begins([1, 1, 1, 1, 1, 1, 1, 1, 1]), 0);
  assert.equal(await begins([-1, -1, -1, -1, 1, -1, -1, 1, 1]), 2);
  assert.equal(await begins([-1, -1, -1, 1, 1, 1, 1, 1, 1]), 1);
});

test("spaces before a token are room, or the indentation of its line", () => {
  assert.deepEqual(written(" the", false), { text: "the", gap: true });
  assert.deepEqual(written("  if", true), { text: "\u00a0\u00a0if", gap: false });
  assert.deepEqual(written("  ", false), { text: "␣␣", gap: false });
  assert.deepEqual(written("\n", false), { text: "⏎", gap: false });
  assert.deepEqual(written("", false), { text: "∅", gap: false });
});

test("before is compared with after, else a head with the next, else a layer with another", () => {
  const maps = [{ ...map, id: 0, model: "a", heads: 4 }, { ...map, id: 1, model: "a", layer: 1, heads: 4 }, { ...map, id: 2, model: "b", heads: 4 }, { ...map, id: 3, model: "b", layer: 1, heads: 4 }];
  assert.deepEqual([opposite(maps, maps[1]!, 2).map.id, opposite(maps, maps[1]!, 2).head], [3, 2]);
  assert.deepEqual([opposite(maps.slice(0, 2), maps[0]!, 3).map.id, opposite(maps.slice(0, 2), maps[0]!, 3).head], [0, 0]);
  const single = maps.slice(0, 2).map((one) => ({ ...one, heads: 1 }));
  assert.deepEqual([opposite(single, single[0]!, 0).map.id, opposite(single, single[0]!, 0).head], [1, 0]);
});
