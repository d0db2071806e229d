// Input on a matrix: wheel, drag, pinch, click, and keys.
import { MOST_PIXELS } from "./camera.ts";
import type { Matrix } from "./matrix.ts";

interface Point {
  x: number;
  y: number;
}

export function listen(matrix: Matrix): void {
  const { canvas } = matrix;
  const pointers = new Map<number, Point>();
  const point = (event: MouseEvent): Point => {
    const box = canvas.getBoundingClientRect();
    return { x: event.clientX - box.left - matrix.room.left, y: event.clientY - box.top - matrix.room.top };
  };
  canvas.addEventListener("wheel", (event) => {
    // A picture that is all in view lies in the way of whoever scrolls past it: it zooms with Ctrl or ⌘.
    if (matrix.whole && !event.ctrlKey && !event.metaKey && scrolls(canvas)) return;
    event.preventDefault();
    const { x, y } = point(event);
    const { pixels } = matrix.camera;
    if (event.shiftKey) matrix.move({ ...matrix.camera, x: matrix.camera.x + (event.deltaY + event.deltaX) / pixels });
    else matrix.zoomBy(Math.exp(-event.deltaY * 0.0016), x, y);
  }, { passive: false });
  canvas.addEventListener("pointerdown", (event) => {
    canvas.setPointerCapture(event.pointerId);
    pointers.set(event.pointerId, point(event));
  });
  canvas.addEventListener("pointermove", (event) => moved(matrix, pointers, event.pointerId, point(event)));
  canvas.addEventListener("pointerleave", () => matrix.hover(null));
  // One finger scrolls the page past a picture that is all in view; two are the picture's.
  canvas.addEventListener("touchmove", (event) => event.touches.length > 1 && event.cancelable && event.preventDefault(), { passive: false });
  for (const end of ["pointerup", "pointercancel"] as const) canvas.addEventListener(end, (event) => void pointers.delete(event.pointerId));
  canvas.addEventListener("click", (event) => {
    const { x, y } = point(event);
    if (x >= 0 && y >= 0) matrix.choose(matrix.under(x, y));
  });
  canvas.addEventListener("dblclick", (event) => {
    const { x, y } = point(event);
    matrix.zoomBy(matrix.camera.pixels > MOST_PIXELS / 2 ? 1e-9 : 4, x, y);
  });
}

function moved(matrix: Matrix, pointers: Map<number, Point>, id: number, now: Point): void {
  const before = pointers.get(id);
  if (!before) {
    matrix.hover(now);
    return;
  }
  const other = [...pointers].find(([one]) => one !== id)?.[1];
  pointers.set(id, now);
  if (other) {
    const apart = (p: Point): number => Math.hypot(p.x - other.x, p.y - other.y);
    matrix.zoomBy(apart(now) / Math.max(1, apart(before)), (now.x + other.x) / 2, (now.y + other.y) / 2);
  }
  const { pixels, x, y } = matrix.camera;
  const shared = other ? 2 : 1;
  matrix.move({ pixels, x: x - (now.x - before.x) / pixels / shared, y: y - (now.y - before.y) / pixels / shared });
  // What is under the hand stays there, but for the border of the picture.
  matrix.hover(other ? null : now);
}

/** Whether the wheel has something to scroll: a notebook around the page or its frame, or the page in a small window. */
function scrolls(canvas: HTMLElement): boolean {
  const scroller = document.scrollingElement;
  return window.parent !== window || canvas.getRootNode() !== document || (scroller !== null && scroller.scrollHeight > scroller.clientHeight + 1);
}

const STEPS: Record<string, [number, number]> = { ArrowUp: [-1, 0], ArrowDown: [1, 0], ArrowLeft: [0, -1], ArrowRight: [0, 1] };

/** Keys that move the cell or the picture; true when the key was one of them. */
export function pressed(matrix: Matrix, event: KeyboardEvent): boolean {
  const step = STEPS[event.key];
  if (step) {
    const span = 2 ** matrix.zoom * (event.shiftKey ? 10 : 1);
    const { map } = matrix.picture.pick;
    const within = (at: number, size: number): number => Math.max(0, Math.min(size - 1, at));
    const from = matrix.selected;
    if (from) matrix.point(within(from.query + step[0] * span, map.queries.size), within(from.key + step[1] * span, map.keys.size));
    else matrix.point(Math.floor(matrix.camera.y), Math.floor(matrix.camera.x));
    return true;
  }
  if (event.key === "+" || event.key === "=") matrix.zoomBy(2);
  else if (event.key === "-") matrix.zoomBy(0.5);
  else if (event.key === "0") matrix.zoomBy(1e-9);
  else return false;
  return true;
}
