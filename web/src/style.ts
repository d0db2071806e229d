// The page's look, as one constructed style sheet.
export const STYLE = `
.regard { --surface: #fff; --raised: #f3f4f6; --text: #16181d; --faint: #565d6b; --line: #d5d9e0; --accent: #0b57d0; --track: #5b7aa8;
  font: 14px/1.45 system-ui, sans-serif; color: var(--text); background: var(--surface); display: flex; flex-direction: column; min-height: 420px; }
.regard.dark { --surface: #14161a; --raised: #20242b; --text: #e7e9ee; --faint: #a3aaba; --line: #3a404b; --accent: #8ab4f8; --track: #7f9fce; color-scheme: dark; }
.regard.whole { height: 100vh; height: 100dvh; }
.regard *, .regard { box-sizing: border-box; }
.regard header { padding: 8px 14px 6px; border-bottom: 1px solid var(--line); display: flex; flex-wrap: wrap; gap: 6px 12px; align-items: center; }
.regard h1 { font-size: 1.05em; margin: 0 8px 0 0; font-weight: 600; overflow-wrap: anywhere; max-width: 40ch; }
.regard nav, .regard .bar { display: flex; flex-wrap: wrap; gap: 6px 10px; align-items: center; }
.regard .bar { padding: 6px 14px; }
.regard button, .regard select, .regard input[type=search], .regard input[type=number] { font: inherit; color: inherit; background: var(--raised); border: 1px solid var(--line);
  border-radius: 6px; padding: 3px 9px; min-height: 28px; max-width: 34ch; }
.regard button { cursor: pointer; }
.regard button[aria-pressed=true], .regard button[aria-current=page] { background: var(--accent); color: var(--surface); border-color: var(--accent); }
.regard :focus-visible { outline: 2px solid var(--accent); outline-offset: 1px; }
.regard label { display: inline-flex; gap: 5px; align-items: center; }
.regard label span { color: var(--faint); }
.regard .body { flex: 1; min-height: 0; overflow: auto; padding: 4px 14px 8px; display: flex; flex-direction: column; gap: 8px; }
.regard .matrix { flex: 1; min-height: 220px; min-width: 0; position: relative; overflow: hidden; touch-action: none; }
.regard .matrix canvas { display: block; touch-action: none; cursor: crosshair; position: absolute; }
.regard .pair { display: flex; flex: 1; gap: 10px; min-height: 220px; flex-wrap: wrap; }
.regard .pair > section { flex: 1 1 300px; display: flex; flex-direction: column; min-height: 280px; min-width: 0; }
.regard h2 { font-size: 0.95em; margin: 2px 0; font-weight: 600; overflow-wrap: anywhere; }
.regard .scale { display: flex; gap: 6px 14px; flex-wrap: wrap; align-items: center; font-variant-numeric: tabular-nums; }
.regard .scale canvas { height: 12px; width: 200px; border: 1px solid var(--line); display: block; }
.regard .key { display: inline-flex; align-items: center; gap: 4px; color: var(--faint); }
.regard .key i { width: 12px; height: 12px; border: 1px solid var(--line); display: inline-block; }
.regard .caption, .regard .note { color: var(--faint); margin: 0; overflow-wrap: anywhere; }
.regard .says { min-height: 1.5em; margin: 0; overflow-wrap: anywhere; }
.regard footer { border-top: 1px solid var(--line); padding: 5px 14px; }
.regard .error { background: #b3261e; color: #fff; padding: 6px 14px; margin: 0; }
.regard .layer { display: flex; gap: 8px; align-items: flex-start; }
.regard .layer h2 { flex: 0 0 15ch; font-weight: 400; font-size: 0.85em; }
.regard .heads { display: flex; flex-wrap: wrap; gap: 6px; flex: 1; }
.regard .thumb { padding: 3px; border-radius: 6px; display: flex; flex-direction: column; align-items: flex-start; font-size: 0.75em; width: 82px; line-height: 1.25; text-align: left; }
.regard .thumb canvas { width: 74px; height: 74px; image-rendering: pixelated; object-fit: contain; object-position: left top; }
.regard .thumb span { color: var(--faint); overflow: hidden; text-overflow: ellipsis; white-space: nowrap; max-width: 100%; }
.regard .tokens { line-height: 2.1; font-size: 1.05em; overflow-wrap: anywhere; }
.regard .tokens button { border: 1px solid transparent; background: none; border-radius: 4px; padding: 1px 3px; margin: 0 1px; min-height: 24px; max-width: 100%; white-space: pre-wrap; }
.regard .tokens button[aria-pressed=true] { outline: 2px solid var(--accent); background: none; color: inherit; }
.regard .tokens button.found { text-decoration: underline 2px; }
.regard .tokens sup { font-size: 0.6em; color: var(--faint); }
.regard table { border-collapse: collapse; font-variant-numeric: tabular-nums; font-size: 0.9em; }
.regard td, .regard th { border: 1px solid var(--line); padding: 2px 7px; text-align: right; white-space: nowrap; max-width: 16ch; overflow: hidden; text-overflow: ellipsis; }
.regard th { background: var(--raised); font-weight: 500; position: sticky; left: 0; }
.regard .scroll { overflow: auto; max-width: 100%; }
.regard .hidden { position: absolute; width: 1px; height: 1px; overflow: hidden; clip-path: inset(50%); }
@media print { .regard.whole { height: auto; } .regard header nav, .regard .bar { display: none; } .regard .matrix { height: 17cm; } }
body:has(> .regard.whole) { margin: 0; }
`;
