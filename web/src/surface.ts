// Tiles on the GPU: textures hold the numbers, the shader maps them to colours.
import { MASKED_COLOUR, MISSING_COLOUR, NAN_COLOUR, type Rgb, rampTable } from "./colours.ts";
import { type Colouring, DECADES, rampOf } from "./quantities.ts";
import { hiddenColumns, type Shown } from "./painter.ts";
import { isCode, type Tile } from "./store.ts";

export interface Frame {
  shown: Shown[];
  colouring: Colouring;
  /** Keys whose columns are hidden. */
  hidden: readonly number[];
  /** Room of the cells on the canvas, in pixels of the page. */
  left: number;
  top: number;
  width: number;
  height: number;
  /** Token at the upper left corner of that room, pixels a token. */
  x: number;
  y: number;
  pixels: number;
}

const VERTEX = `#version 300 es
uniform vec4 place;
out vec2 at;
void main() {
  at = vec2(gl_VertexID & 1, gl_VertexID >> 1);
  vec2 corner = place.xy + at * place.zw;
  gl_Position = vec4(corner.x * 2.0 - 1.0, 1.0 - corner.y * 2.0, 0.0, 1.0);
}`;

// Codes are exact powers of two: -2^100 masked, -2^101 not recorded, -2^102 hidden, and 2^102 in place of NaN, which
// shaders may lose.
const NAN_CODE = 2 ** 102;
const LARGEST = 2 ** 99;
const HIDDEN_CODE = -(2 ** 102);
const FRAGMENT = `#version 300 es
precision highp float;
precision highp int;
uniform highp sampler2D cells;
uniform sampler2D ramp;
uniform ivec2 size;
uniform int kind;
uniform float most;
uniform vec3 masked, missing, notNumber;
in vec2 at;
out vec4 seen;
void main() {
  ivec2 cell = min(ivec2(at * vec2(size)), size - 1);
  float value = texelFetch(cells, cell, 0).r;
  bool stripe = mod(gl_FragCoord.x + gl_FragCoord.y, 8.0) < 3.0;
  if (value < -3.8e30) { seen = vec4(stripe ? masked * 0.85 : masked, 1.0); return; }
  if (value < -1.9e30) { seen = vec4(stripe ? missing * 0.8 : missing, 1.0); return; }
  if (value < -1e30) { seen = vec4(masked, 1.0); return; }
  if (value > 4e30) { seen = vec4(notNumber, 1.0); return; }
  float share = value / most;
  if (kind == 1) share = value <= 0.0 ? 0.0 : 1.0 + log2(value / most) / (${DECADES}.0 * 3.321928);
  if (kind == 2) share = value <= 0.0 ? 0.0 : 0.5 + log2(value) / (2.0 * log2(most));
  if (kind == 3) share = 0.5 + value / (2.0 * most);
  seen = vec4(texelFetch(ramp, ivec2(int(clamp(share, 0.0, 1.0) * 255.0 + 0.5), 0), 0).rgb, 1.0);
}`;
const UNIFORMS = ["place", "cells", "ramp", "size", "kind", "most", "masked", "missing", "notNumber"];
const TEXTURES_KEPT = 160;

function compiled(gl: WebGL2RenderingContext): WebGLProgram | null {
  const program = gl.createProgram()!;
  for (const [kind, code] of [[gl.VERTEX_SHADER, VERTEX], [gl.FRAGMENT_SHADER, FRAGMENT]] as const) {
    const shader = gl.createShader(kind)!;
    gl.shaderSource(shader, code);
    gl.compileShader(shader);
    gl.attachShader(program, shader);
  }
  gl.linkProgram(program);
  return gl.getProgramParameter(program, gl.LINK_STATUS) ? program : null;
}

function isImitation(gl: WebGL2RenderingContext): boolean {
  const known = gl.getExtension("WEBGL_debug_renderer_info");
  return /swiftshader|llvmpipe|softpipe|software|basic render/i.test(String(gl.getParameter(known ? known.UNMASKED_RENDERER_WEBGL : gl.RENDERER)));
}

export class Surface {
  readonly canvas: HTMLCanvasElement;
  /** The context was lost: draw otherwise. */
  lost = false;
  private readonly gl: WebGL2RenderingContext;
  private readonly places: Record<string, WebGLUniformLocation | null> = {};
  private readonly textures = new Map<Float32Array, { texture: WebGLTexture; hidden: string }>();
  private readonly ramp: WebGLTexture;
  private rampName = "";

  /** Null where the browser has no WebGL2, or only one that the processor imitates: copies are faster then. */
  static make(imitated: boolean, onLost: () => void): Surface | null {
    const canvas = document.createElement("canvas");
    canvas.setAttribute("aria-hidden", "true");
    const gl = canvas.getContext("webgl2", { alpha: false, antialias: false, depth: false, failIfMajorPerformanceCaveat: !imitated });
    const program = gl && compiled(gl);
    return gl && program && (imitated || !isImitation(gl)) ? new Surface(canvas, gl, program, onLost) : null;
  }

