// How to read the pictures: one line that is always there, and a page of help that is folded away.
import { make } from "./dom.ts";

export const READING = "A row looks, a column is looked at.";

/** What the words for heads mean; the first that is true of a head is its word. */
export const KINDS: Record<string, string> = {
  itself: "more than half of its attention goes from each token to that token itself",
  "previous token": "more than half of its attention goes to the token before",
  "next token": "more than half of its attention goes to the token after",
  sink: "more than half of its attention goes to sinks: a few keys that take much more than an even share (three times the odds, two hundredths of all attention or more each), where heads often look when they have nothing to look for. Any key can be one: the first, a separator, punctuation, padding",
  broad: "it spreads over more than half of the keys that a query may see (effective keys: e to the power of the entropy)",
  neighbours: "more than half of its attention goes from each patch of an image to the eight patches around it",
  local: "on average it looks less than 8 tokens away, and less than a sixth of the keys that a query may see; in an image, less than half as far away as even attention would",
  mixed: "none of the others",
  "sees nothing": "everything is masked",
};

/** A word for a head with what it means behind it. */
export const kindInWords = (kind: string): string => (KINDS[kind] ? `${kind}: ${KINDS[kind]}` : kind);

const KEYS: [string, string][] = [
  ["[ ]", "the head before, the next head"], ["{ }", "the layer before, the next layer"], ["arrows", "move the cell, with Shift by ten"], ["+ − 0", "zoom in, zoom out, show all; so does the wheel, with Ctrl where the page or notebook scrolls"], ["/", "find a token"],
];

const list = (pairs: [string, string][]): HTMLElement => make("dl", {}, ...pairs.flatMap(([name, text]) => [make("dt", {}, name), make("dd", {}, text)]));

export function helpElement(): HTMLElement {
  return make("details", { class: "help" }, make("summary", { "data-name": "help" }, "Help"),
    make("p", {}, `${READING} A cell says how much of the attention of the row's token (the query) goes to the column's token (the key), in the colours of the bar below; a row sums to 1 where weights are shown. A cell of several tokens holds the mean over its rows of the sum over its columns. Masked: that query may not see that key. Weights say where a head looks, not why the model answers as it does.`),
    make("h2", {}, "Kinds of heads"), list(Object.entries(KINDS)), make("h2", {}, "Keys"), list(KEYS));
}
