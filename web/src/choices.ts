// Which map is looked at: by model, input, layer and head.
import { select } from "./dom.ts";
import type { AttentionMap } from "./manifest.ts";
import type { Scene } from "./scene.ts";
import { START, type State } from "./state.ts";

const distinct = <T>(values: T[]): T[] => [...new Set(values)];

/** The map nearest to one of which some properties are changed: another input, model or layer. */
export function nearest(maps: AttentionMap[], from: AttentionMap, wanted: Partial<AttentionMap>): AttentionMap {
  const goal = { ...from, ...wanted };
  const score = (map: AttentionMap): number =>
    (Object.keys(wanted) as (keyof AttentionMap)[]).reduce((sum, name) => sum + (map[name] === goal[name] ? 100 : 0), 0) +
    (map.model === goal.model ? 8 : 0) + (map.input === goal.input ? 4 : 0) + (map.layer === goal.layer ? 2 : 0) + (map.pass === goal.pass ? 1 : 0);
  return maps.reduce((best, map) => (score(map) > score(best) ? map : best), maps[0] ?? from);
}

/** What a head is compared with unless the reader chooses: the same head of the other model, else another head, else another layer. */
export function opposite(maps: AttentionMap[], map: AttentionMap, head: number): { map: AttentionMap; head: number } {
  const model = maps.find((other) => other.model !== map.model)?.model;
  if (model !== undefined) {
    const found = nearest(maps, map, { model });
    return { map: found, head: Math.min(head, found.heads - 1) };
  }
  if (map.heads > 1) return { map, head: (head + 1) % map.heads };
  return { map: maps.find((other) => other !== map && other.input === map.input) ?? map, head: 0 };
}

/** Selects for model, input, layer and head, as far as there is a choice. */
export function mapSelects({ store }: Scene, prefix: string, at: AttentionMap, head: number | null, change: (map: number, head: number) => void): HTMLElement[] {
  const { maps } = store.manifest;
  const called = (name: string): string => (prefix ? `${prefix} ${name.toLowerCase()}` : name);
  const go = (wanted: Partial<AttentionMap>): void => {
    const map = nearest(maps, at, wanted);
    change(map.id, Math.min(head ?? 0, map.heads - 1));
  };
  const parts: HTMLElement[] = [];
  const models = distinct(maps.map((map) => map.model));
  if (models.length > 1) parts.push(select(called("Model"), models.map((model) => [model, model || "unnamed"]), at.model, (model) => go({ model })));
  const inputs = distinct(maps.filter((map) => map.model === at.model).map((map) => map.input));
  if (inputs.length > 1) parts.push(select(called("Input"), inputs.map((input) => [String(input), String(input)]), String(at.input), (input) => go({ input: Number(input) })));
  if (head === null) return parts;
  const layers = maps.filter((map) => map.model === at.model && map.input === at.input);
  parts.push(select(called("Layer"), layers.map((map) => [String(map.id), layerName(map, layers)]), String(at.id), (id) => change(Number(id), Math.min(head, store.map(Number(id)).heads - 1))));
  parts.push(select(called("Head"), Array.from({ length: at.heads }, (_, i) => [String(i), String(i)]), String(head), (value) => change(at.id, Number(value))));
  return parts;
}

export function layerName(map: AttentionMap, among: AttentionMap[]): string {
  return among.some((other) => other !== map && other.name === map.name) ? `${map.name} (call ${map.pass + 1})` : map.name;
}

/** Another map: where the picture stood means nothing in a matrix of another size. */
export function elsewhere(scene: Scene, id: number): Partial<State> {
  const [from, to] = [scene.map, scene.store.map(id)];
  const same = from.queries.size === to.queries.size && from.keys.size === to.keys.size;
  const { x, y, zoom, query, key } = START;
  return same ? { map: id } : { map: id, x, y, zoom, query, key };
}