  private constructor(canvas: HTMLCanvasElement, gl: WebGL2RenderingContext, program: WebGLProgram, onLost: () => void) {
    this.canvas = canvas;
    this.gl = gl;
    canvas.addEventListener("webglcontextlost", () => {
      this.lost = true;
      onLost();
    });
    gl.useProgram(program);
    for (const name of UNIFORMS) this.places[name] = gl.getUniformLocation(program, name);
    gl.uniform1i(this.places["cells"]!, 0);
    gl.uniform1i(this.places["ramp"]!, 1);
    gl.pixelStorei(gl.UNPACK_ALIGNMENT, 1);
    this.ramp = gl.createTexture()!;
  }

  /** Draw the tiles; the rest of the canvas, of a size in pixels of the page, gets the colour behind. */
  draw(frame: Frame, size: { width: number; height: number; ratio: number }, behind: Rgb): void {
    const { gl, canvas, places } = this;
    const wide = Math.round(size.width * size.ratio);
    const tall = Math.round(size.height * size.ratio);
    if (canvas.width !== wide || canvas.height !== tall) {
      canvas.width = wide;
      canvas.height = tall;
      canvas.style.width = `${size.width}px`;
      canvas.style.height = `${size.height}px`;
    }
    gl.viewport(0, 0, wide, tall);
    gl.disable(gl.SCISSOR_TEST);
    gl.clearColor(behind[0] / 255, behind[1] / 255, behind[2] / 255, 1);
    gl.clear(gl.COLOR_BUFFER_BIT);
    gl.enable(gl.SCISSOR_TEST);
    const [left, top] = [Math.round(frame.left * size.ratio), Math.round(frame.top * size.ratio)];
    const room = [Math.round(frame.width * size.ratio), Math.round(frame.height * size.ratio)] as const;
    gl.scissor(left, tall - top - room[1], room[0], room[1]);
    this.colours(frame.colouring);
    for (const one of frame.shown) {
      const { tile, firstRow, firstColumn, z } = one;
      const cell = 2 ** z * frame.pixels;
      gl.activeTexture(gl.TEXTURE0);
      gl.bindTexture(gl.TEXTURE_2D, this.texture(tile, hiddenColumns(one, frame.hidden)));
      const x = frame.left + firstColumn * cell - frame.x * frame.pixels;
      const y = frame.top + firstRow * cell - frame.y * frame.pixels;
      gl.uniform4f(places["place"]!, x / size.width, y / size.height, (tile.columns * cell) / size.width, (tile.rows * cell) / size.height);
      gl.uniform2i(places["size"]!, tile.columns, tile.rows);
      gl.drawArrays(gl.TRIANGLE_STRIP, 0, 4);
    }
  }

  private colours(colouring: Colouring): void {
    const { gl, places } = this;
    const theme = colouring.dark ? "dark" : "light";
    const set = (name: string, rgb: Rgb): void => gl.uniform3f(places[name]!, rgb[0] / 255, rgb[1] / 255, rgb[2] / 255);
    set("masked", MASKED_COLOUR[theme]!);
    set("missing", MISSING_COLOUR[theme]!);
    set("notNumber", NAN_COLOUR);
    gl.uniform1f(places["most"]!, colouring.top);
    gl.uniform1i(places["kind"]!, colouring.kind === "difference" ? 3 : colouring.kind === "ratio" ? 2 : colouring.scale === "log" ? 1 : 0);
    gl.activeTexture(gl.TEXTURE1);
    gl.bindTexture(gl.TEXTURE_2D, this.ramp);
    const name = rampOf(colouring);
    if (name === this.rampName) return;
    this.rampName = name;
    gl.texImage2D(gl.TEXTURE_2D, 0, gl.RGB8, 256, 1, 0, gl.RGB, gl.UNSIGNED_BYTE, rampTable(name));
    this.sharp();
  }

  private texture({ values, columns, rows }: Tile, away: number[]): WebGLTexture {
    const { gl, textures } = this;
    const hidden = away.join();
    const found = textures.get(values);
    if (found?.hidden === hidden) {
      textures.delete(values);
      textures.set(values, found);
      return found.texture;
    }
    if (textures.size >= TEXTURES_KEPT) {
      const [oldest, { texture }] = textures.entries().next().value!;
      gl.deleteTexture(texture);
      textures.delete(oldest);
    }
    const texture = found?.texture ?? gl.createTexture()!;
    gl.bindTexture(gl.TEXTURE_2D, texture);
    gl.texImage2D(gl.TEXTURE_2D, 0, gl.R32F, columns, rows, 0, gl.RED, gl.FLOAT, coded(values, columns, new Set(away)));
    this.sharp();
    textures.set(values, { texture, hidden });
    return texture;
  }

  private sharp(): void {
    const { gl } = this;
    gl.texParameteri(gl.TEXTURE_2D, gl.TEXTURE_MIN_FILTER, gl.NEAREST);
    gl.texParameteri(gl.TEXTURE_2D, gl.TEXTURE_MAG_FILTER, gl.NEAREST);
  }
}

/** The numbers as the shader reads them: finite, with codes for NaN and for hidden columns; masked cells stay masked. */
function coded(values: Float32Array, columns: number, away: ReadonlySet<number>): Float32Array {
  if (!away.size && values.every(Number.isFinite)) return values;
  return values.map((value, i) => {
    if (isCode(value)) return value;
    if (away.has(i % columns)) return HIDDEN_CODE;
    return Number.isNaN(value) ? NAN_CODE : Math.max(-LARGEST, Math.min(LARGEST, value));
  });
}
