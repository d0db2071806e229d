// The parts of the page that need no browser.
import assert from "node:assert/strict";
import { test } from "node:test";

import { held, patches, zoomed, zoomFor } from "../src/camera.ts";
import { csv, json } from "../src/exports.ts";
import type { AttentionMap } from "../src/manifest.ts";
import { escaped } from "../src/pens.ts";
import { difference, mean, niceTop, ratios, share, valueAt } from "../src/quantities.ts";
import { groups, total } from "../src/rows.ts";
import { decode, encode, START } from "../src/state.ts";
import { halfToFloat, isCode, MASKED, MISSING, numbers } from "../src/store.ts";
import { percent, sentence } from "../src/words.ts";

const map = { name: "encoder.layers.3", queries: { axis: 0, first: 0, size: 100 }, keys: { axis: 0, first: 0, size: 100 }, finest: 0, recorded: 0 } as AttentionMap;
const plainly = { kind: "plain", scale: "linear", top: 1, dark: false, colours: "cividis", rounded: null, over: false, nan: false } as const;
const place = { name: map.name, map, heads: [5], z: 0, query: 12, key: 7, value: 0.3124, quantity: "mass", percent: true, queryTokens: null, keyTokens: null };

test("half floats are read to their exact numbers", () => {
  assert.deepEqual([0x3c00, 0xc000, 0x0001, 0x7c00, 0x3555].map(halfToFloat), [1, -2, 2 ** -24, Infinity, 0.333251953125]);
  assert.ok(Number.isNaN(halfToFloat(0x7e00)));
});

test("codes survive float32 and are no numbers", () => {
  const read = numbers(new Float32Array([0.5, 0, -1, -2]).buffer, "f4", 4, "tile");
  assert.deepEqual([...read], [0.5, 0, MASKED, MISSING]);
  assert.deepEqual([...read].map(isCode), [false, false, true, true]);
});

test("a block of another length is an error that names it", () => {
  assert.throws(() => numbers(new ArrayBuffer(6), "f4", 2, "tile/0"), /tile\/0 has 6 bytes; 8/);
});

test("means, ratios and differences keep what is masked and what is not recorded", () => {
  const one = new Float32Array([0.5, MASKED, MISSING]);
  const two = new Float32Array([0.25, 0.5, 0.5]);
  assert.deepEqual([...mean([one, two])], [0.375, MASKED, MISSING]);
  assert.deepEqual([...ratios(one, two)], [2, MASKED, MISSING]);
  assert.deepEqual([...difference(two, one)], [-0.25, MASKED, MISSING]);
});

test("the bar and the colours agree", () => {
  for (const kind of ["plain", "ratio", "difference"] as const) {
    for (const scale of ["linear", "log"] as const) {
      const colouring = { ...plainly, kind, scale, top: 4 };
      for (const at of [0.25, 0.5, 1]) assert.ok(Math.abs(share(colouring, valueAt(colouring, at)) - at) < 1e-12);
    }
  }
  assert.equal(niceTop(0.0031, "plain"), 0.004);
  assert.equal(niceTop(0.93, "plain"), 1);
});

test("zooming keeps the token under the pointer", () => {
  const extent = { columns: 100000, rows: 100000, width: 1000, height: 800 };
  const before = { x: 5000, y: 6000, pixels: 1 };
  const after = zoomed(before, 3, 200, 300, extent);
  assert.ok(Math.abs(after.x + 200 / after.pixels - 5200) < 1e-6);
  assert.ok(Math.abs(after.y + 300 / after.pixels - 6300) < 1e-6);
  assert.equal(held({ x: -5, y: 1e9, pixels: 1 }, extent).y, 99200);
});

test("tiles cover the picture at a zoom of at least a pixel a cell", () => {
  const extent = { columns: 100000, rows: 100000, width: 1000, height: 1000 };
  assert.equal(zoomFor(0.01, [0, 9]), 7);
  assert.equal(zoomFor(20, [0, 9]), 0);
  assert.equal(patches({ x: 0, y: 0, pixels: 0.01 }, extent, 7, 256).length, 16);
});

test("a state comes back from its link, and a bad link gives a sound one", () => {
  const state = { ...START, view: "text" as const, map: 3, chosen: [1, 4], sinks: false, zoom: 12.5 };
  assert.deepEqual(decode(`#${encode(state)}`), state);
  assert.equal(decode("#view=evil&map=zz&__proto__=1&theme=x").view, "overview");
});

test("numbers in words follow the protocol", () => {
  assert.equal(sentence(place), "encoder.layers.3, head 5: query 12 gives 31.2 % of its attention to key 7.");
  assert.equal(sentence({ ...place, value: MASKED }), "encoder.layers.3, head 5: key 7 is masked for query 12.");
  assert.match(sentence({ ...place, z: 6, query: 0, key: 64, value: 0.041 }), /queries 0 to 63 give, on average, 4.1 % of their attention to keys 64 to 99\.$/);
  assert.equal(sentence({ ...place, value: NaN }), "encoder.layers.3, head 5: what query 12 gives to key 7 is not a number (NaN).");
  assert.match(sentence({ ...place, value: MISSING }), /was not recorded\.$/);
  assert.match(sentence({ ...place, value: MISSING, map: { ...map, finest: 2 } }), /is not in this file\.$/);
  assert.equal(percent(0.000031), "3.1e-05");
  assert.equal(percent(0), "0 %");
});

test("subwords become words, their keys are summed", () => {
  const parts = groups(new Int32Array([-1, 0, 0, 1, -1]), 0, 5);
  assert.deepEqual(parts, [[0], [1, 2], [3], [4]]);
  const values = new Float32Array([0.5, 0.25, 0.125, MASKED, 0]);
  assert.deepEqual(parts.map((part) => total(values, part).value), [0.5, 0.375, MASKED, 0]);
});

test("exported text can do nothing", () => {
  const made = { caption: "two\nlines", about: { quantity: "weight" }, columns: ["token"], rows: [["=1+1"], ['say "hi", now'], [0.5]] };
  assert.equal(csv(made), "# two lines\ntoken\n'=1+1\n\"say \"\"hi\"\", now\"\n0.5\n");
  assert.ok(!escaped('</text><script>"').includes("<"));
});
