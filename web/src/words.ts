// Numbers in words: one sentence for the page and for what is exported.
import type { AttentionMap } from "./manifest.ts";
import { MASKED, MISSING } from "./store.ts";

export function percent(value: number): string {
  if (value === 0) return "0 %";
  if (!Number.isFinite(value)) return String(value);
  if (Math.abs(value) < 0.0005) return value.toExponential(1).replace(/e([+-])(\d)$/, "e$10$2");
  return `${(value * 100).toFixed(1)} %`;
}

/** Why a number of a map is not there: it was never recorded, or it was left out of this file. */
export const absent = (map: AttentionMap): string => (map.finest > map.recorded ? "not in this file" : "not recorded");

/** The same as the end of a sentence about several. */
export const lacking = (map: AttentionMap): string => (map.finest > map.recorded ? "are not in this file" : "were not recorded");

export function plain(value: number, missing = "not recorded"): string {
  if (value === MASKED) return "masked";
  if (value === MISSING) return missing;
  if (!Number.isFinite(value)) return String(value);
  if (value === 0) return "0";
  const size = Math.abs(value);
  if (size < 0.001 || size >= 1e6) return value.toExponential(1).replace(/e([+-])(\d)$/, "e$10$2");
  return size >= 100 ? value.toFixed(0) : size >= 1 ? value.toFixed(2) : value.toFixed(4).replace(/0+$/, "");
}

/** A round number, without zeros behind it. */
export function round(value: number): string {
  const size = Math.abs(value);
  return value !== 0 && (size < 0.001 || size >= 1e6) ? plain(value) : String(Number(value.toPrecision(3)));
}

/** A number in as few signs as a cell has room for. */
export function brief(value: number): string {
  if (!Number.isFinite(value)) return Number.isNaN(value) ? "NaN" : value > 0 ? "∞" : "-∞";
  if (value === 0) return "0";
  const size = Math.abs(value);
  if (size >= 10) return value.toFixed(0);
  if (size >= 0.995) return value.toFixed(1);
  return size < 0.005 ? value.toExponential(0) : value.toFixed(2).replace("0.", ".");
}

export function headsName(heads: number[]): string {
  return heads.length === 1 ? `head ${heads[0]}` : `mean of heads ${heads.join(", ")}`;
}

// What has no width, or turns the order of what follows. Joiners stay: letters and emoji are made with them.
const UNSEEN = /[\u0000-\u001f\u007f-\u009f\u00ad\u061c\u200b\u200e\u200f\u2028-\u202e\u2060-\u2069\ufeff]/g;

/**
 * Control characters and spaces become signs, so that a token can be seen; longer ones than `most`
 * end in an ellipsis. One space before a word is left out, as in print: many tokenizers begin words with it.
 */
export function visible(token: string, most = 200): string {
  if (token === "") return "∅";
  const word = token.replace(/^ (?=[^ ])/, "");
  const shown = word.length > most ? `${word.slice(0, most - 1)}…` : word;
  return shown.replace(/\n/g, "⏎").replace(/\t/g, "⇥").replace(UNSEEN, "�").replace(/ /g, "␣");
}

function quoted(tokens: string[] | null, at: number): string {
  const token = tokens?.[at];
  return token === undefined ? String(at) : `${at} "${visible(token, 40)}"`;
}

export interface Place {
  name: string;
  map: AttentionMap;
  heads: number[];
  z: number;
  query: number;
  key: number;
  value: number;
  quantity: string;
  percent: boolean;
  queryTokens: string[] | null;
  keyTokens: string[] | null;
}

/** The cell whose first query and key (of the map, from 0) are given, in words. */
export function sentence(place: Place): string {
  const { map, heads, z, value } = place;
  const where = `${place.name}, ${headsName(heads)}: `;
  const last = (from: number, size: number): number => Math.min(from + 2 ** z, size) - 1;
  const q = map.queries.first;
  const k = map.keys.first;
  const one = z === 0;
  const queries = one ? `query ${quoted(place.queryTokens, q + place.query)}` : `queries ${q + place.query} to ${q + last(place.query, map.queries.size)}`;
  const keys = one ? `key ${quoted(place.keyTokens, k + place.key)}` : `keys ${k + place.key} to ${k + last(place.key, map.keys.size)}`;
  if (value === MASKED) return `${where}${keys} ${one ? "is" : "are"} masked for ${queries}.`;
  if (value === MISSING) return `${where}what ${queries} ${one ? "gives" : "give"} to ${keys} ${absent(map) === "not recorded" ? "was" : "is"} ${absent(map)}.`;
  if (Number.isNaN(value)) return `${where}what ${queries} ${one ? "gives" : "give"} to ${keys} is not a number (NaN).`;
  if (place.quantity !== "mass") return `${where}${queries}, ${keys}: ${place.quantity} ${plain(value)}.`;
  const number = place.percent ? percent(value) : plain(value);
  return `${where}${queries} ${one ? "gives" : "give, on average,"} ${number} of ${one ? "its" : "their"} attention to ${keys}.`;
}
