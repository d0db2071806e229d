// The page's look, as one constructed style sheet. Sizes follow the reader's letters.
export const STYLE = `
.regard { --surface: #ffffff; --raised: #f3f4f6; --text: #16181d; --faint: #565d6b; --line: #c9ced8; --accent: #0b57d0; --track: #5b7aa8; --thumb: 4.9rem;
  font: 0.875rem/1.45 system-ui, -apple-system, "Segoe UI", Roboto, "DejaVu Sans", sans-serif; color: var(--text); background: var(--surface); display: flex; flex-direction: column; container-type: inline-size; overflow: auto; }
.regard.dark { --surface: #14161a; --raised: #20242b; --text: #e7e9ee; --faint: #a3aaba; --line: #4a515e; --accent: #8ab4f8; --track: #7f9fce; color-scheme: dark; }
.regard.whole { min-height: 100vh; min-height: 100dvh; overflow: visible; }
.regard *, .regard { box-sizing: border-box; }
.regard [hidden] { display: none; }
.regard header { padding: 8px 14px 6px; border-bottom: 1px solid var(--line); display: flex; flex-wrap: wrap; gap: 6px 14px; align-items: center; }
.regard h1 { font-size: 1.05em; margin: 0; font-weight: 600; overflow-wrap: anywhere; max-width: 40ch; }
.regard [role=tablist], .regard .bar, .regard .save, .regard .zooms, .regard .heads-bar { display: flex; flex-wrap: wrap; gap: 5px 10px; align-items: center; }
.regard [role=tablist], .regard .save, .regard .heads-bar { gap: 4px; }
.regard .save span { color: var(--faint); margin-right: 3px; }
.regard > .bar { padding: 6px 14px; }
.regard button, .regard select, .regard input[type=search] { font: inherit; color: inherit; background: var(--raised); border: 1px solid var(--line); border-radius: 6px; padding: 2px 8px; min-height: 1.9rem; max-width: min(34ch, 100%); }
.regard input[type=search] { background: var(--surface); width: 15rem; }
.regard button { cursor: pointer; min-width: 1.9rem; }
.regard button:disabled { opacity: 0.45; cursor: default; }
.regard [aria-selected=true], .regard .heads-bar [aria-pressed=true] { background: var(--accent); color: var(--surface); border-color: var(--accent); }
.regard :focus-visible { outline: 2px solid var(--accent); outline-offset: 2px; }
.regard label { display: inline-flex; gap: 5px; align-items: center; max-width: 100%; }
.regard label select { min-width: 0; }
.regard label span, .regard .hint { color: var(--faint); }
.regard input[type=checkbox] { font: inherit; width: 1.05em; height: 1.05em; margin: 0; accent-color: var(--accent); }
.regard .body { flex: 1 0 auto; padding: 4px 14px 8px; display: flex; flex-direction: column; gap: 8px; position: relative; }
.regard .beside { display: flex; flex: 1; gap: 14px; min-height: 0; }
.regard .stage { flex: 1; display: flex; flex-direction: column; min-width: 0; min-height: 22rem; position: relative; }
.regard .zooms { justify-content: flex-end; gap: 3px; padding-bottom: 3px; }
.regard aside { flex: 0 0 16rem; font-size: 0.95em; }
.regard aside p { margin: 8px 0; overflow-wrap: anywhere; color: var(--faint); }
.regard aside label { margin-top: 6px; flex-wrap: wrap; }
.regard .help[open] { flex-basis: 100%; } .regard .help summary { cursor: pointer; width: fit-content; padding: 2px 0; } .regard .help dl { grid-template-columns: max-content 1fr; } .regard .help p { margin: 6px 0; max-width: 90ch; }
.regard dl { display: grid; grid-template-columns: auto auto; gap: 2px 10px; margin: 6px 0; }
.regard dt { color: var(--faint); } .regard dd { margin: 0; font-variant-numeric: tabular-nums; }
.regard .matrix { flex: 1; min-height: 16rem; min-width: 0; position: relative; overflow: hidden; }
.regard .matrix canvas { display: block; touch-action: none; cursor: crosshair; position: absolute; inset: 0 auto auto 0; }
.regard .matrix canvas.whole { touch-action: pan-x pan-y; }
.regard .note { position: absolute; z-index: 2; pointer-events: none; white-space: pre; max-width: 20rem; overflow: hidden; text-overflow: ellipsis; background: var(--surface); color: var(--text); border: 1px solid var(--line); border-radius: 5px; padding: 1px 6px; font-size: 0.85em; font-variant-numeric: tabular-nums; }
.regard .matrix canvas:focus-visible { outline-offset: -2px; }
.regard .pair { display: flex; flex: 1; gap: 12px; flex-wrap: wrap; }
.regard .pair > section { flex: 1 1 20rem; display: flex; flex-direction: column; min-height: 22rem; min-width: 0; }
.regard .pair > section.text { min-height: 0; }
.regard .bar .zooms { margin-left: auto; padding: 0; }
.regard h2 { font-size: 0.95em; margin: 2px 0; font-weight: 600; overflow-wrap: anywhere; }
.regard .scale { display: flex; gap: 4px 14px; flex-wrap: wrap; align-items: flex-start; font-variant-numeric: tabular-nums; }
.regard .ramp { display: inline-block; width: 16rem; max-width: 100%; }
.regard .ramp canvas { height: 0.8rem; width: 100%; border: 1px solid var(--line); display: block; margin-top: 3px; }
.regard .ticks { display: flex; justify-content: space-between; font-size: 0.85em; }
.regard .legends { display: flex; flex-wrap: wrap; gap: 4px 28px; } .regard .key { display: inline-flex; align-items: center; gap: 4px; color: var(--faint); }
.regard .key i { width: 0.85em; height: 0.85em; border: 1px solid var(--line); display: inline-block; }
.regard .caption { color: var(--faint); margin: 2px 0 0; overflow-wrap: anywhere; font-size: 0.93em; }
.regard .says { min-height: 1.9em; margin: 0; padding: 0 14px 5px; overflow-wrap: anywhere; font-weight: 500; background: var(--surface); }
.regard footer { border-top: 1px solid var(--line); padding: 5px 14px 2px; background: var(--surface); }
.regard .error { background: #b3261e; color: #fff; padding: 6px 14px; margin: 0; overflow-wrap: anywhere; }
.regard .layer { display: flex; gap: 4px 8px; align-items: flex-start; }
.regard .layer h2 { flex: 0 0 9rem; font-weight: 400; font-size: 0.9em; }
.regard .heads { display: flex; flex-wrap: wrap; gap: 5px; flex: 1; }
.regard .thumb { padding: 3px; display: flex; flex-direction: column; align-items: flex-start; font-size: 0.8em; width: calc(var(--thumb) + 8px); max-width: none; line-height: 1.3; text-align: left; }
.regard .thumb canvas { image-rendering: pixelated; margin-bottom: 2px; }
.regard .thumb b { font-weight: 400; }
.regard .thumb span { color: var(--faint); overflow: hidden; text-overflow: ellipsis; white-space: nowrap; max-width: 100%; }
.regard .tokens { line-height: 2.2; font-size: 1.05em; overflow-wrap: anywhere; }
.regard .tokens button { border: 1px solid transparent; border-bottom-width: 3px; background: none; border-radius: 4px; padding: 1px 3px; margin: 0 1px; min-height: 24px; min-width: 24px; max-width: 100%; white-space: pre-wrap; line-height: 1.4; overflow-wrap: anywhere; unicode-bidi: isolate; }
.regard .tokens button.chosen { outline: 3px solid var(--accent); outline-offset: 0; }
.regard .tokens button.found { text-decoration: underline double; text-underline-offset: 3px; font-weight: 600; }
.regard .tokens button.gap { padding-left: 0.45em; } .regard .tokens button.in { margin-left: 0; } .regard .tokens button.on { margin-left: 0; border-top-left-radius: 0; border-bottom-left-radius: 0; } .regard .tokens button.labelled:has(+ button.on) { margin-right: 0; border-top-right-radius: 0; border-bottom-right-radius: 0; } .regard .tokens button:has(+ button.in) { margin-right: 0; }
.regard .tokens sup { font-size: 0.65em; margin-left: 2px; line-height: 1; }
.regard .side { display: flex; flex-wrap: wrap; gap: 10px; align-items: flex-start; } .regard .side .tokens { flex-basis: 100%; }
.regard .board { max-width: 100%; border: 1px solid var(--line); touch-action: manipulation; }
.regard table { border-collapse: collapse; font-variant-numeric: tabular-nums; font-size: 0.9em; }
.regard table caption { text-align: left; color: var(--faint); padding-bottom: 3px; }
.regard td, .regard th { border: 1px solid var(--line); padding: 2px 7px; text-align: right; white-space: nowrap; max-width: 14ch; overflow: hidden; text-overflow: ellipsis; }
.regard th { background: var(--raised); font-weight: 500; }
.regard th[scope=row] { position: sticky; left: 0; }
.regard .scroll { overflow: auto; max-width: 100%; }
@container (max-width: 47.99rem) {
  .regard header { flex-wrap: wrap; } .regard h1 { flex-basis: 100%; max-width: none; }
  .regard .beside { flex-direction: column; } .regard aside { flex: none; overflow: visible; } .regard .layer { flex-direction: column; align-items: stretch; } .regard .layer h2 { flex: none; }
  .regard .foot { display: contents; } .regard .says { position: sticky; bottom: 0; z-index: 3; border-top: 1px solid var(--line); padding: 4px 8px; } .regard .says:empty { display: none; }
  .regard .body { --thumb: 4rem; } .regard .pair > section { flex-basis: 100%; } .regard .body, .regard header, .regard > .bar, .regard footer { padding-left: 8px; padding-right: 8px; }
}
/* Telephones: one line of controls that is pushed aside, so that the picture has the screen. */
@container (max-width: 29.99rem) { .regard > .bar { flex-wrap: nowrap; overflow-x: auto; padding-top: 3px; padding-bottom: 3px; } .regard > .bar > * { flex: none; }
  .regard > .bar.more { mask-image: linear-gradient(to left, transparent, #000 3rem); } .regard > .bar.less { mask-image: linear-gradient(to right, transparent, #000 3rem); } .regard > .bar.less.more { mask-image: linear-gradient(to right, transparent, #000 3rem calc(100% - 3rem), transparent); } }
@media (min-height: 50rem) { @container (min-width: 48rem) { .regard .foot { position: sticky; bottom: 0; z-index: 3; } } }
.regard .paper { display: none; }
.regard .all { display: flex; flex-direction: column; gap: 8px; }
/* System colours take the place of the page's; weights and classes keep theirs, they are what is shown. */
@media (forced-colors: active) {
  .regard .tokens button, .regard td.weight, .regard canvas, .regard .key i { forced-color-adjust: none; }
  .regard [aria-selected=true], .regard .heads-bar [aria-pressed=true] { forced-color-adjust: none; background: Highlight; color: HighlightText; border-color: Highlight; }
  .regard .tokens button.chosen { outline: 3px solid Highlight; }
  .regard .matrix { forced-color-adjust: none; background: var(--surface); }
}
@media print { .regard.whole { min-height: 0; } .regard.printing > :not(.paper) { display: none; } .regard.printing .paper { display: block; }
  .regard .paper canvas { display: block; max-width: 100%; max-height: 98vh; margin: 0 auto; break-inside: avoid; } .regard, .regard * { print-color-adjust: exact; -webkit-print-color-adjust: exact; } }
body:has(> .regard.whole) { margin: 0; }
body:has(> .regard.dark) { background: #14161a; }
`;
