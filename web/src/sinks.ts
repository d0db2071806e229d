// Keys that take much of all attention, whatever they stand for: found by the host, named and hidden here.
import type { AttentionMap, HeadMeasures } from "./manifest.ts";
import { percent, visible } from "./words.ts";

export interface Sink {
  /** Place among the keys of the map, from 0. */
  key: number;
  share: number;
}

/** The sinks of some heads, largest first; null where they are not known of one of them. */
export function sinksOf(measures: HeadMeasures | null, heads: number[]): Sink[] | null {
  const found = new Map<number, number>();
  for (const head of heads) {
    const sinks = measures?.sinks[head];
    if (!sinks) return null;
    for (const [key, share] of sinks) found.set(key, (found.get(key) ?? 0) + share / heads.length);
  }
  return [...found].map(([key, share]) => ({ key, share })).sort((a, b) => b.share - a.share);
}

const NAMED = 4;

/** Keys with their tokens, equal tokens together, and with the share of one head where `shares`. */
export function named(map: AttentionMap, sinks: Sink[], tokens: string[] | null, shares: boolean): string {
  const groups = new Map<string, Sink[]>();
  for (const sink of sinks) {
    const token = tokens?.[map.keys.first + sink.key];
    const name = token === undefined ? `key ${map.keys.first + sink.key}` : `"${visible(token, 40)}"`;
    groups.set(name, [...(groups.get(name) ?? []), sink]);
  }
  const parts = [...groups].map(([name, group]) => {
    const places = group.map(({ key }) => key + map.keys.first).sort((a, b) => a - b);
    const where = tokens === null ? name : places.length > 3 ? `${places.length} × ${name}` : `${name} at ${places.join(", ")}`;
    return shares ? `${where} (${percent(group.reduce((sum, { share }) => sum + share, 0))})` : where;
  });
  return `${parts.slice(0, NAMED).join(", ")}${parts.length > NAMED ? `, and ${parts.length - NAMED} more` : ""}`;
}
