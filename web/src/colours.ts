// Colour maps for colour-blind readers too, and the colours of masked and missing cells.
const CIVIDIS = "00224e002e6a1a386f32436d434e6c535a6d61656f6f70737d7c788c88789b9476aba072bcae6ccdbb63dec958f0d846fee838";
const VIRIDIS = "4401544828783e498931688e26828e1f9e8935b7796ece58b5de2bfde725";
const DIVERGING = "2d004b5326878073acb1aad1d8daebf7f7f6fee0b6fcb761e08214b257067f3b08";
const BLUES = "f7fbffdeebf7c6dbef9ecae16baed64292c62171b508519c08306b";
const GREYS = "ffffff000000";

export type Rgb = [number, number, number];
export const MASKED_COLOUR: Record<string, Rgb> = { light: [226, 228, 232], dark: [40, 43, 50] };
export const MISSING_COLOUR: Record<string, Rgb> = { light: [240, 180, 200], dark: [110, 50, 75] };
export const NAN_COLOUR: Rgb = [255, 0, 200];

function ramp(stops: string): Uint8Array {
  const count = Math.floor(stops.length / 6);
  const at = (i: number, channel: number): number => parseInt(stops.slice(i * 6 + channel * 2, i * 6 + channel * 2 + 2), 16);
  const table = new Uint8Array(256 * 3);
  for (let i = 0; i < 256; i++) {
    const place = (i / 255) * (count - 1);
    const low = Math.min(Math.floor(place), count - 2);
    for (let channel = 0; channel < 3; channel++) {
      table[i * 3 + channel] = Math.round(at(low, channel) + (at(low + 1, channel) - at(low, channel)) * (place - low));
    }
  }
  return table;
}

const RAMPS = { cividis: ramp(CIVIDIS), blues: ramp(BLUES), viridis: ramp(VIRIDIS), greys: ramp(GREYS), diverging: ramp(DIVERGING) };

export type RampName = keyof typeof RAMPS;
/** The maps for numbers from 0 up, with their names in the page. */
export const CHOICES: [RampName, string][] = [["cividis", "cividis"], ["blues", "blues, light to dark"], ["viridis", "viridis"], ["greys", "greys, for print"]];

export function rampTable(name: RampName): Uint8Array {
  return RAMPS[name];
}

export function colour(name: RampName, share: number): Rgb {
  const table = RAMPS[name];
  const at = Math.max(0, Math.min(255, Math.round(share * 255))) * 3;
  return [table[at]!, table[at + 1]!, table[at + 2]!];
}

export const css = ([r, g, b]: Rgb): string => `rgb(${r}, ${g}, ${b})`;

/** Relative luminance, as the guidelines for accessible contrast define it. */
function luminance(rgb: Rgb): number {
  const [r, g, b] = rgb.map((part) => (part <= 10 ? part / 3294.6 : ((part / 255 + 0.055) / 1.055) ** 2.4)) as Rgb;
  return 0.2126 * r + 0.7152 * g + 0.0722 * b;
}

/** Black or white, whichever has more contrast on the colour: at least 4.5 to 1. */
export function ink(rgb: Rgb): string {
  return luminance(rgb) > 0.179 ? "#000" : "#fff";
}
